"""Whether networks can be mixed: what their experts must share, and whose other parts serve them all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from compat_spec.errors import CompatError
from compat_spec.nn.network import Network, check_same_vocabulary

Parts = Literal["mlp", "attention", "both"]
"""What the experts are: the networks' MLPs, their attentions, or both."""


def trunk_of(networks: Sequence[Network], trunk: Network | None, parts: Parts) -> Network:
    """The network whose other parts serve all experts, after checking that it can."""
    body = networks[0] if trunk is None else trunk
    named = {f"expert {number}": network.tokenizer for number, network in enumerate(networks, 1)}
    check_same_vocabulary(named | ({"the trunk": trunk.tokenizer} if trunk else {}))
    for number, network in enumerate(networks, 1):
        if _shape(network) != _shape(body):
            raise CompatError(
                f"expert {number} has {_words(_shape(network))}, and {'the trunk' if trunk else 'expert 1'} "
                f"{_words(_shape(body))}: their parts cannot stand in for one another"
            )
    if trunk is None:
        _check_equal_outside(networks, parts)
    return body


def _shape(network: Network) -> tuple[int, int, torch.dtype]:
    anatomy = network.anatomy
    return len(anatomy), anatomy.width, next(anatomy.mlp(0).parameters()).dtype


def _words(shape: tuple[int, int, torch.dtype]) -> str:
    depth, width, dtype = shape
    return f"{depth} blocks of width {width} in {str(dtype).removeprefix('torch.')}"


_PARTS = {
    "mlp": ("its MLPs", "attention, embeddings and norms", "mlp"),
    "attention": ("its attentions", "MLPs, embeddings and norms", "attention"),
    "both": ("its MLPs and attentions", "embeddings and norms", r"'mlp|attn'"),
}
"""Of experts: what they are, what they are not, and what `update` of a training makes such experts."""


def _check_equal_outside(networks: Sequence[Network], parts: Parts) -> None:
    first, *others = (_outside(network, parts) for network in networks)
    inside, rest, update = _PARTS[parts]
    for number, other in enumerate(others, 2):
        for name in sorted(first.keys() | other.keys()):
            a, b = first.get(name), other.get(name)
            if a is None or b is None or a.shape != b.shape or a.dtype != b.dtype or not torch.equal(a, b):
                raise CompatError(
                    f"expert {number} differs from expert 1 outside of {inside}, in {name}: say with `trunk`, as in "
                    f"`trunk: base`, whose {rest} to use (or fine-tune with `update: {update}`)"
                )


def _outside(network: Network, parts: Parts) -> dict[str, Tensor]:
    anatomy = network.anatomy
    kinds = {"mlp": [anatomy.mlp], "attention": [anatomy.attention], "both": [anatomy.mlp, anatomy.attention]}[parts]
    inside = {id(p) for part in kinds for block in range(len(anatomy)) for p in part(block).parameters()}
    return {name: p for name, p in network.module.named_parameters() if id(p) not in inside}
