"""The `config.json` of a merged model, where it is not that of the first model."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from compat_spec.errors import CompatError

CONFIG = "config.json"

DEPTHS = ("num_hidden_layers", "n_layer", "num_layers", "n_layers")
"""What configs call the number of blocks."""

SPECIAL_TOKENS = ("bos_token_id", "eos_token_id", "pad_token_id")


def check_mergeable(name: str, folder: Path) -> None:
    """Refuse a model whose numbers mean something only together with the scales that they were quantised with."""
    if not (folder / CONFIG).exists():
        return
    quantised = _read(folder).get("quantization_config")
    if quantised:
        method = quantised.get("quant_method") if isinstance(quantised, dict) else None
        raise CompatError(
            f"{name} is quantised{f' ({method})' if method else ''}, and its numbers cannot be merged: name the model "
            "that it was made from, or dequantise it first"
        )


def check_one_stack(name: str, folder: Path, blocks: int) -> None:
    """Refuse to stack blocks of a model whose config does not count them as its only ones.

    Raises:
        CompatError: it does not say how many there are, or has an encoder and a decoder.
    """
    config = _read(folder)
    depths = [config[key] for key in DEPTHS if isinstance(config.get(key), int)]
    if not depths:
        raise CompatError(f"the config of {name} does not say how many blocks it has: no {' or '.join(DEPTHS)}")
    if config.get("is_encoder_decoder") or set(depths) != {blocks}:
        raise CompatError(
            f"blocks of {name} cannot be stacked: its config has to count {blocks} blocks, and no encoder and decoder"
        )


def restack_config(folder: Path, models: Sequence[Path], blocks: Sequence[tuple[int, int]]) -> None:
    """Make the config in `folder`, a copy of the first model's, that of a stack of blocks of several models.

    The number of blocks becomes that of the stack. A list with one entry for each block, such as `layer_types`, gets
    the entry of the model and block that each block of the stack comes from.

    Args:
        models: their folders, in the order that `blocks` counts in; see `check_one_stack`.
        blocks: for each block of the stack the model and its block.
    """
    configs = [_read(model) for model in models]
    config = _read(folder)
    for key in [key for key in config if _has_one_per_block(config, key)]:
        if all(_has_one_per_block(of_model, key) for of_model in configs):
            config[key] = [configs[model][key][block] for model, block in blocks]
    for key in DEPTHS:
        if isinstance(config.get(key), int):
            config[key] = len(blocks)
    _write(folder, config)


def note_dtype(folder: Path, dtype: str) -> None:
    """Make the config in `folder`, where there is one, say that the tensors are stored in `dtype`."""
    if (folder / CONFIG).exists():
        config = _read(folder)
        noted = _noted(config, dtype)
        if noted != config:
            _write(folder, noted)


def _noted(config: Mapping[str, Any], dtype: str) -> dict[str, Any]:
    # `torch_dtype` is what older versions of transformers call it
    inner = {
        key: _noted(value, dtype) if isinstance(value, dict) and value.keys() & {"dtype", "torch_dtype"} else value
        for key, value in config.items()
        if key != "torch_dtype"
    }
    return inner | {"dtype": dtype}


def vocab_size(folder: Path) -> int:
    """How many rows the embeddings of a model have, by its config."""
    size = _of_text(_read(folder)).get("vocab_size")
    if not isinstance(size, int):
        raise CompatError(f"{folder / CONFIG} does not say how many tokens there are: it has no vocab_size")
    return size


def write_vocab_size(folder: Path, size: int) -> None:
    config = _read(folder)
    _of_text(config)["vocab_size"] = size
    _write(folder, config)


def _of_text(config: dict[str, Any]) -> dict[str, Any]:
    """The part of a config that is about language: that of a model that also sees has one of its own."""
    inner = config.get("text_config")
    return inner if isinstance(inner, dict) and "vocab_size" not in config else config


def take_token_ids(folder: Path, donor: Path) -> None:
    """Make the special tokens of the configs in `folder` those of another model, whose tokenizer it has taken over."""
    for name in (CONFIG, "generation_config.json"):
        if not (folder / name).exists():
            continue
        config = _read(folder, name)
        theirs = _read(donor, name) if (donor / name).exists() else {}
        for key in SPECIAL_TOKENS:
            config.pop(key, None)
            if key in theirs:
                config[key] = theirs[key]
        _write(folder, config, name)


def _read(folder: Path, name: str = CONFIG) -> dict[str, Any]:
    try:
        config = json.loads((folder / name).read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise CompatError(f"{folder / name} cannot be read: {error}") from error
    if not isinstance(config, dict):
        raise CompatError(f"{folder / name} is not a JSON object")
    return config


def _write(folder: Path, config: Mapping[str, Any], name: str = CONFIG) -> None:
    (folder / name).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", "utf-8")


def _has_one_per_block(config: Mapping[str, Any], key: str) -> bool:
    """Whether a value is a list with an entry for each block; lists of classes and tokens may be as long by chance."""
    depth = next((config[name] for name in DEPTHS if isinstance(config.get(name), int)), None)
    by_chance = key == "architectures" or "token" in key
    return isinstance(config.get(key), list) and len(config[key]) == depth and not by_chance
