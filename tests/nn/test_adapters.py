"""LoRA adapters folded into the models that they belong to, against peft itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file

from compat_plugins.models.causal_lm import CausalLM
from compat_spec.errors import CompatError
from compat_spec.nn.checkpoint import Checkpoint
from compat_spec.nn.network import load_network, save_network, seeded
from compat_spec.nn.weights import Weights
from compat_spec.run import SingleMerge
from compat_spec.spec import load
from compat_spec.store import Store
from tests.builders import tiny_network

EVERYWHERE = {
    "llama": ["q_proj", "v_proj", "down_proj"],
    "gpt2": ["c_attn", "c_proj", "c_fc"],
    "qwen2": ["q_proj", "v_proj"],
}
KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "rslora": {"use_rslora": True},
    "dora": {"use_dora": True},
    "patterns": {"rank_pattern": {"v_proj": 3}, "alpha_pattern": {"v_proj": 7, "layers.1.self_attn.q_proj": 1}},
    "embedding": {"target_modules": ["embed_tokens", "q_proj"]},
    "saved": {"modules_to_save": ["lm_head"]},
    "biases": {"bias": "all"},
    "shifts": {"lora_bias": True},
    "head": {"target_modules": ["lm_head", "c_proj"]},
    "embedding dora": {"target_modules": ["embed_tokens", "q_proj"], "use_dora": True},
}
TARGETS = {"target_modules": EVERYWHERE["llama"]}
CASES = [(kind, "llama") for kind in ("plain", "rslora", "dora", "patterns", "embedding", "saved", "embedding dora")]
CASES += [(kind, "gpt2") for kind in ("plain", "rslora", "dora", "head", "biases")]
CASES += [(kind, "qwen2") for kind in ("biases", "shifts")]


def make(folder: Path, kind: str, model_type: str = "llama", dtype: torch.dtype = torch.float32) -> Weights:
    """A model and an adapter of it, in folders, with numbers everywhere."""
    network = tiny_network(model_type, dtype=dtype, tie_word_embeddings=False)
    save_network(network, folder / "base")
    config = LoraConfig(**{"r": 2, "lora_alpha": 5, "target_modules": EVERYWHERE[model_type], **KINDS[kind]})
    with seeded(1):
        adapted = get_peft_model(network.module, config)
        with torch.no_grad():
            for parameter in adapted.parameters():
                if parameter.requires_grad:
                    parameter.add_(torch.randn_like(parameter) * 0.3)
    adapted.save_pretrained(folder / "adapter")
    return Weights(folder / "base", folder / "adapter")


def by_peft(weights: Weights) -> dict[str, torch.Tensor]:
    assert weights.adapter is not None
    model = load_network(weights.place, dtype=torch.float64).module
    return PeftModel.from_pretrained(model, weights.adapter).double().merge_and_unload().state_dict()


@pytest.mark.filterwarnings(
    "ignore:fan_in_fan_out", "ignore:Setting `save_embedding_layers`", "ignore:Adapter 'default'"
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("kind", "model_type"), CASES)
def test_every_tensor_is_what_peft_makes_of_it(tmp_path: Path, kind: str, model_type: str, dtype: torch.dtype) -> None:
    weights = make(tmp_path, kind, model_type, dtype)
    expected = by_peft(weights)
    with weights.open() as tensors, Checkpoint(weights.place) as before:
        assert list(tensors) == list(before)
        changed = [name for name in tensors if not torch.equal(tensors[name], before[name])]
        assert changed
        for name in tensors:
            off = (tensors[name].double() - expected[name]).norm()
            assert off <= 2 * torch.finfo(dtype).eps * expected[name].norm(), name
            if name not in changed:
                assert torch.equal(tensors[name], before[name])


def test_pieces_are_parts_of_the_whole_wherever_they_begin(tmp_path: Path) -> None:
    with make(tmp_path, "dora").open() as tensors:
        name = "model.layers.0.self_attn.q_proj.weight"
        whole = tensors[name].flatten()
        for start, stop in [(0, 0), (0, 1), (15, 17), (5, 200), (31, 32), (0, len(whole)), (250, 256)]:
            torch.testing.assert_close(tensors.piece(name, start, stop), whole[start:stop], rtol=0, atol=1e-6)


@pytest.mark.filterwarnings("ignore:Setting `save_embedding_layers`", "ignore:Model")
def test_where_the_head_is_tied_it_follows_the_embeddings(tmp_path: Path) -> None:
    for kind in ("embedding", "saved"):
        network = tiny_network("llama", tie_word_embeddings=True)
        save_network(network, tmp_path / kind / "base")
        config = LoraConfig(r=2, init_lora_weights=False, **{**TARGETS, **KINDS[kind]})
        adapted = get_peft_model(network.module, config)
        if kind == "saved":
            adapted.base_model.model.lm_head.modules_to_save.default.weight.data.add_(1)
        adapted.save_pretrained(tmp_path / kind / "adapter")
    weights = Weights(tmp_path / "embedding" / "base", tmp_path / "embedding" / "adapter")
    expected = by_peft(weights)
    with weights.open() as tensors:
        assert "lm_head.weight" not in tensors
        for name in tensors:
            torch.testing.assert_close(tensors[name].double(), expected[name], rtol=1e-5, atol=1e-6)
    with pytest.raises(CompatError, match=r"has no lm_head.weight; if the model ties it to another, it cannot be"):
        Weights(tmp_path / "saved" / "base", tmp_path / "saved" / "adapter").open()


def test_what_is_read_of_an_adapter_is_counted(tmp_path: Path) -> None:
    weights = make(tmp_path, "biases", "qwen2", torch.bfloat16)
    assert weights.adapter is not None
    with weights.open() as tensors, Checkpoint(weights.place) as base:
        stored = load_file(weights.adapter / "adapter_model.safetensors")
        biases = {name.removeprefix("base_model.model.") for name in stored if name.endswith(".bias")}
        instead = sum(base.bytes(name.replace(".base_layer", "")) for name in biases)
        read = sum(tensors.bytes(name) for name in tensors)
        assert read == sum(map(base.bytes, base)) - instead + sum(tensor.nbytes for tensor in stored.values())


def test_a_source_with_an_adapter_is_the_folded_network(tmp_path: Path) -> None:
    weights = make(tmp_path, "plain", dtype=torch.bfloat16)
    source = CausalLM.model_validate({"path": str(weights.place), "adapter": str(weights.adapter)})
    assert source.weights() == weights
    model = source.make_model(source.make_tokenizer({}))
    expected = by_peft(weights)
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(tensor.double(), expected[name], rtol=1e-5, atol=1e-6)
    assert source.identity().keys() == {"path", "adapter"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"peft_type": "IA3"}, "is of the kind IA3; only LORA can be folded"),
        ({"half": True}, "has only half of the product for model.layers.0.mlp.down_proj.weight"),
        ({"stranger": True}, "which has no gone.weight"),
        ({"wide": True}, r"q_proj.weight is \[16, 16\], and the adapter is for \[16, 17\]"),
        ({"pickled": True}, "has no adapter_model.safetensors; only safetensors are read"),
        ({"broken": True}, "adapter_config.json cannot be read"),
        ({"init_lora_weights": "pissa_niter_4"}, "began as pissa_niter_4, which changes the model under it"),
        ({"trainable_token_indices": [1]}, "uses trainable_token_indices, which cannot be folded in"),
        ({"lora_alpha": None}, "adapter_config.json has no number as lora_alpha"),
    ],
)
def test_an_adapter_that_does_not_fit_is_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    weights = make(tmp_path, "plain")
    assert weights.adapter is not None
    file, config = weights.adapter / "adapter_model.safetensors", weights.adapter / "adapter_config.json"
    tensors, prefix = load_file(file), "base_model.model.model.layers.0"
    match next(iter(change)):
        case "peft_type" | "lora_alpha" | "init_lora_weights" | "trainable_token_indices":
            config.write_text(json.dumps(json.loads(config.read_text()) | change))
        case "half":
            del tensors[f"{prefix}.mlp.down_proj.lora_B.weight"]
        case "stranger":
            tensors["base_model.model.gone.weight"] = torch.ones(2)
        case "wide":
            tensors[f"{prefix}.self_attn.q_proj.lora_A.weight"] = torch.ones(2, 17)
        case "broken":
            config.write_text("{")
    save_file(tensors, file)
    if "pickled" in change:
        file.unlink()
    with pytest.raises(CompatError, match=message):
        weights.open()


SPEC = """
models:
  base: {use: causal_lm, path: base}
  one: {use: causal_lm, path: base, adapter: one}
  two: {use: tensors, path: base, adapter: two}
  whole: {use: causal_lm, path: whole}
