"""`extends:` and `--set`: one spec out of several places."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from compat_spec.spec import ModelRef, SpecError, load
from tests.spec.conftest import GOOD

Write = Callable[..., Path]


def lines(path: Path, *overrides: str) -> list[str]:
    with pytest.raises(SpecError) as raised:
        load(path, overrides)
    return str(raised.value).splitlines()


# -------------------------------------------------------------------------------------------------------- extends


def test_mappings_are_merged_and_the_rest_is_replaced(write: Write) -> None:
    write(GOOD, "base.yaml")
    spec = load(
        write(
            "extends: base.yaml\n"
            "seeds: [7]\n"
            "models:\n  math: {train: {lr: 0.5}}\n"
            "merges:\n  average: {models: [code, math]}\n  third: {use: linear, models: [math, base]}\n"
        )
    )
    assert spec.name == "good"
    assert spec.seeds == (7,)
    trainer = spec.models["math"].variants[()].trainer
    assert trainer is not None
    assert (trainer.model_dump()["lr"], trainer.last_step()) == (0.5, 20)
    assert spec.merges["average"].variants[()].experts == (ModelRef("code"), ModelRef("math"))
    assert list(spec.merges) == ["average", "blend", "router", "third"]


def test_null_removes_a_declaration_or_a_key_of_the_language(write: Write) -> None:
    write(GOOD, "base.yaml")
    spec = load(write("extends: base.yaml\nmerges:\n  router: null\n  blend: {at: null}\nmetrics: null\n"))
    assert list(spec.merges) == ["average", "blend"]
    assert [axis.name for axis in spec.merges["blend"].axes] == ["merges.blend.alpha"]
    assert not spec.metrics


def test_null_is_a_value_for_a_parameter(write: Write) -> None:
    write(GOOD, "base.yaml")
    spec = load(write("extends: base.yaml\nmodels:\n  base: {train: {clip: 3}}\n", "middle.yaml"))
    assert spec.models["base"].variants[()].trainer.model_dump()["clip"] == 3  # type: ignore[union-attr]
    spec = load(write("extends: middle.yaml\nmodels:\n  base: {train: {clip: null}}\n"))
    assert spec.models["base"].variants[()].trainer.model_dump()["clip"] is None  # type: ignore[union-attr]


def test_a_sweep_is_replaced_as_a_whole(write: Write) -> None:
    write(GOOD.replace("{sweep: [0.25, 0.5]}", "{sweep: {from: 0.1, to: 1, num: 3, scale: log}}"), "base.yaml")
    text = "extends: base.yaml\nmerges:\n  blend: {alpha: {sweep: {from: 0, to: 1, num: 3}}, at: 5}\n"
    (axis,) = load(write(text)).merges["blend"].axes
    assert axis.values == ((0.0,), (0.5,), (1.0,))


def test_the_file_is_found_from_the_file_that_extends_it(write: Write) -> None:
    write(GOOD, "shared/base.yaml")
    write("extends: ../shared/base.yaml\nname: middle\n", "specs/middle.yaml")
    assert load(write("extends: specs/middle.yaml\n")).name == "middle"


def test_a_mistake_is_shown_where_it_stands(write: Write) -> None:
    write(GOOD.replace("word_problems", "word_problms"), "shared/base.yaml")
    path = write("extends: ../shared/base.yaml\nmodels:\n  math: {train: {stps: 3}}\n", "specs/spec.yaml")
    assert lines(path) == [
        "specs/spec.yaml:3:18: models.math.train.stps: 'stps' is not a parameter of finetune; did you mean 'steps'?",
        "shared/base.yaml:5:15: tasks.math.use: no task plugin 'word_problms'; did you mean 'word_problems'?",
    ]


def test_mistakes_of_extending(write: Write) -> None:
    assert lines(write("extends: nope.yaml\n"))[0] == "spec.yaml:1:10: extends: nope.yaml: there is no such file"
    assert lines(write("extends: .\n"))[0] == "spec.yaml:1:10: extends: .: this is a folder, not a file"
    assert lines(write("extends: [a]\n"))[0] == "spec.yaml:1:10: extends: a list is not a file; name one YAML file"
    assert lines(write("extends: spec.yaml\n"))[0] == (
        "spec.yaml:1:10: extends: the spec extends itself: spec.yaml → spec.yaml"
    )
    write("extends: ./spec.yaml\n", "other.yaml")
    assert lines(write("extends: other.yaml\n"))[0] == (
        "other.yaml:1:10: extends: the spec extends itself: spec.yaml → other.yaml → spec.yaml"
    )
    write("a: [1\n", "broken.yaml")
    assert lines(write("extends: broken.yaml\ntasks:\n  a: 3\n")) == [
        "spec.yaml:3:6: tasks.a: 3 does not fit; write {use: …}",
        "broken.yaml:2:1: the list that is opened on line 1 is not closed here; expected `,` or `]`",
    ]


def test_the_text_is_the_whole_spec(write: Write) -> None:
    odd = GOOD.replace("name: good", "name: good\ndescription: '1e-3 on: \"é\" 日本'")
    write(odd, "base.yaml")
    spec = load(write("extends: base.yaml\nseeds: [3]\n"), ["models.math.train.lr=1e-5"])
    again = load(write(spec.text, "again.yaml"))
    assert "extends" not in spec.text
    assert "é" in spec.text
    assert again.text == spec.text
    for part in ("name", "description", "seeds", "tasks", "models", "merges", "metrics"):
        assert getattr(again, part) == getattr(spec, part)


# ------------------------------------------------------------------------------------------------------ overrides


def test_a_value_is_set(write: Write) -> None:
    path = write(GOOD)
    spec = load(path, ["merges.router.span=2", "seeds=[5]", "seeds.0=6", "models.math.train.lr=1e-3"])
    assert spec.merges["router"].variants[()].merge.model_dump()["span"] == 2
    assert spec.seeds == (6,)
    assert spec.models["math"].variants[()].trainer.model_dump()["lr"] == 1e-3  # type: ignore[union-attr]
    assert load(path, ["models.wide.train={on: code, steps: 2}"]).models["wide"].variants[()].trainer is not None
    assert load(path, ["models.wide.train.on=code", "models.wide.train.steps=2"]).models["wide"].variants[()].trainer
    assert [axis.name for axis in load(path, ["merges.blend.alpha=0.5"]).merges["blend"].axes] == ["merges.blend.at"]
    (axis, _) = load(path, ["merges.blend.alpha.sweep.1=1.0"]).merges["blend"].axes
    assert axis.values == ((0.25,), (1.0,))


def test_null_removes(write: Write) -> None:
    spec = load(write(GOOD), ["merges.router=null", "merges.blend.at="])
    assert list(spec.merges) == ["average", "blend"]
    assert len(spec.merges["blend"].axes) == 1


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("merges.router.span", "this is not an override; write --set merges.router.span=2"),
        ("=3", "this is not an override; write --set merges.router.span=2"),
        ("merges..span=3", "this is not an override; write --set merges.router.span=2"),
        ("mergs.router.span=2", "mergs.router.span: a spec has no 'mergs'; did you mean 'merges'?"),
        ("merges.routr.span=2", "merges.routr.span: no merge 'routr' is declared; did you mean 'router'?"),
        ("merges.router.span=x", "merges.router.span: 'x' does not fit; expected a whole number"),
        ("merges.router.spam=2", "merges.router.spam: 'spam' is not a parameter of routing; did you mean 'span'?"),
        ("merges.router.span=[", "merges.router.span: '[' is not a YAML value; quote text that has special characters"),
        ("merges.router.use.x=1", "merges.router.use.x: merges.router.use is 'routing' and has no part 'x'"),
        ("seeds.2=1", "seeds.2: seeds is a list with the places 0 to 1, not '2'"),
        ("seeds.x=1", "seeds.x: seeds is a list with the places 0 to 1, not 'x'"),
        ("seeds.1=0", "seeds.1: the seed 0 is given twice; name each seed once"),
    ],
)
def test_mistakes_in_a_set(problems_of: Callable[..., list[str]], override: str, line: str) -> None:
    assert problems_of(GOOD, override) == [f"--set {override}: {line}"]


def test_mistakes_of_the_file_come_before_those_of_sets(problems_of: Callable[..., list[str]]) -> None:
    found = problems_of(GOOD.replace("version: 1", "version: 2"), "metrics.loss.on=cod", "merges.router.span=0")
    assert [line.split(": ")[0] for line in found] == [
        "spec.yaml:1:10",
        "--set metrics.loss.on=cod",
        "--set merges.router.span=0",
    ]
