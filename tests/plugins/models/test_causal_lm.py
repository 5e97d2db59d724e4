"""The causal_lm source: models from configs and folders, tokenizers trained or ready, and clear refusals."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from compat_plugins.models.causal_lm import CausalLM
from compat_spec.components import Example, TaskName, names_in
from compat_spec.errors import CompatError
from compat_spec.nn.network import Network, Tokenizer, load_network, load_tokenizer, save_network, seeded
from tests.builders import byte_tokenizer, tiny_network

TEXTS = [
    "There are 120 apples in 10 boxes. How many apples are in a box?",
    "def total(apples, boxes):\n    return apples // boxes\n",
    "A box holds 12 apples, and 7 boxes hold 84 of them.",
]
EXAMPLES = {TaskName("words"): [Example("", text) for text in TEXTS]}
SMALL: dict[str, Any] = {"model_type": "gpt2", "n_layer": 2, "n_embd": 8, "n_head": 2, "n_positions": 32}
WORDS: dict[str, Any] = {"train_on": ["words"], "vocab_size": 300}
HARD = "12345 naïve e\u0301 你好 🙂\t\t x  \r\n<s> </s> def f(x):\n        return 1000  \n"


def make(folder: Path | None = None, **fields: Any) -> CausalLM:
    return CausalLM.model_validate(fields, context={"folder": folder} if folder else None)


def small(**fields: Any) -> CausalLM:
    return make(**{"config": SMALL, "tokenizer": WORDS} | fields)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A folder with a tiny network."""
    save_network(tiny_network(), tmp_path / "model")
    return tmp_path / "model"


# --------------------------------------------------------------------------------------------------- tokenizers


def test_a_trained_tokenizer_writes_and_reads_every_text() -> None:
    tokenizer = small().make_tokenizer(EXAMPLES)
    for text in [*TEXTS, HARD]:
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    assert len(tokenizer) == 300
    assert tokenizer.eos_token == "<|endoftext|>"
    assert len(tokenizer(TEXTS[0])["input_ids"]) < 0.8 * len(TEXTS[0])


@pytest.mark.parametrize("split_digits", [True, False])
def test_digits_are_split_when_asked_for(split_digits: bool) -> None:
    numbers = {TaskName("words"): [Example("", "1999 1999 1999 1999")] * 3}
    source = small(tokenizer={**WORDS, "vocab_size": 280, "split_digits": split_digits})
    tokens = source.make_tokenizer(numbers).tokenize("1999")
    assert (len(tokens) == 4) == split_digits


def test_a_tokenizer_is_trained_on_the_named_tasks_only() -> None:
    examples = EXAMPLES | {TaskName("other"): [Example("", "zyzzyva " * 50)]}
    assert small().make_tokenizer(examples).get_vocab() == small().make_tokenizer(EXAMPLES).get_vocab()
    both = small(tokenizer={**WORDS, "train_on": ["words", "other"]})
    assert list(names_in(both, TaskName)) == ["words", "other"]
    assert both.make_tokenizer(examples).get_vocab() != small().make_tokenizer(EXAMPLES).get_vocab()


@pytest.mark.parametrize("model_type", ["gpt2", "gpt_neox", "llama", "qwen2", "qwen3", "mistral", "gemma", "opt"])
def test_a_tokenizer_beside_a_model_of_any_kind_comes_back_as_it_was(model_type: str, tmp_path: Path) -> None:
    tokenizer = small().make_tokenizer(EXAMPLES)
    save_network(Network(tiny_network(model_type, blocks=1).module, tokenizer), tmp_path)
    again = load_tokenizer(tmp_path)
    for text in [*TEXTS, HARD]:
        assert again(text)["input_ids"] == tokenizer(text)["input_ids"]
        assert again.decode(again(text)["input_ids"]) == text
    assert again.eos_token_id == tokenizer.eos_token_id


