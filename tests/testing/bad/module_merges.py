"""Merges of modules that break their contract, each in one way."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from copy import deepcopy
from types import SimpleNamespace
from typing import Any, ClassVar, Literal, Self

import torch
from pydantic import Field
from torch import Tensor, nn

from compat_spec.components import ModuleMerge
from compat_spec.nn.network import Network
from tests.testing.bad.case import Bad

_COUNT = itertools.count(1)


class Average(nn.Module):
    """The mean of the logits, times a number that can be trained, plus whatever a subclass adds."""

    def __init__(self, networks: Sequence[Network], trained: bool = True) -> None:
        super().__init__()
        self.experts = nn.ModuleList(network.module for network in networks)
        self.scale = nn.Parameter(torch.ones(()), requires_grad=trained)

    def forward(self, input_ids: Tensor, **_: Any) -> Any:
        logits = sum(expert(input_ids=input_ids).logits for expert in self.experts) / len(self.experts)
        return SimpleNamespace(logits=self.change(self.scale * logits, input_ids))

    def change(self, logits: Any, input_ids: Tensor) -> Tensor:
        return logits  # type: ignore[no-any-return]


class Good(ModuleMerge):
    """The mean of the logits, scaled."""

    def build(self, networks: Sequence[Network], trunk: Network | None) -> nn.Module:
        return Average(networks)


class LastOnly(Good):
    def build(self, networks: Sequence[Network], trunk: Network | None) -> nn.Module:
        class Module(Average):
            def change(self, logits: Any, input_ids: Tensor) -> Tensor:
                return logits[:, -1]  # type: ignore[no-any-return]

        return Module(networks)


class Bare(Good):
    def build(self, networks: Sequence[Network], trunk: Network | None) -> nn.Module:
        class Module(Average):
            def forward(self, input_ids: Tensor, **more: Any) -> Any:
                return super().forward(input_ids).logits

        return Module(networks)


class Peeking(Good):
    def build(self, networks: Sequence[Network], trunk: Network | None) -> nn.Module:
        class Module(Average):
            def change(self, logits: Any, input_ids: Tensor) -> Tensor:
                return logits + 0.1 * logits.mean(dim=1, keepdim=True)  # type: ignore[no-any-return]

        return Module(networks)


class BatchNormed(Good):
    def build(self, networks: Sequence[Network], trunk: Network | None) -> nn.Module:
        class Module(Average):
            def change(self, logits: Any, input_ids: Tensor) -> Tensor:
                return logits - logits.mean(dim=0, keepdim=True)  # type: ignore[no-any-return]

        return Module(networks)


class Thawing(Good):
    def build(self, networks: Sequence[Network], trunk: Network | None) -> nn.Module:
        return Average(networks).requires_grad_(True)


class Halving(Good):
    def build(self, networks: Sequence[Network], trunk: Network | None) -> nn.Module:
        with torch.no_grad():
            next(networks[0].module.parameters()).mul_(0.5)
        return Average(networks)


class NothingToTrain(Good):
    training: ClassVar[Literal["needed", "possible", "none"]] = "needed"

    def build(self, networks: Sequence[Network], trunk: Network | None) -> nn.Module:
        return Average(networks, trained=False)


class SomethingToTrain(Good):
    training: ClassVar[Literal["needed", "possible", "none"]] = "none"


class Detached(Good):
    def build(self, networks: Sequence[Network], trunk: Network | None) -> nn.Module:
        module = Average(networks)
        module.unused = nn.Parameter(torch.ones(3))
        return module


class Unseeded(Good):
    def build(self, networks: Sequence[Network], trunk: Network | None) -> nn.Module:
        module = Average(networks)
        with torch.no_grad():
            module.scale.mul_(next(_COUNT))
        return module


class SecretlySeeded(Good):
    def build(self, networks: Sequence[Network], trunk: Network | None) -> nn.Module:
        module = Average(networks, trained=False)
        with torch.no_grad():
            module.scale.mul_(torch.rand(()))
        return module


class Renaming(Good):
    def build(self, networks: Sequence[Network], trunk: Network | None) -> nn.Module:
        module = Average(networks)
        module.register_parameter(f"gate_{next(_COUNT)}", nn.Parameter(torch.ones(())))
        return module


class Sweeping(Good):
    training: ClassVar[Literal["needed", "possible", "none"]] = "none"
    sweeps: ClassVar[bool] = True

    alpha: float = Field(default=0.5, description="The scale.")

    def build(self, networks: Sequence[Network], trunk: Network | None) -> nn.Module:
        module = Average(networks, trained=False)
        module.scale.data.fill_(self.alpha)
        return module

    @classmethod
    def build_together(cls, merges: Sequence[Self], networks: Sequence[Network], trunk: Network | None) -> nn.Module:
        class Module(Average):
            def change(self, logits: Any, input_ids: Tensor) -> Tensor:
                return logits.repeat(len(merges), 1, 1)  # type: ignore[no-any-return]

        return Module(deepcopy(networks), trained=False)


BAD = [
    Bad(LastOnly, "gives_logits", "have to be [2, 9, 257]"),
    Bad(Bare, "gives_logits", "has to give an object with `.logits`"),
    Bad(Peeking, "sees_no_later_token", "change with those that follow"),
    Bad(BatchNormed, "reads_rows_alone", "other logits in a batch than alone"),
    Bad(Thawing, "freezes_the_experts", "parameters of the experts require a gradient"),
    Bad(Halving, "leaves_networks_unchanged", "of network 0, which other steps share"),
    Bad(NothingToTrain, "says_whether_it_trains", "training is 'needed', and no parameter"),
    Bad(SomethingToTrain, "says_whether_it_trains", "training is 'none', and scale"),
    Bad(Detached, "trains_what_it_declares", "No gradient reaches unused"),
    Bad(Unseeded, "builds_the_same_again", "Built again from the same networks and seed"),
    Bad(SecretlySeeded, "builds_the_same_again", "uses_seed() says False"),
    Bad(Renaming, "comes_back_from_what_is_stored", "names must stay the same"),
    Bad(Sweeping, "sweeps_agree_with_single_builds", "other logits than alone"),
]
