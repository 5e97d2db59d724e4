"""Reading tensors from safetensors files of any layout, and writing them as a stream."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor

from compat_spec.errors import CompatError
from compat_spec.nn.checkpoint import Checkpoint
from compat_spec.nn.shards import ShardWriter


def some() -> dict[str, Tensor]:
    numbers = torch.Generator().manual_seed(0)
    return {
        "a.weight": torch.randn(3, 5, generator=numbers),
        "a.bias": torch.randn(7, generator=numbers).bfloat16(),
        "b.half": torch.randn(2, 1, 3, generator=numbers).half(),
        "b.double": torch.randn((), generator=numbers, dtype=torch.float64),
        "b.mask": torch.tensor([True, False, True]),
        "b.count": torch.tensor(41),
        "empty": torch.zeros(0, 4),
        "coarse": torch.randn(9, generator=numbers).to(torch.float8_e4m3fn),
    }


def same(a: Tensor, b: Tensor) -> bool:
    return (
        a.dtype == b.dtype
        and a.shape == b.shape
        and bytes(a.view(-1).view(torch.uint8)) == bytes(b.view(-1).view(torch.uint8))
    )


def check(place: Path, expected: dict[str, Tensor]) -> None:
    with Checkpoint(place) as found:
        assert list(found) == sorted(expected)
        for name, tensor in expected.items():
            assert same(found[name], tensor), name
            assert (found.shape(name), found.dtype(name)) == (tuple(tensor.shape), tensor.dtype)


def test_a_file_a_folder_with_one_and_a_folder_of_loose_shards(tmp_path: Path) -> None:
    tensors = some()
    save_file(tensors, tmp_path / "any name.safetensors")
    check(tmp_path / "any name.safetensors", tensors)
    check(tmp_path, tensors)
    half = dict(list(tensors.items())[:4])
    loose = tmp_path / "loose"
    loose.mkdir()
    save_file(half, loose / "1.safetensors")
    save_file({name: tensor for name, tensor in tensors.items() if name not in half}, loose / "2.safetensors")
    check(loose, tensors)
    save_file(half, loose / "3.safetensors")
    with pytest.raises(CompatError, match=r"twice in .*: in 1.safetensors and 3.safetensors"):
        Checkpoint(loose)


@pytest.mark.parametrize("shard_bytes", [10**9, 64, 1])
def test_what_is_written_as_a_stream_is_what_others_read(tmp_path: Path, shard_bytes: int) -> None:
    tensors = some()
    outline = {name: (tensor.dtype, tuple(tensor.shape)) for name, tensor in tensors.items()}
    with ShardWriter(tmp_path, outline, shard_bytes) as writer:
        for name in writer.order:
            writer.write(name, tensors[name])
    check(tmp_path, tensors)
    files = sorted(tmp_path.glob("*.safetensors"))
    theirs = {name: tensor for file in files for name, tensor in load_file(file).items()}
    assert theirs.keys() == tensors.keys()
    assert all(same(theirs[name], tensor) for name, tensor in tensors.items())
    assert (len(files) == 1) is (shard_bytes == 10**9)
    if len(files) > 1:
        index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
        assert index["metadata"] == {
            "total_parameters": sum(tensor.numel() for tensor in tensors.values() if tensor.is_floating_point()),
            "total_size": sum(tensor.nbytes for tensor in tensors.values()),
        }
        assert all(name in load_file(tmp_path / file) for name, file in index["weight_map"].items())
        assert files[0].name == f"model-00001-of-{len(files):05}.safetensors"
        assert all(len(load_file(file)) == 1 for file in files if file.stat().st_size > 64 + 1000)


def test_pieces_may_be_written_in_any_order_by_several_threads(tmp_path: Path) -> None:
    tensors = {f"w{i}": torch.randn(40, 25, generator=torch.Generator().manual_seed(i)) for i in range(4)}
    with ShardWriter(tmp_path, dict.fromkeys(tensors, (torch.float32, (40, 25))), 2 * 4000) as writer:
        pieces = [(name, start) for start in reversed(range(0, 1000, 70)) for name in tensors]
        with ThreadPoolExecutor(4) as threads:
            list(
                threads.map(lambda at: writer.write(at[0], tensors[at[0]].flatten()[at[1] : at[1] + 70], at[1]), pieces)
            )
    check(tmp_path, tensors)


@given(st.data())
def test_a_piece_is_that_part_of_the_flattened_tensor(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject):
    folder = tmp_path_factory.mktemp("piece")
    tensors = some()
    save_file(tensors, folder / "model.safetensors")
    name = data.draw(st.sampled_from(sorted(tensors)))
    count = tensors[name].numel()
    start = data.draw(st.integers(0, count))
    stop = data.draw(st.integers(start, count))
    with Checkpoint(folder) as found:
        assert same(found.piece(name, start, stop), tensors[name].flatten()[start:stop])


def test_what_is_read_is_the_caller_s_own(tmp_path: Path) -> None:
    save_file(some(), tmp_path / "model.safetensors")
    with Checkpoint(tmp_path) as found:
        found["a.weight"].zero_()
        assert same(found["a.weight"], some()["a.weight"])


def test_damage_is_told_with_the_file(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    with pytest.raises(CompatError, match=r"has no model\.safetensors and no"):
        Checkpoint(tmp_path)
    save_file(some(), file)
    whole = file.read_bytes()
    for damaged in (b"", whole[:6], whole[:60], whole[:-1], b"\xff" * 100, whole + b"more"):
        file.write_bytes(damaged)
        with pytest.raises(CompatError, match=r"model.safetensors cannot be read: "):
            Checkpoint(tmp_path)


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ("not json", "is not an index of shards"),
        ("[]", "is not an index of shards"),
        ('{"weight_map": {"a.weight": 3}}', "is not an index of shards"),
        ('{"weight_map": {"gone": "part.safetensors"}}', "says that part.safetensors has gone, which it has not"),
        (
            '{"weight_map": {"a.weight": "missing.safetensors"}}',
            "names missing.safetensors, which is not there: the mod",
        ),
        ('{"weight_map": {"a.weight": "../part.safetensors"}}', r"names ../part.safetensors, which is not in its fol"),
        ('{"weight_map": {"a.weight": "/etc/passwd"}}', "names /etc/passwd, which is not in its folder"),
        ('{"weight_map": {"a.weight": ""}}', "which is not there"),
    ],
)
def test_a_wrong_index_is_told(tmp_path: Path, index: str, message: str) -> None:
    save_file(some(), tmp_path / "part.safetensors")
    (tmp_path / "model.safetensors.index.json").write_text(index)
    with pytest.raises(CompatError, match=message):
        Checkpoint(tmp_path)


def test_an_index_has_any_beginning_and_its_shards_may_be_in_folders(tmp_path: Path) -> None:
    shards = {"one.safetensors": ["a.weight", "empty"], "inner/two.safetensors": ["b.count"]}
    (tmp_path / "inner").mkdir()
    for file, names in shards.items():
        save_file({name: some()[name] for name in names} | {"not meant": torch.ones(1)}, tmp_path / file)
    index = {"weight_map": {name: file for file, names in shards.items() for name in names}}
    (tmp_path / "diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps(index))
    check(tmp_path, {name: some()[name] for names in shards.values() for name in names})
    (tmp_path / "other.safetensors.index.json").write_text("{}")
    with pytest.raises(
        CompatError, match=r"has several indices of shards: diffusion_.*, other\.safetensors\.index\.json"
    ):
        Checkpoint(tmp_path)


def test_what_transformers_does_not_read_is_not_read(tmp_path: Path) -> None:
    tensors = some()
    (first, one), *rest = tensors.items()
    save_file({"layers.0.wq": torch.ones(2)}, tmp_path / "consolidated.safetensors")
    save_file({first: one}, tmp_path / "model-00001-of-00002.safetensors")
    with pytest.raises(CompatError, match="has no shard 2 of 2 of model: the model is not whole"):
        Checkpoint(tmp_path)
    save_file(dict(rest), tmp_path / "model-00002-of-00002.safetensors")
    check(tmp_path, tensors)
    save_file({first: one}, tmp_path / "model.safetensors")
    (tmp_path / "model.safetensors.index.json").write_text("of an older model")
    check(tmp_path, {first: one})


def test_a_pointer_of_git_lfs_is_called_so(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n")
    with pytest.raises(CompatError, match="is a pointer of Git LFS, not the file itself: fetch it with git lfs pull"):
        Checkpoint(tmp_path)
