"""`contract`: one line in an author's test file, and what pytest then says."""

from __future__ import annotations

from pathlib import Path

import pytest

from compat_spec.testing import checks_of, contract, run_checks
from tests.testing.bad.tasks import Leaking
from tests.testing.bad.tensor_merges import InPlace, Mean, OfMatrices

pytest_plugins = ["pytester"]

test_mean = contract(Mean, skip={"is_cheap_to_import": "this module's neighbours import torch"})

AUTHORS = """
from compat_spec.testing import contract
from tests.testing.bad.{module} import {name}

test_contract = contract({name}{more})
"""


def outcome(pytester: pytest.Pytester, module: str, name: str, *arguments: str, more: str = "") -> pytest.RunResult:
    pytester.makepyfile(test_theirs=AUTHORS.format(module=module, name=name, more=more))
    pytester.makeini(f"[pytest]\npythonpath = {Path(__file__).parents[2]}")
    return pytester.runpytest_inprocess("-p", "no:cacheprovider", "-p", "no:xdist", "-rs", *arguments)


def test_there_is_a_test_for_each_check_called_like_it(pytester: pytest.Pytester) -> None:
    result = outcome(pytester, "tensor_merges", "Mean", "--collect-only", "-q")
    collected = [line.partition("[")[2] for line in result.outlines if "::" in line]
    assert collected == [f"{check.name}]" for check in checks_of(Mean)]


def test_a_failure_is_the_message_without_the_kits_own_frames(pytester: pytest.Pytester) -> None:
    result = outcome(pytester, "tensor_merges", "InPlace", "-k", "leaves_inputs")
    result.assert_outcomes(failed=1, deselected=len(checks_of(InPlace)) - 1)
    text = result.stdout.str()
    assert "The tensor of model 0 was changed in place" in text
    assert "kinds/tensor_merge.py" not in text
    assert "checks.py" not in text


def test_an_exception_of_the_component_is_shown_where_it_was_raised(pytester: pytest.Pytester) -> None:
    result = outcome(pytester, "tensor_merges", "OfMatrices", "-k", "keeps_shape")
    result.assert_outcomes(failed=1, deselected=len(checks_of(OfMatrices)) - 1)
    text = result.stdout.str()
    assert "rows, columns = tensors[0].shape" in text, "the author's own line"
    assert "while this was checked: The result has the shape" in text


def test_what_is_skipped_is_seen_with_its_reason(pytester: pytest.Pytester) -> None:
    more = ', skip={"keeps_splits_apart": "they overlap on purpose"}'
    result = outcome(pytester, "tasks", "Leaking", more=more)
    result.assert_outcomes(passed=len(checks_of(Leaking)) - 1, skipped=1)
    result.stdout.fnmatch_lines(["*they overlap on purpose*"])


def test_a_check_to_skip_that_is_not_there_is_an_error() -> None:
    with pytest.raises(ValueError, match="Leaking has no check 'keeps_splits' to skip; there are says_what_it_does"):
        contract(Leaking, skip={"keeps_splits": "they overlap on purpose"})


def test_all_can_be_run_without_pytest() -> None:
    outcomes = {one.check.name: one for one in run_checks(Leaking, skip={"can_be_made": "we know"})}
    assert list(outcomes) == [check.name for check in checks_of(Leaking)]
    assert (outcomes["can_be_made"].status, outcomes["can_be_made"].message) == ("skipped", "we know")
    assert outcomes["keeps_splits_apart"].status == "failed"
    assert outcomes["grades_its_own_answers_as_right"].status == "passed"


def test_the_plugin_has_tiny_networks_for_their_own_tests(tiny_networks: object) -> None:
    a, b = tiny_networks  # type: ignore[misc]
    assert a.module.config.n_layer == b.module.config.n_layer == 3
    assert not (a.module.transformer.wte.weight == b.module.transformer.wte.weight).all()
