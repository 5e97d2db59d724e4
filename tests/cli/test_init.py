"""`compat init`: the spec that it writes is right, and what does not go with the models is left out with the reason."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from compat_spec.cli.main import app
from compat_spec.errors import UsageError
from compat_spec.nn.network import save_network
from compat_spec.spec import load
from tests.builders import tiny_network
from tests.run.experiments import COMPAT

MODELS = ("--model", "models/law", "--model", "code=models/code")
EXAMPLES = ("--task", "qa.jsonl")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    for seed, name in enumerate(("base", "law", "code")):
        save_network(tiny_network(seed=seed), folder / name)
    save_network(tiny_network(width=32), folder / "wide")
    return folder


@pytest.fixture
def folder(tmp_path: Path, models: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's folder, which is the working folder: models, and files of examples of every kind."""
    (tmp_path / "models").symlink_to(models)
    examples = [{"prompt": f"{n} + {n}?\n", "answer": f"{2 * n}\n"} for n in range(40)]
    lines(tmp_path / "qa.jsonl", examples)
    lines(tmp_path / "questions.jsonl", [{"question": e["prompt"], "answer": e["answer"]} for e in examples])
    lines(tmp_path / "texts.jsonl", [{"text": f"Number {n}."} for n in range(40)])
    (tmp_path / "prose.txt").write_text("\n\n".join(f"Paragraph {n}." for n in range(40)), "utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def lines(path: Path, records: list[dict[str, str]]) -> None:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), "utf-8")


def init(*arguments: str, answers: str = "") -> Result:
    return CliRunner().invoke(app, ["init", *arguments], input=answers, catch_exceptions=False)


def test_by_options_it_asks_nothing(folder: Path) -> None:
    result = init("first.yaml", *MODELS, "--base", "models/base", *EXAMPLES)
    assert result.stdout.splitlines()[0] == "first.yaml is written and checked: 2 models, 1 task."
    spec = load(folder / "first.yaml")
    assert spec.name == "first"
    assert set(spec.models) == {"base", "law", "code"}
    assert set(spec.merges) == {"average", "task_vectors", "ties", "blend", "ensemble", "router"}
    assert {path.name for path in folder.iterdir() if path.name.startswith(".")} == set()


def test_what_it_writes_runs(folder: Path) -> None:
    assert init("first.yaml", *MODELS, "--base", "models/base", *EXAMPLES).exit_code == 0
    small = (
        "merges.router.train.steps=2",
        "merges.blend.alpha=0.5",
        "merges.ties.lambda=1",
        "merges.task_vectors.lambda=1",
    )
    changes = [word for change in small for word in ("--set", change)]
    done = subprocess.run([COMPAT, "run", "first.yaml", *changes], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    for merge in ("average", "task_vectors", "ties", "blend", "ensemble", "router"):
        assert f"\n{merge} " in done.stdout


def test_it_asks_what_is_not_said_and_asks_again_where_an_answer_is_wrong(folder: Path) -> None:
    answers = ["models/law", "models/nowhere", "models", "models/code", "", "models/base", "qa.csv", "qa.jsonl"]
    result = init(answers="\n".join(answers) + "\n")
    assert "there is no folder models/nowhere; a model of the hub is hub:models/nowhere" in result.stdout
    assert "models has no config.json" in result.stdout
    assert "there is no file qa.csv" in result.stdout
    assert load(folder / "mine.yaml").models.keys() == {"base", "law", "code"}


def test_a_base_may_be_unknown(folder: Path) -> None:
    assert init("m.yaml", *MODELS, *EXAMPLES, answers="\n").exit_code == 0
    spec = load(folder / "m.yaml")
    assert "base" not in spec.models
    assert set(spec.merges) == {"average", "blend", "ensemble", "router"}


def test_answers_that_end_early_name_the_options(folder: Path) -> None:
    with pytest.raises(UsageError, match="--model, --base and --task"):
        init(answers="models/law\n")
    assert not (folder / "mine.yaml").exists()


def test_merges_that_do_not_go_with_the_models_are_comments_with_the_reason(folder: Path) -> None:
    result = init("m.yaml", "--model", "models/law", "--model", "models/wide", "--base", "none", *EXAMPLES)
    assert "average stands in it as a comment" in result.stdout
    assert "hidden_size is 16 and 32" in result.stdout
    text = (folder / "m.yaml").read_text("utf-8")
    assert "  # average: {use: linear, models: [law, wide]}" in text
    assert set(load(folder / "m.yaml").merges) == {"ensemble"}


def test_more_than_two_models_and_several_tasks(folder: Path) -> None:
    tasks = ("--task", "qa.jsonl", "--task", "prose=prose.txt", "--task", "texts.jsonl")
    assert init("m.yaml", *MODELS, "--model", "third=models/base", "--base", "none", *tasks).exit_code == 0
    spec = load(folder / "m.yaml")
    assert set(spec.tasks) == {"qa", "prose", "texts"}
    assert [len(blend.merge.models) for blend in spec.merges["blend"].variants.values()] == [3]


def test_models_of_the_hub_and_models_called_like_a_merge(folder: Path) -> None:
    init("m.yaml", "--model", "hub:a/ties", "--model", "hub:b/7b-chat.v2", "--base", "hub:a/base", *EXAMPLES)
    assert set(load(folder / "m.yaml").models) == {"base", "ties_", "m7b-chat-v2"}


@pytest.mark.parametrize(
    ("file", "taken"),
    [
        ("qa.jsonl", {"score: answer"}),
        ("questions.jsonl", {"score: answer", 'fields: {prompt: "{question}\\n", answer: answer}'}),
        ("texts.jsonl", {"test_fraction: 0.25}"}),
        ("prose.txt", {"test_fraction: 0.25}"}),
    ],
)
def test_examples_are_read_by_the_fields_that_they_have(folder: Path, file: str, taken: set[str]) -> None:
    init("m.yaml", *MODELS, "--base", "none", "--task", file)
    (line,) = [line for line in (folder / "m.yaml").read_text("utf-8").splitlines() if "use: text" in line]
    assert all(part in line for part in taken)
    (task,) = load(folder / "m.yaml").tasks[Path(file).stem].variants.values()
    splits = task.task.splits()
    assert len(splits["train"]) + len(splits["test"]) == 40
    assert all(len(split) > 0 for split in splits.values())


def test_paths_start_at_the_folder_of_the_spec(folder: Path) -> None:
    (folder / "specs").mkdir()
    init("specs/m.yaml", *MODELS, "--base", "none", *EXAMPLES)
    assert "path: ../models/law" in (folder / "specs" / "m.yaml").read_text("utf-8")
    assert load(folder / "specs" / "m.yaml").models


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--model", "models/law", "--base", "none", *EXAMPLES), "there is one model only"),
        (("--model", "nowhere", *MODELS, "--base", "none", *EXAMPLES), "there is no folder nowhere"),
        ((*MODELS, "--model", "law=models/base", "--base", "none", *EXAMPLES), "law is named twice"),
        ((*MODELS, "--base", "nowhere", *EXAMPLES), "there is no folder nowhere"),
        ((*MODELS, "--base", "none", "--task", "nothing.jsonl"), "there is no file nothing.jsonl"),
        ((*MODELS, "--base", "none", "--task", "odd.jsonl"), "odd.jsonl has the fields x; an example has `text`, or"),
        ((*MODELS, "--base", "none", "--task", "bad.jsonl"), "bad.jsonl is not a file with an example in JSON"),
        (("there.yaml", *MODELS, "--base", "none", *EXAMPLES), "there.yaml is there already: .*--force"),
        (("no/folder.yaml", *MODELS, "--base", "none", *EXAMPLES), "there is no folder no"),
        (("m.yaml", "--model", "1b=models/law", *MODELS, "--base", "none", *EXAMPLES), "'1b'"),
        (("m.yaml", "--model", "a b=models/law", *MODELS, "--base", "none", *EXAMPLES), "no folder a b=models/law"),
        (("m.yaml", "--model", "base=models/law", *MODELS, "--base", "none", *EXAMPLES), "needs another name"),
        (("m.yaml", "--model", "models/empty", *MODELS, "--base", "none", *EXAMPLES), "models/empty: "),
    ],
)
def test_mistakes_are_named(folder: Path, arguments: tuple[str, ...], message: str) -> None:
    lines(folder / "odd.jsonl", [{"x": "1"}])
    (folder / "bad.jsonl").write_text("{", "utf-8")
    (folder / "there.yaml").write_text("mine", "utf-8")
    empty = folder / "models" / "empty"
    empty.mkdir(exist_ok=True)
    (empty / "config.json").write_text("{}", "utf-8")
    with pytest.raises(UsageError, match=message):
        init(*arguments)
    assert {path.name for path in folder.glob("*.yaml")} == {"there.yaml"}
    assert (folder / "there.yaml").read_text("utf-8") == "mine"
    assert not list(folder.glob(".starter*"))


def test_force_writes_over_a_file(folder: Path) -> None:
    (folder / "m.yaml").write_text("old", "utf-8")
    assert init("m.yaml", *MODELS, "--base", "none", *EXAMPLES, "--force").exit_code == 0
    assert load(folder / "m.yaml").merges
