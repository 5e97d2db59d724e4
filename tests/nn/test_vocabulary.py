"""Rows of models in the order of another vocabulary, piece by piece."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pytest
import torch
from torch import Tensor

from compat_spec.errors import CompatError
from compat_spec.nn.checkpoint import TensorSource
from compat_spec.nn.vocabulary import Aligned, Speaker, rows_of, token_tensors, united


class InMemory(TensorSource):
    """Tensors of a test."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self._tensors = tensors

    def __len__(self) -> int:
        return len(self._tensors)

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __contains__(self, name: object) -> bool:
        return name in self._tensors

    def shape(self, name: str) -> tuple[int, ...]:
        return tuple(self._tensors[name].shape)

    def dtype(self, name: str) -> torch.dtype:
        return self._tensors[name].dtype

    def piece(self, name: str, start: int, stop: int) -> Tensor:
        assert 0 <= start <= stop <= self._tensors[name].numel()
        return self._tensors[name].flatten()[start:stop].clone()


def speaker(name: str, ids: Mapping[str, int], rows: int, dtype: torch.dtype = torch.float32) -> Speaker:
    generator = torch.Generator().manual_seed(ord(name))
    tensors = {
        "embed_tokens.weight": torch.randn(rows, 3, generator=generator).to(dtype),
        "lm_head.bias": torch.randn(rows, generator=generator).to(dtype),
        "norm.weight": torch.randn(rows, generator=generator).to(dtype),
    }
    return Speaker(name, InMemory(tensors), ids, rows)


A = speaker("A", {"x": 0, "y": 1, "z": 2}, 5)
B = speaker("B", {"z": 0, "q": 1, "y": 2}, 3)
C = speaker("C", {"r": 0, "q": 1, "unheard": 7, "z": 4}, 5)
ALL = (A, B, C)
UNION = {"x": 0, "y": 1, "z": 2, "q": 3, "r": 4, "unheard": 5}


def row(of: Speaker, number: int) -> Tensor:
    found: Tensor = of.tensors["embed_tokens.weight"][number]
    return found


def aligned(own: int, base: int | None = None, ids: Mapping[str, int] = UNION) -> Tensor:
    found: Tensor = Aligned(ALL, own, ids, 0, base)["embed_tokens.weight"]
    return found


def test_what_the_first_lacks_is_appended_in_the_order_of_the_others() -> None:
    assert united([one.ids for one in ALL]) == UNION
    assert rows_of(UNION, 5) == 6
    assert rows_of({"x": 0}, 5) == 5


@pytest.mark.parametrize(
    ("own", "base", "expected"),
    [
        (0, None, [row(A, 0), row(A, 1), row(A, 2), (row(B, 1) + row(C, 1)) / 2, row(C, 0), torch.zeros(3)]),
        (1, None, [row(A, 0), row(B, 2), row(B, 0), row(B, 1), row(C, 0), torch.zeros(3)]),
        (2, None, [row(A, 0), (row(A, 1) + row(B, 2)) / 2, row(C, 4), row(C, 1), row(C, 0), torch.zeros(3)]),
        (2, 0, [row(A, 0), row(A, 1), row(C, 4), row(C, 1), row(C, 0), torch.zeros(3)]),
        (0, 2, [row(A, 0), row(A, 1), row(A, 2), row(C, 1), row(C, 0), torch.zeros(3)]),
    ],
)
def test_a_token_has_the_models_own_row_or_that_of_those_who_have_it(
    own: int, base: int | None, expected: list[Tensor]
) -> None:
    torch.testing.assert_close(aligned(own, base), torch.stack(expected))


def test_padding_has_the_rows_of_the_owner() -> None:
    for own in range(3):
        assert aligned(own, 0, A.ids)[3:].equal(A.tensors["embed_tokens.weight"][3:])
    assert aligned(0, 0, A.ids).equal(A.tensors["embed_tokens.weight"])


def test_every_piece_is_that_part_of_the_whole() -> None:
    for own in range(3):
        source = Aligned(ALL, own, UNION, 0, None)
        for name in source:
            whole = source[name].flatten()
            for start in range(len(whole) + 1):
                for stop in range(start, len(whole) + 1):
                    assert source.piece(name, start, stop).equal(whole[start:stop]), (name, start, stop)


def test_bytes_are_those_of_the_rows_that_are_read() -> None:
    # the model's own three rows, one row each of two others that are averaged, one of the only one that has it
    source = Aligned(ALL, 0, UNION, 0, None)
    assert source.bytes("embed_tokens.weight") == (3 + 2 + 1) * 3 * 4
    assert source.bytes("norm.weight") == A.tensors.bytes("norm.weight") == 5 * 4


def test_tensors_without_tokens_are_as_they_are_and_biases_of_heads_have_tokens() -> None:
    source = Aligned(ALL, 0, UNION, 0, None)
    assert source["norm.weight"].equal(A.tensors["norm.weight"])
    assert source.shape("norm.weight") == (5,)
    assert source.shape("lm_head.bias") == source["lm_head.bias"].shape == (6,)
    assert source["lm_head.bias"][4] == C.tensors["lm_head.bias"][0]


def test_own_rows_keep_their_type_and_averages_are_not_rounded() -> None:
    half = [speaker(name, one.ids, one.rows, torch.bfloat16) for name, one in zip("ABC", ALL, strict=True)]
    source = Aligned(half, 0, UNION, 0, None)
    assert source.dtype("embed_tokens.weight") == torch.bfloat16
    assert source.piece("embed_tokens.weight", 0, 9).dtype == torch.bfloat16
    average = source["embed_tokens.weight"][3]
    assert average.equal((row(half[1], 1).float() + row(half[2], 1).float()) / 2)
    assert not average.bfloat16().float().equal(average)


@pytest.mark.parametrize(
    ("name", "has_tokens"),
    [
        ("model.embed_tokens.weight", True),
        ("transformer.wte.weight", True),
        ("gpt_neox.embed_in.weight", True),
        ("embed_out.weight", True),
        ("lm_head.bias", True),
        ("shared.weight", True),
        ("cls.predictions.decoder.weight", True),
        ("transformer.wpe.weight", False),
        ("model.decoder.embed_positions.weight", False),
        ("word_embeddings_layernorm.weight", False),
        ("model.norm.weight", False),
        ("model.layers.0.embed.weight", False),
    ],
)
def test_embeddings_and_heads_are_told_by_their_names(name: str, has_tokens: bool) -> None:
    tensors = {name: torch.zeros(7), "lm_head.weight": torch.zeros(7, 2)}
    assert (name in token_tensors(Speaker("a", InMemory(tensors), {}, 7))) is has_tokens


def test_a_model_without_rows_for_its_tokens_is_refused() -> None:
    with pytest.raises(CompatError, match="no tensor of a has a row for each of the 8 tokens"):
        token_tensors(Speaker("a", InMemory({"lm_head.weight": torch.zeros(7, 2)}), {}, 8))
