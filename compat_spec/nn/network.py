"""A network as every component sees it: a causal language model with its tokenizer, in memory and in folders."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from logging import getLogger
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from transformers import (
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)

from compat_spec.errors import CompatError
from compat_spec.nn.anatomy import Anatomy, anatomy_of
from compat_spec.nn.opening import open_model, quiet_transformers

__all__ = ["Network", "Tokenizer", "check_same_vocabulary", "load_network", "load_tokenizer", "save_network", "seeded"]

Tokenizer: TypeAlias = PreTrainedTokenizerBase

_GENERAL_TOKENIZERS = ("PreTrainedTokenizerFast", "TokenizersBackend")
"""What transformers calls a tokenizer that is nothing but its `tokenizer.json`, before and since its version 5."""

# The first forward pass of a network whose end-of-text token serves as padding would warn of padding without a mask.
# Sequences here are never padded on the left, and what stands on the right of one is not read.
getLogger("transformers.modeling_utils").addFilter(lambda record: "`attention_mask`" not in record.getMessage())


@dataclass(frozen=True)
class Network:
    """A module `(input_ids [batch, seq]) -> object with .logits [batch, seq, vocabulary]`, and its tokenizer."""

    module: nn.Module
    tokenizer: Tokenizer

    @cached_property
    def anatomy(self) -> Anatomy:
        """Where the blocks, MLPs and attentions of the module are. Raises `UnknownArchitecture`."""
        return anatomy_of(self.module)

    @property
    def device(self) -> torch.device:
        return next(self.module.parameters()).device

    @property
    def context(self) -> int | None:
        """The longest sequence that the module accepts, when its config says."""
        config = getattr(self.module, "config", None)
        return getattr(config, "max_position_embeddings", None)

    def logits(self, input_ids: Tensor) -> Tensor:
        """Next-token logits `[batch, seq, vocabulary]` of `input_ids [batch, seq]`."""
        logits: Tensor = self.module(input_ids=input_ids, use_cache=False).logits
        return logits


def load_network(folder: Path, device: str = "cpu", dtype: torch.dtype | None = None) -> Network:
    """Open a Hugging Face folder, frozen and in evaluation mode.

    Only safetensors are read, and no code from the folder runs.

    Args:
        dtype: what the parameters are stored in; by default as they were saved.

    Raises:
        CompatError: it cannot be opened, or its weights are not those that its config tells of.
    """
    model: nn.Module = open_model(folder, dtype=dtype or "auto", trust_remote_code=False, local_files_only=True)
    return Network(model.to(device).eval().requires_grad_(False), load_tokenizer(folder))


def load_tokenizer(folder: Path) -> Tokenizer:
    """Open the tokenizer of a folder. No code from the folder runs."""
    opener: Any = AutoTokenizer
    if _tokenizer_class(folder) in _GENERAL_TOKENIZERS:
        # beside the config of some models (qwen2), AutoTokenizer puts that model's own rules in place of the file's
        opener = PreTrainedTokenizerFast
    tokenizer: Tokenizer = opener.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    return tokenizer


def check_same_vocabulary(tokenizers: Mapping[str, Tokenizer]) -> None:
    """Refuse models that would read one text as different tokens. Tokens that only one of them has do no harm.

    Args:
        tokenizers: by what to call their models.

    Raises `CompatError`.
    """
    (first_name, first), *others = tokenizers.items()
    id_of = first.get_vocab()
    token_of = {number: token for token, number in id_of.items()}
    for name, other in others:
        theirs = other.get_vocab()
        if theirs == id_of:
            continue
        for token, number in sorted(theirs.items(), key=lambda pair: pair[1]):
            here = token_of.get(number, token)
            if here != token or id_of.get(token, number) != number:
                raise CompatError(
                    f"{first_name} and {name} have different tokenizers: token {number} is {here!r} in the one and "
                    f"{token!r} in the other"
                )


def _tokenizer_class(folder: Path) -> str | None:
    file = folder / "tokenizer_config.json"
    if not file.exists() or not (folder / "tokenizer.json").exists():
        return None
    name = json.loads(file.read_text("utf-8")).get("tokenizer_class")
    return str(name) if name else None


def save_network(network: Network, folder: Path) -> None:
    """Write a folder that `transformers` opens with `from_pretrained`."""
    if not isinstance(network.module, PreTrainedModel):
        raise TypeError(f"{type(network.module).__name__} is not a transformers model; only its parts can be saved")
    with quiet_transformers():
        network.module.save_pretrained(folder)
    network.tokenizer.save_pretrained(folder)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Torch's random numbers start from `seed` inside, and go on as if nothing had happened after."""
    with torch.random.fork_rng(range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        yield
