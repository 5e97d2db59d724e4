"""Models whose files are not what they say are refused, not opened with random or left-out weights."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, BertConfig, BertLMHeadModel

from compat_spec.errors import CompatError
from compat_spec.nn.network import load_network, save_network
from compat_spec.nn.opening import check_causal
from tests.builders import tiny_network

Tensors = dict[str, Tensor]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_network(tiny_network(), tmp_path)
    return tmp_path


def change_config(folder: Path, **changes: Any) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def change_tensors(folder: Path, change: Callable[[Tensors], Tensors]) -> None:
    file = folder / "model.safetensors"
    save_file(change(load_file(file)), file, metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"n_layer": 5}, r"transformer\.h\.3\.attn\.c_attn\.bias is missing, and 23 more like it"),
        ({"n_layer": 2}, r"transformer\.h\.2\.attn\.c_attn\.weight has no place in it, and 10 more like it"),
        ({"n_embd": 32}, r"is \[48\], and by the config it is \[96\], and \d+ more like it"),
        ({"n_head": 3}, "cannot be opened"),
        ({"n_embd": "wide"}, "cannot be opened"),
    ],
)
def test_a_config_that_is_not_that_of_the_weights_is_refused(
    folder: Path, config: dict[str, Any], message: str, capfd: pytest.CaptureFixture[str]
) -> None:
    change_config(folder, **config)
    with pytest.raises(CompatError, match=message) as raised:
        load_network(folder)
    assert str(folder) in str(raised.value)
    assert "LOAD REPORT" not in "".join(capfd.readouterr())


def test_a_file_that_is_cut_is_refused(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:500])
    with pytest.raises(CompatError, match="cannot be opened"):
        load_network(folder)


def test_a_tensor_that_is_missing_is_named(folder: Path) -> None:
    change_tensors(folder, lambda tensors: {n: t for n, t in tensors.items() if n != "transformer.ln_f.bias"})
    with pytest.raises(CompatError, match=r"do not fit its config: transformer\.ln_f\.bias is missing$"):
        load_network(folder)


def test_files_of_old_versions_open(folder: Path) -> None:
    before = load_network(folder).module.state_dict()
    leftovers = {"h.0.attn.bias": torch.ones(1, 1, 64, 64), "h.0.attn.masked_bias": torch.tensor(-1e4)}
    change_tensors(folder, lambda tensors: {n.removeprefix("transformer."): t for n, t in tensors.items()} | leftovers)
    after = load_network(folder).module.state_dict()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())


# ------------------------------------------------------------------------------------------------------- causality


def bert(*, is_decoder: bool) -> BertLMHeadModel:
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    return BertLMHeadModel(BertConfig(vocab_size=50, is_decoder=is_decoder, **sizes))


def test_a_model_that_sees_what_comes_after_is_refused() -> None:
    with pytest.raises(CompatError, match=r"BertLMHeadModel is not a causal .*; say is_decoder: true in its config"):
        check_causal(bert(is_decoder=False))
    check_causal(bert(is_decoder=True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("model_type", ["gpt2", "gpt_neox", "llama", "qwen3", "mistral", "gemma", "opt"])
def test_causal_models_are_accepted(model_type: str, dtype: torch.dtype) -> None:
    check_causal(tiny_network(model_type, dtype=dtype).module)  # type: ignore[arg-type]


def test_routed_experts_are_accepted() -> None:
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    config = AutoConfig.for_model("mixtral", vocab_size=50, num_key_value_heads=2, num_local_experts=4, **sizes)
    check_causal(AutoModelForCausalLM.from_config(config))


def test_the_model_stays_in_its_mode() -> None:
    model = bert(is_decoder=True).train()
    check_causal(model)
    assert model.training