def test_a_model_s_own_tokenizer_and_another_ready_one(saved: Path, tmp_path: Path) -> None:
    assert make(path=saved).make_tokenizer({}).get_vocab() == byte_tokenizer().get_vocab()
    small().make_tokenizer(EXAMPLES).save_pretrained(tmp_path / "tokenizer")
    ready = make(path=saved, tokenizer={"path": tmp_path / "tokenizer"}).make_tokenizer({})
    assert len(ready) == 300


def test_a_tokenizer_without_end_of_text_is_refused(saved: Path) -> None:
    file = saved / "tokenizer_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "eos_token": None}))
    with pytest.raises(CompatError, match="no end-of-text token"):
        make(path=saved).make_tokenizer({})


@pytest.mark.parametrize("spoil", [{}, {"model": {"type": "BPE"}}, {"version": "1.0", "model": None}])
def test_a_tokenizer_that_is_damaged_is_put_into_words(spoil: dict[str, Any], saved: Path) -> None:
    (saved / "tokenizer.json").write_text(json.dumps(spoil))
    with pytest.raises(CompatError, match=f"the tokenizer of {saved} cannot be read"):
        make(path=saved).make_tokenizer({})


def test_a_tokenizer_that_knows_no_token_is_refused(saved: Path) -> None:
    (saved / "tokenizer.json").unlink()
    with pytest.raises(ValidationError, match=r"has no tokenizer.json and no other vocabulary: name one with"):
        make(path=saved)
    (saved / "vocab.json").write_text("{}")
    (saved / "merges.txt").write_text("")
    with pytest.raises(CompatError, match=r"cannot be read|makes no tokens of a text: its vocabulary is missing"):
        make(path=saved).make_tokenizer({})


# ------------------------------------------------------------------------------------------------ from a config


def start(source: CausalLM, tokenizer: Tokenizer, seed: int) -> dict[str, torch.Tensor]:
    with seeded(seed):
        return source.make_model(tokenizer).state_dict()


def test_a_random_start_is_the_seed_s() -> None:
    source = small()
    tokenizer = source.make_tokenizer(EXAMPLES)
    first, again, other = (start(source, tokenizer, seed) for seed in (0, 0, 1))
    assert source.uses_seed()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_the_vocabulary_comes_from_the_tokenizer() -> None:
    source = small()
    model = source.make_model(source.make_tokenizer(EXAMPLES))
    assert model.get_input_embeddings().weight.shape == (300, 8)  # type: ignore[union-attr]
    assert (model.config.eos_token_id, model.config.pad_token_id) == (0, None)
    padded = small(config={**SMALL, "vocab_size": 320}).make_model(source.make_tokenizer(EXAMPLES))
    assert padded.config.vocab_size == 320
    with pytest.raises(CompatError, match="vocab_size 299 has no room for the 300 tokens"):
        small(config={**SMALL, "vocab_size": 299}).make_model(source.make_tokenizer(EXAMPLES))


def test_opt_has_no_token_that_is_padding() -> None:
    sizes = {
        "num_hidden_layers": 1,
        "hidden_size": 8,
        "ffn_dim": 16,
        "num_attention_heads": 2,
        "word_embed_proj_dim": 8,
    }
    source = small(config={"model_type": "opt", **sizes})
    embeddings = source.make_model(source.make_tokenizer(EXAMPLES)).get_input_embeddings()
    assert (embeddings.weight != 0).any(1).all()  # type: ignore[union-attr,operator]


