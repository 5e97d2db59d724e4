"""Numbers that differ from tensor to tensor, and where a tensor is."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import FiniteFloat, ValidationError

from compat_spec.components import TensorMerge
from compat_spec.nn.block_names import depths
from compat_spec.nn.per_tensor import Gradient, PerModel, PerTensor, TensorPlace


class Weighing(TensorMerge):
    """Has parameters of both kinds."""

    weight: PerModel[FiniteFloat] = 1.0
    t: PerTensor[FiniteFloat] = 0.5

    def combine(self, tensors, base, *, at):
        return sum(weight * tensor for weight, tensor in zip(at.values(self.weight, 2), tensors, strict=True))


def weighing(**parameters: object) -> Weighing:
    return Weighing.model_validate({"models": ["a", "b"], **parameters})


def at(name: str = "model.layers.0.mlp.up.weight", depth: float = 0.0) -> TensorPlace:
    return TensorPlace(name, depth)


@pytest.mark.parametrize(
    ("given", "depth", "expected"),
    [
        (0.25, 0.7, 0.25),
        ({"gradient": [0, 1]}, 0.0, 0.0),
        ({"gradient": [0, 1]}, 0.3, 0.3),
        ({"gradient": [0, 1]}, 1.0, 1.0),
        ({"gradient": [0, 1, 0.5]}, 0.5, 1.0),
        ({"gradient": [0, 1, 0.5]}, 0.75, 0.75),
        ({"gradient": [0.4]}, 0.9, 0.4),
    ],
)
def test_a_gradient_is_a_line_through_evenly_spread_points(given, depth, expected):
    assert at(depth=depth).value(weighing(t=given).t) == pytest.approx(expected)


def test_the_first_part_that_the_name_contains_decides():
    t = weighing(t={"up": 1, "mlp": {"gradient": [2, 4]}, "*": 3}).t
    assert at("layers.0.mlp.up", 0.5).value(t) == 1
    assert at("layers.0.mlp.down", 0.5).value(t) == 3
    assert at("layers.0.mlp.down", 1).value(t) == 4
    assert at("embed").value(t) == 3


def test_one_for_all_models_or_one_for_each():
    place = at(depth=1)
    assert place.values(weighing(weight=2).weight, 2) == [2, 2]
    assert place.values(weighing(weight=[2, {"gradient": [0, 5]}]).weight, 2) == [2, 5]
    assert place.values(weighing(weight={"gradient": [0, 5]}).weight, 2) == [5, 5]


@pytest.mark.parametrize(
    "wrong",
    [
        {"weight": [1, 2, 3]},
        {"weight": []},
        {"t": [1, 2]},
        {"t": {"gradient": []}},
        {"t": {"gradient": [1, "x"]}},
        {"t": {"mlp": 1}},
        {"t": {"*": 7, "up": 1}},
        {"t": {"gradient": [1], "mlp": 2}},
        {"t": float("nan")},
        {"weight": [1, {"gradient": [float("inf")]}]},
    ],
)
def test_what_cannot_be_meant_is_refused(wrong):
    with pytest.raises(ValidationError):
        weighing(**wrong)


def test_it_survives_being_written_down():
    merge = weighing(weight=[{"mlp": {"gradient": [1, 2]}, "*": 1}, 3], t={"gradient": [0, 1]})
    assert Weighing.model_validate(merge.model_dump(mode="json")) == merge
    assert merge.t == Gradient((0.0, 1.0))


def test_how_deep_tensors_are():
    names = ["embed", "layers.0.w", "layers.1.a", "layers.4.w", "layers.4.experts.9.w", "norm"]
    assert depths(names) == {
        "embed": 0,
        "layers.0.w": 0,
        "layers.1.a": 0.25,
        "layers.4.w": 1,
        "layers.4.experts.9.w": 1,
        "norm": 0,
    }
    assert depths(["encoder.0.w", "encoder.1.w", "decoder.0.w", "decoder.1.w", "decoder.2.w"]) == {
        "encoder.0.w": 0,
        "encoder.1.w": 1,
        "decoder.0.w": 0,
        "decoder.1.w": 0.5,
        "decoder.2.w": 1,
    }
    assert depths(["h.0.w"]) == {"h.0.w": 1}, "an only block is the last, as in mergekit"


@given(st.text(max_size=20), st.floats(0, 1))
def test_any_name_has_a_depth_and_a_value(name, depth):
    assert 0 <= depths([name])[name] <= 1
    assert 2 <= TensorPlace(name, depth).value(weighing(t={"a": {"gradient": [2, 3]}, "*": 4}).t) <= 4


def test_random_numbers_depend_on_seed_name_and_stream_alone():
    place = TensorPlace("w", seed=3)
    drawn = place.random((4, 5))
    torch.manual_seed(99)
    assert place.random((4, 5)).equal(drawn)
    assert (drawn.dtype, tuple(drawn.shape)) == (torch.float32, (4, 5))
    for other in (TensorPlace("v", seed=3), TensorPlace("w", seed=4)):
        assert not other.random((4, 5)).equal(drawn)
    assert not place.random((4, 5), stream=1).equal(drawn)
