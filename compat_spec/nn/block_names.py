"""What the names of tensors say of where they are: `model.layers.3.mlp.up_proj.weight` belongs to block 3."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

_NUMBER = re.compile(r"(?:^|(?<=\.))\d+(?=\.|$)")


@dataclass(frozen=True, slots=True)
class BlockName:
    """A name, taken apart at the number of its block: what stands before and after it."""

    before: str
    block: int
    after: str


def in_block(name: str) -> BlockName | None:
    """The block that a tensor belongs to; None for what is outside the blocks, such as embeddings."""
    found = _NUMBER.search(name)
    return BlockName(name[: found.start()], int(found[0]), name[found.end() :]) if found else None


def comes_before_blocks(name: str) -> bool:
    """Whether a tensor outside the blocks is used before them, by its name; all that do not look so come after.

    Embeddings (`embed_tokens`, `wte`, `wpe`, `word_embeddings_layernorm`) and what widens them (`project_in`) come
    before; norms and heads after, also a head that is called `embed_out`.
    """
    return "embed_out" not in name and any(part in name for part in ("embed", "wte", "wpe", "project_in"))


def block_counts(names: Iterable[str]) -> Mapping[str, int]:
    """How many blocks there are, by what stands before their numbers (`model.layers.`)."""
    counts: dict[str, int] = {}
    for name in names:
        found = in_block(name)
        if found:
            counts[found.before] = max(counts.get(found.before, 0), found.block + 1)
    return counts


def block_count(names: Iterable[str]) -> int:
    """How many blocks the longest stack has."""
    return max(block_counts(names).values(), default=0)


def depths(names: Iterable[str]) -> Mapping[str, float]:
    """How deep each tensor is, from 0 (the first block) to 1 (the last; also an only one); 0 outside the blocks."""
    listed = list(names)
    counts = block_counts(listed)
    found: dict[str, float] = {}
    for name in listed:
        place = in_block(name)
        last = counts[place.before] - 1 if place else 0
        found[name] = 0.0 if place is None else place.block / last if last else 1.0
    return found
