"""Whether a network is as it was."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from compat_spec.nn.network import Network


@dataclass(frozen=True)
class NetworkState:
    """What a network is made of, tensor by tensor, and how it is set."""

    tensors: Mapping[str, str]
    gradients: frozenset[str]
    """The parameters that require a gradient."""
    training: bool
    hooks: int

    def changes(self, later: NetworkState) -> str:
        """What is different later, in words; empty when nothing is."""
        changed = [name for name in later.tensors if self.tensors.get(name) != later.tensors[name]]
        words = [f"{len(changed)} tensors ({changed[0]}, …)"] if changed else []
        if self.tensors.keys() - later.tensors.keys():
            words.append("its modules")
        if self.gradients != later.gradients:
            words.append("which parameters require a gradient")
        if self.training != later.training:
            words.append("its training mode")
        if self.hooks != later.hooks:
            words.append("the hooks of its modules")
        return " and ".join(words)


def state_of(network: Network) -> NetworkState:
    """What a network is now."""
    modules = list(network.module.modules())
    return NetworkState(
        tensors={name: _digest(tensor) for name, tensor in network.module.state_dict().items()},
        gradients=frozenset(name for name, one in network.module.named_parameters() if one.requires_grad),
        training=any(module.training for module in modules),
        hooks=sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in modules),
    )


def _digest(tensor: Tensor) -> str:
    return hashlib.sha256(tensor.detach().cpu().contiguous().numpy().tobytes()).hexdigest()
