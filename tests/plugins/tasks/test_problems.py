"""Word problems and program problems: every example right, no question in two splits, held-out templates held out."""

import re
import time
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compat_plugins.tasks.problems import FRIEND, Template, templates, words_of_slots
from compat_plugins.tasks.program_problems import ProgramProblems
from compat_plugins.tasks.safe_program import evaluate
from compat_plugins.tasks.word_problems import LEAD_INS, WordProblems
from compat_spec.components import Example

SMALL = {"train": 300, "test": 60}
SEEDS = st.integers(0, 2**32)


def questions(examples: Sequence[Example]) -> set[str]:
    return {example.prompt for example in examples}


def shape(template: Template) -> re.Pattern[str]:
    """Matches the prompts that a template makes."""
    words = {slot: "|".join(choices) for slot, choices in words_of_slots().items()}
    words[FRIEND] = words["name"]
    pattern = re.escape(template.question).replace(r"\{", "{").replace(r"\}", "}")
    for slot in set(re.findall(r"{(\w+)}", pattern)):
        pattern = pattern.replace(f"{{{slot}}}", f"(?:{words.get(slot, '[0-9]+')})")
    return re.compile(f"Question: {pattern}\n")


def matches(kind: str, prompt: str) -> list[Template]:
    return [template for template in templates(kind) if shape(template).fullmatch(prompt)]


@pytest.mark.parametrize("task", [WordProblems, ProgramProblems])
def test_the_same_parameters_give_the_same_examples_and_another_seed_gives_others(task: type) -> None:
    first, again, other = task(**SMALL).splits(), task(**SMALL).splits(), task(**SMALL, seed=1).splits()
    assert first == again
    for split, examples in first.items():
        assert len(examples) == len(other[split]) == SMALL[split]
        assert len(questions(examples) & questions(other[split])) < 0.1 * len(examples)


@settings(max_examples=10)
@given(SEEDS, SEEDS, st.sampled_from([WordProblems, ProgramProblems]), st.sampled_from([WordProblems, ProgramProblems]))
def test_no_question_is_in_two_splits_of_any_seeds_and_tasks(a: int, b: int, one: type, other: type) -> None:
    train, test = one(**SMALL, seed=a).splits()["train"], other(**SMALL, seed=b).splits()["test"]
    assert len(questions(train)) == SMALL["train"]
    assert not questions(train) & questions(test)


def test_the_defaults_are_made_in_a_moment() -> None:
    start = time.process_time()
    splits = WordProblems().splits()
    assert time.process_time() - start < 1.5
    assert {split: len(examples) for split, examples in splits.items()} == {"train": 12_000, "test": 600}


def test_every_step_of_a_worked_answer_is_true_and_leads_to_the_expected_number() -> None:
    for example in [e for examples in WordProblems(train=2_000).splits().values() for e in examples]:
        assert example.answer.startswith(LEAD_INS)
        workings = re.findall(r"(\d+) ([-+*/]) (\d+) = (\d+)", example.answer)
        assert len(workings) >= 2
        for a, operator, b, result in workings:
            calculated = {"+": int(a) + int(b), "-": int(a) - int(b), "*": int(a) * int(b), "/": int(a) / int(b)}
            assert calculated[operator] == int(result)
        assert example.answer.endswith(f" = {workings[-1][3]}" + example.answer.rpartition(f" = {workings[-1][3]}")[2])
        assert example.answer.endswith(f"The answer is {workings[-1][3]}.\n")
        assert example.expected == workings[-1][3]
        assert all(2 <= int(number) <= 60 for number in re.findall(r"\d+", example.prompt))
        assert "{" not in example.text


def test_every_program_returns_the_expected_number() -> None:
    for example in [e for examples in ProgramProblems(train=2_000).splits().values() for e in examples]:
        assert evaluate(example.answer) == int(example.expected or "")
        assert "    # " in example.answer
        assert example.answer.endswith("    return result\n")
        names: dict[str, object] = {}
        exec(example.answer, names)  # our own program: Python itself agrees with the evaluator
        assert names["solution"]() == int(example.expected or "")  # type: ignore[operator]
        numbers = [int(number) for number in re.findall(r"\d+", example.prompt)]
        assert max(numbers) <= 9_999
    largest = [max(map(int, re.findall(r"\d+", e.prompt))) for e in ProgramProblems(train=500).splits()["train"]]
    assert sum(number > 60 for number in largest) > 450


def test_there_are_many_templates_and_each_is_used() -> None:
    assert len(templates("shared")) >= 22
    assert len(templates("held_out")) >= 10
    asked = WordProblems(train=1_500, test=1).splits()["train"]
    used = [matches("shared", example.prompt) for example in asked]
    assert all(len(found) == 1 for found in used)
    assert {found[0].question for found in used} == {template.question for template in templates("shared")}


def test_held_out_templates_are_never_word_problems() -> None:
    for example in WordProblems(train=1_500).splits()["train"]:
        assert not matches("held_out", example.prompt)


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_held_out_is_the_share_of_templates_that_word_problems_lack(share: float) -> None:
    examples = ProgramProblems(train=600, held_out=share).splits()["train"]
    held_out = sum(bool(matches("held_out", example.prompt)) for example in examples)
    assert held_out == pytest.approx(share * 600, abs=4 * (600 * share * (1 - share)) ** 0.5)
    assert held_out + sum(bool(matches("shared", example.prompt)) for example in examples) == 600


def test_no_name_of_a_number_is_also_a_word_or_a_step() -> None:
    for template in (*templates("shared"), *templates("held_out")):
        names = [*template.numbers, *(step.name for step in template.steps)]
        assert len(set(names)) == len(names)
        assert not set(names) & {*words_of_slots(), FRIEND}
        assert template.factors <= set(template.numbers)
        assert names[-1] == "result"


WORKED = Example("Question: ...\n", "Solution: 4 + 5 = 9. The answer is 9.\n", "9")


@pytest.mark.parametrize(
    ("generated", "right"),
    [
        (WORKED.answer, True),
        ("The answer is 9", True),
        ("The answer is 8. No: The answer is 9.", True),
        ("The answer is 9. No: The answer is 8.", False),
        ("The answer is 9. There are 3 left over.", True),
        ("4 + 5 = 9 apples", True),
        ("There are 9,000.", False),
        ("The answer is 90.", False),
        ("The answer is -9.", False),
        ("The answer is 9.0", True),
        ("nine", False),
        ("", False),
        ("9" * 10_000, False),
    ],
)
def test_a_worked_answer_is_graded_by_its_last_statement(generated: str, right: bool) -> None:
    assert WordProblems().grade(generated, WORKED) is right


def test_a_program_is_graded_by_what_it_returns() -> None:
    task = ProgramProblems(train=20, test=5)
    for example in task.splits()["test"]:
        assert task.grade(example.answer, example)
        assert task.grade(example.answer + "Question: and so on", example)
        assert task.grade(f"def solution():\n    return {example.expected}.0\n", example)
        assert not task.grade(f"def solution():\n    return {example.expected} + 1\n", example)
        assert not task.grade(str(example.expected), example)
