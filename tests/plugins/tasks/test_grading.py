"""The three ways to grade a generated answer."""

import pytest

from compat_plugins.tasks.grading import GradedBy, is_right, last_number
from compat_spec.components import Example


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("12", 12),
        ("there are 3 and 4.", 4),
        ("$1,234.50!", 1234.5),
        ("-7", -7),
        ("3 - 2", 2),
        ("12-5", 5),
        ("(x)-5", 5),
        ("= -5.", -5),
        ("1.5e+16", 1.5e16),
        ("#### 18", 18),
        (".5", 0.5),
        ("٣", None),
        ("none", None),
        ("", None),
        ("1" * 200, None),
    ],
)
def test_the_last_number_of_a_text(text: str, number: float | None) -> None:
    assert last_number(text) == number


@pytest.mark.parametrize(
    ("graded_by", "generated", "answer", "expected", "right"),
    [
        ("exact", " yes\n", "yes", None, True),
        ("exact", "Yes", "yes", None, False),
        ("exact", "B", "The answer is B.", "B", True),
        ("exact", "The answer is B.", "The answer is B.", "B", False),
        ("number", "so it is 18", "... #### 18", None, True),
        ("number", "so it is 18.0", "text", "18", True),
        ("number", "so it is 19", "text", "18", False),
        ("number", "no idea", "no idea", None, False),
        ("number", "1e400", "1e400", None, False),
        ("program", "def solution():\n    return 6 * 3\n", "text", "18.0", True),
        ("program", "def solution():\n    return 6 * 3\n", "def solution():\n    return 18\n", None, True),
        ("program", "18", "text", "18", False),
        ("program", "def solution():\n    return 9 ** 99999\n", "text", "18", False),
    ],
)
def test_ways_of_grading(graded_by: GradedBy, generated: str, answer: str, expected: str | None, right: bool) -> None:
    assert is_right(generated, Example("", answer, expected), graded_by) is right
