"""A network stacked up from the blocks of others: which tensor of which model each of its tensors is."""

from __future__ import annotations

from collections.abc import Sequence

from compat_spec.errors import CompatError
from compat_spec.nn.block_names import block_counts, comes_before_blocks, in_block
from compat_spec.nn.checkpoint import TensorSource


def restacked(
    models: Sequence[tuple[str, TensorSource]], blocks: Sequence[tuple[int, int]]
) -> dict[str, tuple[tuple[int, str], ...]]:
    """The origin of each tensor of the stack.

    What stands before the blocks, such as embeddings, is that of the model of the first block, and what comes after
    them, such as the last norm and the head, that of the model of the last; see `comes_before_blocks`.

    Args:
        models: what to call them in messages, and their tensors, in the order that `blocks` counts in.
        blocks: for each block of the stack the model and its block.

    Raises:
        CompatError: the models are not of one kind.
    """
    sources = [tensors for _, tensors in models]
    stack = _stack_of(sources[0])
    _check_alike(models, stack)
    origins: dict[str, tuple[tuple[int, str], ...]] = {}
    for name in _outside(sources[0], stack):
        model = blocks[0][0] if comes_before_blocks(name) else blocks[-1][0]
        origins[name] = ((model, name),)
    inside = [_by_block(source, stack) for source in sources]
    for number, (model, block) in enumerate(blocks):
        for after in inside[model].get(block, ()):
            origins[f"{stack}{number}{after}"] = ((model, f"{stack}{block}{after}"),)
    return origins


def _stack_of(tensors: TensorSource) -> str:
    """What stands before the numbers of the blocks: that which has the most of them."""
    counts = block_counts(tensors)
    return max(counts, key=lambda before: counts[before], default="")


def _outside(tensors: TensorSource, stack: str) -> dict[str, tuple[int, ...]]:
    """The tensors outside the blocks, with their shapes."""
    return {name: tensors.shape(name) for name in tensors if not _is_inside(name, stack)}


def _is_inside(name: str, stack: str) -> bool:
    place = in_block(name)
    return place is not None and place.before == stack


def _by_block(tensors: TensorSource, stack: str) -> dict[int, list[str]]:
    """For each block what the names of its tensors end in."""
    found: dict[int, list[str]] = {}
    for name in tensors:
        place = in_block(name)
        if place is not None and place.before == stack:
            found.setdefault(place.block, []).append(place.after)
    return found


def _check_alike(models: Sequence[tuple[str, TensorSource]], stack: str) -> None:
    """The stack has one config: its models must have the same tensors outside the blocks, of the same shapes."""
    (first_name, first), *others = models
    wanted = _outside(first, stack)
    for name, tensors in others:
        found = _outside(tensors, stack)
        for tensor in sorted(wanted.keys() | found.keys()):
            if tensor not in found or tensor not in wanted:
                owner, lacking = (first_name, name) if tensor in wanted else (name, first_name)
                raise CompatError(
                    f"blocks of {first_name} and {name} cannot be stacked: {owner} has {tensor} and {lacking} has not"
                )
            if found[tensor] != wanted[tensor]:
                raise CompatError(
                    f"blocks of {first_name} and {name} cannot be stacked: {tensor} is {list(wanted[tensor])} and "
                    f"{list(found[tensor])}"
                )
