"""Mistakes in a spec: where they stand, what they are, and what would be right."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches

from compat_spec.errors import CompatError, CompatWarning, UsageError


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """Where something stands: in a file, or in a `--set` (then without line and column).

    Attributes:
        rank: the order in which files were read: the spec itself, what it extends, then the `--set`s.
        line, column: from 1; 0 where there is none.
        file: the file as the user named it, or the whole `--set path=value`.
    """

    rank: int
    line: int
    column: int
    file: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}" if self.line else self.file


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One mistake, printed as `file:line:column: where: what; what would be right`."""

    place: Place
    where: str
    """The dotted path in the spec: `merges.blend.alpha`."""
    what: str
    advice: str = ""

    def __str__(self) -> str:
        where = f"{self.where}: " if self.where else ""
        advice = f"; {self.advice}" if self.advice else ""
        return f"{self.place}: {where}{self.what}{advice}"


class SpecError(UsageError):
    """A spec with mistakes: all of them, in the order in which they stand in the file."""

    names_its_place = True

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(sorted(problems))
        super().__init__("\n".join(map(str, self.problems)))


@dataclass(slots=True)
class Attempt:
    """Whether the code of a plugin raised."""

    failed: bool = False


class Problems:
    """Collects the mistakes of one spec; a mistake that many points of a sweep share counts once."""

    def __init__(self) -> None:
        self._found: dict[Problem, None] = {}
        self._muted: set[Place] = set()
        self._warnings: dict[Problem, None] = {}

    def add(self, place: Place, where: str, what: str, advice: str = "") -> None:
        if place not in self._muted:
            self._found[Problem(place, where, what, advice)] = None

    def warn(self, place: Place, where: str, what: str) -> None:
        """Of something that is no mistake, and may not be what is meant."""
        self._warnings[Problem(place, where, f"warning: {what}")] = None

    def mute(self, places: Iterable[Place]) -> None:
        """From now on say nothing of these places: what is wrong there is known, and the rest would follow from it."""
        self._muted.update(places)

    def is_muted(self, place: Place) -> bool:
        return place in self._muted

    @contextmanager
    def of_plugin(self, use: str, place: Place, where: str) -> Iterator[Attempt]:
        """Turns whatever the code of a plugin raises into a problem: a spec never ends in a traceback."""
        attempt = Attempt()
        try:
            yield attempt
        except CompatError as error:
            attempt.failed = True
            self.add(place, where, str(error))
        except Exception as error:
            attempt.failed = True
            self.add(place, where, f"the plugin {use!r} failed: {type(error).__name__}: {error}")

    def __len__(self) -> int:
        return len(self._found)

    def __iter__(self) -> Iterator[Problem]:
        return iter(self._found)

    def raise_if_any(self) -> None:
        if self._found:
            raise SpecError(self._found)

    def give_warnings(self) -> None:
        for warning in sorted(self._warnings):
            warnings.warn(str(warning), CompatWarning, stacklevel=3)


def nearest(name: str, known: Collection[str], otherwise: str) -> str:
    """`did you mean 'x'?` when a known name is close, else `otherwise` followed by the known names."""
    close = get_close_matches(name, known, n=1)
    if close:
        return f"did you mean {close[0]!r}?"
    return f"{otherwise}: {', '.join(known)}" if known else f"{otherwise}: none"


def enumerate_words(words: Iterable[object], joint: str = "and") -> str:
    """`a`, `a and b`, `a, b and c`."""
    *most, last = map(str, words)
    return f"{', '.join(most)} {joint} {last}" if most else last
