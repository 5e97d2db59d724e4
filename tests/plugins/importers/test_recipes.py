"""Configurations of mergekit that become several merges: of slices, of several documents."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from compat_spec.run.single_merge import SingleMerge
from compat_spec.spec import load
from compat_spec.spec.importing import import_spec
from compat_spec.store import Store
from tests.plugins.importers.imports import BASE, TWO, converted, merge_of, notes

SLICES = """
merge_method: task_arithmetic
base_model: models/base
dtype: float32
slices:
  - sources:
      - {model: models/base, layer_range: [0, 2]}
      - {model: models/math, layer_range: [2, 4], parameters: {weight: [0, 1]}}
  - sources: [{model: models/base, layer_range: [3, 4]}]
  - sources:
      - {model: models/code, layer_range: [0, 1], parameters: {weight: 2}}
      - {model: models/base, layer_range: [3, 4]}
parameters: {lambda: 0.5}
"""


def test_slices_are_merged_one_by_one_and_stacked(folder: Path) -> None:
    spec = converted(folder, SLICES)
    assert spec["merges"] == {
        "base-0-2": {"use": "passthrough", "models": ["base"], "slices": [{"model": "base", "layers": [0, 2]}]},
        "math-2-4": {"use": "passthrough", "models": ["math"], "slices": [{"model": "math", "layers": [2, 4]}]},
        "merged-1": {
            "use": "task_arithmetic",
            "models": ["math-2-4"],
            "base": "base-0-2",
            "weight": {"gradient": [0, 1]},
            "lambda": 0.5,
            "dtype": "float32",
        },
        "base-3-4": {"use": "passthrough", "models": ["base"], "slices": [{"model": "base", "layers": [3, 4]}]},
        "code-0-1": {"use": "passthrough", "models": ["code"], "slices": [{"model": "code", "layers": [0, 1]}]},
        "merged-3": {
            "use": "task_arithmetic",
            "models": ["code-0-1"],
            "base": "base-3-4",
            "weight": 2,
            "lambda": 0.5,
            "dtype": "float32",
        },
        "merged": {
            "use": "passthrough",
            "models": ["merged-1", "base", "merged-3"],
            "slices": [
                {"model": "merged-1", "layers": [0, 2]},
                {"model": "base", "layers": [3, 4]},
                {"model": "merged-3", "layers": [0, 1]},
            ],
            "dtype": "float32",
        },
    }
    said = "merged stacks merges of slices, which are of models that are cut to a slice's layers."
    assert notes(folder, SLICES) == [said]


def test_slices_of_one_model_are_stacked_as_they_are(folder: Path) -> None:
    """The way to a stack with the tokens of two models: by linear, whose weights of 0 bring in but their tokens."""
    config = """
merge_method: linear
parameters: {weight: 1.0}
slices:
- sources:
  - {model: models/math, layer_range: [0, 1]}
  - {model: models/code, layer_range: [0, 1], parameters: {weight: 0}}
- sources: [{model: models/math, layer_range: [1, 3]}]
- sources: [{model: models/code, layer_range: [2, 4]}]
tokenizer_source: union
"""
    merges = converted(folder, config)["merges"]
    assert list(merges) == ["math-0-1", "code-0-1", "merged-1", "merged"]
    assert merges["merged"]["slices"] == [
        {"model": "merged-1", "layers": [0, 1]},
        {"model": "math", "layers": [1, 3]},
        {"model": "code", "layers": [2, 4]},
    ]
    assert merges["merged-1"]["vocabulary"] == merges["merged"]["vocabulary"] == "union"


def test_a_slice_of_some_layers_is_a_merge_of_cuts(folder: Path) -> None:
    layers = (
        "slices:\n- sources:\n  - {model: models/math, layer_range: [0, 3]}\n  - {model: a/b, layer_range: [1, 4]}\n"
    )
    spec = converted(folder, "merge_method: linear\nparameters: {weight: 1}\n" + layers)
    assert list(spec["merges"]) == ["math-0-3", "b-1-4", "merged"]
    assert spec["merges"]["merged"]["models"] == ["math-0-3", "b-1-4"]


@pytest.mark.parametrize("place", ["models", "slices"])
def test_a_single_module_is_the_model(place: str, folder: Path) -> None:
    listed = "- {model: models/math, parameters: {weight: 0.3}LAYERS}\n    - {model: models/baseLAYERS}\n"
    if place == "models":
        module = f"    models:\n    {listed.replace('LAYERS', '')}"
    else:
        module = "    slices:\n    - sources:\n      " + listed.replace("LAYERS", ", layer_range: [0, 4]").replace(
            "    -", "      -"
        )
    config = f"merge_method: ties\n{BASE}modules:\n  default:\n{module}    parameters: {{density: 0.7}}\n"
    expected = {"use": "ties", "models": ["math"], "base": "base", "weight": 0.3, "density": 0.7, "lambda": 2}
    assert merge_of(folder, config + "parameters: {density: 0.1, lambda: 2}\n") == expected


def test_task_vectors_of_nothing_but_the_base_are_the_base(folder: Path) -> None:
    config = f"merge_method: task_arithmetic\n{BASE}models: [{{model: models/base, parameters: {{weight: 1}}}}]\n"
    assert merge_of(folder, config) == {"use": "passthrough", "models": ["base"]}


def test_documents_refer_to_each_other_by_their_names(folder: Path) -> None:
    config = f"""
