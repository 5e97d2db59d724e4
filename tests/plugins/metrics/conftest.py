"""What a metric is handed, without a run around it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import pytest

from compat_spec.components import Example, Task
from compat_spec.nn.data import EncodedSplit, encode
from compat_spec.nn.evaluation import TokenScores, token_scores
from compat_spec.nn.network import Network


class GivenTask(Task):
    """Examples as they are given."""

    given: tuple[Example, ...]

    def splits(self) -> Mapping[str, Sequence[Example]]:
        return {"test": self.given}


@dataclass
class GivenEvaluation:
    """The `Evaluation` of a network on a task, computed on the spot."""

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


@pytest.fixture
def evaluate() -> Callable[..., GivenEvaluation]:
    """`evaluate(network, examples, score=...)`: the evaluation of a network on a test split of these examples."""

    def make(network: Network, examples: Sequence[Example], score: str = "all") -> GivenEvaluation:
        return GivenEvaluation(network, GivenTask.model_validate({"given": tuple(examples), "score": score}))

    return make
