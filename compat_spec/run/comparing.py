"""Steps that compare two networks on a task, layer by layer."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Unpack

import torch
from torch import Tensor

from compat_spec.components import FeatureChoice, LayerMetric
from compat_spec.errors import CompatError
from compat_spec.nn.data import EncodedSplit
from compat_spec.nn.features import feature_batches, features
from compat_spec.nn.network import Network, check_same_vocabulary
from compat_spec.nn.similarity import UndefinedSimilarityWarning
from compat_spec.nn.windows import context_length
from compat_spec.plan import Step
from compat_spec.run.calls import component_of
from compat_spec.run.examples import read_tokens
from compat_spec.run.measured import SIMILARITY
from compat_spec.run.workspace import Workspace

FEWEST_ROWS = 4
"""On fewer rows, any two layers look alike or their similarity is undefined."""


class StepComparison:
    """The `Comparison` of one step: its two networks and their task, with features shared between the steps.

    Raises `CompatError` for networks with different tokenizers.
    """

    def __init__(self, step: Step, workspace: Workspace, device: str) -> None:
        self.device = device
        self._step = step
        self._workspace = workspace
        self.a, self.b = (workspace.networks.open(step.inputs[role], device) for role in "ab")
        check_same_vocabulary({"the first model": self.a.tokenizer, "the second": self.b.tokenizer})

    def encoded(self, split: str) -> EncodedSplit:
        return read_tokens(self._workspace.store.path(self._step.inputs["tokens"]), split)

    def features(self, split: str, **which: Unpack[FeatureChoice]) -> tuple[list[Tensor], list[Tensor]]:
        encoded, which = self.encoded(split), self._whole(which)

        def of(role: str, network: Network) -> list[Tensor]:
            self._workspace.stop_here()
            inputs = (self._step.inputs[role], self._step.inputs["tokens"])
            return self._workspace.features.get(
                (*inputs, split, *sorted(which.items()), self.device),
                lambda: features(
                    network,
                    encoded,
                    **which,
                    device=self.device,
                    progress=lambda done, total: self.progress(done, total, f"features of {role}"),
                ),
            )

        left, right = of("a", self.a), of("b", self.b)
        self._check_enough(len(left[0]), split, which)
        return left, right

    def feature_batches(
        self, split: str, **which: Unpack[FeatureChoice]
    ) -> Iterator[tuple[list[Tensor], list[Tensor]]]:
        encoded, which = self.encoded(split), self._whole(which)
        sides = [
            feature_batches(network, encoded, **which, device=self.device, progress=progress)
            for network, progress in ((self.a, self.progress), (self.b, None))
        ]
        rows = 0
        for left, right in zip(*sides, strict=True):
            self._workspace.stop_here()
            rows += len(left[0])
            yield left, right
        self._check_enough(rows, split, which)

    def _whole(self, which: FeatureChoice) -> Any:
        """What to ask for, with what is asked for by default. Windows must be the same for both networks."""
        context = min(context_length(network, which.get("context")) for network in (self.a, self.b))
        return {"site": "block", "tokens": 2048, "seed": 0, **which, "context": context}

    def _check_enough(self, found: int, split: str, which: Mapping[str, Any]) -> None:
        if found >= FEWEST_ROWS:
            return
        kinds = {"tokens": "tokens", "last": "last tokens of examples", "mean": "means over examples"}
        what = kinds[which.get("rows", "tokens")] + (" in answers" if which.get("part") == "answer" else "")
        raise CompatError(
            f"layers are compared on at least {FEWEST_ROWS} {what}, and the split {split!r} has only {found}"
        )

    def progress(self, done: int, total: int, note: str = "") -> None:
        self._workspace.link.tell(self._step.fingerprint, done, total, note)
        self._workspace.stop_here()


def compare(step: Step, workspace: Workspace, device: str, folder: Path) -> dict[str, Any]:
    """Compare two networks, layer by layer: `similarity.json`."""
    metric = component_of(step.component, LayerMetric)
    with _undefined() as undefined:
        found = metric.measure(StepComparison(step, workspace, device))
    values = found.values.cpu()
    errors = torch.full_like(values, torch.nan) if found.errors is None else found.errors.cpu()
    pairs = [
        {"layer_a": i + found.first, "layer_b": j + found.first, "value": value, "se": errors[i, j].item()}
        for i, row in enumerate(values.tolist())
        for j, value in enumerate(row)
        if metric.layers == "all" or i == j
    ]
    (folder / SIMILARITY).write_text(json.dumps({"split": metric.split, "n": found.n, "pairs": pairs}), "utf-8")
    return {"undefined": undefined} if undefined else {}


@contextmanager
def _undefined() -> Iterator[list[str]]:
    """Why some similarities are NaN: a fact of the step, instead of warnings in the middle of a run."""
    reasons: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UndefinedSimilarityWarning)
        yield reasons
    for warning in caught:
        if issubclass(warning.category, UndefinedSimilarityWarning):
            reasons.append(str(warning.message))
        else:
            warnings.showwarning(warning.message, warning.category, warning.filename, warning.lineno)
