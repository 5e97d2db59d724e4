"""Which tokens of a split make the rows of features, and what is read to have them: the same for every network."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from compat_spec.errors import CompatError
from compat_spec.nn.data import EncodedSplit
from compat_spec.nn.windows import Window

RowKind = Literal["tokens", "last", "mean"]
Part = Literal["all", "answer"]

# tokens are drawn from windows that hold this many times as many: fewer are read than the whole split, yet the tokens
# drawn do not all come from a few texts
_HELD_PER_DRAWN = 4


@dataclass(frozen=True)
class Rows:
    """Rows of features: each is a token, or the mean over tokens of one window.

    Attributes:
        windows: what is read, `ids[start:stop]` of a stream. A start of -1 is the end-of-text token that ends the
            stream, in front of its first example.
        row_of: which row a token belongs to `[tokens of the stream]`, int64; -1 is none. Rows ascend with their places.
        count: how many rows there are.
        mean: whether a row is the mean of its tokens; otherwise it is one token.
    """

    windows: list[Window]
    row_of: Tensor
    count: int
    mean: bool

    def numbers(self, windows: list[Window]) -> Tensor:
        """The rows that windows hold, in ascending order."""
        held = torch.zeros(self.count, dtype=torch.bool)
        for window in windows:
            held[self._found(window)] = True
        return held.nonzero().flatten()

    def batches(self, size: int, seed: int) -> Iterator[list[Window]]:
        """The windows in batches that hold about equally many rows, at least about `size`, in an order drawn by seed.

        A window is never cut, and a short rest is no batch of its own.
        """
        order = torch.randperm(len(self.windows), generator=torch.Generator().manual_seed(seed))
        windows = [self.windows[i] for i in order.tolist()]
        held = torch.tensor([1 if self.mean else len(self._found(window)) for window in windows])
        batches = max(1, self.count // size)
        batch_of = (held.cumsum(0) - held) * batches // self.count
        for batch in range(batches):
            if chosen := [windows[i] for i in (batch_of == batch).nonzero().flatten().tolist()]:
                yield chosen

    def _found(self, window: Window) -> Tensor:
        """The row of each token of a window that belongs to one."""
        found = self.row_of[max(0, window.start) : window.stop]
        return found[found >= 0]


def draw_rows(encoded: EncodedSplit, *, rows: RowKind, part: Part, count: int, context: int, seed: int) -> Rows:
    """Draw `count` rows, or all there are, without replacement.

    For tokens of the whole text, the stream is read in windows of `context`, whatever the examples. Otherwise each
    example is read by itself, after an end-of-text token as in training; of one that is longer than `context`, its
    last `context` tokens are. The end-of-text token after an example is no part of it.

    Args:
        rows: single `tokens`, the `last` token of each example, or the `mean` over each example's tokens.
        part: count `all` tokens, or those of the `answer` of examples that have a prompt.

    Raises `CompatError` for a split without such tokens, `ValueError` for a kind or part that there is not.
    """
    if rows not in ("tokens", "last", "mean"):
        raise ValueError(f"no rows {rows!r}; there are tokens, last, mean")
    if part not in ("all", "answer"):
        raise ValueError(f"no part {part!r}; there are all, answer")
    if not len(encoded.ids):
        raise CompatError("the split has no tokens")
    if rows == "tokens" and part == "all":
        windows, drawn = draw_tokens(len(encoded.ids), count, context, seed)
        return Rows(windows, _numbered(drawn, len(encoded.ids)), len(drawn), mean=False)
    examples = _Examples(encoded, part, context)
    order = torch.randperm(len(examples), generator=torch.Generator().manual_seed(seed))
    if rows == "tokens":
        return examples.tokens(order, count, seed)
    return examples.whole(order[:count].sort().values, mean=rows == "mean")


def draw_tokens(length: int, tokens: int, context: int, seed: int) -> tuple[list[Window], Tensor]:
    """Draw tokens of a stream of `length`: the windows to read, and the places drawn in them `[tokens]`, ascending.

    Windows of `context` are drawn without replacement, about four times as many as hold `tokens`; then tokens among
    theirs, each with the same chance.
    """
    generator = torch.Generator().manual_seed(seed)
    count = -(-length // context)
    # one window more, as the last of the stream may be short
    wanted = min(count, 1 - (-_HELD_PER_DRAWN * tokens // context))
    chosen = torch.randperm(count, generator=generator)[:wanted].sort().values.tolist()
    windows = [Window(i * context, min((i + 1) * context, length)) for i in chosen]
    places = torch.cat([torch.arange(window.start, window.stop) for window in windows])
    drawn = places[torch.randperm(len(places), generator=generator)[:tokens]].sort().values
    read = set((drawn // context).tolist())
    return [window for window in windows if window.start // context in read], drawn


class _Examples:
    """The examples of a split that have what is asked for, each to be read by itself.

    Attributes:
        starts, firsts, stops: of each example what is read, `ids[start:stop]`, and which tokens count, from `first`.
    """

    def __init__(self, encoded: EncodedSplit, part: Part, context: int) -> None:
        self.length = len(encoded.ids)
        starts, stops = encoded.offsets[:-1], encoded.offsets[1:] - 1
        firsts = starts + encoded.prompt_lengths if part == "answer" else starts
        there = firsts < stops
        if part == "answer":
            there &= encoded.prompt_lengths > 0
        if not there.any():
            raise CompatError(
                "no example of the split has a prompt and an answer, so there are no answer tokens: count all tokens, "
                "`part: all`"
                if part == "answer"
                else "the examples of the split have no text"
            )
        self.stops = stops[there]
        self.starts = torch.maximum(starts[there] - 1, self.stops - context)
        self.firsts = torch.maximum(firsts[there], self.starts)

    def __len__(self) -> int:
        return len(self.stops)

    def windows(self, chosen: Tensor) -> list[Window]:
        return [Window(*pair) for pair in zip(self.starts[chosen].tolist(), self.stops[chosen].tolist(), strict=True)]

    def places(self, chosen: Tensor) -> Tensor:
        """Where the tokens stand that count."""
        spans = zip(self.firsts[chosen].tolist(), self.stops[chosen].tolist(), strict=True)
        return torch.cat([torch.arange(first, stop) for first, stop in spans])

    def tokens(self, order: Tensor, count: int, seed: int) -> Rows:
        """`count` single tokens of the first examples that hold about four times as many."""
        held = (self.stops - self.firsts)[order].cumsum(0)
        enough = int((held < _HELD_PER_DRAWN * count).sum()) + 1
        places = self.places(order[:enough].sort().values)
        generator = torch.Generator().manual_seed(seed)
        drawn = places[torch.randperm(len(places), generator=generator)[:count]].sort().values
        read = torch.tensor(sorted(set(torch.searchsorted(self.stops, drawn, right=True).tolist())))
        return Rows(self.windows(read), _numbered(drawn, self.length), len(drawn), mean=False)

    def whole(self, chosen: Tensor, *, mean: bool) -> Rows:
        """One row for each of some examples: its last token, or the mean of its tokens."""
        row_of = torch.full((self.length,), -1)
        if mean:
            counts = self.stops[chosen] - self.firsts[chosen]
            row_of[self.places(chosen)] = torch.arange(len(chosen)).repeat_interleave(counts)
        else:
            row_of[self.stops[chosen] - 1] = torch.arange(len(chosen))
        return Rows(self.windows(chosen), row_of, len(chosen), mean)


def _numbered(places: Tensor, length: int) -> Tensor:
    row_of = torch.full((length,), -1)
    row_of[places] = torch.arange(len(places))
    return row_of
