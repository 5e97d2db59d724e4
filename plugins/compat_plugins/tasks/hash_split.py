"""Decides by a hash of a text which split it belongs to, so that splits stay apart whatever the seed or the sizes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import TypeVar

from compat_spec.errors import CompatError

TEST_SHARE = 0.1
"""How much of all possible texts belongs to the `test` split of a task that generates or collects its texts."""

T = TypeVar("T")

_DRAWS_WITHOUT_SUCCESS = 20_000


def position(text: str) -> float:
    """Where a text lies in [0, 1): evenly spread, and decided by nothing but the text."""
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
    return (int.from_bytes(digest[:8], "big") >> 11) / 2**53


def split_of(text: str, test_share: float = TEST_SHARE) -> str:
    return "test" if position(text) < test_share else "train"


def training_position(text: str) -> float:
    """Where a text of the `train` split lies among them, in [0, 1)."""
    return (position(text) - TEST_SHARE) / (1 - TEST_SHARE)


def fill(
    sizes: Mapping[str, int], draw: Callable[[], T], key: Callable[[T], str], split: Callable[[str], str | None]
) -> dict[str, list[T]]:
    """Draw until each split has as many as `sizes` says, no two with the same key.

    What a split gets does not depend on the sizes of the others.

    Args:
        split: from a key to its split, or None for what belongs to none.

    Raises:
        CompatError: there seem to be no more than were found.
    """
    found: dict[str, list[T]] = {name: [] for name in sizes}
    seen: set[str] = set()
    in_vain = 0
    while any(len(found[name]) < size for name, size in sizes.items()):
        drawn = draw()
        text = key(drawn)
        name = split(text)
        if name is not None and len(found[name]) < sizes[name] and text not in seen:
            seen.add(text)
            found[name].append(drawn)
            in_vain = 0
            continue
        in_vain += 1
        if in_vain > _DRAWS_WITHOUT_SUCCESS:
            there = ", ".join(f"{len(found[name])} of {size} for {name}" for name, size in sizes.items())
            raise CompatError(f"found only {there}: ask for fewer examples")
    return found
