"""Filesystems of fsspec that behave like a local folder, and misbehave once in a while."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem


class Deadly(LocalFileSystem):
    """Takes its process with it when it is about to write a file of this name for the `die_at`-th time."""

    protocol = "deadly"
    writes = 0

    def _count(self) -> None:
        type(self).writes += 1
        if self.writes == int(os.environ["DIE_AT"]):
            os.kill(os.getpid(), signal.SIGKILL)

    def put_file(self, *arguments: Any, **options: Any) -> None:
        self._count()
        super().put_file(*arguments, **options)

    def pipe_file(self, *arguments: Any, **options: Any) -> None:
        self._count()
        super().pipe_file(*arguments, **options)


class Counted(LocalFileSystem):
    """Writes down each file that is fetched, in `$FETCHED`."""

    protocol = "counted"

    def get_file(self, rpath: str, lpath: str, **options: Any) -> None:
        with Path(os.environ["FETCHED"]).open("a") as file:
            file.write(f"{rpath}\n")
        super().get_file(rpath, lpath, **options)


class Lost(LocalFileSystem):
    """Cannot be reached, as a server that is down."""

    protocol = "lost"

    def info(self, path: str, **options: Any) -> dict[str, Any]:
        raise ConnectionError("connection refused\nby the peer")

    cat_file = find = pipe_file = put_file = info


def register() -> None:
    for filesystem in (Deadly, Counted, Lost):
        fsspec.register_implementation(filesystem.protocol, filesystem, clobber=True)
