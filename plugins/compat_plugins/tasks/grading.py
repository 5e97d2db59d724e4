"""Whether a generated text gives the expected answer: as text, as a number, or as what a program returns."""

from __future__ import annotations

import re
from typing import Literal, TypeAlias

from compat_plugins.tasks.safe_program import Number, ProgramError, evaluate
from compat_spec.components import Example

GradedBy: TypeAlias = Literal["exact", "number", "program"]

GRADED_BY = (
    "How a generated answer is graded against `expected`, or against the answer where there is none: `exact`, the same "
    "text but for space around it; `number`, the same last number; `program`, the number that its first Python "
    "function returns, found without executing it."
)

TOLERANCE = 1e-3
"""How far a number may be off: the tolerance of PAL (Gao et al., 2022, arXiv 2211.10435), from which GSM-hard is."""

# a minus right after a word, a number or a bracket is a subtraction or a hyphen
_NUMBER = re.compile(r"(?:(?<![\w)\]])-)?(?:[0-9][0-9,]*(?:\.[0-9]+)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?")
_MAX_DIGITS = 100


def is_right(generated: str, example: Example, graded_by: GradedBy) -> bool:
    """Whether `generated` answers the example, by one of the ways of `GradedBy`."""
    expected = example.answer if example.expected is None else example.expected
    if graded_by == "exact":
        return generated.strip() == expected.strip()
    if graded_by == "number":
        return same_number(last_number(generated), last_number(expected))
    wanted = result_of(expected) if example.expected is None else last_number(expected)
    return same_number(result_of(generated), wanted)


def last_number(text: str) -> Number | None:
    """The last number of a text, "1,234.50" and "-3" included, or None."""
    found: str | None = None
    for match in _NUMBER.finditer(text):
        found = match.group()
    return None if found is None else as_number(found)


def as_number(digits: str) -> Number | None:
    """A number as `last_number` finds them; None for one of absurd length."""
    digits = digits.replace(",", "")
    if len(digits) > _MAX_DIGITS:
        return None
    return int(digits) if digits.lstrip("-").isdigit() else float(digits)


def result_of(program: str) -> Number | None:
    """What a program returns, or None when it is not one."""
    try:
        return evaluate(program)
    except ProgramError:
        return None


def same_number(found: Number | None, expected: Number | None) -> bool:
    return found is not None and expected is not None and abs(found - expected) < TOLERANCE
