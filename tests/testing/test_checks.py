"""Every check can fail, and tells an author what is wrong: for each there is a component that is bad in that way."""

from __future__ import annotations

from pathlib import Path

import pytest

from compat_spec.testing import Check, Subject, checks_of, run_checks
from compat_spec.testing.checks import NotChecked, outcome_of
from compat_spec.testing.kinds import FILES
from tests.testing.bad import (
    components,
    executors,
    metrics,
    model_sources,
    module_merges,
    sinks,
    tasks,
    tensor_merges,
    trainers,
)
from tests.testing.bad.case import Bad

BAD = [
    case
    for module in (components, executors, metrics, model_sources, module_merges, sinks, tasks, tensor_merges, trainers)
    for case in module.BAD
]
GOOD = [
    executors.Good, metrics.Depths, metrics.Loss, metrics.Overlap, model_sources.Good, module_merges.Good, sinks.Good,
    tasks.Good,
    tensor_merges.Mean, trainers.Good,
]  # fmt: skip


def check_of(case: Bad) -> Check:
    (check,) = [check for check in checks_of(case.component) if check.name == case.check]
    return check


@pytest.mark.parametrize("case", BAD, ids=str)
def test_a_bad_component_fails_with_words_that_help(case: Bad) -> None:
    outcome = outcome_of(check_of(case), Subject(case.component, case.parameters))
    if outcome.check.name == "works_on_a_gpu" and outcome.status == "skipped":
        pytest.skip(outcome.message)
    assert outcome.status == "failed"
    assert case.words in outcome.message


def test_there_is_a_bad_component_for_every_check() -> None:
    failed = {(check_of(case).of, case.check) for case in BAD}
    asked = {(check.of, check.name) for cls in [case.component for case in BAD] for check in checks_of(cls)}
    assert {of for of, _ in asked} == set(FILES)
    assert asked - failed == set()


@pytest.mark.parametrize("component", GOOD, ids=lambda component: component.__name__)
def test_what_the_bad_ones_are_made_of_is_good(component: type) -> None:
    for check in checks_of(component):
        if check.name == "is_cheap_to_import":
            continue  # these modules import torch
        try:
            check.run(Subject(component))
        except NotChecked:
            continue


def test_what_an_executor_writes_goes_away_with_the_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert all(outcome.status == "passed" for outcome in run_checks(executors.Writing))
    assert not list(tmp_path.iterdir())


def test_every_check_says_what_has_to_hold() -> None:
    for case in BAD:
        for check in checks_of(case.component):
            assert check.meaning.endswith("."), check.name
            assert check.name.isidentifier()
