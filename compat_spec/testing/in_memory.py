"""What the engine hands to components while a step runs, of networks and data that are in memory."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Unpack

import torch
from torch import Tensor

from compat_spec.components import Example, FeatureChoice, Task, TaskName
from compat_spec.errors import InterruptedRun
from compat_spec.nn.aside import TensorsAside
from compat_spec.nn.data import EncodedSplit, encode
from compat_spec.nn.evaluation import TokenScores, token_scores
from compat_spec.nn.features import feature_batches, features
from compat_spec.nn.network import Network
from compat_spec.nn.windows import context_length


class InMemoryTask(Task):
    """Examples as they are given, the same for training and test unless they are told apart."""

    given: tuple[Example, ...]
    to_test: tuple[Example, ...] | None = None

    def splits(self) -> Mapping[str, Sequence[Example]]:
        return {"train": self.given, "test": self.given if self.to_test is None else self.to_test}


@dataclass
class InMemoryEvaluation:
    """The `Evaluation` of a network on a task."""

    network: Network
    task: Task
    device: str = "cpu"

    def examples(self, split: str) -> Sequence[Example]:
        return self.task.splits()[split]

    def encoded(self, split: str) -> EncodedSplit:
        return encode(self.examples(split), self.network.tokenizer, self.task.score)

    def token_scores(self, split: str, tokens: int | None, context: int | None) -> TokenScores:
        return token_scores(self.network, self.encoded(split), tokens=tokens, context=context, device=self.device)

    def progress(self, done: int, total: int, note: str = "") -> None:
        pass


@dataclass
class InMemoryComparison:
    """The `Comparison` of two networks on a split, whatever it is called."""

    a: Network
    b: Network
    split: EncodedSplit
    device: str = "cpu"

    def encoded(self, split: str) -> EncodedSplit:
        return self.split

    def features(self, split: str, **which: Unpack[FeatureChoice]) -> tuple[list[Tensor], list[Tensor]]:
        chosen = self._whole(which)
        return features(self.a, self.split, **chosen), features(self.b, self.split, **chosen)

    def feature_batches(
        self, split: str, **which: Unpack[FeatureChoice]
    ) -> Iterator[tuple[list[Tensor], list[Tensor]]]:
        chosen = self._whole(which)
        sides = (feature_batches(network, self.split, **chosen) for network in (self.a, self.b))
        yield from zip(*sides, strict=True)

    def _whole(self, which: FeatureChoice) -> Any:
        context = min(context_length(network, which.get("context")) for network in (self.a, self.b))
        asked = {"site": "block", "tokens": 2048, "seed": 0, **which}
        return {**asked, "context": context, "device": self.device}

    def progress(self, done: int, total: int, note: str = "") -> None:
        pass


@dataclass
class InMemoryStudy:
    """The `MergeStudy` of networks, on one split for whatever task is asked for.

    Attributes:
        recorded: the facts that the merge recorded.
    """

    networks: Sequence[Network]
    split: EncodedSplit
    base: Network | None = None
    seed: int = 0
    device: str = "cpu"
    recorded: dict[str, Any] = field(default_factory=dict)

    def config(self, model: int) -> Any:
        return self.networks[model].module.config

    def network(self, model: int) -> Network:
        return self.networks[model]

    def copy(self, model: int) -> Network:
        network = self.networks[model]
        return Network(deepcopy(network.module).requires_grad_(True), network.tokenizer)

    def tensors(self, model: int | None) -> Mapping[str, Tensor]:
        network = self.base if model is None else self.networks[model]
        assert network is not None, "this merge has no base"
        return {name: parameter.detach().clone() for name, parameter in network.module.named_parameters()}

    def put_aside(self, tensors: Iterable[tuple[str, Tensor]]) -> TensorsAside:
        return TensorsAside(Path(tempfile.gettempdir()), tensors)

    def encoded(self, task: TaskName, split: str) -> EncodedSplit:
        return self.split

    def progress(self, done: int, total: int, note: str = "") -> None:
        pass

    def record(self, **facts: float | int | str | Sequence[Any]) -> None:
        self.recorded.update(facts)


@dataclass
class InMemorySession:
    """The `TrainingSession` of a training that is stopped at its `stop_after`-th chance to save a checkpoint, if any.

    Attributes:
        state: what the last checkpoint saved; a session that has one from the start takes the training up there.
        kept: the network's state at each step that the trainer kept.
        facts: what the trainer recorded.
    """

    network: Network
    seed: int = 0
    device: str = "cpu"
    stop_after: int | None = None
    state: Mapping[str, Tensor] | None = None
    kept: dict[int, Mapping[str, Tensor]] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    chances: int = 0

    def restore(self) -> Mapping[str, Tensor] | None:
        return self.state

    def checkpoint_due(self) -> bool:
        self.chances += 1
        return self.stop_after is not None and self.chances >= self.stop_after

    def checkpoint(self, state: Mapping[str, Tensor]) -> None:
        self.state = _copied(state)
        if self.stop_after is not None:
            raise InterruptedRun("stopped; the next run goes on from here")

    def keep(self, step: int) -> None:
        self.kept[step] = _copied(self.network.module.state_dict())

    def progress(self, done: int, total: int, note: str = "") -> None:
        pass

    def record(self, **facts: float | int | str | Sequence[Any]) -> None:
        self.facts.update(facts)


def _copied(state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    with torch.no_grad():
        return {name: tensor.detach().clone() for name, tensor in state.items()}