def test_what_save_network_writes_is_what_was_made(tmp_path: Path) -> None:
    source = small()
    tokenizer = source.make_tokenizer(EXAMPLES)
    model = source.make_model(tokenizer)
    save_network(Network(model, tokenizer), tmp_path / "model")
    again = make(path=tmp_path / "model")
    assert not again.uses_seed()
    read = again.make_model(again.make_tokenizer({})).state_dict()
    assert all(torch.equal(tensor, read[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_dtypes(dtype: str, saved: Path) -> None:
    tokenizer = byte_tokenizer()
    for source in (small(dtype=dtype), make(path=saved, dtype=dtype)):
        assert next(source.make_model(tokenizer).parameters()).dtype == getattr(torch, dtype)


def test_auto_is_the_dtype_that_was_saved(tmp_path: Path) -> None:
    save_network(tiny_network(dtype=torch.bfloat16), tmp_path)
    assert next(make(path=tmp_path, dtype="auto").make_model(byte_tokenizer()).parameters()).dtype == torch.bfloat16
    assert next(make(path=tmp_path).make_model(byte_tokenizer()).parameters()).dtype == torch.float32


def test_sizes_that_do_not_fit_are_put_into_words() -> None:
    for config in ({**SMALL, "n_head": 3}, {**SMALL, "n_layer": "two"}):
        source = small(config=config)
        with pytest.raises(CompatError, match=r"transformers cannot make a gpt2 of this config: ."):
            source.make_model(byte_tokenizer())
    with pytest.raises(CompatError, match="no causal language model of model_type vit"):
        small(config={"model_type": "vit"}).make_model(byte_tokenizer())


# -------------------------------------------------------------------------------------------------- found early


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"config": {"model_type": "gpt22"}}, "no model_type 'gpt22'; did you mean gpt2"),
        ({"config": {"n_layer": 2}}, "needs model_type"),
        ({"config": {**SMALL, "vocab_size": "many"}}, "vocab_size is a whole number"),
        ({"config": {**SMALL, "n_layers": 3}}, "'n_layers' is not in the config of gpt2; did you mean n_layer"),
        ({"config": {"model_type": "llama", "hidden": 8}}, "not in the config of llama; .*hidden_size"),
        ({"tokenizer": None}, r"needs a tokenizer, such as tokenizer: \{train_on"),
        ({"hub": "gpt2"}, "exactly one of config, path, hub: both config and hub are given"),
        ({"config": None}, "exactly one of config, path, hub: none is given"),
        ({"revision": "main"}, "revision has a meaning together with hub only"),
        ({"tokenizer": {"hub": "gpt2", "vocab_size": 600}}, "vocab_size has a meaning together with train_on only"),
        ({"tokenizer": {}}, "exactly one of train_on, path, hub"),
        ({"tokenizer": {**WORDS, "vocab_size": 257}}, "greater than 257"),
        ({"tokenizer": {**WORDS, "train_on": []}}, "at least 1"),
        ({"tokenizer": {"path": "/nowhere"}}, "/nowhere has no tokenizer.json"),
        ({"config": None, "path": "/nowhere"}, "there is no folder /nowhere"),
    ],
)
def test_mistakes_are_found_before_anything_runs(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        small(**fields)


def test_keys_that_every_config_has_and_other_names_of_keys_are_accepted() -> None:
    small(config={**SMALL, "hidden_size": 8, "tie_word_embeddings": False, "initializer_range": 0.06})
    small(config={"model_type": "llama", "rope_theta": 1000.0, "rope_scaling": None})
    small(config={"model_type": "gemma3_text", "hidden_size": 8})


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / "config.json").unlink(), "has no config.json"),
        (lambda folder: (folder / "config.json").write_text("{"), "config.json cannot be read"),
        (lambda folder: (folder / "model.safetensors").unlink(), "has no model.safetensors"),
        (
            lambda folder: (folder / "model.safetensors").rename(folder / "pytorch_model.bin"),
            r"pickles only \(pytorch_model.bin\), .* convert them to safetensors",
        ),
        (
            lambda folder: (folder / "config.json").write_text('{"model_type": "mine", "auto_map": {}}'),
            "runs code of its own; .* trust_remote_code: true",
        ),
    ],
)
def test_folders_that_cannot_be_opened_are_refused(spoil: Any, message: str, saved: Path) -> None:
    spoil(saved)
    with pytest.raises(ValidationError, match=message):
        make(path=saved)


