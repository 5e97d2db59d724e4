"""Folders that appear when they are whole."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from compat_spec.errors import CompatError, UsageError


def check_free(out: Path) -> None:
    """Raises `UsageError` when there is something already where a folder is to be written."""
    if out.exists() and (not out.is_dir() or any(out.iterdir()) or out.resolve() == Path.cwd()):
        raise UsageError(f"{out} is there already: name a folder that is empty, or not there")
    if os.path.ismount(out.resolve()):  # what is written beside it lies on another disk, and cannot take its place
        raise UsageError(f"{out} is where a disk is mounted: name a folder in it")


@contextmanager
def appearing(out: Path) -> Iterator[Path]:
    """An empty folder beside `out` that becomes it when the block ends well, and vanishes when it does not.

    What a process that was killed has left beside `out` vanishes, too, when the next one begins.

    Raises:
        UsageError: there is something already.
        CompatError: the disk does not take it.
    """
    check_free(out)
    out = out.resolve()
    try:
        _clear_leftovers(out)
        aside = out.parent / f".{out.name}-{uuid.uuid4().hex[:8]}"
        aside.mkdir(parents=True)
        with _alive(aside):
            yield aside
            if out.exists():
                out.rmdir()
            aside.rename(out)
    except OSError as error:
        raise CompatError(f"{out} cannot be written: {error.strerror or error}") from error


@contextmanager
def _alive(aside: Path) -> Iterator[None]:
    """Holds a lock that says that a folder is being written; in the end the folder is no longer there."""
    file = aside.with_name(f"{aside.name}.lock")
    lock = FileLock(file)
    lock.acquire(blocking=False)
    try:
        yield
    finally:
        shutil.rmtree(aside, ignore_errors=True)
        file.unlink(missing_ok=True)
        lock.release()


def _clear_leftovers(out: Path) -> None:
    for file in out.parent.glob(f".{_escaped(out.name)}-????????.lock"):
        try:
            with _alive(file.with_suffix("")):
                pass
        except Timeout:
            continue  # another process is at work on it


def _escaped(name: str) -> str:
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in name)
