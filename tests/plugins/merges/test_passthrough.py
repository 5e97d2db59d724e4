"""Stacks of blocks: which blocks they are made of, that they run, and what scales them."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from compat_plugins.merges.passthrough import Passthrough
from compat_spec.errors import CompatError
from compat_spec.nn.checkpoint import Checkpoint
from compat_spec.nn.merging import TensorMerging, merge_tensor
from compat_spec.nn.network import load_network, save_network
from compat_spec.nn.outline import Model
from compat_spec.nn.per_tensor import TensorPlace
from compat_spec.spec import SpecError
from compat_spec.store import ArtifactRef
from tests.builders import tiny_network
from tests.run.experiments import Workplace

STACKS = {
    "llama": "model.layers",
    "gpt2": "transformer.h",
    "gpt_neox": "gpt_neox.layers",
    "opt": "model.decoder.layers",
}
AFTER = {
    "llama": ("model.norm", "lm_head"),
    "gpt2": ("transformer.ln_f",),  # the head is the embedding
    "gpt_neox": ("gpt_neox.final_layer_norm", "lm_head"),
    "opt": ("model.decoder.final_layer_norm",),
}


def make(**parameters: Any) -> Passthrough:
    return Passthrough.model_validate({"models": ["a", "b"], **parameters})


def merge(tensor: Tensor, merge: Passthrough, name: str = "model.layers.0.weight", depth: float = 0.0) -> Tensor:
    return merge_tensor(merge, [tensor], None, TensorPlace(name, depth))


def spec(folder: Path, merge: str, *models: tuple[str, Any]) -> Workplace:
    """A place whose spec merges these networks, saved in folders."""
    lines = ["name: stacks", "models:"]
    for name, network in models:
        save_network(network, folder / name)
        lines.append(f"  {name}: {{use: causal_lm, path: {name}, dtype: auto}}")
    (folder / "tiny.yaml").write_text("\n".join([*lines, f"merges:\n  stack: {merge}\n"]), "utf-8")
    return Workplace(folder)


def merged(place: Workplace) -> Path:
    summary = place.run()
    assert summary.exit_status == 0, summary.failed
    return place.store.path(ArtifactRef(place.fingerprint("merge stack")))


@pytest.mark.parametrize("kind", STACKS)
def test_a_stack_opens_and_computes_what_a_stack_of_modules_does(kind: str, tmp_path: Path) -> None:
    a, b = tiny_network(kind, seed=0, blocks=3), tiny_network(kind, seed=1, blocks=4)
    slices = "[{model: a, layers: [0, 2]}, {model: b, layers: [1, 4]}]"
    folder = merged(spec(tmp_path, f"{{use: passthrough, models: [a, b], slices: {slices}}}", ("a", a), ("b", b)))
    stack = load_network(folder)

    by_hand = copy.deepcopy(a.module)
    blocks = [*a.module.get_submodule(STACKS[kind])[:2], *b.module.get_submodule(STACKS[kind])[1:4]]
    by_hand.set_submodule(STACKS[kind], nn.ModuleList(copy.deepcopy(blocks)))
    by_hand.config.num_hidden_layers = len(blocks)
    for name in AFTER[kind]:
        by_hand.set_submodule(name, copy.deepcopy(b.module.get_submodule(name)))
    text = torch.arange(40).reshape(2, 20) * 5
    assert len(stack.anatomy) == 5
    with torch.no_grad():
        expected = by_hand(input_ids=text, use_cache=False).logits
        torch.testing.assert_close(stack.logits(text), expected, rtol=1e-5, atol=1e-6)
        assert not torch.allclose(stack.logits(text)[0, 0], a.logits(text)[0, 0], atol=1e-3)


def test_every_tensor_of_a_stack_is_that_of_its_block_to_the_bit(tmp_path: Path) -> None:
    a, b = (tiny_network("llama", seed=seed, blocks=3, dtype=torch.bfloat16) for seed in (0, 1))
    slices = "[{model: b, layers: [2, 3]}, {model: a, layers: [0, 3]}]"
    folder = merged(spec(tmp_path, f"{{use: passthrough, models: [a, b], slices: {slices}}}", ("a", a), ("b", b)))
    of_a, of_b, found = a.module.state_dict(), b.module.state_dict(), load_network(folder).module.state_dict()
    expected = {"model.embed_tokens.weight": of_b, "model.norm.weight": of_a, "lm_head.weight": of_a}
    assert all(found[name].equal(origin[name]) for name, origin in expected.items())
    origins = [(of_b, 2), (of_a, 0), (of_a, 1), (of_a, 2)]
    parts = [name.removeprefix("model.layers.0.") for name in of_a if name.startswith("model.layers.0.")]
    assert len(found) == len(expected) + 4 * len(parts)
    for number, (origin, block) in enumerate(origins):
        for part in parts:
            assert found[f"model.layers.{number}.{part}"].equal(origin[f"model.layers.{block}.{part}"])


def test_what_a_config_says_of_each_block_goes_along(tmp_path: Path) -> None:
    kinds = {"a": ["full_attention"] * 3, "b": ["sliding_attention", "full_attention", "sliding_attention"]}
    networks = [
        (name, tiny_network("qwen3", blocks=3, layer_types=types, sliding_window=8, use_sliding_window=True))
        for name, types in kinds.items()
    ]
    slices = "[{model: a, layers: [1, 3]}, {model: b, layers: [0, 2]}, {model: b, layers: [0, 1]}]"
    folder = merged(spec(tmp_path, f"{{use: passthrough, models: [a, b], slices: {slices}}}", *networks))
    config = json.loads((folder / "config.json").read_text("utf-8"))
    full, sliding = "full_attention", "sliding_attention"
    assert config["layer_types"] == [full, full, sliding, full, sliding]
    assert config["num_hidden_layers"] == 5
    assert config["architectures"] == ["Qwen3ForCausalLM"]
    assert load_network(folder).module.config.layer_types == config["layer_types"]


def test_one_model_without_slices_is_kept_to_the_bit(tmp_path: Path) -> None:
    network = tiny_network("llama", dtype=torch.bfloat16)
    folder = merged(spec(tmp_path, "{use: passthrough, models: [a]}", ("a", network)))
    found = load_network(folder).module.state_dict()
    assert found.keys() == network.module.state_dict().keys()
    assert all(found[name].equal(tensor) for name, tensor in network.module.state_dict().items())


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"width": 32}, r"cannot be stacked: lm_head.weight is \[257, 16\] and \[257, 32\]"),
        ({"tie_word_embeddings": True}, "a has lm_head.weight and b has not"),
    ],
)
def test_models_of_two_kinds_are_not_stacked(other: dict[str, Any], message: str, tmp_path: Path) -> None:
    save_network(tiny_network("llama"), tmp_path / "a")
    save_network(tiny_network("llama", **other), tmp_path / "b")
    stack = make(slices=[{"model": "a", "layers": [0, 2]}, {"model": "b", "layers": [1, 3]}])
    with (
        Checkpoint(tmp_path / "a") as a,
        Checkpoint(tmp_path / "b") as b,
        pytest.raises(CompatError, match=message),
    ):
        TensorMerging(stack, [Model("a", a), Model("b", b)])


def test_a_block_that_no_model_has_is_a_mistake(tmp_path: Path) -> None:
    merge = "{use: passthrough, models: [a], slices: [{model: a, layers: [0, 2]}, {model: a, layers: [1, 5]}]}"
    place = spec(tmp_path, merge, ("a", tiny_network("llama")))
    with pytest.raises(SpecError, match=r"layers \[1, 5\] are taken of a, which has 3"):
        place.plan()
    stack = make(slices=[{"model": "a", "layers": [0, 2]}, {"model": "b", "layers": [1, 4]}])
    with Checkpoint(tmp_path / "a") as a, pytest.raises(CompatError, match="b has no block 3: it has 3"):
        TensorMerging(stack, [Model("a", a), Model("b", a)])


def test_the_models_of_a_stack_may_differ_in_depth_but_not_in_width(tmp_path: Path) -> None:
    merge = "{use: passthrough, models: [a, b], slices: [{model: a, layers: [0, 1]}, {model: b, layers: [0, 1]}]}"
    a, deep, wide = (tiny_network("llama", **other) for other in ({}, {"blocks": 5}, {"width": 32}))
    assert spec(tmp_path, merge, ("a", a), ("b", deep)).plan()
    with pytest.raises(SpecError, match="hidden_size is 16 and 32"):
        spec(tmp_path, merge, ("a", a), ("b", wide)).plan()


SLICES = [
    {"model": "a", "layers": [0, 2]},
    {"model": "b", "layers": [1, 4], "scale": {"o_proj": 0.5, "*": {"gradient": [1, 2, 3, 4, 5]}}},
]


@pytest.mark.parametrize(
    ("name", "depth", "factor"),
    [
        ("model.layers.1.self_attn.o_proj.weight", 0.25, 3.0),
        ("model.layers.2.self_attn.o_proj.weight", 0.5, 0.5),
        ("model.layers.2.mlp.up_proj.weight", 0.5, 3.0),
        ("model.layers.4.mlp.up_proj.weight", 1.0, 5.0),
        ("model.embed_tokens.weight", 0.0, 3.0),
        ("model.norm.weight", 0.0, 1.0),
    ],
)
def test_tensors_are_scaled_by_what_their_slice_says(name: str, depth: float, factor: float) -> None:
    tensor = torch.randn(3, 5, generator=torch.Generator().manual_seed(0))
    assert merge(tensor, make(slices=SLICES, scale=3), name, depth).equal(tensor * factor)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_a_scale_of_one_keeps_the_bits_and_what_is_given_does_not_change(dtype: torch.dtype) -> None:
    tensor = torch.tensor([1.1, -0.0, float("inf"), 3e-39, -7.7], dtype=dtype)
    before = tensor.clone()
    for given in ({}, {"scale": 1}, {"scale": {"gradient": [1, 1]}}):
        kept = merge(tensor, make(models=["a"], **given), depth=0.3)
        assert kept.view(torch.uint8).equal(before.view(torch.uint8))
        kept.add_(1)
    assert merge(tensor, make(models=["a"], scale=-2)).equal(before * -2)
    assert tensor.view(torch.uint8).equal(before.view(torch.uint8))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({}, "without slices there is one model, not 2"),
        ({"slices": []}, "at least 1"),
        ({"slices": [{"model": "c", "layers": [0, 1]}]}, "a slice is of c, which is not one of the models a, b"),
        ({"slices": [{"model": "a", "layers": [0, 1]}]}, "no slice is of b"),
        ({"models": ["a"], "slices": [{"model": "a", "layers": [2, 2]}]}, "the second number must be larger"),
        ({"models": ["a"], "slices": [{"model": "a", "layers": [-1, 2]}]}, "greater than or equal to 0"),
        ({"models": ["a"], "slices": [{"model": "a", "layers": [1]}]}, "layers"),
        ({"models": ["a"], "scale": "nan"}, "finite"),
    ],
)
def test_parameters_without_sense_are_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        make(**wrong)
