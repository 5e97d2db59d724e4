"""The `arcee_fusion` merge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import Field

from compat_spec.components import ModelName, TensorMerge
from compat_spec.nn.per_tensor import TensorPlace
from compat_spec.nn.pieces import Piece, TensorPieces

if TYPE_CHECKING:
    from torch import Tensor

_LEAST = 1e-8
"""What is added to each probability."""


class ArceeFusion(TensorMerge):
    """Takes over those entries of a model that differ from the base importantly, by the quartiles of the importance.

    The importance of an entry is its difference times the Kullback-Leibler divergence of its row's softmax from that
    of the base. Entries count from the median and one and a half interquartile ranges on. Arcee AI, the method
    `arcee_fusion` of mergekit, 2025, https://github.com/arcee-ai/mergekit. Quartiles are exact for tensors of any size.
    """

    unit = "row"

    models: tuple[ModelName, ...] = Field(min_length=1, max_length=1, description="The model to take over from.")
    base: ModelName = Field(description="The model whose other entries are kept.")

    def survey(self, pieces: TensorPieces, *, at: TensorPlace) -> Survey:
        from compat_spec.nn.selection import Numbers, order_statistics
        from compat_spec.nn.sparsify import magnitudes

        divergences = {piece.start: _divergence(piece) for piece in pieces}
        importance = Numbers(pieces, lambda piece: [_importance(piece, divergences[piece.start])]).each(magnitudes)
        last = pieces.size - 1
        first, median, third = order_statistics(importance, [int(share * last) for share in (0.25, 0.5, 0.75)])
        return Survey(divergences, median + 1.5 * (third - first))

    def combine(self, tensors: Sequence[Tensor], base: Tensor | None, *, at: TensorPlace) -> Tensor:
        assert base is not None
        found: Survey = at.surveyed
        importance = _importance(Piece(at.start, tensors, base), found.divergences[at.start])
        return tensors[0].where(importance >= found.threshold, base)


@dataclass(frozen=True)
class Survey:
    """What is known of a tensor: the divergence of each row, by where its piece begins, and what is important."""

    divergences: Mapping[int, Tensor]
    threshold: float


def _divergence(piece: Piece) -> Tensor:
    """Of each row's softmax from the base's, in float64: that of rows which hardly differ is small beside its terms."""
    assert piece.base is not None
    of_tensor, of_base = (rows.double().softmax(-1).add_(_LEAST) for rows in (piece.tensors[0], piece.base))
    return (of_tensor * (of_tensor / of_base).log()).sum(-1, keepdim=True)


def _importance(piece: Piece, divergence: Tensor) -> Tensor:
    assert piece.base is not None
    tensor = piece.tensors[0]
    found = ((tensor - piece.base).abs_().double() * divergence).to(tensor.dtype)
    return found.masked_fill_(tensor == piece.base, 0)  # infinities, as masks hold, have no difference
