"""Passes what a run records on to sinks, each in a thread of its own, so that none can break or slow the run."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from queue import SimpleQueue
from threading import Thread
from typing import TypeAlias

from compat_spec import registry
from compat_spec.components import Sink
from compat_spec.errors import CompatError
from compat_spec.results import FinalStatus, without_password
from compat_spec.run.telling import Call

PATIENCE = 60.0
"""Seconds that a sink has, when the run is over, to take what is left: an upload may be slow."""
HURRY = 5.0
"""The same for a run that was told to stop."""
QUIET = 2.0
"""Seconds after which the user is told what is waited for."""

Say: TypeAlias = Callable[[str], None]
"""Tells the user one line; called from any thread."""


def name_of(sink: Sink) -> str:
    """What the user calls it."""
    return registry.name_of(type(sink))


def check_all(sinks: Iterable[Sink]) -> None:
    """Ask each sink whether it can take a run.

    Raises:
        CompatError: one cannot; the message has its reason.
    """
    for sink in sinks:
        try:
            sink.check()
        except CompatError:
            raise
        except (Exception, SystemExit) as error:  # some libraries exit
            raise CompatError(f"the sink {name_of(sink)} cannot be used: {words_of(error)}") from error


def words_of(error: BaseException) -> str:
    """What an error of a sink says, without the passwords that a URL may have in it."""
    text = str(error) if isinstance(error, CompatError) else f"{type(error).__name__}: {error}"
    return without_password(text)


class Sinks:
    """The sinks of one run. No method waits for a sink or raises what it raises, and only `end` waits for some time."""

    def __init__(self, sinks: Sequence[Sink], say: Say) -> None:
        self._followers = [_Follower(sink, say) for sink in sinks]
        self._say = say

    def tell(self, calls: Iterable[Call]) -> None:
        for call in calls if self._followers else ():
            for follower in self._followers:
                follower.take(call)

    def end(
        self, status: FinalStatus, error: str | None, stopping: Callable[[], bool], pump: Callable[[], None]
    ) -> None:
        """Tell how the run ended, and wait until the sinks have taken everything, within reason.

        Args:
            pump: called often, for what the sinks say meanwhile.
        """
        for follower in self._followers:
            follower.take_last(status, error)
        started = time.monotonic()
        told = False
        while late := [follower.name for follower in self._followers if follower.is_alive()]:
            waited = time.monotonic() - started
            if waited > (HURRY if stopping() else PATIENCE):
                words = "compat send passes the run on later"
                self._say(f"{', '.join(late)} did not take everything within {waited:.0f} s and was left; {words}")
                break
            if waited > QUIET and not told:
                told = True
                self._say(f"waiting until {', '.join(late)} took what was found; Ctrl-C leaves that")
            pump()
            time.sleep(0.02)
        pump()


class _Follower(Thread):
    """Makes the calls of one sink, one after the other, until one fails."""

    def __init__(self, sink: Sink, say: Say) -> None:
        self.sink = sink
        super().__init__(name=name_of(sink), daemon=True)  # one that hangs does not keep the process
        self._say = say
        self._calls: SimpleQueue[tuple[Call, bool]] = SimpleQueue()
        self._failed = False

    def take(self, call: Call, *, last: bool = False) -> None:
        if not self._failed:
            self._calls.put((call, last))
        if self.ident is None:
            self.start()

    def take_last(self, status: FinalStatus, error: str | None) -> None:
        def end(sink: Sink) -> None:
            if where := sink.end(status, error):
                self._say(f"{name_of(sink)}: {without_password(where)}")

        self.take(end, last=True)

    def run(self) -> None:
        last = False
        while not last:
            call, last = self._calls.get()
            try:
                call(self.sink)
            except BaseException as failure:  # some libraries exit
                self._failed = True
                self._say(f"the sink {self.name} failed and is left out: {words_of(failure)}")
                return
