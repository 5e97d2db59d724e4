"""Trainers that break their contract, each in one way."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from compat_spec.components import TaskName, Trainer, TrainingSession
from compat_spec.nn.data import EncodedSplit
from compat_spec.nn.network import Network
from tests.testing.bad.case import Bad


class Good(Trainer):
    """Moves the parameters a little, four times, in a direction that the seed and the step decide."""

    def train(self, network: Network, data: Mapping[TaskName, EncodedSplit], session: TrainingSession) -> None:
        self.go(dict(network.module.named_parameters()), session)

    def go(self, parameters: Mapping[str, Any], session: TrainingSession) -> None:
        state = session.restore() or {}
        start = int(state.get("step", torch.tensor(0)))
        own = {name: one for name, one in parameters.items() if one.requires_grad}
        with torch.no_grad():
            for name, parameter in own.items():
                if name in state:
                    parameter.copy_(state[name])
            for step in range(start, 4):
                self.move(own, session.seed, step)
                if session.checkpoint_due():
                    session.checkpoint({**own, "step": torch.tensor(step + 1)})

    def move(self, parameters: Mapping[str, Tensor], seed: int, step: int) -> None:
        generator = torch.Generator().manual_seed(10 * seed + step)
        for parameter in parameters.values():
            parameter += 0.01 * torch.randn(parameter.shape, generator=generator)


class Idle(Good):
    def move(self, parameters: Mapping[str, Tensor], seed: int, step: int) -> None:
        pass


class Greedy(Good):
    def train(self, network: Network, data: Mapping[TaskName, EncodedSplit], session: TrainingSession) -> None:
        network.module.requires_grad_(True)
        super().train(network, data, session)


class Exploding(Good):
    def move(self, parameters: Mapping[str, Tensor], seed: int, step: int) -> None:
        for parameter in parameters.values():
            parameter.div_(0)


class Dicing(Good):
    def move(self, parameters: Mapping[str, Tensor], seed: int, step: int) -> None:
        for parameter in parameters.values():
            parameter += random.random()


class Forgetful(Good):
    """Lets the process's random numbers decide what drops out."""

    def train(self, network: Network, data: Mapping[TaskName, EncodedSplit], session: TrainingSession) -> None:
        network.module.train()
        loss = network.logits(torch.zeros(1, 4, dtype=torch.long)).logsumexp(-1).sum()
        network.module.eval()
        own = [one for one in network.module.parameters() if one.requires_grad]
        with torch.no_grad():
            for parameter, gradient in zip(own, torch.autograd.grad(loss, own, allow_unused=True), strict=True):
                if gradient is not None:
                    parameter.sub_(gradient, alpha=0.01)


class SecretlySeeded(Good):
    def uses_seed(self) -> bool:
        return False


class Promising(Good):
    def saved_steps(self) -> Sequence[int]:
        return (2,)


class Unstoppable(Good):
    def go(self, parameters: Mapping[str, Any], session: TrainingSession) -> None:
        with torch.no_grad():
            for step in range(4):
                self.move({name: one for name, one in parameters.items() if one.requires_grad}, session.seed, step)
                session.checkpoint_due()


class OffByOne(Good):
    def go(self, parameters: Mapping[str, Any], session: TrainingSession) -> None:
        state = session.restore() or {}
        with torch.no_grad():
            for name in state.keys() & parameters.keys():
                parameters[name].copy_(state[name])
            for step in range(int(state.get("step", torch.tensor(0))), 4):
                own = {name: one for name, one in parameters.items() if one.requires_grad}
                self.move(own, session.seed, step)
                if session.checkpoint_due():
                    session.checkpoint({**own, "step": torch.tensor(step)})


BAD = [
    Bad(Idle, "changes_what_it_may", "Training changed nothing"),
    Bad(Greedy, "changes_what_it_may", "parameters that require no gradient"),
    Bad(Exploding, "changes_what_it_may", "are not finite"),
    Bad(Dicing, "trains_the_same_again", "seed everything that is drawn by session.seed"),
    Bad(Forgetful, "trains_the_same_again", "seed everything that is drawn by session.seed"),
    Bad(SecretlySeeded, "says_whether_the_seed_matters", "uses_seed() says False"),
    Bad(Promising, "keeps_the_steps_that_it_promises", "promises the steps [2], which train never kept"),
    Bad(OffByOne, "goes_on_after_a_stop", "After a stop"),
    Bad(Unstoppable, "goes_on_after_a_stop", "Ctrl-C would not stop it"),
]
