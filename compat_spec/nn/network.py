"""A network as every component sees it: a causal language model with its tokenizer, read from and written to a folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeAlias

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from compat_spec.nn.anatomy import Anatomy, anatomy_of

Tokenizer: TypeAlias = PreTrainedTokenizerBase


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
    """Open a Hugging Face folder. Only safetensors are read, and no code from the folder runs."""
    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype=dtype or "auto", use_safetensors=True, trust_remote_code=False, local_files_only=True
    )
    return Network(model.to(device).eval(), load_tokenizer(folder))


def load_tokenizer(folder: Path) -> Tokenizer:
    tokenizer: Tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    return tokenizer


def save_network(network: Network, folder: Path) -> None:
    """Write a folder that `transformers` opens with `from_pretrained`."""
    if not isinstance(network.module, PreTrainedModel):
        raise TypeError(f"{type(network.module).__name__} is not a transformers model; only its parts can be saved")
    network.module.save_pretrained(folder)
    network.tokenizer.save_pretrained(folder)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Torch's random numbers start from `seed` inside, and go on as if nothing had happened after."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield
