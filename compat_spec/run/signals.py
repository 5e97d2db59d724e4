"""How a run is told to stop: Ctrl-C or SIGTERM once, to stop where nothing is lost; Ctrl-C again, to stop now."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


@contextmanager
def stop_signal(told: Callable[[], None]) -> Iterator[threading.Event]:
    """An event that the first signal sets, calling `told`; a second Ctrl-C raises `KeyboardInterrupt`.

    Only the main thread of a process hears signals: elsewhere the event stays as it is.
    """
    stopping = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stopping
        return
    before: dict[signal.Signals, Any] = {}

    def hear(number: int, _: FrameType | None) -> None:
        if stopping.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        stopping.set()
        told()

    for number in (signal.SIGINT, signal.SIGTERM):
        before[number] = signal.signal(number, hear)
    try:
        yield stopping
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