def test_a_relative_path_is_seen_from_the_spec_s_folder(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert make(saved.parent, path="model").path == saved.resolve()
    monkeypatch.chdir(saved)
    assert make(path="../model").path == saved.resolve()


def test_a_hub_that_cannot_be_reached_is_put_into_words(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    source = make(hub="nobody/nothing")
    advice = "HF_HUB_OFFLINE is set, .*`hf download nobody/nothing` fetches it, and `path:` reads it from a folder"
    with pytest.raises(CompatError, match=rf"the model nobody/nothing cannot be opened: {advice}"):
        source.make_model(byte_tokenizer())
    with pytest.raises(CompatError, match=rf"the tokenizer of nobody/nothing cannot be read: {advice}"):
        source.make_tokenizer({})


def test_a_tokenizer_with_more_tokens_than_the_model_is_refused(saved: Path) -> None:
    source = make(path=saved, tokenizer=WORDS)
    with pytest.raises(CompatError, match=r"the tokenizer has 300 tokens, and the model .* knows 257 only"):
        source.make_model(source.make_tokenizer(EXAMPLES))


# --------------------------------------------------------------------------------------- identity and architecture


def test_a_folder_s_identity_is_its_content(saved: Path, tmp_path: Path) -> None:
    before = make(path=saved).identity()
    shutil.copytree(saved, tmp_path / "copy")
    assert make(path=tmp_path / "copy").identity() == before
    (saved / "README.md").write_text("of no consequence")
    assert make(path=saved).identity() == before
    save_network(tiny_network(seed=1), saved)
    assert make(path=saved).identity() != before
    assert small().identity() == {}


def test_its_parameters_survive_a_trip_through_json(saved: Path) -> None:
    for source in (small(), make(path=saved), make(hub="a/b", revision="1", tokenizer={"path": saved})):
        assert CausalLM.model_validate(source.model_dump(mode="json")) == source


def test_architectures_are_told_in_common_names(saved: Path) -> None:
    facts = {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "vocab_size": 300}
    told = small().architecture()
    assert told is not None
    assert {key: told[key] for key in facts} == facts
    assert told["model_type"] == "gpt2"
    assert "intermediate_size" not in told
    read = make(path=saved).architecture()
    assert read is not None
    assert (read["hidden_size"], read["num_hidden_layers"], read["vocab_size"]) == (16, 3, 257)
    assert make(hub="gpt2").architecture() is None


def test_models_with_other_vocabularies_have_other_architectures(saved: Path, tmp_path: Path) -> None:
    assert small().architecture() != small(tokenizer={**WORDS, "split_digits": False}).architecture()
    shutil.copytree(saved, tmp_path / "same")
    assert make(path=saved).architecture() == make(path=tmp_path / "same").architecture()
    tokenizer = small().make_tokenizer(EXAMPLES)
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    ready = make(path=saved, tokenizer={"path": tmp_path / "tokenizer"})
    assert ready.architecture() != make(path=saved).architecture()


def test_validation_does_not_import_torch(saved: Path) -> None:
    code = f"""
import sys
from compat_plugins.models.causal_lm import CausalLM
from compat_plugins.trainers.finetune import Finetune
source = CausalLM(config={SMALL!r}, tokenizer={WORDS!r})
folder = CausalLM(path={str(saved)!r})
source.architecture(), folder.architecture(), folder.identity()
Finetune(on="math", steps=3)
assert not {{"torch", "transformers", "tokenizers"}} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_network_from_a_config_opens_again(tmp_path: Path) -> None:
    source = small()
    tokenizer = source.make_tokenizer(EXAMPLES)
    save_network(Network(source.make_model(tokenizer), tokenizer), tmp_path)
    network = load_network(tmp_path)
    assert network.context == 32
    assert network.logits(torch.zeros(1, 4, dtype=torch.long)).shape == (1, 4, 300)
