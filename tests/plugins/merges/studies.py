"""What merges look at in tests: networks and data in memory."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from compat_spec.components import Example, MergeStudy, TaskName, TensorMerge
from compat_spec.nn.aside import TensorsAside
from compat_spec.nn.data import EncodedSplit, encode
from compat_spec.nn.merging import merge_tensor
from compat_spec.nn.network import Network
from compat_spec.nn.per_tensor import TensorPlace
from tests.builders import byte_tokenizer


class MadeUpStudy(MergeStudy):
    """A study of networks that are in memory, on tasks that are too."""

    seed = 0
    device = "cpu"

    def __init__(self, networks: Sequence[Network], tasks: Mapping[str, EncodedSplit] | None = None) -> None:
        self._networks = networks
        self._tasks = tasks or {}
        self.told: list[tuple[int, int]] = []
        self.recorded: dict[str, Any] = {}

    def config(self, model: int) -> Any:
        return self._networks[model].module.config

    def network(self, model: int) -> Network:
        return self._networks[model]

    def copy(self, model: int) -> Network:
        return Network(deepcopy(self._networks[model].module).requires_grad_(True), self._networks[model].tokenizer)

    def tensors(self, model: int | None) -> Mapping[str, Tensor]:
        assert model is not None
        return checkpoint(self._networks[model])

    def put_aside(self, tensors: Iterable[tuple[str, Tensor]]) -> TensorsAside:
        return TensorsAside(Path(tempfile.gettempdir()), tensors)

    def encoded(self, task: TaskName, split: str) -> EncodedSplit:
        return self._tasks[task]

    def progress(self, done: int, total: int, note: str = "") -> None:
        self.told.append((done, total))

    def record(self, **facts: Any) -> None:
        self.recorded |= facts


def checkpoint(network: Network) -> dict[str, Tensor]:
    """The tensors that the network is stored as: those that are tied, once."""
    return {name: parameter.detach() for name, parameter in network.module.named_parameters()}


def merged(merge: TensorMerge, study: MadeUpStudy, count: int) -> dict[str, Tensor]:
    """All tensors of the result."""
    found = merge.study(study)
    models = [study.tensors(model) for model in range(count)]
    return {
        name: merge_tensor(merge, [model[name] for model in models], None, TensorPlace(name, found=found))
        for name in models[0]
    }


def text(*answers: str, prompt: str = "") -> EncodedSplit:
    """A split of these answers to one prompt; the prompt's tokens are not scored."""
    examples = [Example(prompt, answer) for answer in answers]
    return encode(examples, byte_tokenizer(), "answer" if prompt else "all")


def loss_of(network: Network, encoded: EncodedSplit, start: int, stop: int) -> Tensor:
    """The summed loss of the scored targets `start` to `stop`, by indexing the log-probabilities one by one."""
    ids = encoded.ids.long()
    logits = network.module(ids[None, start - 1 : stop - 1]).logits[0].double()
    losses = [
        -torch.log_softmax(logits[place - start], -1)[ids[place]]
        for place in range(start, stop)
        if encoded.scored[place]
    ]
    return torch.stack(losses).sum()
