"""The task of math word problems with worked answers."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import Field

from compat_plugins.tasks.grading import as_number, last_number, same_number
from compat_plugins.tasks.hash_split import fill, split_of
from compat_plugins.tasks.problems import SMALL, Problem, draw, templates, templates_checksum
from compat_spec.components import Example, Task

LEAD_INS = (
    "Solution:",
    "Answer:",
    "Let us think step by step.",
    "We solve this in steps.",
    "Here is how to find it.",
    "First things first.",
)

_ANSWER = re.compile(r"The answer is (-?[0-9][0-9,]*(?:\.[0-9]+)?)")


class WordProblems(Task):
    """Math word problems with worked answers, made from templates: "... The answer is 42."

    The prompt is the question, the answer its solution in sentences; numbers are from 2 to 60. Which split a problem
    belongs to is decided by a hash of its question, so no question of one split is in another, whatever the seeds and
    sizes, here and in `program_problems`.

    Example: {use: word_problems, train: 2000, test: 200}
    """

    train: int = Field(default=12_000, ge=1, le=1_000_000, description="How many problems to train on.")
    test: int = Field(default=600, ge=1, le=1_000_000, description="How many problems to test on.")
    seed: int = Field(default=0, description="The seed that draws the problems; another one gives other problems.")

    def identity(self) -> Mapping[str, Any]:
        return {"templates": templates_checksum()}

    def splits(self) -> Mapping[str, Sequence[Example]]:
        rng = random.Random(self.seed)
        shared = templates("shared")
        problems = fill(
            {"train": self.train, "test": self.test},
            draw=lambda: draw(shared, SMALL, rng),
            key=lambda problem: problem.question,
            split=split_of,
        )
        lead_ins = random.Random(f"lead-ins {self.seed}")
        return {split: [_example(problem, lead_ins) for problem in some] for split, some in problems.items()}

    def grade(self, generated: str, example: Example) -> bool:
        """Whether the last "The answer is N", or else the last number, is the expected one."""
        stated = _ANSWER.findall(generated)
        found = as_number(stated[-1]) if stated else last_number(generated)
        return same_number(found, as_number(example.expected or ""))


def _example(problem: Problem, rng: random.Random) -> Example:
    return Example(
        prompt=f"Question: {problem.question}\n",
        answer=f"{rng.choice(LEAD_INS)} {problem.worked()} The answer is {problem.result}.\n",
        expected=str(problem.result),
    )