merges:
  average: {use: linear, models: [one, two], weight: [1, 3]}
  trimmed: {use: ties, models: [one, two], base: base, density: 0.5}
  twice: {use: linear, models: [one, two], normalize: false}
  mixed: {use: linear, models: [one, whole]}
  stacked: {use: passthrough, models: [one], slices: [{model: one, layers: [0, 1]}]}
  united: {use: linear, models: [one, two], vocabulary: union}
"""


@pytest.fixture(params=["llama", "gpt2"])
def two_adapters(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A base, two adapters of it, and a spec that merges them."""
    make(tmp_path, "plain", request.param)
    (tmp_path / "adapter").rename(tmp_path / "one")
    other = get_peft_model(
        load_network(tmp_path / "base").module,
        LoraConfig(r=3, lora_alpha=2, target_modules=EVERYWHERE[request.param][:2], init_lora_weights=False),
    )
    other.save_pretrained(tmp_path / "two")
    save_network(tiny_network(request.param, seed=5, tie_word_embeddings=False), tmp_path / "whole")
    (tmp_path / "spec.yaml").write_text(SPEC)
    return tmp_path


def merging(folder: Path, name: str) -> SingleMerge:
    return SingleMerge(load(folder / "spec.yaml"), name, Store(folder / "store"))


