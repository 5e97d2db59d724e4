"""Greedy decoding: how a network goes on from a prompt."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor
from transformers import PreTrainedModel

from compat_spec.nn.evaluation import inference
from compat_spec.nn.network import Network

__all__ = ["greedy_answers"]

_TOKENS_AT_ONCE = 4096
_CACHE_ARGUMENTS = {"attention_mask", "position_ids", "past_key_values", "use_cache", "logits_to_keep"}


def greedy_answers(
    network: Network,
    prompts: Sequence[Tensor],
    max_new_tokens: int,
    device: torch.device | str,
    *,
    batch: int = 32,
    cache: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> list[str]:
    """The most probable next token, again and again, up to the end of text, as text without the prompt.

    A prompt that leaves no room in the network's context for `max_new_tokens`, or for a quarter of the context where
    that is less, loses its beginning; an answer ends where the context does.

    Args:
        network: on `device`.
        prompts: token ids `[length]` of each prompt, at least one.
        batch: how many prompts go on at once.
        cache: keep keys and values between tokens where the module can.
        progress: called with the prompts done so far and their number.
    """
    if any(len(prompt) == 0 for prompt in prompts):
        raise ValueError("a prompt has no token to go on from")
    # prompts of like lengths go together, so that little is padding
    order = sorted(range(len(prompts)), key=lambda i: -len(prompts[i]))
    answers = [""] * len(prompts)
    make_reader = _CachedReader if cache and _can_cache(network) else _PlainReader
    with inference(network.module):
        for start in range(0, len(order), batch):
            some = order[start : start + batch]
            texts = [_fitting(prompts[i].tolist(), max_new_tokens, network.context) for i in some]
            for i, ids in zip(some, _go_on(network, make_reader(network, device), texts, max_new_tokens), strict=True):
                answers[i] = str(network.tokenizer.decode(ids, clean_up_tokenization_spaces=False))
            if progress is not None:
                progress(start + len(some), len(order))
    return answers


def _fitting(prompt: list[int], max_new_tokens: int, context: int | None) -> list[int]:
    if context is None:
        return prompt
    room = min(max_new_tokens, max(1, context // 4))
    return prompt[-max(1, context - room) :]


class _Reader(Protocol):
    """Reads texts that grow by one token between calls."""

    def next_logits(self, texts: Sequence[Sequence[int]]) -> Tensor:
        """The logits of the token after each text `[texts, vocabulary]`."""

    def keep(self, rows: Sequence[int]) -> None:
        """From now on, `texts` are those of these rows only."""


def _go_on(network: Network, reader: _Reader, prompts: Sequence[list[int]], max_new_tokens: int) -> list[list[int]]:
    """The tokens that follow each prompt, without the end of text."""
    context = network.context
    rooms = [max_new_tokens if context is None else min(max_new_tokens, context - len(text)) for text in prompts]
    answers: list[list[int]] = [[] for _ in prompts]
    going = [i for i, room in enumerate(rooms) if room > 0]
    while going:
        logits = reader.next_logits([prompts[i] + answers[i] for i in going])
        still = []
        for row, (i, token) in enumerate(zip(going, logits.argmax(-1).tolist(), strict=True)):
            if token == network.tokenizer.eos_token_id:
                continue
            answers[i].append(token)
            if len(answers[i]) < rooms[i]:
                still.append(row)
        if len(still) < len(going):
            reader.keep(still)
            going = [going[row] for row in still]
    return answers


class _PlainReader:
    """Reads every text from its beginning each time: right for any module."""

    def __init__(self, network: Network, device: torch.device | str) -> None:
        self._network = network
        self._device = device

    def next_logits(self, texts: Sequence[Sequence[int]]) -> Tensor:
        rows = max(1, _TOKENS_AT_ONCE // max(len(text) for text in texts))
        return torch.cat([self._read(texts[start : start + rows]) for start in range(0, len(texts), rows)])

    def _read(self, texts: Sequence[Sequence[int]]) -> Tensor:
        lengths = torch.tensor([len(text) for text in texts])
        # under causal attention, padding on the right changes nothing before it
        ids = torch.zeros(len(texts), int(lengths.max()), dtype=torch.int64)
        for row, text in zip(ids, texts, strict=True):
            row[: len(text)] = torch.tensor(text)
        logits = self._network.logits(ids.to(self._device))
        return logits[torch.arange(len(texts)), lengths - 1]

    def keep(self, rows: Sequence[int]) -> None:
        pass


class _CachedReader:
    """Reads only the newest token of each text, after the keys and values of those before it.

    Texts are padded on the left, masked, and their positions counted from their own first token.
    """

    def __init__(self, network: Network, device: torch.device | str) -> None:
        self._module = network.module
        self._device = device
        self._cache: Any = None

    def next_logits(self, texts: Sequence[Sequence[int]]) -> Tensor:
        lengths = torch.tensor([len(text) for text in texts])
        if self._cache is None:
            width = int(lengths.max())
            self._mask = torch.arange(width) >= width - lengths[:, None]
            ids = torch.zeros(len(texts), width, dtype=torch.int64)
            ids[self._mask] = torch.tensor([token for text in texts for token in text])
            positions = (self._mask.cumsum(-1) - 1).clamp(min=0)
        else:
            self._mask = torch.cat([self._mask, torch.ones(len(texts), 1, dtype=torch.bool)], dim=1)
            ids = torch.tensor([text[-1:] for text in texts])
            positions = lengths[:, None] - 1
        output = self._module(
            input_ids=ids.to(self._device),
            attention_mask=self._mask.to(self._device, torch.int64),
            position_ids=positions.to(self._device),
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=1,
        )
        self._cache = output.past_key_values
        logits: Tensor = output.logits[:, -1]
        return logits

    def keep(self, rows: Sequence[int]) -> None:
        if rows:
            self._cache.batch_select_indices(torch.tensor(rows, device=self._device))
            self._mask = self._mask[rows]


def _can_cache(network: Network) -> bool:
    """Whether the module is one whose keys and values are all that it remembers of a text."""
    module = network.module
    if not isinstance(module, PreTrainedModel) or getattr(module, "_is_stateful", False):
        return False
    # the number that masks a float64 score becomes -inf in attention that is normalised in float32, and padding NaN
    if module.dtype == torch.float64:
        return False
    return set(inspect.signature(module.forward).parameters) >= _CACHE_ARGUMENTS
