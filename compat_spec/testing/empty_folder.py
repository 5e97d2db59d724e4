"""A working folder for components that write files: what they leave behind goes away with it."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def in_empty_folder() -> Iterator[None]:
    """Work in a folder that is empty and goes away."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, contextlib.chdir(Path(folder)):
        yield