def changes(folder: Path, adapter: str) -> dict[str, torch.Tensor]:
    """What an adapter adds to the base, by peft."""
    before = load_network(folder / "base", dtype=torch.float64).module.state_dict()
    after = by_peft(Weights(folder / "base", folder / adapter))
    return {name: tensor - before[name] for name, tensor in after.items()}


@pytest.mark.filterwarnings("ignore:fan_in_fan_out")
def test_a_linear_merge_of_adapters_is_an_adapter_of_the_sum_of_their_ranks(two_adapters: Path) -> None:
    kept = merging(two_adapters, "average").write_adapter(two_adapters / "merged", 5)
    assert kept == pytest.approx(1, abs=1e-9)
    one, two, merged = (changes(two_adapters, name) for name in ("one", "two", "merged"))
    assert any(bool(change.any()) for change in merged.values())
    for name, change in merged.items():
        torch.testing.assert_close(change, (one[name] + 3 * two[name]) / 4, rtol=1e-4, atol=1e-6)
    stored = load_file(two_adapters / "merged" / "adapter_model.safetensors")
    forecast = merging(two_adapters, "average").forecast(5)
    assert (forecast.tensors, forecast.bytes_to_write) == (len(stored), sum(part.nbytes for part in stored.values()))
    with Checkpoint(two_adapters / "base") as base:
        adapters = [load_file(two_adapters / name / "adapter_model.safetensors") for name in ("one", "two")]
        read = sum(part.nbytes for adapter in adapters for part in adapter.values())
        assert forecast.bytes_to_read == 3 * sum(map(base.bytes, base)) + read
    assert "library_name: peft" in (two_adapters / "merged" / "README.md").read_text()


@pytest.mark.filterwarnings("ignore:fan_in_fan_out")
def test_any_merge_of_adapters_is_cut_off_to_the_largest_singular_values(two_adapters: Path) -> None:
    single = merging(two_adapters, "trimmed")
    single.write(two_adapters / "exact")
    kept = single.write_adapter(two_adapters / "merged", 2)
    with Checkpoint(two_adapters / "exact") as exact, Checkpoint(two_adapters / "base") as base:
        wanted = {name: exact[name].double() - base[name].double() for name in base}
    found = changes(two_adapters, "merged")
    squares = cut = 0.0
    for name, tensor in wanted.items():
        if tensor.any():
            values = torch.linalg.svdvals(tensor)
            off = (found[name] - tensor).norm()
            assert float(off) == pytest.approx(float(values[2:].norm()), rel=1e-4), "Eckart and Young"
            squares, cut = squares + float(values.square().sum()), cut + float(values[2:].square().sum())
    assert kept == pytest.approx(1 - cut / squares, rel=1e-5)
    assert 0.2 < kept < 0.99


@pytest.mark.filterwarnings("ignore:fan_in_fan_out")
def test_what_is_no_adapter_is_not_written_as_one(two_adapters: Path) -> None:
    for name, rank, message in (
        ("mixed", 2, "all its models must be adapters, and whole is not"),
        ("twice", 2, "which no adapter changes: write the whole model, without --adapter"),
        ("average", 17, "an adapter of rank 17 is larger than that"),
        ("stacked", 2, "it has other blocks than its models"),
        ("united", 2, "it changes the vocabulary"),
    ):
        with pytest.raises(CompatError, match=message):
            merging(two_adapters, name).write_adapter(two_adapters / "merged", rank)
        assert not (two_adapters / "merged").exists()
