"""Text as tensors: encoding examples once, then cutting training and evaluation batches out of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

if TYPE_CHECKING:
    from compat_spec.components import Example
    from compat_spec.nn.network import Tokenizer

__all__ = ["EncodedSplit", "encode"]


@dataclass(frozen=True)
class EncodedSplit:
    """A split of a task as one stream of tokens; each example ends with the end-of-text token.

    Attributes:
        ids: token ids `[tokens]`, int32.
        scored: whether the loss counts this token as a target `[tokens]`, bool.
        offsets: where each example starts, and the end of the last `[examples + 1]`, int64.
        prompt_lengths: how many tokens of each example are its prompt `[examples]`, int32.
    """

    ids: Tensor
    scored: Tensor
    offsets: Tensor
    prompt_lengths: Tensor

    @property
    def examples(self) -> int:
        return len(self.prompt_lengths)

    def save(self, path: Path) -> None:
        save_file(
            {"ids": self.ids, "scored": self.scored, "offsets": self.offsets, "prompt_lengths": self.prompt_lengths},
            path,
        )

    @classmethod
    def load(cls, path: Path) -> EncodedSplit:
        return cls(**load_file(path))


def encode(examples: Sequence[Example], tokenizer: Tokenizer, score: Literal["answer", "all"]) -> EncodedSplit:
    """Encode a split. Prompt and answer are encoded apart, so that the border between them is a border of tokens."""
    end = tokenizer.eos_token_id
    if end is None:
        raise ValueError("the tokenizer has no end-of-text token")
    prompts = _ids([e.prompt for e in examples], tokenizer)
    answers = _ids([e.answer for e in examples], tokenizer)
    ids: list[int] = []
    scored: list[bool] = []
    offsets = [0]
    for prompt, answer in zip(prompts, answers, strict=True):
        ids += [*prompt, *answer, end]
        scored += [score == "all"] * len(prompt) + [True] * (len(answer) + 1)
        offsets.append(len(ids))
    return EncodedSplit(
        ids=torch.tensor(ids, dtype=torch.int32),
        scored=torch.tensor(scored, dtype=torch.bool),
        offsets=torch.tensor(offsets, dtype=torch.int64),
        prompt_lengths=torch.tensor([len(p) for p in prompts], dtype=torch.int32),
    )


def _ids(texts: list[str], tokenizer: Tokenizer) -> list[list[int]]:
    if not any(texts):
        return [[] for _ in texts]
    encoded: list[list[int]] = tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]
    return encoded
