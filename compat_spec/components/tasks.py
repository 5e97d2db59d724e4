"""Tasks: named splits of examples."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from compat_spec.components.component import Component


@dataclass(frozen=True, slots=True)
class Example:
    """One example of a task: the text is `prompt + answer`.

    Plain text has an empty prompt. `expected` is the final answer that `Task.grade` looks for, if there is one.
    """

    prompt: str
    answer: str
    expected: str | None = None

    @property
    def text(self) -> str:
        return self.prompt + self.answer


class Task(Component):
    """Named splits of examples: at least `train` and `test`, which must not share a text (the engine checks)."""

    namespace = "compat.tasks"

    score: Literal["answer", "all"] = Field(
        default="all", description="Count the loss of the answer's tokens only, or of all tokens."
    )

    @abstractmethod
    def splits(self) -> Mapping[str, Sequence[Example]]:
        """The examples of every split. The same parameters and `identity()` must give the same examples."""

    def grade(self, generated: str, example: Example) -> bool:
        """Whether `generated`, the network's continuation of the prompt, answers the example."""
        return generated.strip() == example.answer.strip()
