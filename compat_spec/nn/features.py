"""The features of every layer of a network, on rows of a split drawn at random: at once, or in batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from compat_spec.nn.capture import Site, read_layers
from compat_spec.nn.data import EncodedSplit
from compat_spec.nn.evaluation import inference
from compat_spec.nn.network import Network
from compat_spec.nn.rows import Part, RowKind, Rows, draw_rows
from compat_spec.nn.windows import Window, context_length, places_of, read_in_batches

__all__ = ["feature_batches", "features"]

_BATCH_TOKENS = 4096

Progress = Callable[[int, int], None]


def features(
    network: Network,
    encoded: EncodedSplit,
    *,
    site: Site,
    tokens: int,
    context: int | None,
    seed: int,
    device: torch.device | str,
    rows: RowKind = "tokens",
    part: Part = "all",
    embedding: bool = False,
    progress: Progress | None = None,
) -> list[Tensor]:
    """What each layer puts out on rows of a split: one `[rows, width]` per layer, on `device`, from one pass.

    Which rows, and what is read before them, depends on the split, `rows`, `part`, `tokens`, `context` and `seed` only,
    so that the rows of two networks with one tokenizer belong together. `draw_rows` says how they are drawn.

    They are float32 whatever the network computes in: a half-precision number is a float32 as it is, means keep their
    digits, and nobody who takes differences or sums of them loses any. Where that is too much memory, take batches.

    Args:
        network: on `device`.
        site: the residual stream after each `block`, or the output of its `mlp` or of its `attention`.
        tokens: how many rows; a split with fewer gives all it has.
        context: the longest sequence to read at once; None is what the network accepts, at most 1,024. Give it where
            two networks accept different lengths.
        rows: single `tokens`, the `last` token of each example, or the `mean` over each example's tokens.
        part: count `all` tokens, or those of the `answer` only.
        embedding: begin the list with what goes into the first block.
        progress: called with the tokens read so far and the tokens to read.

    Raises `UnknownArchitecture`, and `CompatError` when the split has no such rows or `context` is more than is
    accepted.
    """
    drawn = draw_rows(encoded, rows=rows, part=part, count=tokens, context=context_length(network, context), seed=seed)
    reader = _Reader(network, encoded, drawn, site, embedding, device, progress)
    return reader.read(drawn.windows)


def feature_batches(
    network: Network,
    encoded: EncodedSplit,
    *,
    site: Site,
    tokens: int,
    context: int | None,
    seed: int,
    device: torch.device | str,
    rows: RowKind = "tokens",
    part: Part = "all",
    embedding: bool = False,
    batch_rows: int = 4096,
    progress: Progress | None = None,
) -> Iterator[list[Tensor]]:
    """The rows of `features` in batches, each a list of one `[rows of the batch, width]` per layer.

    The same call on two networks gives batches whose rows belong together, however much memory there is to read them:
    a batch is decided before anything is read. Batches hold windows in random order, and about equally many rows, at
    least about `batch_rows`.

    The arguments and errors are those of `features`.
    """
    drawn = draw_rows(encoded, rows=rows, part=part, count=tokens, context=context_length(network, context), seed=seed)
    reader = _Reader(network, encoded, drawn, site, embedding, device, progress)
    for windows in drawn.batches(batch_rows, seed):
        yield reader.read(windows)


class _Reader:
    """Reads windows with a network, and keeps of each layer the rows that they hold."""

    def __init__(
        self,
        network: Network,
        encoded: EncodedSplit,
        rows: Rows,
        site: Site,
        embedding: bool,
        device: torch.device | str,
        progress: Progress | None,
    ) -> None:
        self.network, self.encoded, self.rows = network, encoded, rows
        self.site, self.embedding, self.device = site, embedding, device
        self.progress = progress
        self.total = sum(window.length for window in rows.windows)
        self.done = 0

    def read(self, windows: list[Window]) -> list[Tensor]:
        """The rows of these windows, in ascending order: one `[rows, width]` per layer."""
        numbers = self.rows.numbers(windows)
        kept: dict[int, Tensor] = {}

        def read(batch: Sequence[Window]) -> None:
            self._read(batch, numbers, kept)
            self.done += sum(window.length for window in batch)
            if self.progress is not None:
                self.progress(self.done, self.total)

        with inference(self.network.module):
            read_in_batches(windows, _BATCH_TOKENS, read)
        return [kept[layer] for layer in sorted(kept)]

    def _read(self, batch: Sequence[Window], numbers: Tensor, kept: dict[int, Tensor]) -> None:
        """Read a batch. A second try, after one that was too much for the memory, writes the same once more."""
        places, inside = places_of(batch)
        places = places.clamp(max=len(self.encoded.ids) - 1)
        rows = torch.where(inside, self.rows.row_of[places], -1)  # [batch, seq]
        take, held = _means(rows, self.device) if self.rows.mean else _single(rows, self.device)
        into = torch.searchsorted(numbers, held).to(self.device)

        def see(layer: int, hidden: Tensor) -> None:
            if layer not in kept:
                kept[layer] = hidden.new_empty(len(numbers), hidden.shape[-1], dtype=torch.float32)
            kept[layer][into] = take(hidden)

        ids = self.encoded.ids[places].to(self.device, torch.int64)
        read_layers(self.network, ids, self.site, see, embedding=self.embedding)


Take = Callable[[Tensor], Tensor]
"""Makes rows `[rows, width]`, float32, of what a layer puts out `[batch, seq, width]`."""


def _single(rows: Tensor, device: torch.device | str) -> tuple[Take, Tensor]:
    """Takes the tokens that are rows, by the row of each token `[batch, seq]`; and which rows these are."""
    flat = rows.flatten()
    chosen = (flat >= 0).nonzero().flatten()
    there = chosen.to(device)
    return lambda hidden: hidden.flatten(0, 1)[there].float(), flat[chosen]


def _means(rows: Tensor, device: torch.device | str) -> tuple[Take, Tensor]:
    """Takes the mean over the tokens of each sequence that belong to its row; and which rows these are."""
    counted = rows >= 0
    weights = (counted / counted.sum(1, keepdim=True)).unsqueeze(-1).to(device)
    return lambda hidden: (hidden.float() * weights).sum(1), rows.amax(1)
