"""Checksums of an artifact's files: taken when it is finished, compared when it is verified."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Set
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class FileFacts:
    """Bytes, and the SHA-256 of the content."""

    size: int
    sha256: str


def describe_files(folder: Path) -> dict[str, FileFacts]:
    """Facts of every file below `folder`, by relative path with forward slashes."""
    return {
        path.relative_to(folder).as_posix(): FileFacts(path.stat().st_size, _sha256(path))
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def differences(folder: Path, expected: Mapping[str, FileFacts], ignore: Set[str] = frozenset()) -> list[str]:
    """A line for each file that is missing, changed, or should not be there."""
    found = [path for path in folder.rglob("*") if path.is_file()]
    names = {path.relative_to(folder).as_posix() for path in found} - ignore
    problems = [f"{folder / name}: missing" for name in sorted(expected.keys() - names)]
    problems += [f"{folder / name}: does not belong here" for name in sorted(names - expected.keys())]
    for name in sorted(names & expected.keys()):
        path = folder / name
        size = path.stat().st_size
        if size != expected[name].size:
            problems.append(f"{path}: {size} bytes instead of {expected[name].size}")
        elif _sha256(path) != expected[name].sha256:
            problems.append(f"{path}: its content has changed")
    return problems


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
