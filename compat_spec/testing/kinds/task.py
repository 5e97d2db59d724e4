"""Checks of tasks: their examples, and how answers are graded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

from compat_spec.components import Example, Task
from compat_spec.testing.checks import Checks, demand
from compat_spec.testing.subject import Subject

check = Checks(Task)

NONSENSE = ("", " ", "\n\n", "((((", "☃ \u0000", "-1e999", "x" * 5000, "def f(:\n")
"""What an untrained network may answer."""


def splits(subject: Subject) -> Mapping[str, Sequence[Example]]:
    return subject.once("splits", lambda: {name: list(some) for name, some in subject.make().splits().items()})


@check
def has_examples_to_train_and_to_test(subject: Subject) -> None:
    """There are the splits `train` and `test`, of `Example`s."""
    found = splits(subject)
    for split in ("train", "test"):
        demand(split in found, f"There is no split {split!r}: it has {', '.join(found) or 'none'}.")
        demand(len(found[split]) > 0, f"The split {split!r} is empty.")
    for split, examples in found.items():
        for number, example in enumerate(examples):
            demand(
                isinstance(example, Example), f"Number {number} of {split!r} is a {type(example).__name__}, no Example."
            )
            demand(bool(example.text), f"Number {number} of {split!r} has neither prompt nor answer.")


@check
def has_the_same_examples_again(subject: Subject) -> None:
    """The same parameters give the same examples, in the same order, whatever the process's random numbers are."""
    from compat_spec.testing.randomness import with_global_seed

    first = splits(subject)
    again = with_global_seed(99, lambda: {name: list(some) for name, some in subject.make().splits().items()})
    demand(
        again == first,
        "The examples are others the second time: draw them with a generator of your own, random.Random(0), and let "
        "nothing but the parameters and identity() decide.",
    )


@check
def keeps_splits_apart(subject: Subject) -> None:
    """No two splits share a text."""
    found = splits(subject)
    for one, other in combinations(found, 2):
        shared = {example.text for example in found[one]} & {example.text for example in found[other]}
        demand(
            not shared,
            f"{one!r} and {other!r} share {len(shared)} texts, such as {sorted(shared)[0][:60]!r}: what is trained on "
            "is no test. The engine refuses such a task."
            if shared
            else "",
        )


@check
def grades_its_own_answers_as_right(subject: Subject) -> None:
    """`grade` takes the answer of an example for right."""
    task = subject.make()
    for split, examples in splits(subject).items():
        for example in examples[:50]:
            demand(
                task.grade(example.answer, example) is True,
                f"An example's own answer is graded as wrong, in {split!r}: {example.answer[:60]!r}, where "
                f"{example.expected!r} is expected.",
            )


@check
def grades_whatever_a_network_says(subject: Subject) -> None:
    """`grade` says True or False of any text, and never raises; an empty answer is wrong."""
    task = subject.make()
    for example in splits(subject).get("test", ())[:5]:
        for generated in NONSENSE:
            try:
                right = task.grade(generated, example)
            except Exception as error:
                demand(False, f"grade raised {type(error).__name__} ({error}) of the answer {generated[:20]!r}.")
            demand(isinstance(right, bool), f"grade says {right!r} of {generated[:20]!r}, and not True or False.")
        if example.answer.strip() or example.expected:
            right = task.grade("", example)
            demand(right is False, f"An empty answer is graded as right, of {example.prompt[-60:]!r}.")


@check
def keeps_off_global_randomness(subject: Subject) -> None:
    """Making examples leaves the random numbers of the process as they are."""
    from compat_spec.testing.randomness import drawn_from

    splits(subject)  # imports what it needs
    _, changed = drawn_from(lambda: {name: list(some) for name, some in subject.make().splits().items()})
    demand(
        not changed,
        f"splits() drew from the generator of {' and '.join(changed)}: use one of your own, random.Random(0).",
    )
