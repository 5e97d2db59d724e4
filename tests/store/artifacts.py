"""Made-up artifacts: small files under fingerprints that words stand for."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from compat_spec.store import Store


def named(word: str) -> str:
    """The fingerprint that a word stands for."""
    return hashlib.sha256(word.encode()).hexdigest()


def keep(store: Store, word: str, files: Mapping[str, str] | None = None, kind: str = "train", **facts: Any) -> str:
    """Write an artifact with these files, by path, and give its fingerprint."""
    with store.writing(named(word), kind, f"{kind} {word}", facts) as folder:
        fill(folder, files or {"data.txt": word})
    return named(word)


def fill(folder: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")


def manifest_path(store: Store, word: str) -> Path:
    return store.path(named(word)) / "artifact.json"


def say_last_used(store: Store, word: str, moment: float) -> None:
    """As if the artifact had been used last at a moment, in seconds since the epoch."""
    os.utime(manifest_path(store, word), (moment, moment))


def everything_below(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))
