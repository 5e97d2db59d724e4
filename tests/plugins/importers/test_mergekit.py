"""Configurations of mergekit as specs: what they become, and what cannot be said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from compat_plugins.importers.mergekit.methods import METHODS, Parameter
from compat_plugins.importers.mergekit.parameters import Settings, Source
from compat_spec import registry
from compat_spec.nn.per_tensor import Gradient, TensorPlace
from compat_spec.spec import load
from compat_spec.spec.importing import import_spec
from compat_spec.spec.nodes import Node
from compat_spec.spec.problems import Place, Problems
from tests.plugins.importers.imports import BARE, BASE, TWO, converted, merge_of, notes

# ------------------------------------------------------------------------------------------------------- examples

EXAMPLES = {
    "linear": TWO + "parameters: {normalize: false}\n",
    "slerp": "models: [{model: models/math}, {model: models/base}]\n" + BASE + "parameters: {t: 0.25}\n",
    "nuslerp": TWO + BASE + "parameters: {nuslerp_row_wise: true, nuslerp_flatten: false}\n",
    "multislerp": TWO + "parameters: {eps: 1e-7, normalize_weights: true}\n",
    "karcher": BARE + "parameters: {max_iter: 20, tol: 1e-6}\n",
    "task_arithmetic": TWO + BASE + "parameters: {lambda: 0.8, normalize: true}\n",
    "ties": TWO + BASE + "parameters: {density: 0.5, lambda: 1.1, int8_mask: true}\n",
    "dare_linear": TWO + BASE + "parameters: {density: 0.5, rescale: false}\n",
    "dare_ties": TWO + BASE + "parameters: {density: 0.5}\n",
    "della": TWO + BASE + "parameters: {density: 0.5, epsilon: 0.1}\n",
    "della_linear": TWO + BASE + "parameters: {density: 0.5, epsilon: 0.1, normalize: false}\n",
    "breadcrumbs": TWO + BASE + "parameters: {density: 0.5, gamma: 0.02}\n",
    "breadcrumbs_ties": TWO + BASE + "parameters: {density: 0.5, gamma: 0.02}\n",
    "sce": BARE + BASE + "parameters: {select_topk: 0.7}\n",
    "ram": BARE + BASE + "parameters: {epsilon: 1e-4}\n",
    "ramplus_tl": BARE + BASE + "parameters: {r: 0.2, alpha: 0.3, epsilon: 1e-4}\n",
    "model_stock": BARE + BASE + "parameters: {filter_wise: true}\n",
    "nearswap": "models: [{model: models/math}, {model: models/base}]\n" + BASE + "parameters: {t: 0.001}\n",
    "arcee_fusion": "models: [{model: models/math}, {model: models/base}]\n" + BASE,
    "passthrough": "models: [{model: models/math, parameters: {scale: 0.5}}]\n",
}
"""A configuration of each method, with every parameter that it has but those of the base."""

EXPECTED = {
    "linear": {"models": ["math", "code"], "weight": [0.3, 0.7], "normalize": False},
    "slerp": {"models": ["base", "math"], "t": 0.25},
    "nuslerp": {"weight": [0.3, 0.7], "nuslerp_row_wise": True, "nuslerp_flatten": False},
    "multislerp": {"models": ["math", "code"], "weight": [0.3, 0.7], "eps": 1e-7, "normalize_weights": True},
    "karcher": {"models": ["math", "code"], "max_iter": 20, "tol": 1e-6},
    "task_arithmetic": {"weight": [0.3, 0.7], "lambda": 0.8, "normalize": True},
    "ties": {"weight": [0.3, 0.7], "density": 0.5, "lambda": 1.1},
    "dare_linear": {"weight": [0.3, 0.7], "density": 0.5, "rescale": False},
    "dare_ties": {"weight": [0.3, 0.7], "density": 0.5},
    "della": {"weight": [0.3, 0.7], "density": 0.5, "epsilon": 0.1},
    "della_linear": {"weight": [0.3, 0.7], "density": 0.5, "epsilon": 0.1, "normalize": False},
    "breadcrumbs": {"weight": [0.3, 0.7], "density": 0.5, "gamma": 0.02},
    "breadcrumbs_ties": {"weight": [0.3, 0.7], "density": 0.5, "gamma": 0.02},
    "sce": {"select_topk": 0.7},
    "ram": {"epsilon": 1e-4},
    "ramplus_tl": {"r": 0.2, "alpha": 0.3, "epsilon": 1e-4},
    "model_stock": {"filter_wise": True},
    "nearswap": {"models": ["math"], "t": 0.001},
    "arcee_fusion": {"models": ["math"]},
    "passthrough": {"models": ["math"], "scale": 0.5},
}


def test_what_holds_for_all_holds_for_a_base_that_is_not_listed(folder: Path) -> None:
    document = "models: [{model: models/math}]\n" + BASE + "parameters: "
    slerp = merge_of(folder, f"merge_method: slerp\n{document}{{t: 0.25}}\n")
    assert slerp == {"use": "slerp", "models": ["base", "math"], "t": 0.25}
    linear = merge_of(folder, f"merge_method: linear\n{document}{{weight: 0.5, normalize: false}}\n")
    assert linear == {"use": "linear", "models": ["base", "math"], "weight": 0.5, "normalize": False}


WITH_BASE = EXPECTED.keys() - {"linear", "slerp", "multislerp", "karcher", "passthrough"}


@pytest.mark.parametrize("method", METHODS)
def test_every_method_becomes_ours_of_that_name(method: str, folder: Path) -> None:
    expected = {"use": method, "models": ["math", "code"], **({"base": "base"} if method in WITH_BASE else {})}
    assert merge_of(folder, f"merge_method: {method}\n{EXAMPLES[method]}") == expected | EXPECTED[method]


@pytest.mark.parametrize("method", METHODS)
def test_ours_has_the_same_defaults(method: str, folder: Path) -> None:
    fields = registry.component("compat.merges", method).parameters()
    for parameter in METHODS[method].parameters:
        if parameter.default is not None:
            assert fields[parameter.name].default == parameter.default, parameter.name


# ------------------------------------------------------------------------------------------------------ parameters


def by_mergekit(setting: Any, name: str, depth: float) -> float | None:
    """What mergekit makes of a setting for a tensor."""
    if isinstance(setting, list) and setting and all(isinstance(entry, dict) for entry in setting):
        for entry in setting:
            if entry.get("filter") in (None, "*") or entry["filter"] in name:
                return by_mergekit(entry["value"], name, depth)
        return None
    if not isinstance(setting, list):
        return float(setting)
    if not setting:
        return None
    position = depth * (len(setting) - 1)
    below = int(position)
    return setting[below] + (position - below) * (setting[min(below + 1, len(setting) - 1)] - setting[below])


numbers = st.integers(0, 8).map(lambda n: n / 8)
plain = numbers | st.lists(numbers, min_size=1, max_size=4)
entries = st.fixed_dictionaries({"value": plain}, optional={"filter": st.sampled_from(["mlp", "up", "q_proj", "*"])})
settings = st.none() | plain | st.lists(entries, max_size=4)


def tree(plain: Any) -> Node:
    place = Place(0, 1, 1, "merge.yml")
    if isinstance(plain, dict):
        return Node({key: tree(value) for key, value in plain.items()}, place)
    return Node([tree(value) for value in plain] if isinstance(plain, list) else plain, place)


@given(own=settings, of_all=settings, default=numbers)
def test_a_parameter_is_what_mergekit_makes_of_it_for_every_tensor(own: Any, of_all: Any, default: float) -> None:
    given = [{} if setting is None else {"weight": setting} for setting in (own, of_all)]
    problems = Problems()
    sources = [Source(tree(parameters), "parameters") for parameters in given]
    setting = Settings(problems).setting(Parameter("weight", default=default), sources)
    assert not len(problems)
    for name in ("layers.0.mlp.up_proj", "layers.1.self_attn.q_proj", "layers.1.mlp.down_proj", "embed"):
        for depth in (0.0, 0.3, 0.5, 1.0):
            asked = [by_mergekit(setting, name, depth) for setting in (own, of_all) if setting is not None]
            expected = next((value for value in asked if value is not None), default)
            found = default if setting is None else TensorPlace(name, depth).value(as_parsed(setting))
            assert found == pytest.approx(expected)


def as_parsed(setting: Any) -> Any:
    if not isinstance(setting, dict):
        return setting
    if "gradient" in setting:
        return Gradient(tuple(setting["gradient"]))
    return {part: as_parsed(inner) for part, inner in setting.items()}


def test_the_settings_of_models_stand_in_their_order_with_those_of_all_where_they_have_none(folder: Path) -> None:
    config = """
        merge_method: linear
        models:
          - {model: models/math, parameters: {weight: [{filter: mlp, value: 2}]}}
          - {model: models/code}
          - {model: models/base, parameters: {weight: [0, 1]}}
        parameters: {weight: 0.5}
    """
    assert merge_of(folder, config)["weight"] == [{"mlp": 2, "*": 0.5}, 0.5, {"gradient": [0, 1]}]


def test_a_base_among_the_models_of_linear_comes_first_for_its_tokenizer_is_the_results(folder: Path) -> None:
    config = "merge_method: linear\nbase_model: models/code\n" + TWO
    assert merge_of(folder, config) == {"use": "linear", "models": ["code", "math"], "weight": [0.7, 0.3]}
    config = "merge_method: linear\nbase_model: models/base\nparameters: {weight: 1}\n" + BARE
    assert merge_of(folder, config)["models"] == ["base", "math", "code"]


def test_slices_of_all_layers_are_a_merge_of_models(folder: Path) -> None:
    config = """
        merge_method: slerp
        base_model: models/base
        slices:
          - sources:
              - {model: models/math, layer_range: [0, 4]}
              - {model: models/base, layer_range: [0, 4]}
            parameters: {t: [{filter: mlp, value: 0.1}]}
        parameters: {t: 0.5}
        dtype: float32
        out_dtype: torch.bfloat16
    """
    expected = {"use": "slerp", "models": ["base", "math"], "t": {"mlp": 0.1, "*": 0.5}, "dtype": "bfloat16"}
    assert merge_of(folder, config) == expected


def test_stacks_are_slices_and_their_scales_have_the_depth_of_the_stack(folder: Path) -> None:
    config = """
        merge_method: passthrough
        slices:
          - sources: [{model: models/math, layer_range: [0, 2]}]
          - sources:
              - model: models/code
                layer_range: [1, 4]
                parameters: {scale: [{filter: o_proj, value: 0}, {filter: mlp, value: [1, 2]}]}
    """
    merge = merge_of(folder, config)
    assert merge["models"] == ["math", "code"]
    first, second = merge["slices"]
    assert first == {"model": "math", "layers": [0, 2]}
    assert second == {
        "model": "code",
        "layers": [1, 4],
        "scale": {"o_proj": 0, "mlp": {"gradient": [1, 1, 1, 1.5, 2]}, "*": 1},
    }


@pytest.mark.parametrize(
    ("written", "vocabulary"),
    [
        ("tokenizer_source: union", "union"),
        ("tokenizer_source: base", "base"),
        ("tokenizer_source: models/base", "base"),
        ("tokenizer: {source: base}", "base"),
        ("tokenizer: {source: models/base}", "base"),
        ("tokenizer: {tokens: {}}", "union"),
        ("tokenizer: {}", "union"),
        ("tokenizer_source: null", None),
    ],
)
def test_the_source_of_the_tokenizer_is_the_vocabulary(written: str, vocabulary: str | None, folder: Path) -> None:
    assert merge_of(folder, f"merge_method: ties\n{TWO}{BASE}{written}\n").get("vocabulary") == vocabulary


# ---------------------------------------------------------------------------------------------------------- models


def test_folders_are_paths_and_everything_else_is_on_the_hub(folder: Path) -> None:
    config = """
        merge_method: linear
        parameters: {weight: 1}
        models:
          - {model: models/math}
          - {model: someone/math@abc123}
          - {model: {model: {path: someone/7B-Chat.v0.1, revision: main}}}
          - {model: x/all}
          - {model: x/merged}
    """
    spec = converted(folder, config)
    assert spec["models"] == {
        "math": {"use": "causal_lm", "path": "models/math", "dtype": "auto"},
        "math-2": {"use": "causal_lm", "hub": "someone/math", "revision": "abc123", "dtype": "auto"},
        "model-7B-Chat-v0-1": {"use": "causal_lm", "hub": "someone/7B-Chat.v0.1", "revision": "main", "dtype": "auto"},
        "all-2": {"use": "causal_lm", "hub": "x/all", "dtype": "auto"},
        "merged-2": {"use": "causal_lm", "hub": "x/merged", "dtype": "auto"},
    }
    assert spec["merges"]["merged"]["models"] == list(spec["models"])


def test_an_adapter_in_a_folder_is_folded_into_its_model(folder: Path) -> None:
    adapter = folder / "lora"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text("{}", "utf-8")
    (adapter / "adapter_model.safetensors").write_bytes(b"")
    config = "merge_method: passthrough\nmodels: [{model: models/math+lora}]\n"
    declared = {"use": "causal_lm", "path": "models/math", "adapter": "lora", "dtype": "auto"}
    assert converted(folder, config)["models"] == {"math-lora": declared}
    config = "merge_method: passthrough\nmodels: [{model: {model: someone/x, lora: lora}}]\n"
    declared = {"use": "causal_lm", "hub": "someone/x", "adapter": "lora", "dtype": "auto"}
    assert converted(folder, config)["models"]["x-lora"] == declared


def test_a_configuration_in_another_folder_has_its_models_there(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "merge.yml").write_text("merge_method: linear\n" + TWO, "utf-8")
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    text = import_spec("mergekit", Path("../merge.yml"))
    assert yaml.safe_load(text)["models"]["math"]["path"] == str((folder / "models" / "math").resolve())
    (elsewhere / "spec.yaml").write_text(text, "utf-8")
    assert set(load("spec.yaml").models) == {"math", "code"}


def test_the_tokenizer_of_another_model_is_taken_whether_it_is_merged_or_not(folder: Path) -> None:
    merge = merge_of(folder, f"merge_method: ties\n{TWO}{BASE}tokenizer_source: models/code\n")
    assert (merge["tokenizer"], "vocabulary" in merge) == ("code", False)
    spec = converted(folder, f"merge_method: ties\n{TWO}{BASE}tokenizer_source: model:someone/chat\n")
    assert spec["models"]["chat"] == {"use": "causal_lm", "hub": "someone/chat", "dtype": "auto"}
    assert spec["merges"]["merged"]["tokenizer"] == "chat"


def test_a_file_of_tensors_can_be_merged(folder: Path) -> None:
    for name in "ab":
        (folder / f"{name}.safetensors").write_bytes(b"")
    spec = converted(folder, "merge_method: karcher\nmodels: [{model: a.safetensors}, {model: b.safetensors}]")
    assert spec["models"] == {name: {"use": "tensors", "path": f"{name}.safetensors"} for name in "ab"}


def test_what_has_no_effect_is_left_out_and_said(folder: Path) -> None:
    config = """
        merge_method: ties
        chat_template: auto
        name: mine
        base_model: models/base
        models:
          - {model: models/base, parameters: {weight: 1}}
          - {model: models/math, revision: x, parameters: {weight: 0.5, lambda: 2}}
        parameters: {gamma: 0.5, int8_mask: 1}
    """
    assert notes(folder, config) == [
        "Left out, as ties does not take it: gamma.",
        "Left out, as mergekit takes it for all models only: models.1.parameters.lambda.",
        "Left out, as this is the base model: models.0.parameters.weight.",
        "Left out, as mergekit ignores it: name, models.1.revision.",
        "Left out: chat_template. The result has that of its tokenizer.",
    ]


def test_switches_may_be_written_as_in_older_yaml(folder: Path) -> None:
    for written, meant in (("yes", True), ("off", False), ("1.0", True), ("0", False), ("'True'", True)):
        assert (
            merge_of(folder, f"merge_method: linear\nparameters: {{normalize: {written}}}\n{TWO}")["normalize"] is meant
        )


def test_merge_keys_take_over_what_is_not_given(folder: Path) -> None:
    config = """
        all: &all {weight: 0.5, density: 0.3}
        merge_method: ties
        base_model: models/base
        models:
          - {model: models/math, parameters: {<<: *all, weight: 0.2}}
          - {model: models/code, parameters: {<<: [{density: 1}, *all]}}
    """
    merge = merge_of(folder, config)
    assert (merge["weight"], merge["density"]) == ([0.2, 0.5], [0.3, 1])
