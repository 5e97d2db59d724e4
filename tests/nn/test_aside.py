"""Tensors that are put aside on the disk."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from compat_spec.errors import CompatError
from compat_spec.nn.aside import TensorsAside, read_piece, shapes_of

TENSORS = {
    "wide": torch.randn(3, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0)),
    "empty": torch.zeros(0, 4),
    "odd": torch.arange(7, dtype=torch.int8),
    "turned": torch.randn(4, 3, generator=torch.Generator().manual_seed(1)).T,
    "half": torch.randn(5, generator=torch.Generator().manual_seed(2)).bfloat16(),
    "one": torch.tensor(2.5),
}


def test_what_is_put_aside_is_read_as_it_was_whole_and_in_pieces(tmp_path: Path) -> None:
    aside = TensorsAside(tmp_path, TENSORS.items())
    assert list(aside) == list(TENSORS)
    assert "wide" in aside
    assert "other" not in aside
    for name, tensor in TENSORS.items():
        assert aside.dtype(name) == tensor.dtype
        assert aside.shape(name) == tensor.shape
        assert aside[name].equal(tensor)
        for start, stop in ((0, 0), (1, tensor.numel()), (tensor.numel() // 2, tensor.numel())):
            expected = tensor.flatten()[start:stop]
            assert start > stop or read_piece(aside, name, start, stop).equal(expected)
            assert start > stop or read_piece(TENSORS, name, start, stop).equal(expected)
    assert shapes_of(aside) == shapes_of(TENSORS) == {n: tuple(t.shape) for n, t in TENSORS.items() if n != "odd"}


def test_tensors_are_taken_one_by_one_and_one_that_follows_itself_is_written_once(tmp_path: Path) -> None:
    shared = torch.ones(1000)

    def some() -> Iterator[tuple[str, Tensor]]:
        for name in ("a", "b"):
            yield name, shared
        yield "c", shared.clone()

    aside = TensorsAside(tmp_path, some())
    assert all(aside[name].equal(shared) for name in "abc")
    assert aside._file.seek(0, 2) == 2 * 4000


def test_no_file_is_left_or_to_be_seen(tmp_path: Path) -> None:
    aside = TensorsAside(tmp_path, TENSORS.items())
    assert list(tmp_path.iterdir()) == []
    aside["wide"].zero_()
    assert aside["wide"].equal(TENSORS["wide"])


def test_a_disk_that_does_not_take_them_is_named(tmp_path: Path) -> None:
    with pytest.raises(CompatError, match=r"cannot be put aside in \S+nowhere: No such file"):
        TensorsAside(tmp_path / "nowhere", [])
