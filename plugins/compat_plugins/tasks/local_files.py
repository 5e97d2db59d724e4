"""Finds and reads the user's files, with errors that say which file and what is wrong with it."""

from __future__ import annotations

import glob
import hashlib
from pathlib import Path

from compat_spec.errors import UsageError


def find_files(path: str, folder: Path) -> list[Path]:
    """The files that a path or a pattern with `*` stands for, absolute and sorted; relative ones start at `folder`.

    Raises:
        ValueError: there is none.
    """
    wanted = Path(path).expanduser()
    exact = (folder / wanted).absolute()
    if exact.is_file():
        return [exact]
    if exact.is_dir():
        raise ValueError(f"{exact} is a folder; name the files in it, such as {path.rstrip('/')}/*.txt")
    pattern = str(wanted) if wanted.is_absolute() else str(Path(glob.escape(str(folder.absolute()))) / wanted)
    found = sorted(Path(name) for name in glob.glob(pattern, recursive=True) if Path(name).is_file())
    if not found:
        raise ValueError(f"there is no file {exact}" if not glob.has_magic(path) else f"no file matches {exact}")
    return found


def read_text(path: Path) -> str:
    """The text of a file, with `\\n` between its lines.

    Raises:
        UsageError: it cannot be read, or is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: not UTF-8 text, from byte {error.start} on; save it as UTF-8") from None
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from None


def checksum(path: Path) -> str:
    """The SHA-256 of a file's content."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from None
