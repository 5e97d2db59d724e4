"""What a good spec becomes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from compat_spec.spec import ModelRef, Spec, load
from tests.spec.conftest import GOOD

Write = Callable[..., Path]


def changed(write: Write, *changes: tuple[str, str]) -> Spec:
    text = GOOD
    for old, new in changes:
        assert old in text
        text = text.replace(old, new, 1)
    return load(write(text))


def refs(*written: str) -> tuple[ModelRef, ...]:
    """`refs("math", "math@5")`."""
    split = (name.partition("@") for name in written)
    return tuple(ModelRef(name, int(step) if step else None) for name, _, step in split)


def test_its_head(write: Write) -> None:
    spec = changed(write, ("name: good", "name: good\ndescription: |\n  Two lines\n  of text."))
    assert (spec.name, spec.description, spec.seeds) == ("good", "Two lines\nof text.", (0, 1))
    assert spec.path == Path("spec.yaml")


def test_what_a_head_is_when_left_out(write: Write) -> None:
    spec = load(write("tasks:\n  math: {use: word_problems}\n", "folder/my.first-spec.yaml"))
    assert (spec.name, spec.description, spec.seeds) == ("my.first-spec", "", (0,))
    assert (dict(spec.models), dict(spec.merges), dict(spec.metrics)) == ({}, {}, {})


def test_tasks_and_models(write: Write) -> None:
    spec = load(write(GOOD))
    assert spec.tasks["math"].variants[()].use == "word_problems"
    base, math = spec.models["base"].variants[()], spec.models["math"].variants[()]
    assert (base.source_use, base.parent, base.trainer_use) == ("causal_lm", None, "finetune")
    assert base.source is not None
    assert (math.source, math.parent) == (None, ModelRef("base"))
    assert math.trainer is not None
    assert tuple(math.trainer.saved_steps()) == (5, 10)
    assert spec.models["wide"].variants[()].trainer is None


def test_a_model_may_descend_from_a_checkpoint(write: Write) -> None:
    spec = changed(write, ("code: {from: base,", "code: {from: math@5,"))
    assert spec.models["code"].variants[()].parent == ModelRef("math", 5)
    spec = changed(write, ("code: {from: base,", "code: {from: base@4,"))  # its last step
    assert spec.models["code"].variants[()].parent == ModelRef("base", 4)


def test_a_sweep_is_an_axis_and_several_are_their_product(write: Write) -> None:
    blend = load(write(GOOD)).merges["blend"]
    assert [(axis.name, axis.columns, axis.values) for axis in blend.axes] == [
        ("merges.blend.alpha", ("alpha",), ((0.25,), (0.5,))),
        ("merges.blend.at", ("at",), ((5,), (20,))),
    ]
    assert {
        point: (variant.merge.model_dump()["alpha"], variant.experts) for point, variant in blend.variants.items()
    } == {
        (0, 0): (0.25, refs("math@5", "code@5")),
        (0, 1): (0.25, refs("math@20", "code@20")),
        (1, 0): (0.5, refs("math@5", "code@5")),
        (1, 1): (0.5, refs("math@20", "code@20")),
    }


@pytest.mark.parametrize(
    ("models", "at", "experts"),
    [
        ("[math, code]", "", ("math", "code")),
        ("[math@5, code]", "", ("math@5", "code")),
        ("[math, code, base]", "at: 10", ("math@10", "code@10", "base")),
        ("[math@5, code]", "at: 10", ("math@5", "code@10")),
        ("[math, base]", "at: 20", ("math@20", "base")),
        ("[base, base]", "at: 4", ("base@4", "base@4")),
        ("[math, math]", "at: 5", ("math@5", "math@5")),
    ],
)
def test_at_moves_the_models_that_keep_checkpoints(
    write: Write, models: str, at: str, experts: tuple[str, ...]
) -> None:
    spec = changed(
        write, ("average: {use: linear, models: [math, code]", f"average: {{use: linear, models: {models}, {at}")
    )
    assert spec.merges["average"].variants[()].experts == refs(*experts)


def test_a_merge_that_is_trained(write: Write) -> None:
    router = load(write(GOOD)).merges["router"].variants[()]
    assert router.trainer_use == "finetune"
    assert router.trainer is not None
    assert router.trainer.last_step() == 2


@pytest.mark.usefixtures("odd_plugins")
def test_models_that_a_merge_names_beside_its_experts(write: Write) -> None:
    merge = "average: {use: odd_merge, models: [math, code], base: base@4, weights: {math: 1, wide: 2}}"
    spec = changed(
        write,
        ("average: {use: linear, models: [math, code]}", merge),
        ("n_embd: 64", "n_embd: 32"),
        ("vocab_size: 400", "vocab_size: 300"),
    )
    # math is the expert again; wide is none
    assert spec.merges["average"].variants[()].others == {"base@4": ModelRef("base", 4), "wide": ModelRef("wide")}


@pytest.mark.parametrize(
    ("of", "subjects"),
    [
        ("", ("base", "wide", "math", "code", "average", "blend", "router")),
        ("of: all", ("base", "wide", "math", "code", "average", "blend", "router")),
        ("of: math", ("math",)),
        ("of: [math@5, router, math@5]", ("math@5", "router")),
        ("at: 5", ("math@5", "code@5")),
        ("at: 20", ("math@20", "code@20")),
        ("at: [5, 10]", ("math@5", "code@5", "math@10", "code@10")),
        ("of: [base, math, average], at: [5, 10]", ("base", "math@5", "math@10", "average")),
    ],
)
def test_what_a_metric_is_measured_of(write: Write, of: str, subjects: tuple[str, ...]) -> None:
    spec = changed(write, ("{use: cross_entropy, on: code", f"{{use: cross_entropy, on: [code, math], {of}"))
    loss = spec.metrics["loss"].variants[()]
    assert loss.tasks == ("code", "math")
    assert set(loss.subjects) == set(refs(*subjects))
    assert len(loss.subjects) == len(subjects)
    assert loss.between is None


def test_a_metric_over_checkpoints(write: Write) -> None:
    spec = changed(write, ("{use: cross_entropy, on: code", "{use: cross_entropy, on: code, at: {sweep: [5, 10]}"))
    loss = spec.metrics["loss"]
    assert loss.axes[0].columns == ("at",)
    assert [set(variant.subjects) for variant in loss.variants.values()] == [
        set(refs("math@5", "code@5")),
        set(refs("math@10", "code@10")),
    ]


def test_a_metric_of_pairs(write: Write) -> None:
    cka = load(write(GOOD)).metrics["cka"]
    assert [variant.between for variant in cka.variants.values()] == [
        refs("math@5", "code@5"),
        refs("math@10", "code@10"),
    ]


def test_parameters_are_not_mistaken_for_keys_of_the_language(write: Write) -> None:
    spec = changed(write, ("math: {use: word_problems}", "math: {use: word_problems, train: 7}"))
    assert spec.tasks["math"].variants[()].task.model_dump()["train"] == 7


def test_the_text_is_the_file_when_nothing_changes_it(write: Write) -> None:
    text = f"# a comment\n{GOOD}"
    assert load(write(text)).text == text


@pytest.mark.usefixtures("odd_plugins")
def test_relative_paths_are_relative_to_the_spec(write: Write) -> None:
    write("[1]\n[2]\n" * 40, "folder/data.txt")
    spec = load(write("tasks:\n  mine: {use: text, train: data.txt, test: data.txt}\n", "folder/spec.yaml"))
    task = spec.tasks["mine"].variants[()].task
    assert str(Path("folder/data.txt").absolute()) in str(task.model_dump())


def test_it_does_not_import_torch(write: Write) -> None:
    path = write(GOOD)
    code = (
        "import sys; from compat_spec.spec import load; from compat_spec.spec.schema import json_schema; "
        f"load({str(path)!r}); json_schema(); "
        "heavy = {'torch', 'transformers', 'tokenizers', 'datasets', 'numpy'} & set(sys.modules); "
        "sys.exit(f'{heavy} imported' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
