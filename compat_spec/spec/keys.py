"""The keys of the spec language itself; all others are parameters of plugins."""

from __future__ import annotations

import re
from collections.abc import Sequence

KEYS: dict[str, tuple[str, ...]] = {
    "tasks": ("use",),
    "models": ("use", "from", "train"),
    "merges": ("use", "at", "train"),
    "metrics": ("use", "on", "of", "between", "at"),
}
"""The sections, and the keys of a declaration that the engine reads."""

SECTIONS = tuple(KEYS)
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
"""What a declaration may be called."""
DEFAULT_TRAINER = "finetune"
"""The plugin of a `train:` without `use`."""
TOP_LEVEL = ("version", "name", "description", "seeds", *SECTIONS)


def is_removable(path: Sequence[str]) -> bool:
    """Whether null at a path takes away what stood there: a declaration, or a key of the language.

    For a parameter of a plugin null is a value like any other.
    """
    return len(path) <= 2 or (len(path) == 3 and path[0] in KEYS and path[2] in KEYS[path[0]])