name: 1st step
merge_method: linear
{TWO}
---
merge_method: slerp
base_model: last but one
models: [{{model: 1st step}}]
parameters: {{t: 0.5}}
---
name: last but one
merge_method: ties
base_model: models/base
models: [{{model: models/math, parameters: {{weight: 1}}}}, {{model: 1st step, parameters: {{weight: 2, x: 3}}}}]
"""
    spec = converted(folder, config)
    assert list(spec["models"]) == ["math", "code", "base"]
    merges = spec["merges"]
    assert merges["model-1st-step"]["models"] == ["math", "code"]
    assert merges["merged"] == {"use": "slerp", "models": ["last-but-one", "model-1st-step"], "t": 0.5}
    assert (merges["last-but-one"]["models"], merges["last-but-one"]["base"]) == (["math", "model-1st-step"], "base")
    assert notes(folder, config) == ["last-but-one: Left out, as ties does not take it: x."]


def test_what_becomes_of_slices_is_what_each_layer_should_be(folder: Path) -> None:
    """Read, combined and stacked, and compared with the formula for each layer."""
    torch.manual_seed(0)
    tensors = {
        name: {"embed.weight": torch.randn(5, 3), "norm.weight": torch.randn(3)}
        | {f"layers.{block}.mlp.weight": torch.randn(3, 3) for block in range(4)}
        for name in ("base", "math", "code")
    }
    for name, own in tensors.items():
        save_file(own, folder / f"{name}.safetensors")
        config = (folder / "models" / name / "config.json").read_text("utf-8")
        assert '"num_hidden_layers": 4' in config
        save_file(own, folder / "models" / name / "model.safetensors")
    (folder / "merge.yml").write_text(SLICES, "utf-8")
    (folder / "merge.yaml").write_text(import_spec("mergekit", Path("merge.yml")), "utf-8")
    SingleMerge(load("merge.yaml"), "merged", Store(folder / "store")).write(folder / "out")
    found = load_file(folder / "out" / "model.safetensors")
    base, math, code = (tensors[name] for name in ("base", "math", "code"))

    def moved(name: str, other: dict[str, torch.Tensor], theirs: str, weight: float) -> torch.Tensor:
        return base[name].double() + 0.5 * weight * (other[theirs].double() - base[name].double())

    expected = {
        "embed.weight": moved("embed.weight", math, "embed.weight", 0),
        "layers.0.mlp.weight": moved("layers.0.mlp.weight", math, "layers.2.mlp.weight", 0),
        "layers.1.mlp.weight": moved("layers.1.mlp.weight", math, "layers.3.mlp.weight", 1),
        "layers.2.mlp.weight": base["layers.3.mlp.weight"].double(),
        "layers.3.mlp.weight": moved("layers.3.mlp.weight", code, "layers.0.mlp.weight", 2),
        "norm.weight": moved("norm.weight", code, "norm.weight", 2),
    }
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name].double(), tensor, rtol=1e-6, atol=1e-6)
    assert yaml.safe_load((folder / "out" / "config.json").read_text("utf-8"))["num_hidden_layers"] == 4
