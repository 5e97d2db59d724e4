"""`compat plan`: how long the rest takes, what counts as done, and how a mistake of the spec reads."""

from __future__ import annotations

from pathlib import Path

import pytest

from compat_spec.cli.main import main
from compat_spec.plan import Plan, Step, StepKind, make_plan
from compat_spec.spec import load
from compat_spec.store import Store
from tests.plan.experiments import SPEC


@pytest.fixture(autouse=True)
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plan:
    """The plan of the spec that lies in the working folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "160")
    Path("small.yaml").write_text(SPEC, "utf-8")
    return make_plan(load(Path("small.yaml")))


class Command:
    """What a user types, and reads."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch = monkeypatch
        self._capsys = capsys

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        """The exit status of `compat plan`, and what it prints to where."""
        self._monkeypatch.setattr("sys.argv", ["compat", "plan", *arguments])
        with pytest.raises(SystemExit) as raised:
            main()
        out, err = self._capsys.readouterr()
        return int(raised.value.code or 0), out, err

    def lines(self, *arguments: str) -> list[str]:
        """The lines of a command that ends well, with single spaces."""
        status, out, err = self("small.yaml", *arguments)
        assert (status, err) == (0, "")
        return [" ".join(line.split()) for line in out.splitlines()]


@pytest.fixture
def compat_plan(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(monkeypatch, capsys)


def compute(*steps: Step, speed: float | None = None) -> None:
    """As if a run had computed these steps, at a speed in tokens per second."""
    for step in steps:
        facts = {"tokens_per_second": speed} if speed else {}
        with Store(Path(".compat")).writing(step.fingerprint, step.kind.value, step.label, facts):
            pass


def trainings(plan: Plan) -> list[Step]:
    return [step for step in plan.steps.values() if step.kind is StepKind.TRAIN]


# ------------------------------------------------------------------------------------------------------------- time


def test_the_speed_is_the_mean_of_past_trainings(compat_plan: Command, plan: Plan) -> None:
    base, one, _ = trainings(plan)
    compute(base, speed=100)
    compute(one, speed=300)
    assert compat_plan.lines()[-1].endswith("at the 200 tokens/s of past trainings in this store.")


def test_the_time_is_that_of_the_tokens_that_are_left(compat_plan: Command, plan: Plan) -> None:
    compute(trainings(plan)[0], speed=1_000)
    long = compat_plan.lines("--set", "models.one.train.steps=100000")[-1]
    assert long.startswith("About 1 h 47 min, at the 1,000 tokens/s"), "100,000 steps of 64 tokens, and a little more"


# ------------------------------------------------------------------------------------------------------------- done


def test_every_step_has_its_state(compat_plan: Command, plan: Plan) -> None:
    compute(*trainings(plan))
    header, *lines = compat_plan.lines("--steps")
    assert header == "step kind what tokens to train"
    assert lines[: len(plan.steps)] == [
        " ".join([step.fingerprint[:12], step.kind.value, step.label, *state(step)]) for step in plan.steps.values()
    ]


def state(step: Step) -> list[str]:
    """In this plan the examples and the start are needed no longer once the models are trained."""
    if step.kind is StepKind.TRAIN or step.label in ("start of base", "tokens of math"):
        return ["done"]
    if step.label in ("tokenizer of base", "examples of math"):
        return ["to do"]  # for the tokens of the program
    return [f"{step.tokens:,}", "to do"] if step.tokens else ["to do"]


def test_what_is_gone_but_not_needed_is_not_to_do(compat_plan: Command, plan: Plan) -> None:
    compute(*(plan.steps[key] for key in plan.results()))
    lines = compat_plan.lines()
    assert "all 19 19 0" in lines
    assert lines[-1] == "Nothing to compute: the store .compat has everything."


def test_another_store_has_its_own(compat_plan: Command, plan: Plan) -> None:
    compute(*plan.steps.values())
    assert "all 19 0 19 1,536" in compat_plan.lines("--store", "elsewhere")
    assert not Path("elsewhere").exists()


def test_a_narrow_terminal_cuts_nothing_off(compat_plan: Command, plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    text = "\n".join(compat_plan.lines("--steps"))
    assert all(step.fingerprint[:12] in text for step in plan.steps.values())
    assert "…" not in text


# --------------------------------------------------------------------------------------------------------- mistakes

FIRST = "small.yaml:3:15: tasks.math.use: no task plugin 'word_problms'; did you mean 'word_problems'?\n"
SECOND = "small.yaml:14:40: merges.average.models.1: no model 'twoo'; did you mean 'two'?\n"


def misspell(*changes: tuple[str, str]) -> None:
    text = SPEC
    for old, new in changes:
        text = text.replace(old, new, 1)
    Path("small.yaml").write_text(text, "utf-8")


def test_all_mistakes_are_told_at_once_with_their_places(compat_plan: Command) -> None:
    misspell(("word_problems", "word_problms"), ("[one, two]", "[one, twoo]"))
    assert compat_plan("small.yaml") == (2, "", FIRST + SECOND)


def test_a_single_mistake_reads_like_one_of_many(compat_plan: Command) -> None:
    misspell(("word_problems", "word_problms"))
    assert compat_plan("small.yaml") == (2, "", FIRST)


def test_a_spec_that_is_not_there(compat_plan: Command) -> None:
    status, out, err = compat_plan("missing.yaml")
    assert (status, out) == (2, "")
    assert err.endswith("missing.yaml: there is no such file\n")
    assert len(err.splitlines()) == 1
