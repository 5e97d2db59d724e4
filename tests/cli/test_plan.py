"""`compat plan`: what a run would do, and what is done already."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from compat_spec.cli.main import app
from compat_spec.plan import Plan, make_plan
from compat_spec.spec import load
from compat_spec.store import Store
from tests.run.experiments import SPEC


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plan:
    """The plan of a spec in the working folder, with an empty store."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "160")
    Path("tiny.yaml").write_text(SPEC, "utf-8")
    return make_plan(load(Path("tiny.yaml"), ()))


def printed(*arguments: str) -> list[str]:
    result = CliRunner().invoke(app, ["plan", "tiny.yaml", *arguments], catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout.splitlines()


def counts(lines: list[str]) -> dict[str, list[int]]:
    """The steps of each kind: all, done, to do."""
    rows = (re.match(r"(\w+) +(\d+) +(\d+) +(\d+)", line) for line in lines)
    return {row[1]: [int(number) for number in row.groups()[1:]] for row in rows if row}


def finish(plan: Plan, *labels: str, **facts: object) -> None:
    for step in plan.steps.values():
        if not labels or step.label in labels:
            with Store(Path(".compat")).writing(step.fingerprint, step.kind.value, step.label, dict(facts)):
                pass


def test_it_counts_the_steps_of_each_kind(plan: Plan) -> None:
    lines = printed()
    assert counts(lines)["train"] == [3, 0, 3]
    assert counts(lines)["all"] == [len(plan.steps), 0, len(plan.steps)]
    tokens = 8 * 2 * 32 + 2 * (6 * 2 * 32) + 4 * 2 * 32
    assert any(line.startswith("all") and line.rstrip().endswith(f"{tokens:,}") for line in lines)
    assert lines[-1] == "How long it takes is known after the first training in this store."
    assert not Path(".compat").exists(), "planning makes nothing"


def test_it_lists_every_step_on_request(plan: Plan) -> None:
    lines = printed("--steps")
    listed = {line.split()[0] for line in lines if re.match(r"[0-9a-f]{12} ", line)}
    assert listed == {fingerprint[:12] for fingerprint in plan.steps}
    assert sum(line.rstrip().endswith("to do") for line in lines) == len(plan.steps)


def test_it_knows_what_is_done_and_estimates_the_rest(plan: Plan) -> None:
    finish(plan, "train base", tokens_per_second=1000)
    lines = printed()
    assert counts(lines)["train"] == [3, 1, 2]
    assert re.fullmatch(r"About .* s, at the 1,000 tokens/s of past trainings in this store\.", lines[-1])


def test_it_says_when_nothing_is_left(plan: Plan) -> None:
    finish(plan)
    lines = printed()
    assert counts(lines)["all"] == [len(plan.steps), len(plan.steps), 0]
    assert lines[-1] == "Nothing to compute: the store .compat has everything."


def test_a_value_that_is_set_is_planned(plan: Plan) -> None:
    before = counts(printed())["merge"][0]
    assert counts(printed("--set", "merges.blend.alpha.sweep=[0.5]"))["merge"][0] == before - 2
