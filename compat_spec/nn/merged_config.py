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


def restack_config(folder: Path, models: Sequence[Path], blocks: Sequence[tuple[int, int]]) -> None:
    """Make the config in `folder`, a copy of the first model's, that of a stack of blocks of several models.

    The number of blocks becomes that of the stack. A list with one entry for each block, such as `layer_types`, gets
    the entry of the model and block that each block of the stack comes from.

    Args:
        models: their folders, in the order that `blocks` counts in.
        blocks: for each block of the stack the model and its block.

    Raises:
        CompatError: the config does not say how many blocks there are.
    """
    configs = [_read(model) for model in models]
    config = _read(folder)
    known = [key for key in DEPTHS if isinstance(config.get(key), int)]
    if not known:
        raise CompatError(
            f"the config of {models[0].name} does not say how many blocks it has: no {' or '.join(DEPTHS)}"
        )
    for key in [key for key in config if _has_one_per_block(config, key)]:
        if all(_has_one_per_block(of_model, key) for of_model in configs):
            config[key] = [configs[model][key][block] for model, block in blocks]
    for key in known:
        config[key] = len(blocks)
    _write(folder, config)


def note_dtype(folder: Path, dtype: str) -> None:
    """Make the config in `folder`, where there is one, say that the tensors are stored in `dtype`."""
    if (folder / CONFIG).exists():
        config = _read(folder)
        config.pop("torch_dtype", None)  # what older versions of transformers call it
        _write(folder, config | {"dtype": dtype})


def vocab_size(folder: Path) -> int:
    """How many rows the embeddings of a model have, by its config."""
    size = _read(folder).get("vocab_size")
    if not isinstance(size, int):
        raise CompatError(f"{folder / CONFIG} does not say how many tokens there are: it has no vocab_size")
    return size


def write_vocab_size(folder: Path, size: int) -> None:
    _write(folder, {**_read(folder), "vocab_size": size})


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
