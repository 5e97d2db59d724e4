"""Networks in folders: what is written is what is read, frozen, and by transformers too."""

from __future__ import annotations

import io
import logging
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging as transformers_logging

from compat_spec.errors import CompatError
from compat_spec.nn.network import Network, load_network, save_network, seeded
from tests.builders import byte_tokenizer, tiny_network

IDS = torch.arange(40).view(2, 20)


@pytest.mark.parametrize("model_type", ["gpt2", "gpt_neox", "llama", "qwen2", "qwen3", "mistral", "gemma", "opt"])
def test_a_network_comes_back_as_it_was(model_type: str, tmp_path: Path) -> None:
    network = tiny_network(model_type)
    save_network(network, tmp_path)
    again = load_network(tmp_path)
    assert torch.equal(again.logits(IDS), network.logits(IDS))
    assert again.context == 64
    assert again.device == torch.device("cpu")
    assert not again.module.training
    assert not any(parameter.requires_grad for parameter in again.module.parameters())


def test_from_pretrained_opens_what_is_written(tmp_path: Path) -> None:
    network = tiny_network()
    save_network(network, tmp_path)
    model: Any = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert torch.equal(model.eval()(IDS).logits, network.logits(IDS))
    tokenizer: Any = AutoTokenizer.from_pretrained(tmp_path)
    assert tokenizer("né 1")["input_ids"] == network.tokenizer("né 1")["input_ids"]


def test_dtypes_are_kept_or_changed_on_request(tmp_path: Path) -> None:
    save_network(tiny_network(dtype=torch.bfloat16), tmp_path)
    assert next(load_network(tmp_path).module.parameters()).dtype == torch.bfloat16
    assert next(load_network(tmp_path, dtype=torch.float32).module.parameters()).dtype == torch.float32


def test_pickles_are_not_opened(tmp_path: Path) -> None:
    save_network(tiny_network(), tmp_path)
    (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
    with pytest.raises(CompatError, match="safetensors"):
        load_network(tmp_path)


def test_modules_of_other_kinds_are_not_saved(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="Linear is not a transformers model"):
        save_network(Network(nn.Linear(2, 2), byte_tokenizer()), tmp_path)


def test_saving_and_loading_are_silent(tmp_path: Path) -> None:
    network = tiny_network()
    with redirect_stderr(io.StringIO()) as written:
        save_network(network, tmp_path)
        load_network(tmp_path)
    assert written.getvalue() == ""


def test_seeded_starts_from_the_seed_and_leaves_no_trace() -> None:
    torch.manual_seed(7)
    expected = torch.rand(2)
    torch.manual_seed(7)
    with seeded(3):
        first = torch.rand(2)
    with seeded(3):
        assert torch.equal(torch.rand(2), first)
    assert torch.equal(torch.rand(2), expected)


def test_an_end_of_text_that_serves_as_padding_is_no_reason_for_a_warning() -> None:
    said: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("transformers.modeling_utils")
    logger.addHandler(handler)
    transformers_logging.warning_once.cache_clear()
    try:
        network = tiny_network("gpt2")
        assert network.module.config.pad_token_id == network.tokenizer.eos_token_id
        network.logits(torch.full((1, 4), 256))
        logger.warning("something else")
    finally:
        logger.removeHandler(handler)
    assert said == ["something else"]
