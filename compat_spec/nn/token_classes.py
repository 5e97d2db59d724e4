"""Classes of tokens, for reports about what a network does with which: what they are made of, and where they stand."""

from __future__ import annotations

import torch
from torch import Tensor

from compat_spec.nn.data import EncodedSplit
from compat_spec.nn.network import Tokenizer

KINDS = ("letters", "digits", "symbols", "space", "bytes", "special")
"""What a token is made of. `bytes`: a part of a character only. A token with a letter in it is of `letters`, and one
with digits, but no letter, of `digits`, whatever else it has."""

PARTS = ("prompt", "answer")
"""Where it stands in its example. The end of text belongs to the answer."""


def token_classes(encoded: EncodedSplit, tokenizer: Tokenizer) -> tuple[tuple[str, ...], Tensor]:
    """The names of the classes that a split has, and which of them each of its tokens is of `[tokens, classes]`, bool.

    Every token is of one of `KINDS`, and of one of `PARTS` where the examples have prompts.
    """
    names: tuple[str, ...] = KINDS
    columns = [_kinds(encoded, tokenizer) == number for number in range(len(KINDS))]
    if encoded.prompt_lengths.any():
        names += PARTS
        prompt = _in_prompt(encoded)
        columns += [prompt, ~prompt]
    members = torch.stack(columns, dim=1)
    found = members.any(0)
    return tuple(name for name, here in zip(names, found.tolist(), strict=True) if here), members[:, found]


def kind_of(text: str) -> str:
    """Which of `KINDS` a token of this text is of, if it is not special."""
    if any(character.isalpha() for character in text):
        return "letters"
    if any(character.isnumeric() for character in text):
        return "digits"
    if not text.strip():
        return "space"
    return "bytes" if "\N{REPLACEMENT CHARACTER}" in text else "symbols"


def _kinds(encoded: EncodedSplit, tokenizer: Tokenizer) -> Tensor:
    """The place in `KINDS` of each token `[tokens]`."""
    ids, where = torch.unique(encoded.ids, return_inverse=True)
    special = set(tokenizer.all_special_ids)

    def kind(number: int) -> str:
        return "special" if number in special else kind_of(str(tokenizer.decode([number])))

    kinds = [kind(number) for number in ids.tolist()]
    return torch.tensor([KINDS.index(kind) for kind in kinds])[where]


def _in_prompt(encoded: EncodedSplit) -> Tensor:
    """Whether each token is of its example's prompt `[tokens]`, bool."""
    lengths = encoded.offsets.diff()
    place = torch.arange(len(encoded.ids)) - encoded.offsets[:-1].repeat_interleave(lengths)
    return place < encoded.prompt_lengths.repeat_interleave(lengths)
