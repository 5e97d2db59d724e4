"""Word problems made of templates: a question with drawn words and numbers, and the steps to its answer."""

from __future__ import annotations

import ast
import hashlib
import random
import re
import string
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeAlias

from compat_plugins.tasks.safe_program import value

TEMPLATES = Path(__file__).with_name("problem_templates.toml")

Kind: TypeAlias = Literal["shared", "held_out"]
"""`shared`: the templates of all tasks; `held_out`: those that only problems answered by a program have."""

FRIEND = "friend"
"""The slot of a second name, never that of `{name}`."""

MAX_DRAWS = 10_000


@dataclass(frozen=True)
class Sizes:
    """How large the numbers of a problem are.

    Attributes:
        amounts: ranges, ends included, one of which is drawn for each amount.
        factors: the range of the numbers that templates multiply by.
    """

    amounts: tuple[tuple[int, int], ...]
    factors: tuple[int, int]


SMALL = Sizes(amounts=((2, 60),), factors=(2, 12))
LARGE = Sizes(amounts=((10, 99), (100, 999), (1000, 9999)), factors=(2, 99))


@dataclass(frozen=True)
class Step:
    """One assignment of a solution.

    Attributes:
        name: the variable that it sets.
        expression: as it stands in a program.
        tree: the same, parsed.
        sentence: what it says in words, with slots for words and for the numbers of the expression.
    """

    name: str
    expression: str
    tree: ast.expr
    sentence: str


@dataclass(frozen=True)
class Template:
    question: str
    factors: frozenset[str]
    numbers: tuple[str, ...]
    """The slots of the question that are numbers, in order."""
    steps: tuple[Step, ...]


@dataclass(frozen=True)
class Problem:
    """A template with its words and the values of all its variables, the results of the steps included."""

    template: Template
    question: str
    words: Mapping[str, str]
    values: Mapping[str, int]

    @property
    def result(self) -> int:
        return self.values["result"]

    def worked(self) -> str:
        """The steps as sentences."""
        slots = {**self.words, **self.values}
        return " ".join(step.sentence.format_map(slots) for step in self.template.steps)

    def program(self) -> str:
        """The steps as a Python function."""
        lines = ["def solution():"]
        lines += [f"    {name} = {self.values[name]}" for name in self.template.numbers]
        lines += ["    # compute the answer"]
        lines += [f"    {step.name} = {step.expression}" for step in self.template.steps]
        return "\n".join([*lines, "    return result\n"])


def draw(templates: Sequence[Template], sizes: Sizes, rng: random.Random) -> Problem:
    """A random problem from one of `templates`."""
    template = rng.choice(templates)
    choices = words_of_slots()
    words = {slot: rng.choice(choices[slot]) for slot in choices}
    words["name"], words[FRIEND] = rng.sample(choices["name"], 2)
    values = _draw_values(template, sizes, rng)
    return Problem(template, template.question.format_map({**words, **values}), words, values)


@cache
def templates(kind: Kind) -> tuple[Template, ...]:
    return tuple(_template(**entry) for entry in _data()[kind])


@cache
def words_of_slots() -> Mapping[str, tuple[str, ...]]:
    """What may stand in each slot for a word."""
    return {slot: tuple(words.split()) for slot, words in _data()["words"].items()}


@cache
def templates_checksum() -> str:
    """What stands for the templates in the identity of a task."""
    return hashlib.sha256(TEMPLATES.read_bytes()).hexdigest()


@cache
def _data() -> dict[str, Any]:
    return tomllib.loads(TEMPLATES.read_text(encoding="utf-8"))


def _draw_values(template: Template, sizes: Sizes, rng: random.Random) -> dict[str, int]:
    for _ in range(MAX_DRAWS):
        values = {
            name: rng.randint(*(sizes.factors if name in template.factors else rng.choice(sizes.amounts)))
            for name in template.numbers
        }
        if _solve(template, values):
            return values
    raise AssertionError(f"no numbers fit the template {template.question!r}")


def _solve(template: Template, values: dict[str, int]) -> bool:
    """Add the result of each step to `values`; False when one is not a whole number of at least two."""
    for step in template.steps:
        result = value(step.tree, values)
        if result < 2 or result != int(result):
            return False
        values[step.name] = int(result)
    return True


def _template(
    question: str, steps: Sequence[str], sentences: Sequence[str] | None = None, factors: Sequence[str] = ()
) -> Template:
    slots = dict.fromkeys(slot for _, slot, _, _ in string.Formatter().parse(question) if slot)
    sentences = [""] * len(steps) if sentences is None else sentences
    return Template(
        question=question,
        factors=frozenset(factors),
        numbers=tuple(slot for slot in slots if slot not in words_of_slots() and slot != FRIEND),
        steps=tuple(_step(step, sentence) for step, sentence in zip(steps, sentences, strict=True)),
    )


def _step(assignment: str, sentence: str) -> Step:
    name, expression = assignment.split(" = ")
    working = re.sub(r"[a-z_]+", r"{\g<0>}", f"{expression} = {name}")
    return Step(name, expression, ast.parse(expression, mode="eval").body, sentence.replace("{working}", working))
