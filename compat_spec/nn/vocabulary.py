"""Models with different vocabularies, row by row in the order of one: what stands where for each token."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from compat_spec.errors import CompatError
from compat_spec.nn.block_names import in_block
from compat_spec.nn.checkpoint import TensorSource

Origins = tuple[tuple[int, int], ...]
"""The rows that a row is the average of: models by index, and rows of theirs."""


@dataclass(frozen=True, slots=True)
class Speaker:
    """A model with its vocabulary.

    Attributes:
        name: what to call it in messages.
        ids: from tokens to their numbers.
        rows: how many rows its embeddings have; those beyond its tokens are padding.
    """

    name: str
    tensors: TensorSource
    ids: Mapping[str, int]
    rows: int


def united(vocabularies: Sequence[Mapping[str, int]]) -> dict[str, int]:
    """The first vocabulary, and after it what only the others have, in their order."""
    ids = dict(vocabularies[0])
    following = max(ids.values(), default=-1) + 1
    for vocabulary in vocabularies[1:]:
        for token in sorted(vocabulary, key=lambda token: vocabulary[token]):
            if token not in ids:
                ids[token] = following
                following += 1
    return ids


def rows_of(ids: Mapping[str, int], owner_rows: int) -> int:
    """How many rows a result with this vocabulary has: as many as its owner's, or more where new tokens need them.

    So the owner's padding stays, and new tokens take its place first.
    """
    return max(owner_rows, max(ids.values(), default=-1) + 1)


class Aligned(TensorSource):
    """The tensors of a model, whose rows for tokens are in the order of another vocabulary.

    A token that the model lacks has the row of the one model that has it; or else that of the base, if it has it; or
    else the average of the models that have it; or zeros, when none has. Padding has the rows of the owner of the
    vocabulary. What other models lend, or averages, are given in float32 (float64 where a model is).

    Args:
        speakers: all models.
        own: which of them this is, by index.
        ids: the vocabulary of the result.
        owner: whose vocabulary that is, or begins with; None for that of a model that is not among them.
        base: whose rows are preferred; None for nobody's.
    """

    def __init__(
        self, speakers: Sequence[Speaker], own: int, ids: Mapping[str, int], owner: int | None, base: int | None
    ) -> None:
        self._sources = [speaker.tensors for speaker in speakers]
        self._own = own
        self._tensors = speakers[own].tensors
        self._of_tokens = frozenset(token_tensors(speakers[own]))
        self._rows = rows_of(ids, 0 if owner is None else speakers[owner].rows)
        self._runs = list(_runs(_origins(speakers, own, ids, owner, base, self._rows)))
        self._starts = [run.start for run in self._runs]

    def __len__(self) -> int:
        return len(self._tensors)

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __contains__(self, name: object) -> bool:
        return name in self._tensors

    def shape(self, name: str) -> tuple[int, ...]:
        shape = self._tensors.shape(name)
        return (self._rows, *shape[1:]) if name in self._of_tokens else shape

    def dtype(self, name: str) -> torch.dtype:
        return self._tensors.dtype(name)

    def bytes(self, name: str) -> int:
        if name not in self._of_tokens:
            return self._tensors.bytes(name)
        rows: Counter[int] = Counter()
        for run in self._runs:
            for model, _ in run.origins:
                rows[model] += run.stop - run.start
        return sum(self._row_bytes(model, name, count) for model, count in rows.items())

    def _row_bytes(self, model: int, name: str, rows: int) -> int:
        """Bytes of rows of one of the models, with what an adapter of it takes."""
        tensors = self._sources[model]
        plain = tensors.dtype(name).itemsize * math.prod(tensors.shape(name)[1:])
        return plain * (rows - tensors.shape(name)[0]) + tensors.bytes(name)

    def piece(self, name: str, start: int, stop: int) -> Tensor:
        if name not in self._of_tokens or start >= stop:
            return self._tensors.piece(name, start, stop) if start < stop else self._tensors.piece(name, 0, 0)
        width = math.prod(self.shape(name)[1:])
        first, last = start // width, math.ceil(stop / width)
        parts = [self._read(name, run, width) for run in self._between(first, last)]
        if any(part.dtype != parts[0].dtype for part in parts):
            parts = [part.to(_work(part)) for part in parts]
        return torch.cat(parts)[start - first * width : stop - first * width]

    def _between(self, first: int, last: int) -> Iterator[_Run]:
        """The runs of the rows from `first` to `last`, cut off at both ends."""
        for run in self._runs[bisect_right(self._starts, first) - 1 :]:
            if run.start >= last:
                return
            yield run.part(max(first, run.start), min(last, run.stop))

    def _read(self, name: str, run: _Run, width: int) -> Tensor:
        count = run.stop - run.start
        found = [self._sources[i].piece(name, row * width, (row + count) * width) for i, row in run.origins]
        if not found:
            return torch.zeros(count * width, dtype=self.dtype(name))
        if len(found) == 1:
            lent = run.origins[0][0] != self._own
            return found[0].to(_work(found[0])) if lent else found[0]
        return torch.stack([tensor.to(_work(tensor)) for tensor in found]).mean(0)


def token_tensors(speaker: Speaker) -> list[str]:
    """The tensors with a row for each token: embeddings and heads, with the biases of these.

    They are outside the blocks, have as many rows as the config says that there are tokens, and are called like
    embeddings or heads (`embed_tokens`, `wte`, `embed_in`, `lm_head`, `output`), but not of positions.

    Raises:
        CompatError: there are none.
    """
    found = [
        name
        for name in speaker.tensors
        if in_block(name) is None and speaker.tensors.shape(name)[:1] == (speaker.rows,) and _is_of_tokens(name)
    ]
    if not found:
        raise CompatError(f"no tensor of {speaker.name} has a row for each of the {speaker.rows} tokens of its config")
    return found


def _is_of_tokens(name: str) -> bool:
    module = name.removesuffix(".weight").removesuffix(".bias").rpartition(".")[2]
    named = module in ("wte", "lm_head", "head", "output", "output_layer", "decoder", "shared") or "embed" in module
    return named and not any(other in module for other in ("pos", "norm", "type"))


def _origins(
    speakers: Sequence[Speaker], own: int, ids: Mapping[str, int], owner: int | None, base: int | None, rows: int
) -> Iterator[Origins]:
    """Where each row comes from."""
    tokens = {number: token for token, number in ids.items()}
    for row in range(rows):
        if row not in tokens:
            yield ((owner, row),) if owner is not None and row < speakers[owner].rows else ()
            continue
        having = [
            (i, speaker.ids[tokens[row]])
            for i, speaker in enumerate(speakers)
            if speaker.ids.get(tokens[row], speaker.rows) < speaker.rows
        ]
        mine = [origin for origin in having if origin[0] == own]
        of_base = [origin for origin in having if origin[0] == base]
        yield tuple(mine or of_base or having)


@dataclass(frozen=True, slots=True)
class _Run:
    """Rows one after the other whose origins are one after the other too: those of the first."""

    start: int
    stop: int
    origins: Origins

    def part(self, start: int, stop: int) -> _Run:
        return _Run(start, stop, _moved(self.origins, start - self.start))


def _runs(origins: Iterator[Origins]) -> Iterator[_Run]:
    """Rows put together as far as they can be read at once."""
    start, begun = 0, next(origins, None)
    if begun is None:
        return
    row = start
    for row, here in enumerate(origins, 1):
        if here != _moved(begun, row - start):
            yield _Run(start, row, begun)
            start, begun = row, here
    yield _Run(start, row + 1, begun)


def _moved(origins: Origins, by: int) -> Origins:
    return tuple((model, row + by) for model, row in origins)


def _work(tensor: Tensor) -> torch.dtype:
    return torch.float64 if tensor.dtype == torch.float64 else torch.float32
