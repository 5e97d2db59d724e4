"""Tasks that break their contract, each in one way."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

from compat_spec.components import Example, Task
from tests.testing.bad.case import Bad


def sums(first: int, last: int) -> list[Example]:
    return [Example(f"{n} + 1 = ", str(n + 1), expected=str(n + 1)) for n in range(first, last)]


class Good(Task):
    """Sums."""

    def splits(self) -> Mapping[str, Sequence[Example]]:
        return {"train": sums(0, 8), "test": sums(8, 12)}


class OnlyTraining(Good):
    def splits(self) -> Mapping[str, Sequence[Example]]:
        return {"train": sums(0, 8)}


class Plain(Good):
    def splits(self) -> Any:
        return {"train": ["1 + 1 = 2"], "test": ["2 + 1 = 3"]}


class Shuffled(Good):
    def splits(self) -> Mapping[str, Sequence[Example]]:
        examples = sums(0, 12)
        random.shuffle(examples)
        return {"train": examples[:8], "test": examples[8:]}


class Leaking(Good):
    """Sums, one of which is in both splits."""

    def splits(self) -> Mapping[str, Sequence[Example]]:
        return {"train": sums(0, 8), "test": sums(7, 12)}


class Strict(Good):
    def grade(self, generated: str, example: Example) -> bool:
        return generated == f"The answer is {example.expected}"


class Parsing(Good):
    def grade(self, generated: str, example: Example) -> bool:
        return int(generated) == int(example.expected or 0)


class Generous(Good):
    def grade(self, generated: str, example: Example) -> bool:
        return generated.strip() in (example.expected or "")


class Drawing(Good):
    def splits(self) -> Mapping[str, Sequence[Example]]:
        random.seed(0)
        return super().splits()


BAD = [
    Bad(OnlyTraining, "has_examples_to_train_and_to_test", "There is no split 'test'"),
    Bad(Plain, "has_examples_to_train_and_to_test", "is a str, no Example"),
    Bad(Shuffled, "has_the_same_examples_again", "others the second time"),
    Bad(Leaking, "keeps_splits_apart", "'train' and 'test' share 1 texts, such as '7 + 1 = 8'"),
    Bad(Strict, "grades_its_own_answers_as_right", "own answer is graded as wrong, in 'train': '1'"),
    Bad(Parsing, "grades_whatever_a_network_says", "grade raised ValueError"),
    Bad(Generous, "grades_whatever_a_network_says", "An empty answer is graded as right"),
    Bad(Drawing, "keeps_off_global_randomness", "drew from the generator of random"),
]
