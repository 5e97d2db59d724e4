"""Windows: the sequences that a network reads when it is evaluated, cut out of a split's stream of tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple

import torch
from torch import Tensor

from compat_spec.errors import CompatError
from compat_spec.nn.data import EncodedSplit
from compat_spec.nn.network import Network

__all__ = [
    "Window",
    "context_length",
    "evaluation_windows",
    "places_of",
    "read_in_batches",
    "scored_windows",
    "spread_windows",
]

LONGEST_CONTEXT = 1024
"""How much a network reads at once when nobody says otherwise, however much it could."""


class Window(NamedTuple):
    """The targets `ids[start:stop]` of a stream; the network reads `ids[start - 1 : stop - 1]` to predict them."""

    start: int
    stop: int

    @property
    def length(self) -> int:
        return self.stop - self.start


_halved: ContextVar[list[int] | None] = ContextVar("halved", default=None)


@contextmanager
def noting_halved_batches() -> Iterator[list[int]]:
    """A list to which `read_in_batches` adds how many tokens it reads at once, whenever it had to halve that."""
    found: list[int] = []
    token = _halved.set(found)
    try:
        yield found
    finally:
        _halved.reset(token)


def context_length(network: Network, context: int | None) -> int:
    """How many tokens to read at once: `context`, or what the network accepts, at most `LONGEST_CONTEXT`.

    Raises `CompatError` when the network does not accept so many.
    """
    accepted = network.context
    if context is None:
        return LONGEST_CONTEXT if accepted is None else min(accepted, LONGEST_CONTEXT)
    if accepted is not None and context > accepted:
        raise CompatError(f"a context of {context} tokens is more than the {accepted} that the network accepts")
    return context


def evaluation_windows(encoded: EncodedSplit, tokens: int | None, context: int) -> list[Window]:
    """Cut the first `tokens` targets of a split, all by default, into windows of at most `context` tokens.

    Every token but the very first, which has nothing before it, is a target of exactly one window.

    Where all tokens are scored, windows follow one another whatever the examples. Where only answers are, an answer
    must see its prompt: windows then hold as many whole examples as fit, after the end-of-text token of the one
    before, as in training; only an example longer than `context` is cut, into pieces of `context` and a rest; and
    `tokens` is rounded down to whole examples, at least one.
    """
    if not encoded.scored.all():
        return _windows_of_examples(encoded.offsets[1:].tolist(), tokens, context)
    end = len(encoded.ids) if tokens is None else min(len(encoded.ids), 1 + tokens)
    return [Window(start, min(start + context, end)) for start in range(1, end, context)]


def _windows_of_examples(ends: Sequence[int], tokens: int | None, context: int) -> list[Window]:
    windows: list[Window] = []
    start = stop = 1
    for i, end in enumerate(ends):
        if tokens is not None and i > 0 and end - 1 > tokens:
            break
        if end - start > context and stop > start:
            windows.append(Window(start, stop))
            start = stop
        while end - start > context:
            windows.append(Window(start, start + context))
            start += context
        stop = end
    if stop > start:
        windows.append(Window(start, stop))
    return windows


def scored_windows(encoded: EncodedSplit, tokens: int | None, context: int) -> list[Window]:
    """The `evaluation_windows` that have scored tokens. Raises `CompatError` when there are none."""
    windows = evaluation_windows(encoded, tokens, context)
    windows = [window for window in windows if encoded.scored[window.start : window.stop].any()]
    if not windows:
        raise CompatError("the split has no token to score")
    return windows


def spread_windows(encoded: EncodedSplit, count: int, context: int) -> list[Window]:
    """About evenly spread over a split, `count` of its evaluation windows that have scored tokens, or all there are.

    Raises `CompatError` when there are none.
    """
    windows = scored_windows(encoded, None, context)
    count = min(count, len(windows))
    return [windows[i * len(windows) // count] for i in range(count)]


def places_of(windows: Sequence[Window]) -> tuple[Tensor, Tensor]:
    """Where the targets of some windows stand in the stream `[windows, longest]`, int64, and which are inside, bool.

    Rows go on past the end of a shorter window: under causal attention, what is read there changes nothing before.
    """
    starts = torch.tensor([window.start for window in windows])
    stops = torch.tensor([window.stop for window in windows])
    places = starts[:, None] + torch.arange(max(window.length for window in windows))
    return places, places < stops[:, None]


def read_in_batches(windows: Sequence[Window], batch_tokens: int, read: Callable[[Sequence[Window]], None]) -> None:
    """Call `read` on the windows, longest first, in batches of about `batch_tokens` tokens, at least one window.

    A batch for which the accelerator has no memory is halved. Raises `CompatError` when one window is too much.
    """
    queue = sorted(windows, key=lambda window: -window.length)
    done = 0
    while done < len(queue):
        longest = queue[done].length
        batch = queue[done : done + max(1, batch_tokens // longest)]
        try:
            read(batch)
        except torch.OutOfMemoryError:
            if len(batch) == 1:
                raise CompatError(
                    f"the device has no memory for one sequence of {longest} tokens; choose a smaller `context`"
                ) from None
            batch_tokens = longest * (len(batch) // 2)
            if (noted := _halved.get()) is not None:
                noted.append(batch_tokens)
            if torch.cuda.is_available():
                torch.cuda.empty_cache()  # what the failed try holds in pieces
        else:
            done += len(batch)
