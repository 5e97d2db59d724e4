"""What a metric is handed, without a run around it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from compat_spec.components import Example
from compat_spec.nn.network import Network
from compat_spec.testing import InMemoryEvaluation, InMemoryTask


@pytest.fixture
def evaluate() -> Callable[..., InMemoryEvaluation]:
    """`evaluate(network, examples, score=...)`: the evaluation of a network on a test split of these examples."""

    def make(network: Network, examples: Sequence[Example], score: str = "all") -> InMemoryEvaluation:
        return InMemoryEvaluation(network, InMemoryTask.model_validate({"given": tuple(examples), "score": score}))

    return make
