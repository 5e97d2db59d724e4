"""How sharply each parameter of a network is determined by data: the diagonal of the empirical Fisher information."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from compat_spec.errors import CompatError
from compat_spec.nn.data import EncodedSplit
from compat_spec.nn.network import Network
from compat_spec.nn.windows import context_length, spread_windows


def diagonal_fisher(
    network: Network,
    encoded: EncodedSplit,
    *,
    sequences: int,
    context: int | None,
    device: torch.device | str,
    progress: Callable[[int, int], None] | None = None,
) -> Iterator[tuple[nn.Parameter, Tensor]]:
    """The mean over sequences of the squared gradient of a sequence's log-likelihood, by parameter, on `device`.

    A sequence is a window of the split, its log-likelihood that of its scored tokens. Each has a backward pass of its
    own: the gradient of a batch, squared, would be that of the batch's sum. Gradients are squared one by one as the
    pass makes them, so that no two are held.

    Matena and Raffel, "Merging Models with Fisher-Weighted Averaging", 2021, arXiv:2111.09832, with the tokens of the
    data in place of tokens drawn from the network ("empirical").

    Args:
        network: on `device`, the caller's own: what it has in half precision is made float32, for gradients in half
            precision are too coarse to be squared.
        sequences: how many to read, evenly spread over the split; all when it has fewer.
        context: the longest sequence; None is what the network accepts, at most 1,024.
        progress: called with the sequences read so far and the sequences to read.

    Raises `CompatError` when there is nothing to score, or no memory for a sequence.
    """
    module = network.module.eval()
    for parameter in module.parameters():
        if parameter.dtype in (torch.float16, torch.bfloat16):
            parameter.data = parameter.data.float()
        parameter.requires_grad_(parameter.is_floating_point())
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    windows = spread_windows(encoded, sequences, context_length(network, context))
    with _squares_of_gradients(parameters) as total:
        for done, (start, stop) in enumerate(windows, 1):
            ids = encoded.ids[start - 1 : stop].to(device, torch.int64)
            scored = encoded.scored[start:stop].to(device)
            try:
                logits = network.logits(ids[None, :-1])[0]
                loss = F.cross_entropy(logits[scored], ids[1:][scored], reduction="sum")
                torch.autograd.backward(loss)
            except torch.OutOfMemoryError:
                raise CompatError(
                    f"the device has no memory for the gradients of one sequence of {stop - start} tokens; choose a "
                    "smaller `context`"
                ) from None
            if progress is not None:
                progress(done, len(windows))
    for parameter in parameters:
        yield parameter, total.pop(parameter).div_(len(windows))


@contextmanager
def _squares_of_gradients(parameters: Sequence[nn.Parameter]) -> Iterator[dict[nn.Parameter, Tensor]]:
    """While it is open, adds up the square of every gradient that a backward pass makes, and drops the gradient."""
    total = {parameter: torch.zeros_like(parameter, requires_grad=False) for parameter in parameters}

    def add(parameter: nn.Parameter) -> None:
        assert parameter.grad is not None
        total[parameter].addcmul_(parameter.grad, parameter.grad)
        parameter.grad = None

    handles = [p.register_post_accumulate_grad_hook(add) for p in parameters]  # type: ignore[no-untyped-call]
    try:
        yield total
    finally:
        for handle in handles:
            handle.remove()
