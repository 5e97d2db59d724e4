"""The task of word problems that are answered by a Python program."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import Field

from compat_plugins.tasks.grading import is_right
from compat_plugins.tasks.hash_split import fill, split_of
from compat_plugins.tasks.problems import LARGE, Problem, draw, templates, templates_checksum
from compat_spec.components import Example, Task


class ProgramProblems(Task):
    """Word problems whose answer is a short commented Python program, made from templates.

    The form of GSM-hard (Gao et al., 2022, arXiv 2211.10435): it takes the words of `word_problems` and the form of
    `python_source`, with numbers up to 9,999 and with templates that no other task has. Splits never share a
    question, whatever the seeds and sizes, here and in `word_problems`. A generated program is graded by the number
    that it returns, found over its syntax tree; it is never executed.

    The loss is over question and program; `score: answer` counts that of the program only.

    Example: {use: program_problems, train: 1000, test: 600, score: answer}
    """

    train: int = Field(default=1_000, ge=1, le=1_000_000, description="How many problems to train on.")
    test: int = Field(default=600, ge=1, le=1_000_000, description="How many problems to test on.")
    held_out: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="The share of problems, on average, whose templates `word_problems` does not have.",
    )
    seed: int = Field(default=0, description="The seed that draws the problems; another one gives other problems.")

    def identity(self) -> Mapping[str, Any]:
        return {"templates": templates_checksum()}

    def splits(self) -> Mapping[str, Sequence[Example]]:
        rng = random.Random(self.seed)
        held_out, shared = templates("held_out"), templates("shared")
        problems = fill(
            {"train": self.train, "test": self.test},
            draw=lambda: draw(held_out if rng.random() < self.held_out else shared, LARGE, rng),
            key=lambda problem: problem.question,
            split=split_of,
        )
        return {split: [_example(problem) for problem in some] for split, some in problems.items()}

    def grade(self, generated: str, example: Example) -> bool:
        """Whether the first function of the text returns the expected number."""
        return is_right(generated, example, "program")


def _example(problem: Problem) -> Example:
    return Example(prompt=f"Question: {problem.question}\n", answer=problem.program(), expected=str(problem.result))
