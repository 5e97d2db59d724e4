"""Notices when a file of results was deleted, moved or replaced while a run writes it.

A process may go on writing into a file that has no name any more, and all of that is lost when it ends.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqlalchemy import Engine, event

from compat_spec.results.errors import ResultsError


def insist_on_same_file(engine: Engine, path: Path) -> None:
    """Let the engine write nothing unless `path` is the file that it opened first.

    Raises:
        ResultsError: from then on, where a transaction begins or ends.
    """
    opened: tuple[int, int] | None = None

    @event.listens_for(engine, "connect")
    def connected(*_: Any) -> None:
        nonlocal opened
        opened = opened or _identity(path)

    @event.listens_for(engine, "begin")
    @event.listens_for(engine, "commit")
    def check(_: Any) -> None:
        if _identity(path) != opened:
            raise ResultsError(
                f"{path} was deleted, moved or replaced while a run wrote it: its rows are not in a file any more; "
                "start the run again: what is done is in the store, and all rows are written anew"
            )


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
