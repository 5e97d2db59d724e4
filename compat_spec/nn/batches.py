"""Training batches: windows drawn at random from the streams of several tasks, the same for the same seed and step."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from itertools import accumulate, pairwise

import torch
from torch import Tensor

from compat_spec.errors import CompatError
from compat_spec.nn.data import EncodedSplit

__all__ = ["IGNORED", "Batches", "derived_seed"]

IGNORED = -100
"""Stands for a target that the loss does not count; the `ignore_index` of `torch.nn.functional.cross_entropy`."""

_GOLDEN = (math.sqrt(5) - 1) / 2


class Batches:
    """Batches of `rows` windows of `context` tokens.

    A batch depends on the seed and its step only: training that goes on at step k needs to remember nothing else.

    Where all tokens of a task are scored, its windows start anywhere. Where only answers are, an answer must see its
    prompt: windows start at an example, after the end-of-text token of the one before, and go on into the following
    examples. A window that reaches the end of a stream goes on at its beginning.

    Args:
        streams: the encoded training split of each task.
        shares: the share of all windows that each task has, adding up to 1.

    Raises:
        CompatError: a task has no text, or no example whose answer is within reach of `context`.
    """

    def __init__(
        self,
        streams: Mapping[str, EncodedSplit],
        shares: Mapping[str, float],
        *,
        rows: int,
        context: int,
        seed: int,
    ) -> None:
        self.rows = rows
        self._streams = [streams[task] for task in shares]
        self._starts = [_example_starts(task, streams[task], context) for task in shares]
        self._within = torch.arange(context + 1)
        self._seed = seed
        self._shift = derived_seed(seed, "mixture") / 2**63
        self._edges = list(accumulate(shares.values()))

    def counts(self, step: int) -> list[int]:
        """How many windows of a step's batch come from each task: its share of `rows`, rounded up or down.

        Systematic sampling: what is left of the shares after rounding down is evened out over the steps, by shifts that
        fill the unit interval evenly (multiples of the golden ratio).
        """
        shift = math.modf(self._shift + step * _GOLDEN)[0]
        edges = [0, *(math.floor(edge * self.rows + shift) for edge in self._edges[:-1]), self.rows]
        return [above - below for below, above in pairwise(edges)]

    def draw(self, step: int) -> tuple[Tensor, Tensor]:
        """The batch of a step: token ids and targets, both `[rows, context]`, int64; targets may be `IGNORED`."""
        generator = torch.Generator().manual_seed(derived_seed(self._seed, f"batch {step}"))
        inputs, targets = [], []
        for stream, starts, count in zip(self._streams, self._starts, self.counts(step), strict=True):
            if starts is None:
                first = torch.randint(len(stream.ids), (count,), generator=generator)
            else:
                first = starts[torch.randint(len(starts), (count,), generator=generator)]
            places = (first[:, None] + self._within) % len(stream.ids)
            ids = stream.ids[places].long()
            inputs.append(ids[:, :-1])
            targets.append(ids[:, 1:].masked_fill(~stream.scored[places[:, 1:]], IGNORED))
        return torch.cat(inputs), torch.cat(targets)


def derived_seed(seed: int, purpose: str) -> int:
    """A seed for one purpose, in [0, 2^63), so that random numbers for different purposes are independent."""
    return int.from_bytes(hashlib.sha256(f"{seed} {purpose}".encode()).digest()[:8], "big") >> 1


def _example_starts(task: str, stream: EncodedSplit, context: int) -> Tensor | None:
    """Where windows may start, or None for anywhere."""
    if len(stream.ids) == 0:
        raise CompatError(f"the task {task} has no text to train on")
    if stream.scored.all():
        return None
    starts = stream.offsets[:-1][stream.prompt_lengths < context] - 1
    if len(starts) == 0:
        raise CompatError(
            f"no answer of the task {task} can be trained on: no prompt is shorter than the context of {context} tokens"
        )
    return starts
