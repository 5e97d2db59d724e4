"""Merges of models that read texts as different tokens: rows, tokenizers, and networks that work."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import AddedToken, decoders, pre_tokenizers, trainers
from tokenizers import Tokenizer as Core
from tokenizers import models as tokenizer_models
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

from compat_spec.nn.network import Network, Tokenizer, load_network, save_network, seeded
from compat_spec.run.single_merge import SingleMerge
from compat_spec.spec import SpecError, load
from compat_spec.store import ArtifactRef
from tests.builders import END, tiny_config
from tests.run.experiments import Workplace

MATHS = ["the sum of three and four is seven", "the sum of two and two is four", "seven and three"] * 20
CODES = ["return the sum", "def sum(three): return three", "for three in range(seven): yield three"] * 20
PADDING = {"a": 5, "b": 0, "c": 3}
"""Rows of each model beyond its tokens."""


def tokenizer_of(texts: Sequence[str], size: int, *special: str) -> Tokenizer:
    """A byte-level BPE that is trained on texts."""
    core = Core(tokenizer_models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=[END], initial_alphabet=alphabet, show_progress=False)
    core.train_from_iterator(texts, trainer)
    core.add_special_tokens([AddedToken(token, special=True) for token in special])
    return PreTrainedTokenizerFast(tokenizer_object=core, eos_token=END)


TOKENIZERS = {
    "a": tokenizer_of(MATHS, 280, "<|a|>", "<|both|>"),
    "b": tokenizer_of(CODES, 290, "<|both|>", "<|b|>"),
    "c": tokenizer_of(MATHS + CODES, 275),
}


@cache
def network(name: str, kind: str = "llama", **more: Any) -> Network:
    tokenizer = TOKENIZERS[name]
    config = tiny_config(kind, blocks=2, **more)
    config.vocab_size = len(tokenizer) + PADDING[name]
    with seeded(ord(name)):
        return Network(AutoModelForCausalLM.from_config(config).eval(), tokenizer)


def place_with(folder: Path, merge: str, *names: str, kind: str = "llama", **more: Any) -> Workplace:
    lines = ["name: words", "tasks:", "  math: {use: word_problems, train: 20, test: 8}", "models:"]
    for name in names:
        save_network(network(name, kind, **more), folder / name)
        lines.append(f"  {name}: {{use: causal_lm, path: {name}, dtype: auto}}")
    lines += [f"merges:\n  merged: {merge}", "metrics:\n  loss: {use: cross_entropy, on: math, of: merged, tokens: 64}"]
    (folder / "tiny.yaml").write_text("\n".join(lines) + "\n", "utf-8")
    return Workplace(folder)


def merged(place: Workplace) -> Path:
    summary = place.run()
    assert summary.exit_status == 0, summary.failed
    return place.store.path(ArtifactRef(place.fingerprint("merge merged")))


def rows(name: str, tensor: str, **more: Any) -> Tensor:
    found: Tensor = network(name, **more).module.state_dict()[tensor]
    return found


def row_by_hand(names: Sequence[str], tensor: str, model: str, token: str, base: str | None) -> Tensor:
    """The row of a token that a model goes into the merge with."""
    ids = {name: TOKENIZERS[name].get_vocab() for name in names}
    having = [name for name in names if token in ids[name]]
    chosen = [model] if model in having else [base] if base in having else having
    return torch.stack([rows(name, tensor)[ids[name][token]] for name in chosen]).mean(0)


TENSORS = ("model.embed_tokens.weight", "lm_head.weight")
WEIGHTS = {"a": 0.2, "b": 0.3, "c": 0.5}


@pytest.mark.parametrize(("vocabulary", "first"), [("base", "a"), ("base", "b"), ("union", "a"), ("union", "c")])
def test_each_token_has_the_average_of_its_rows(vocabulary: str, first: str, tmp_path: Path) -> None:
    names = [first, *(name for name in "abc" if name != first)]
    weight = [WEIGHTS[name] for name in names]
    merge = f"{{use: linear, models: {names}, weight: {weight}, vocabulary: {vocabulary}}}".replace("'", "")
    folder = merged(place_with(tmp_path, merge, *names))
    found, ids = load_network(folder).module.state_dict(), load_network(folder).tokenizer.get_vocab()
    everything = set().union(*(TOKENIZERS[name].get_vocab() for name in names))
    assert set(ids) == (everything if vocabulary == "union" else set(TOKENIZERS[first].get_vocab()))
    assert {token: ids[token] for token in TOKENIZERS[first].get_vocab()} == TOKENIZERS[first].get_vocab()
    base = first if vocabulary == "base" else None
    for tensor in TENSORS:
        for token, number in ids.items():
            expected = sum(WEIGHTS[name] * row_by_hand(names, tensor, name, token, base) for name in names)
            torch.testing.assert_close(found[tensor][number], expected, rtol=1e-5, atol=1e-6)
    inside = "model.layers.1.mlp.up_proj.weight"
    torch.testing.assert_close(found[inside], sum(WEIGHTS[name] * rows(name, inside) for name in names))


@pytest.mark.parametrize("vocabulary", ["base", "union"])
def test_the_base_of_a_merge_decides_vocabulary_config_and_the_rows_that_others_lack(
    vocabulary: str, tmp_path: Path
) -> None:
    merge = f"{{use: task_arithmetic, base: c, models: [a, b], weight: [1, 0.5], vocabulary: {vocabulary}}}"
    folder = merged(place_with(tmp_path, merge, "a", "b", "c"))
    found, ids = load_network(folder).module.state_dict(), load_network(folder).tokenizer.get_vocab()
    assert {token: ids[token] for token in TOKENIZERS["c"].get_vocab()} == TOKENIZERS["c"].get_vocab()
    assert ("<|a|>" in ids) is (vocabulary == "union")
    for tensor in TENSORS:
        for token, number in ids.items():
            a, b, c = (row_by_hand("cab", tensor, name, token, "c") for name in "abc")
            torch.testing.assert_close(found[tensor][number], c + (a - c) + 0.5 * (b - c), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("donor", ["b", "c"])
def test_a_merge_may_have_the_tokenizer_of_any_model(donor: str, tmp_path: Path) -> None:
    place = place_with(tmp_path, f"{{use: task_arithmetic, base: a, models: [b], tokenizer: {donor}}}", "a", "b", "c")
    (tmp_path / "a" / "generation_config.json").write_text('{"eos_token_id": 1, "top_k": 3}', "utf-8")
    folder = merged(place)
    result = load_network(folder)
    ids = TOKENIZERS[donor].get_vocab()
    assert result.tokenizer.get_vocab() == ids
    assert (folder / "tokenizer.json").read_bytes() == (tmp_path / donor / "tokenizer.json").read_bytes()
    for tensor in TENSORS:
        found = result.module.state_dict()[tensor]
        assert len(found) == len(ids) + (PADDING["b"] if donor == "b" else 0)
        for token, number in ids.items():
            known = any(token in TOKENIZERS[name].get_vocab() for name in "ab")
            row = row_by_hand("ab", tensor, "b", token, "a") if known else torch.zeros(found.shape[1])
            torch.testing.assert_close(found[number], row, rtol=1e-5, atol=1e-6)
    configs = [json.loads((at / "config.json").read_text("utf-8")) for at in (folder, tmp_path / donor)]
    assert configs[0].get("eos_token_id") == configs[1].get("eos_token_id")
    assert json.loads((folder / "generation_config.json").read_text("utf-8"))["top_k"] == 3


@pytest.mark.parametrize("vocabulary", ["base", "union"])
def test_the_padding_of_the_owner_stays_and_new_tokens_take_its_place_first(vocabulary: str, tmp_path: Path) -> None:
    folder = merged(place_with(tmp_path, f"{{use: linear, models: [a, b], vocabulary: {vocabulary}}}", "a", "b"))
    own = len(TOKENIZERS["a"])
    new = len(set(TOKENIZERS["b"].get_vocab()) - set(TOKENIZERS["a"].get_vocab()))
    assert new > PADDING["a"]
    expected = own + (new if vocabulary == "union" else PADDING["a"])
    assert json.loads((folder / "config.json").read_text("utf-8"))["vocab_size"] == expected
    found = load_network(folder).module.state_dict()
    for tensor in TENSORS:
        assert len(found[tensor]) == expected
        if vocabulary == "base":
            assert found[tensor][own:].equal(rows("a", tensor)[own:])


@pytest.mark.parametrize("kind", ["gpt2", "gpt_neox", "opt"])
def test_embeddings_are_found_in_other_architectures(kind: str, tmp_path: Path) -> None:
    merge = "{use: linear, models: [a, b], weight: [1, 0], vocabulary: union}"
    folder = merged(place_with(tmp_path, merge, "a", "b", kind=kind))
    both, a = load_network(folder), network("a", kind)
    ids = torch.tensor([[3, 70, 200, 270]])
    known = len(TOKENIZERS["a"])
    torch.testing.assert_close(both.logits(ids)[..., :known], a.logits(ids)[..., :known])


def test_a_union_reads_and_writes_every_text_and_uses_the_tokens_of_all(tmp_path: Path) -> None:
    folder = merged(place_with(tmp_path, "{use: slerp, models: [a, b], vocabulary: union}", "a", "b"))
    a, b = TOKENIZERS["a"], TOKENIZERS["b"]
    for opener in (AutoTokenizer, PreTrainedTokenizerFast):
        union = opener.from_pretrained(folder)
        for text in ("the sum of seven", "def yield(range): return 12", "häßlich ☂\n\t x<|b|>y<|both|><|a|>", "a" * 50):
            ids = union(text, add_special_tokens=False)["input_ids"]
            assert union.decode(ids) == text
        assert union.eos_token == END
        of_a, of_both = a.tokenize("for three in range(seven)"), union.tokenize("for three in range(seven)")
        assert len(of_both) < len(of_a)
        assert set(of_both) & (b.get_vocab().keys() - a.get_vocab().keys())
        assert union.tokenize("x<|b|>y") == ["x", "<|b|>", "y"]
        assert union("<|b|>", add_special_tokens=False)["input_ids"] == [union.get_vocab()["<|b|>"]]


def test_a_union_with_itself_is_itself(tmp_path: Path) -> None:
    place = place_with(tmp_path, "{use: linear, models: [a, a], vocabulary: union}", "a")
    both = load_network(merged(place))
    assert both.tokenizer.get_vocab() == TOKENIZERS["a"].get_vocab()
    assert both.tokenizer.tokenize(MATHS[0]) == TOKENIZERS["a"].tokenize(MATHS[0])
    assert all(tensor.equal(rows("a", name)) for name, tensor in both.module.state_dict().items())


def test_what_is_measured_of_a_merge_is_read_by_its_own_tokenizer(tmp_path: Path) -> None:
    merge = "{use: task_arithmetic, base: b, models: [a], weight: 0, vocabulary: base}"
    place = place_with(tmp_path, merge, "a", "b")
    place.spec.write_text(place.spec.read_text("utf-8").replace("of: merged", "of: [merged, b]"), "utf-8")
    merged(place)
    (of_merge, of_b) = place.rows("SELECT value FROM loss ORDER BY merge = 'b'")
    assert of_merge == pytest.approx(of_b)


# -------------------------------------------------------------------------------------------------------- mistakes


def test_without_a_vocabulary_different_tokenizers_are_a_mistake_before_anything_runs(tmp_path: Path) -> None:
    place = place_with(tmp_path, "{use: linear, models: [a, b]}", "a", "b")
    with pytest.raises(SpecError, match="linear cannot combine a and b: vocab_size is 287 and 292"):
        place.plan()


def test_a_head_that_is_tied_may_be_stored_by_one_model_and_not_by_another(tmp_path: Path) -> None:
    place = place_with(tmp_path, "{use: linear, models: [a, b], vocabulary: union}", "a", "b", tie_word_embeddings=True)
    file = tmp_path / "a" / "model.safetensors"
    tensors = load_file(file)
    assert "lm_head.weight" not in tensors
    save_file(tensors | {"lm_head.weight": tensors["model.embed_tokens.weight"].clone()}, file, {"format": "pt"})
    SingleMerge(load(tmp_path / "tiny.yaml"), "merged", place.store).write(tmp_path / "out")
    united = load_file(tmp_path / "out" / "model.safetensors")
    assert united["lm_head.weight"].equal(united["model.embed_tokens.weight"])


def test_shapes_are_still_compared(tmp_path: Path) -> None:
    place = place_with(tmp_path, "{use: linear, models: [a, b], vocabulary: union}", "a", "b")
    save_network(network("b", width=32), tmp_path / "b")
    with pytest.raises(SpecError, match="cannot combine a and b: hidden_size is 16 and 32"):
        place.plan()


def test_tokenizers_of_another_kind_have_no_union(tmp_path: Path) -> None:
    place = place_with(tmp_path, "{use: linear, models: [a, b], vocabulary: union}", "a", "b")
    core = Core(tokenizer_models.WordLevel({END: 0, "the": 1}, unk_token=END))
    PreTrainedTokenizerFast(tokenizer_object=core, eos_token=END).save_pretrained(tmp_path / "b")
    summary = place.run()
    assert "the tokenizer of b is of the type WordLevel" in str(summary.failed[0].error)
