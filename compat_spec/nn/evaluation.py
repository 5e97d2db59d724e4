"""How well a network predicts the tokens of a split: the loss and correctness of each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from compat_spec.nn.data import EncodedSplit
from compat_spec.nn.network import Network
from compat_spec.nn.windows import Window, context_length, places_of, read_in_batches, scored_windows

__all__ = ["TokenScores", "inference", "token_scores"]

# float32 logits that are scored at once; more would only take memory
_LOGITS_AT_ONCE = 2**22


@dataclass(frozen=True)
class TokenScores:
    """How each scored token of a split was predicted, in the order of the split, on the CPU.

    Attributes:
        loss: the negative log-probability, in nats `[n]`, float32.
        correct: whether it was the most probable token `[n]`, bool.
        sequence: the example that it belongs to, by its place in the split `[n]`, int32.
    """

    loss: Tensor
    correct: Tensor
    sequence: Tensor

    def __len__(self) -> int:
        return len(self.loss)

    @property
    def mean_loss(self) -> float:
        """The cross-entropy in nats per token."""
        return float(self.loss.double().mean())

    @property
    def accuracy(self) -> float:
        """The share of tokens that were the most probable one."""
        return float(self.correct.double().mean())

    def by_example(self, values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The examples that have scored tokens, in order, the mean over each one's tokens, and how many those are.

        Args:
            values: a number for each token, such as `loss` `[n]`.

        Returns: int64 `[m]`, float64 `[m]`, int64 `[m]`. The mean of all tokens is that of the examples, weighted by
        the counts.
        """
        examples, places, counts = torch.unique_consecutive(self.sequence, return_inverse=True, return_counts=True)
        return examples.long(), torch.bincount(places, values.double(), len(examples)) / counts, counts


def token_scores(
    network: Network,
    encoded: EncodedSplit,
    *,
    tokens: int | None,
    context: int | None,
    device: torch.device | str,
    progress: Callable[[int, int], None] | None = None,
    batch_tokens: int = 4096,
) -> TokenScores:
    """Score every scored token among about the first `tokens` of a split, each once.

    Loss and correctness are computed in float32 from the logits, whatever the network's dtype.

    Args:
        network: on `device`.
        tokens: how many tokens to read; None is all.
        context: the longest sequence to read at once; None is what the network accepts, at most 1,024.
        progress: called with the tokens read so far and the tokens to read.
        batch_tokens: about how many tokens to read at once; fewer when the device has no memory for them.

    Raises `CompatError` when there is nothing to score or `context` is more than the network accepts.
    """
    (scores,) = token_scores_together(
        network,
        1,
        encoded,
        tokens=tokens,
        context=context,
        device=device,
        progress=progress,
        batch_tokens=batch_tokens,
    )
    return scores


def token_scores_together(
    network: Network,
    count: int,
    encoded: EncodedSplit,
    *,
    tokens: int | None,
    context: int | None,
    device: torch.device | str,
    progress: Callable[[int, int], None] | None = None,
    batch_tokens: int = 4096,
) -> list[TokenScores]:
    """`token_scores` of `count` networks that are one module, as `ModuleMerge.build_together` makes it.

    Args:
        network: gives the logits of all for `input_ids [batch, seq]`: `[count * batch, seq, vocabulary]`, those of the
            first network first.
        batch_tokens: about how many tokens all of them read at once.
    """
    windows = scored_windows(encoded, tokens, context_length(network, context))
    end = windows[-1].stop
    loss = torch.full((count, end), torch.nan)
    correct = torch.zeros(count, end, dtype=torch.bool)
    counted = torch.zeros(end, dtype=torch.bool)
    total = sum(window.length for window in windows)
    done = 0

    def read(batch: Sequence[Window]) -> None:
        nonlocal done
        places, inside = places_of(batch)
        places = places.clamp(max=len(encoded.ids) - 1)
        keep = inside & encoded.scored[places]
        logits = network.logits(encoded.ids[places - 1].to(device, torch.int64))
        targets = encoded.ids[places[keep]].to(device, torch.int64)
        for own, of_one in enumerate(logits.view(count, -1, *logits.shape[1:])):
            kept = of_one.flatten(0, 1) if keep.all() else of_one[keep.to(device)]
            loss[own, places[keep]], correct[own, places[keep]] = _score(kept, targets)
        counted[places[keep]] = True
        done += sum(window.length for window in batch)
        if progress is not None:
            progress(done, total)

    with inference(network.module):
        read_in_batches(windows, max(1, batch_tokens // count), read)
    examples = torch.searchsorted(encoded.offsets, counted.nonzero().flatten(), right=True) - 1
    sequence = examples.to(torch.int32)
    return [TokenScores(loss[own, counted], correct[own, counted], sequence) for own in range(count)]


@contextmanager
def inference(module: nn.Module) -> Iterator[None]:
    """Read a network without gradients or dropout, and leave each part of it in the mode that it was in."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        for part, training in modes:
            part.training = training


def _score(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Losses and correctness `[n]`, on the CPU, of `logits [n, vocabulary]` for `targets [n]`."""
    rows = max(1, _LOGITS_AT_ONCE // logits.shape[-1])
    losses, correct = [], []
    for start in range(0, len(targets), rows):
        exact, wanted = logits[start : start + rows].float(), targets[start : start + rows]
        losses.append(F.cross_entropy(exact, wanted, reduction="none"))
        correct.append(exact.argmax(-1) == wanted)
    return torch.cat(losses).cpu(), torch.cat(correct).cpu()
