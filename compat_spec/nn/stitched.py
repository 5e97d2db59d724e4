"""Two networks with linear maps between them, run with as much at once as there is memory for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import torch
from torch import Tensor

from compat_spec.errors import CompatError
from compat_spec.nn.anatomy import frozen_copy
from compat_spec.nn.capture import read_layers
from compat_spec.nn.linear_maps import LinearMaps, Scale
from compat_spec.nn.network import Network
from compat_spec.nn.tails import Tail

T = TypeVar("T")

# entries of logits and of activations, kept for the gradient, of what goes through the second network at once: 1 GiB
_ENTRIES_AT_ONCE = 2**28
# about how many of them there are in a block, for each token and unit of its width
_KEPT_IN_BLOCK = 20


class StitchedPair:
    """The first network up to any block, and the second from after any block on. Both stay as they are.

    Args:
        scales: of the residual stream after each block of `a`.
        context: the longest sequence that will be read.

    Attributes:
        tokens_at_once: how many tokens go through the second network at once; fewer when memory runs out.

    Raises `UnknownArchitecture`, and `CompatError` as `Tail`.
    """

    def __init__(self, a: Network, b: Network, scales: Sequence[Scale], context: int) -> None:
        self._a = Network(frozen_copy(a.module).eval(), a.tokenizer)
        self._scales = scales
        self._tail = Tail(b)
        per_token = 3 * self._tail.outputs + _KEPT_IN_BLOCK * b.anatomy.width * len(b.anatomy)
        self.tokens_at_once = max(context, _ENTRIES_AT_ONCE // per_token)

    @torch.no_grad()
    def hidden(self, ids: Tensor) -> list[Tensor]:
        """The scaled residual stream after each block of `a`, `[rows, seq, width]`, float32, for `ids [rows, seq]`."""
        found: list[Tensor] = []
        read_layers(self._a, ids, "block", lambda layer, hidden: found.append(self._scales[layer].apply(hidden)))
        return found

    def logits(self, maps: LinearMaps, ids: Tensor, hidden: Sequence[Tensor]) -> Iterator[tuple[slice, slice, Tensor]]:
        """The logits of `b` after maps of `hidden`, for all their sources: some sources and rows of `ids` at a time.

        Yields which sources and rows, and `[sources, rows, seq, outputs]`.
        """
        sources = torch.stack([hidden[source] for source in maps.sources])
        for which, rows in self._pieces(len(sources), *ids.shape):
            mapped = maps(which, sources[which, rows])  # [sources, rows, seq, width]
            logits = self._tail.logits(ids[rows].repeat(len(mapped), 1), maps.block, mapped.flatten(0, 1))
            yield which, rows, logits.view(*mapped.shape[:3], -1)

    def _pieces(self, sources: int, rows: int, length: int) -> Iterator[tuple[slice, slice]]:
        rows_at_once = max(1, self.tokens_at_once // length)
        sources_at_once = max(1, rows_at_once // rows)
        for source in range(0, sources, sources_at_once):
            for row in range(0, rows, rows_at_once):
                yield slice(source, source + sources_at_once), slice(row, row + rows_at_once)

    def with_memory_for(self, length: int, work: Callable[[], T]) -> T:
        """What `work` gives, which reads `logits` of sequences of a length.

        Where the device has no memory for so much at once, it begins again with half of it. Raises `CompatError` when
        one sequence is too much.
        """
        while True:
            try:
                return work()
            except torch.OutOfMemoryError:
                if self.tokens_at_once <= length:
                    raise CompatError(
                        f"the device has no memory for one stitched sequence of {length} tokens; choose a smaller "
                        "`context`"
                    ) from None
                self.tokens_at_once = max(length, self.tokens_at_once // 2)
                if torch.cuda.is_available():
                    torch.cuda.empty_cache()
