"""Logits at some places only: the head, which is a large part of a small network, reads no others."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from compat_spec.nn.anatomy import UnknownArchitecture
from compat_spec.nn.network import Network


def logits_at(network: Network, input_ids: Tensor, places: Tensor) -> Tensor:
    """Next-token logits `[n, vocabulary]` at some places of a batch.

    Args:
        input_ids: `[batch, seq]`, on the network's device.
        places: which to give, bool `[batch * seq]`, on the CPU, so that counting them keeps no GPU waiting.
    """
    if places.all():
        return network.logits(input_ids).flatten(0, 1)
    here = places.nonzero().flatten().to(input_ids.device)
    try:
        head = network.anatomy.head
    except UnknownArchitecture:
        return network.logits(input_ids).flatten(0, 1)[here]

    def pick(_: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
        if len(args) != 1 or args[0].shape[:2] != input_ids.shape:
            return None
        return (args[0].flatten(0, 1)[here][None],)

    hook = head.register_forward_pre_hook(pick)
    try:
        logits = network.logits(input_ids)
    finally:
        hook.remove()
    # a module that does more with its head than to read the residual stream with it is left as it is
    return logits[0] if logits.shape[:2] == (1, len(here)) != input_ids.shape else logits.flatten(0, 1)[here]
