"""Ensembles: networks that run side by side, and whose next-token distributions are averaged."""

from __future__ import annotations

import math
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Literal

import torch
from torch import Tensor, nn
from transformers.modeling_outputs import CausalLMOutput

from compat_spec.errors import CompatError
from compat_spec.nn.anatomy import frozen_copy
from compat_spec.nn.network import Network, check_same_vocabulary

__all__ = ["Ensemble"]


class Ensemble(nn.Module):
    """The weighted average of what networks predict: of their probabilities, or of their logits.

    `(input_ids [batch, seq]) -> .logits [batch, seq, vocabulary]`, in float32 at least. For probabilities, the logits
    are the logarithm of the averaged probabilities: `log sum_e w_e softmax(logits_e)`.

    Args:
        networks: they do not change; the ensemble's frozen copies share their tensors.
        weights: at least zero, one per network; divided by their sum. A network of weight zero does not run.

    Raises:
        CompatError: the networks do not have the same tokens.
    """

    def __init__(
        self, networks: Sequence[Network], weights: Sequence[float], space: Literal["probabilities", "logits"]
    ) -> None:
        super().__init__()
        _check_same_tokens(networks)
        kept = [(network, weight / sum(weights)) for network, weight in zip(networks, weights, strict=True) if weight]
        self.networks = nn.ModuleList(frozen_copy(network.module) for network, _ in kept)
        self.weights = [weight for _, weight in kept]
        self.space = space
        contexts = [network.context for network, _ in kept if network.context is not None]
        self.config = SimpleNamespace(max_position_embeddings=min(contexts, default=None))

    def forward(self, input_ids: Tensor, use_cache: bool = False) -> CausalLMOutput:
        total: Tensor | None = None
        for network, weight in zip(self.networks, self.weights, strict=True):
            logits = network(input_ids=input_ids, use_cache=False).logits
            logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
            if self.space == "logits":
                total = logits * weight if total is None else total + logits * weight
            else:
                term = logits.log_softmax(-1) + math.log(weight)
                total = term if total is None else torch.logaddexp(total, term)
        assert total is not None
        return CausalLMOutput(logits=total)


def _check_same_tokens(networks: Sequence[Network]) -> None:
    first, *others = networks
    size = _outputs(first)
    for number, other in enumerate(others, 2):
        if _outputs(other) != size:
            raise CompatError(
                f"model {number} predicts {_outputs(other)} tokens, and model 1 {size}: their predictions cannot be "
                "averaged"
            )
    check_same_vocabulary({f"model {number}": network.tokenizer for number, network in enumerate(networks, 1)})


def _outputs(network: Network) -> int | None:
    return getattr(getattr(network.module, "config", None), "vocab_size", None)
