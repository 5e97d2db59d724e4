"""Merging whole models tensor by tensor: what is read, what is written, and what does not go together."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from compat_spec.components import TensorMerge
from compat_spec.errors import CompatError
from compat_spec.nn import pieces
from compat_spec.nn.checkpoint import Checkpoint
from compat_spec.nn.merging import TensorMerging
from compat_spec.nn.outline import Model


class Mean(TensorMerge):
    """The plain mean, plus what the base is given as."""

    base: str | None = None

    def combine(self, tensors, base, *, at):
        assert len({tensor.dtype for tensor in tensors}) == 1
        assert base is None or base.dtype == tensors[0].dtype
        return sum(tensors) / len(tensors) + (0 if base is None else base)


class PiecewiseMean(Mean):
    """The same, a piece at a time."""

    unit = "entry"

    def combine(self, tensors, base, *, at):
        assert tensors[0].dim() == 1
        assert len(tensors[0]) <= pieces.PIECE
        return super().combine(tensors, base, at=at)


def some(seed: int, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    numbers = torch.Generator().manual_seed(seed)
    shapes = {"embed": (11, 4), "layers.0.w": (4, 4), "layers.1.w": (4, 4), "scale": (), "empty": (0, 3)}
    floats = {name: torch.randn(shape, generator=numbers).to(dtype) for name, shape in shapes.items()}
    return floats | {"mask": torch.tensor([True, False]), "count": torch.tensor(7)}


def merge(
    folder: Path,
    models: Mapping[str, dict[str, Tensor]],
    *,
    how: type[Mean] = Mean,
    base: dict[str, Tensor] | None = None,
    shard_bytes: int = 10**9,
    **parameters: object,
) -> dict[str, Tensor]:
    out = folder / "out"
    out.mkdir(exist_ok=True)
    for name, tensors in {**models, **({"base": base} if base else {})}.items():
        save_file(tensors, folder / f"{name}.safetensors")
    opened = [Model(name, Checkpoint(folder / f"{name}.safetensors")) for name in models]
    with_base = Model("base", Checkpoint(folder / "base.safetensors")) if base else None
    made = how.model_validate({"models": list(models), "base": "base" if base else None, **parameters})
    TensorMerging(made, opened, with_base).write(out, shard_bytes=shard_bytes)
    return {name: tensor.clone() for file in out.glob("*.safetensors") for name, tensor in load_file(file).items()}


@pytest.mark.parametrize("how", [Mean, PiecewiseMean])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
def test_every_tensor_is_combined_in_high_precision_and_rounded_once(tmp_path, monkeypatch, how, dtype):
    monkeypatch.setattr(pieces, "PIECE", 7)
    a, b, base = (some(seed, dtype) for seed in range(3))
    found = merge(tmp_path, {"a": a, "b": b}, how=how, base=base)
    assert found.keys() == a.keys()
    for name, tensor in a.items():
        assert (found[name].dtype, found[name].shape) == (tensor.dtype, tensor.shape)
        if name in ("mask", "count"):
            assert found[name].equal(tensor)
        else:
            exact = (tensor.double() + b[name].double()) / 2 + base[name].double()
            allowed = exact.abs() * torch.finfo(dtype).eps * 0.51 + (1e-6 if dtype == torch.float32 else 0)
            assert bool(((found[name].double() - exact).abs() <= allowed).all()), name


def test_models_may_be_stored_in_different_types(tmp_path):
    a, b = some(0, torch.bfloat16), some(1, torch.float64)
    exact = (a["embed"].double() + b["embed"]) / 2
    assert merge(tmp_path, {"a": a, "b": b})["embed"].equal(exact.bfloat16()), "the first says what it is stored in"
    assert merge(tmp_path, {"a": a, "b": b}, dtype="float64")["embed"].equal(exact)
    assert merge(tmp_path, {"b": b, "a": a}, dtype="float16")["embed"].equal(exact.half())


def test_float8_is_merged_only_into_something_finer(tmp_path):
    a, b = some(0, torch.float8_e4m3fn), some(1, torch.float8_e5m2)
    with pytest.raises(CompatError, match=r"embed of a is stored in float8_e4m3fn, .* dtype: bfloat16"):
        merge(tmp_path, {"a": a, "b": b})
    exact = (a["embed"].double() + b["embed"].double()) / 2
    assert merge(tmp_path, {"a": a, "b": b}, dtype="bfloat16")["embed"].equal(exact.bfloat16())


def test_what_is_no_floating_point_number_must_be_the_same(tmp_path):
    a, b = some(0), some(1)
    b["count"] = torch.tensor(8)
    with pytest.raises(CompatError, match=r"count \(int64\) holds no floating-point numbers .* not the same in all"):
        merge(tmp_path, {"a": a, "b": b})
    b["count"] = torch.tensor(7.0)
    with pytest.raises(CompatError, match="a and b have different types: count is int64 and float32"):
        merge(tmp_path, {"a": a, "b": b})
    with pytest.raises(CompatError, match="b and a have different types: count is float32 and int64"):
        merge(tmp_path, {"b": b, "a": a})


def test_models_with_different_tensors_are_refused_by_name(tmp_path):
    a, b = some(0), some(1)
    del b["scale"]
    with pytest.raises(CompatError, match=r"a and b do not have the same tensors: a has scale and b has not$"):
        merge(tmp_path, {"a": a, "b": b})
    with pytest.raises(CompatError, match=r"b and a do not have the same tensors: a has scale and b has not$"):
        merge(tmp_path, {"b": b, "a": a})
    with pytest.raises(CompatError, match=r"a and base do not have the same tensors: a has scale and base has not$"):
        merge(tmp_path, {"a": a}, base=b)
    b["new"] = torch.ones(2)
    with pytest.raises(CompatError, match=r"b has new and a has not; there are 1 more$"):
        merge(tmp_path, {"a": a, "b": b})
    b = some(1) | {"embed": torch.ones(12, 4)}
    with pytest.raises(CompatError, match=r"a and b have different shapes: embed is \[11, 4\] and \[12, 4\]"):
        merge(tmp_path, {"a": a, "b": b})
    with pytest.raises(CompatError, match=r"a and base have different shapes: embed is \[11, 4\] and \[12, 4\]"):
        merge(tmp_path, {"a": a}, base=b)


def tied(seed: int) -> dict[str, Tensor]:
    """A model that stores its head beside the embeddings that it is tied to."""
    model = some(seed)
    return model | {"head": model["embed"].clone()}


def test_a_head_that_is_tied_to_the_embeddings_may_be_stored_or_not(tmp_path):
    exact = (some(0)["embed"] + some(1)["embed"]) / 2
    without = merge(tmp_path, {"a": some(0), "b": tied(1)})
    assert without.keys() == some(0).keys()
    with_head = merge(tmp_path, {"a": tied(0), "b": some(1)})
    assert with_head.keys() == tied(0).keys()
    assert all(found.equal(exact) for found in (without["embed"], with_head["embed"], with_head["head"]))
    with_base = merge(tmp_path, {"a": tied(0)}, base=some(1))
    assert with_base["head"].equal(with_base["embed"])
    assert with_base["embed"].equal(some(0)["embed"] + some(1)["embed"])


def test_of_several_names_for_one_tensor_any_may_be_stored(tmp_path):
    other = some(1)
    thrice = tied(0) | {"decoder": tied(0)["embed"]}
    merged = merge(tmp_path, {"a": thrice, "b": other})
    assert merged.keys() == thrice.keys()
    assert merged["decoder"].equal(merged["embed"])
    assert merged["head"].equal(merged["embed"])


def test_constants_that_are_equal_by_chance_are_not_tied(tmp_path):
    zeros = torch.zeros(3)
    with pytest.raises(CompatError, match="a has bias and b has not"):
        merge(tmp_path, {"a": some(0) | {"bias": zeros, "norm": zeros.clone()}, "b": some(1) | {"norm": torch.ones(3)}})


def test_a_head_of_its_own_is_missed_where_there_is_none(tmp_path):
    own = some(1) | {"head": torch.ones(11, 4)}
    with pytest.raises(CompatError, match=r"a and b do not have the same tensors: b has head and a has not$"):
        merge(tmp_path, {"a": some(0), "b": own})
    with pytest.raises(CompatError, match=r"b and a do not have the same tensors: b has head and a has not$"):
        merge(tmp_path, {"b": own, "a": some(0)})


def test_what_is_going_to_be_read_and_written_is_known_before(tmp_path):
    a, b, base = some(0), some(1, torch.bfloat16), some(2, torch.float64)
    for name, tensors in {"a": a, "b": b, "base": base}.items():
        save_file(tensors, tmp_path / f"{name}.safetensors")
    opened = {name: Model(name, Checkpoint(tmp_path / f"{name}.safetensors")) for name in ("a", "b", "base")}
    how = Mean(models=("a", "b"), base="base", dtype="float16")
    made = TensorMerging(how, [opened["a"], opened["b"]], opened["base"])
    assert made.bytes_to_read == sum(tensor.nbytes for model in (a, b, base) for tensor in model.values())
    floats = sum(tensor.numel() for tensor in a.values() if tensor.is_floating_point())
    assert made.bytes_to_write == 2 * floats + 2 + 8
    assert made.largest_bytes == 2 * 11 * 4


def test_shards_hold_together_what_one_file_does(tmp_path):
    models = {"a": some(0), "b": some(1)}
    whole = merge(tmp_path, models)
    (tmp_path / "out" / "model.safetensors").unlink()
    assert all(tensor.equal(whole[name]) for name, tensor in merge(tmp_path, models, shard_bytes=100).items())
    with Checkpoint(tmp_path / "out") as found:
        assert {name: tensor.tolist() for name, tensor in found.items()} == {k: v.tolist() for k, v in whole.items()}


def test_a_merge_that_makes_another_shape_is_told_so(tmp_path):
    class Wrong(Mean):
        def combine(self, tensors, base, *, at):
            return tensors[0].flatten()[:2]

    with pytest.raises(CompatError, match=r"Wrong made a tensor of the shape \[2\] for embed, which is \[11, 4\]"):
        merge(tmp_path, {"a": some(0)}, how=Wrong)


def test_pieces_leave_the_number_of_threads_as_it_was(tmp_path):
    before = torch.get_num_threads()

    class Failing(PiecewiseMean):
        def combine(self, tensors, base, *, at):
            raise CompatError(f"no {at.name}")

    with pytest.raises(CompatError, match="no embed"):
        merge(tmp_path, {"a": some(0)}, how=Failing)
    assert torch.get_num_threads() == before


def test_the_bits_do_not_depend_on_the_number_of_threads(tmp_path):
    class Scaled(Mean):
        def combine(self, tensors, base, *, at):
            return tensors[0] / tensors[0].sum() * tensors[1].square().sum()

    numbers = torch.Generator().manual_seed(0)
    models = {name: {f"w{i}": torch.rand(300, 1001, generator=numbers) for i in range(3)} for name in "ab"}
    before = torch.get_num_threads()
    found = []
    for threads in (1, 2, 5):
        torch.set_num_threads(threads)
        found.append(merge(tmp_path, models, how=Scaled))
    torch.set_num_threads(before)
    assert all(tensor.equal(found[0][name]) for other in found[1:] for name, tensor in other.items())
