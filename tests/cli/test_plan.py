"""`compat plan`: what a run would do, what the store has of it, and how long it takes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from compat_spec.cli.main import main
from compat_spec.plan import Plan, Step, make_plan
from compat_spec.spec import load
from compat_spec.store import Store
from tests.plan.experiments import SPEC


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with the spec."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "160")
    (tmp_path / "small.yaml").write_text(SPEC, "utf-8")
    return tmp_path


@pytest.fixture
def plan() -> Plan:
    return make_plan(load(Path("small.yaml")))


class Command:
    """What a user types, and reads."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch = monkeypatch
        self._capsys = capsys

    def __call__(self, *arguments: str) -> tuple[int, list[str], str]:
        """The exit status, the lines with single spaces, and what goes to stderr."""
        self._monkeypatch.setattr("sys.argv", ["compat", "plan", *arguments])
        with pytest.raises(SystemExit) as raised:
            main()
        out, err = self._capsys.readouterr()
        return int(raised.value.code or 0), [" ".join(line.split()) for line in out.splitlines()], err

    def lines(self, *arguments: str) -> list[str]:
        status, lines, err = self("small.yaml", *arguments)
        assert (status, err) == (0, "")
        return lines


@pytest.fixture
def compat_plan(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(monkeypatch, capsys)


def compute(steps: list[Step], speed: float | None = None) -> None:
    """As if a run had computed these steps, at a speed in tokens per second."""
    for step in steps:
        facts = {"tokens_per_second": speed} if speed and step.tokens else {}
        with Store(Path(".compat")).writing(step.fingerprint, step.kind.value, step.label, facts):
            pass


# ----------------------------------------------------------------------------------------------------------- counts


def test_it_counts_the_steps_of_each_kind_and_the_tokens_to_train(compat_plan: Command) -> None:
    assert compat_plan.lines() == [
        "kind steps done to do tokens to train",
        "task 2 0 2",
        "tokenizer 1 0 1",
        "source 1 0 1",
        "encode 2 0 2",
        "train 3 0 3 1,280",
        "merge 3 0 3 256",
        "measure 6 0 6",
        "compare 1 0 1",
        "all 19 0 19 1,536",
        "",
        "How long it takes is known after the first training in this store.",
    ]


def test_it_makes_no_store(compat_plan: Command, folder: Path) -> None:
    compat_plan.lines()
    compat_plan.lines("--steps")
    assert [path.name for path in folder.iterdir()] == ["small.yaml"]


def test_it_says_what_is_done(compat_plan: Command, plan: Plan) -> None:
    compute([step for step in plan.steps.values() if step.kind.value in ("task", "tokenizer", "source", "encode")])
    compute([step for step in plan.steps.values() if step.label == "train base"], speed=1_000)
    lines = compat_plan.lines()
    assert "encode 2 2 0" in lines
    assert "train 3 1 2 768" in lines
    assert "all 19 7 12 1,024" in lines
    assert compat_plan.lines("--set", "merges.router=null")[-3] == "all 17 7 10 768"


def test_when_all_is_done_it_says_so(compat_plan: Command, plan: Plan) -> None:
    compute(list(plan.steps.values()))
    lines = compat_plan.lines()
    assert lines[-1] == "Nothing to compute: the store .compat has everything."
    assert "all 19 19 0" in lines


def test_what_is_gone_but_not_needed_is_not_to_do(compat_plan: Command, plan: Plan) -> None:
    compute([plan.steps[key] for key in plan.results()])
    assert compat_plan.lines()[-1] == "Nothing to compute: the store .compat has everything."


def test_it_may_look_at_another_store(compat_plan: Command, plan: Plan) -> None:
    compute(list(plan.steps.values()))
    assert "all 19 0 19 1,536" in compat_plan.lines("--store", "elsewhere")
    assert not Path("elsewhere").exists()


# ------------------------------------------------------------------------------------------------------------ steps


def test_it_lists_every_step_with_its_state(compat_plan: Command, plan: Plan) -> None:
    compute([step for step in plan.steps.values() if step.kind.value == "task"])
    header, *lines = compat_plan.lines("--steps")
    assert header == "step kind what tokens to train"
    assert lines[: len(plan.steps)] == [
        " ".join([step.fingerprint[:12], step.kind.value, step.label, *tokens_of(step), state_of(step)])
        for step in plan.steps.values()
    ]


def tokens_of(step: Step) -> list[str]:
    return [f"{step.tokens:,}"] if step.tokens else []


def state_of(step: Step) -> str:
    return "done" if step.kind.value == "task" else "to do"


def test_a_line_of_a_step_is_cut_nowhere_in_a_narrow_terminal(
    compat_plan: Command, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    text = " ".join(compat_plan.lines("--steps"))
    assert all(step.fingerprint[:12] in text for step in plan.steps.values())
    assert "…" not in text


# ------------------------------------------------------------------------------------------------------------- time


def test_it_guesses_the_time_from_past_trainings(compat_plan: Command, plan: Plan) -> None:
    trainings = [step for step in plan.steps.values() if step.kind.value == "train"]
    compute(trainings[:1], speed=100)
    compute(trainings[1:2], speed=300)
    last = compat_plan.lines()[-1]
    found = re.fullmatch(r"About (.*), at the 200 tokens/s of past trainings in this store\.", last)
    assert found
    assert found[1].endswith((" s", " min"))


def test_more_to_train_takes_longer(compat_plan: Command, plan: Plan) -> None:
    base = [step for step in plan.steps.values() if step.label == "train base"]
    compute(base, speed=1_000)
    last = compat_plan.lines("--set", "models.one.train.steps=100000")[-1]
    assert last.startswith("About 1 h 47 min, at the 1,000 tokens/s"), "100,000 steps of 64 tokens, and a little more"


# --------------------------------------------------------------------------------------------------------- mistakes


FIRST = "small.yaml:3:15: tasks.math.use: no task plugin 'word_problms'; did you mean 'word_problems'?\n"
SECOND = "small.yaml:14:40: merges.average.models.1: no model 'twoo'; did you mean 'two'?\n"


def misspell(*changes: tuple[str, str]) -> None:
    text = SPEC
    for old, new in changes:
        text = text.replace(old, new, 1)
    Path("small.yaml").write_text(text, "utf-8")


def test_all_mistakes_of_the_spec_are_told_at_once_with_their_places(compat_plan: Command) -> None:
    misspell(("word_problems", "word_problms"), ("[one, two]", "[one, twoo]"))
    assert compat_plan("small.yaml") == (2, [], FIRST + SECOND)


def test_a_single_mistake_reads_like_one_of_many(compat_plan: Command) -> None:
    misspell(("word_problems", "word_problms"))
    assert compat_plan("small.yaml") == (2, [], FIRST)


def test_a_spec_that_is_not_there(compat_plan: Command) -> None:
    status, lines, err = compat_plan("missing.yaml")
    assert (status, lines) == (2, [])
    assert err.endswith("missing.yaml: there is no such file\n")
    assert len(err.splitlines()) == 1


def test_its_help_has_an_example(compat_plan: Command) -> None:
    status, lines, _ = compat_plan("--help")
    assert status == 0
    assert any("compat plan specs/routing.yaml --steps" in line for line in lines)
