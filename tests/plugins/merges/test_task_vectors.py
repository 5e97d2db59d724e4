"""The merges that add task vectors to a base, against plain Python written from the papers."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from safetensors.torch import load_file, save_file
from torch import Tensor

from compat_plugins.merges.breadcrumbs import Breadcrumbs
from compat_plugins.merges.breadcrumbs_ties import BreadcrumbsTies
from compat_plugins.merges.dare_linear import DareLinear
from compat_plugins.merges.dare_ties import DareTies
from compat_plugins.merges.della import Della
from compat_plugins.merges.della_linear import DellaLinear
from compat_plugins.merges.task_arithmetic import TaskArithmetic
from compat_plugins.merges.task_vectors import TaskVectorMerge
from compat_plugins.merges.ties import Ties
from compat_spec.errors import CompatError
from compat_spec.nn import merging, pieces
from compat_spec.nn.checkpoint import Checkpoint
from compat_spec.nn.merging import TensorMerging, merge_tensor
from compat_spec.nn.outline import Model
from compat_spec.nn.per_tensor import TensorPlace
from tests.plugins.merges.tensors import SHAPES, close, merged, some, tuned

ALL: list[type[TaskVectorMerge]] = [
    TaskArithmetic,
    Ties,
    DareLinear,
    DareTies,
    DellaLinear,
    Della,
    Breadcrumbs,
    BreadcrumbsTies,
]
RANDOM = [DareLinear, DareTies, DellaLinear, Della]
SPARSE = ALL[1:]
ELECTED = [Ties, DareTies, Della, BreadcrumbsTies]
WEIGHTS = [0.7, 0.2, 0.4]


@pytest.fixture(params=[7, 1 << 18], ids=["in pieces", "whole"])
def pieces_of_two_sizes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "PIECE", request.param)


in_pieces_too = pytest.mark.usefixtures("pieces_of_two_sizes")


def added(
    vectors: Sequence[Sequence[float]], weights: Sequence[float], *, elect: bool, normalize: bool
) -> Iterator[float]:
    """Each entry of the sum of task vectors, which are lists of numbers."""
    for entry in zip(*vectors, strict=True):
        parts = [weight * value for weight, value in zip(weights, entry, strict=True)]
        counted = list(zip(parts, weights, strict=True))
        if elect:
            sign = 1 if sum(parts) >= 0 else -1
            counted = [(part, weight) for part, weight in counted if part * sign > 0]
        divisor = sum(weight for _, weight in counted)
        yield sum(part for part, _ in counted) / (divisor if normalize and abs(divisor) > 1e-8 else 1)


def oracle(
    tensors: Sequence[Tensor],
    base: Tensor,
    weights: Sequence[float],
    *,
    elect: bool,
    normalize: bool = False,
    factor: float = 1.0,
    ranks: Sequence[tuple[int, int]] | None = None,
    rescale: bool = False,
) -> Tensor:
    """`ranks`: of each model, which entries stay, from which to which rank of magnitude, the largest being 0."""
    vectors = [(tensor.double() - base.double()).flatten().tolist() for tensor in tensors]
    if ranks is not None:
        for i, (vector, (start, stop)) in enumerate(zip(vectors, ranks, strict=True)):
            order = sorted(range(len(vector)), key=lambda at, vector=vector: -abs(vector[at]))
            thin = [value if at in order[start:stop] else 0.0 for at, value in enumerate(vector)]
            size, left = sum(map(abs, vector)), sum(map(abs, thin))
            vectors[i] = [value * size / left for value in thin] if rescale and left else thin
    total = list(added(vectors, weights, elect=elect, normalize=normalize))
    return base.double() + factor * torch.tensor(total, dtype=torch.float64).view(base.shape)


DTYPES = [torch.float64, torch.float32, torch.bfloat16]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("normalize", [True, False])
def test_task_arithmetic_adds_the_weighted_task_vectors(shape, dtype, normalize):
    tensors, base = tuned(3, shape, dtype)
    result = merged(TaskArithmetic, tensors, base, weight=WEIGHTS, normalize=normalize, **{"lambda": 0.6})
    close(result, oracle(tensors, base, WEIGHTS, elect=False, normalize=normalize, factor=0.6))


@in_pieces_too
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("normalize", "rescale"), [(True, False), (False, True)])
def test_ties_trims_elects_signs_and_averages_what_agrees(shape, dtype, normalize, rescale):
    tensors, base = tuned(3, shape, dtype)
    result = merged(
        Ties,
        tensors,
        base,
        weight=WEIGHTS,
        density=[0.5, 0.3, 1.0],
        normalize=normalize,
        rescale=rescale,
        **{"lambda": 1.3},
    )
    size = base.numel()
    ranks = [(0, max(1, int(0.5 * size))), (0, max(1, int(0.3 * size))), (0, size)]
    expected = oracle(tensors, base, WEIGHTS, elect=True, normalize=normalize, factor=1.3, ranks=ranks, rescale=rescale)
    close(result, expected)


@in_pieces_too
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("cls", [Breadcrumbs, BreadcrumbsTies])
@pytest.mark.parametrize("rescale", [True, False])
def test_breadcrumbs_drops_outliers_and_the_smallest(cls, shape, dtype, rescale):
    tensors, base = tuned(3, shape, dtype)
    result = merged(cls, tensors, base, weight=WEIGHTS, density=[0.5, 0.3, 1.0], gamma=[0.2, 0.9, 0.4], rescale=rescale)
    size = base.numel()
    ranks = []
    for density, gamma in ((0.5, 0.2), (0.3, 0.9), (1.0, 0.0)):  # nothing is dropped at a density of 1
        outliers = min(int(gamma * size), size - int(density * size))
        ranks.append((outliers, outliers + int(density * size)))
    expected = oracle(tensors, base, WEIGHTS, elect=cls is BreadcrumbsTies, ranks=ranks, rescale=rescale)
    close(result, expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("cls", ALL)
@pytest.mark.parametrize(
    "weights", [WEIGHTS, [0.7, -0.2, 0.4], [1.0, -1.0, 0.0], [-0.7, 0.2, -0.4], [0.03, 0.01, 0.02]]
)
@pytest.mark.parametrize("normalize", [True, False])
def test_a_density_of_one_keeps_everything(cls, weights, normalize, dtype):
    tensors, base = tuned(3, (4, 9), dtype)
    result = merged(cls, tensors, base, weight=weights, normalize=normalize)
    close(result, oracle(tensors, base, weights, elect=cls in ELECTED, normalize=normalize))


def test_only_ties_and_della_normalize_and_only_dare_and_della_rescale_by_default():
    made = {cls: cls.model_validate({"models": ["a"], "base": "b"}) for cls in ALL}
    assert [cls for cls in ALL if made[cls].normalize] == [Ties, Della]
    assert [cls for cls in SPARSE if made[cls].rescale] == RANDOM  # type: ignore[attr-defined]
    assert [cls for cls in ALL if made[cls].uses_seed()] == RANDOM


@pytest.fixture(params=[(1, 7), (2, 7), (5, 16)], ids=["1 thread", "2 threads", "5 threads"])
def threads(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """So many, and pieces of so many entries, of which a thread is given one at once."""
    before, (count, room) = torch.get_num_threads(), request.param
    monkeypatch.setattr(pieces, "PIECE", room)
    monkeypatch.setattr(merging, "JOB", 1)
    torch.set_num_threads(count)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("cls", ALL)
def test_a_tensor_that_is_merged_in_pieces_comes_out_as_in_one(tmp_path, monkeypatch, threads, cls):
    shapes = [(5, 9), (13,), (), (1, 1), (2, 3, 4)]
    base = {f"h.{i}.w": some(shape, i, dtype=torch.float32) for i, shape in enumerate(shapes)}
    models = [{name: tensor + some(tensor.shape, 50 + n) for name, tensor in base.items()} for n in range(3)]
    for name, tensors in zip(("base", "a", "b", "c"), (base, *models), strict=True):
        save_file({key: tensor.float() for key, tensor in tensors.items()}, tmp_path / f"{name}.safetensors")
    opened = {name: Model(name, Checkpoint(tmp_path / f"{name}.safetensors")) for name in ("base", "a", "b", "c")}
    sparse = {"density": [0.5, 0.3, 1.0]} if cls in SPARSE else {}
    merge = cls.model_validate({"models": ["a", "b", "c"], "base": "base", "weight": [1, 0.5, 2], **sparse})
    (tmp_path / "out").mkdir()
    TensorMerging(merge, [opened[name] for name in "abc"], opened["base"]).write(tmp_path / "out", seed=3)
    written = load_file(tmp_path / "out" / "model.safetensors")
    monkeypatch.undo()
    for name in base:
        read = [opened[model].tensors[name] for model in ("a", "b", "c", "base")]
        depth = int(name[2]) / (len(shapes) - 1)
        whole = merge_tensor(merge, read[:3], read[3], TensorPlace(name, depth, seed=3))
        assert written[name].equal(whole), name


@pytest.mark.parametrize("rescale", [False, True])
@pytest.mark.parametrize("cls", RANDOM)
def test_what_is_written_is_drawn_alike_by_any_threads_and_in_any_pieces(tmp_path, monkeypatch, cls, rescale):
    shapes = {"h.0.w": (300, 101), "h.1.w": (140_001,), "norm": ()}
    for model, value in {"base": 0.0, "a": 1.0, "b": 10.0}.items():
        save_file({name: torch.full(shape, value) for name, shape in shapes.items()}, tmp_path / f"{model}.safetensors")
    opened = {model: Model(model, Checkpoint(tmp_path / f"{model}.safetensors")) for model in ("base", "a", "b")}
    share = {"a": 0.4, "b": 0.7}
    merge = cls.model_validate(
        {"models": ["a", "b"], "base": "base", "density": [*share.values()], "normalize": False, "rescale": rescale}
    )

    def written(threads: int, piece: int, seed: int = 3) -> dict[str, Tensor]:
        monkeypatch.setattr(pieces, "PIECE", piece)
        torch.set_num_threads(threads)
        folder = tmp_path / f"{threads} {piece} {seed}"
        folder.mkdir()
        TensorMerging(merge, [opened["a"], opened["b"]], opened["base"]).write(folder, seed=seed)
        return load_file(folder / "model.safetensors")

    before = torch.get_num_threads()
    try:
        (whole, *others), in_pieces = ([written(threads, piece) for threads in (1, 2, 5)] for piece in (1 << 18, 9999))
        other_seed = written(2, 9999, seed=4)
    finally:
        torch.set_num_threads(before)
    for name, tensor in whole.items():
        assert all(other[name].equal(tensor) for other in others)
        assert all(other[name].equal(in_pieces[0][name]) for other in in_pieces[1:])
        # sums of magnitudes are rounded piece by piece
        torch.testing.assert_close(in_pieces[0][name], tensor, rtol=1e-6 if rescale else 0, atol=0)

    drawn, again = (torch.cat([made[name].flatten() for name in shapes]) for made in (whole, other_seed))
    if rescale:
        assert float(drawn.double().mean()) == pytest.approx(11, rel=1e-6)
        return
    off = math.sqrt(math.log(2 * 5 / 1e-6) / (2 * drawn.numel()))  # five means, off with a probability of 1e-6
    alike = 0.15**2 / 3 if issubclass(cls, DellaLinear) else 0  # the models' probabilities rise together
    of_a, of_b = drawn % 10 == 1, drawn >= 10
    for found, expected in (
        (drawn / 11, (share["a"] + 10 * share["b"]) / 11),
        (of_a, share["a"]),
        (of_b, share["b"]),
        (of_a & of_b, share["a"] * share["b"] + alike),
        (of_a & (again % 10 == 1), share["a"] ** 2 + alike),
    ):
        assert float(found.double().mean()) == pytest.approx(expected, abs=off)


def test_where_nothing_agrees_or_weights_cancel_out_the_divisor_is_one():
    base = torch.zeros(3, dtype=torch.float64)
    tensors = [torch.tensor([0.0, 2.0, 0.0]).double(), torch.tensor([0.0, -2.0, 3.0]).double()]
    assert merged(Ties, tensors, base, weight=[1, 1]).tolist() == [0, 2, 3]  # a sum of zero elects plus
    assert merged(Ties, tensors, base, weight=[0.5, -0.5]).tolist() == [0, 2, 3 * -0.5 / -0.5]
    assert merged(TaskArithmetic, tensors, base, weight=[1, -1], normalize=True).tolist() == [0, 4, -3]


@pytest.mark.parametrize("cls", [TaskArithmetic, Ties])
@pytest.mark.parametrize("weight", [[-1, -3], [-1e-3, -3e-3], [1e-4, 3e-4]])
def test_negative_and_small_sums_of_weights_divide(cls, weight):
    base, delta = some((3,)), some((3,), 1)
    result = merged(cls, [base + delta, base + 2 * delta], base, weight=weight, normalize=True)
    close(result, base + delta * 7 / 4)


def test_what_is_tiny_is_rescaled_and_what_is_infinite_is_not():
    base = torch.zeros(4, dtype=torch.float64)
    tiny = torch.tensor([3e-6, 1e-6, 1e-6, 1e-6]).double()
    result = merged(Ties, [tiny], base, density=0.25, rescale=True)
    torch.testing.assert_close(result, torch.tensor([6e-6, 0, 0, 0]).double(), rtol=1e-6, atol=0)
    outlier = torch.tensor([math.inf, 3.0, 1.0, 1.0]).double()
    assert merged(Breadcrumbs, [outlier], base, density=0.5, gamma=0.25, rescale=True).tolist() == [0, 3, 1, 0]


@pytest.mark.parametrize("cls", ELECTED)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_weights_that_cancel_out_but_for_rounding_are_no_divisor(cls, dtype):
    base = torch.zeros(2, dtype=dtype)
    delta = torch.tensor([1.0, -2.0], dtype=dtype)
    for a, b in itertools.product(range(1, 14), repeat=2):  # 0.1 + 0.6 - 0.7 is 6e-8 in float32
        weight = [a / 10, b / 10, -(a + b) / 10]
        result = merged(cls, [delta, delta, -delta], base, weight=weight, normalize=True)
        torch.testing.assert_close(result, delta * 0.2 * (a + b))
    only = merged(cls, [delta, -delta], base, weight=[1e-6, -2e-6], normalize=True)
    torch.testing.assert_close(only, -3 * delta, msg="small weights that do not cancel out divide")


# ------------------------------------------------------------------------------------------------------ invariants

FLOATS = st.floats(width=32, allow_nan=False)


@pytest.mark.parametrize("cls", ALL)
@settings(max_examples=40)
@given(
    values=st.lists(FLOATS, min_size=1, max_size=8),
    dtype=st.sampled_from(DTYPES),
    density=st.sampled_from([0.3, 0.5, 1.0]),
)
def test_models_that_are_their_base_give_it_to_the_bit(cls, values, dtype, density):
    base = torch.tensor(values, dtype=dtype)
    parameters: dict[str, Any] = {} if cls is TaskArithmetic else {"density": density}
    assert merged(cls, [base.clone()] * 3, base, weight=WEIGHTS, **parameters).equal(base)


@pytest.mark.parametrize("cls", ALL)
def test_a_model_without_weight_is_absent(cls):
    tensors, base = tuned(3)
    parameters: dict[str, Any] = {} if cls is TaskArithmetic else {"density": 0.5, "normalize": True}
    spoilt = [tensors[0], torch.full_like(base, math.nan), tensors[2]]
    without = merged(cls, spoilt, base, weight=[0.7, 0, 0.4], **parameters)
    assert without.equal(merged(cls, tensors, base, weight=[0.7, 0, 0.4], **parameters))
    assert without.isfinite().all()
    assert merged(cls, tensors, base, weight=0).equal(base)
    assert merged(cls, tensors, base, **{"lambda": 0}).equal(base)


@pytest.mark.parametrize("cls", ALL)
def test_infinities_that_models_and_base_share_stay_and_spoil_nothing(cls):
    tensors, base = tuned(2, (4, 4), torch.float32)
    mask = torch.full((1, 4), -math.inf)
    parameters: dict[str, Any] = {} if cls is TaskArithmetic else {"density": 0.5}
    result = merged(cls, [torch.cat([t, mask]) for t in tensors], torch.cat([base, mask]), **parameters)
    assert result[-1].equal(mask[0])
    assert result[:-1].isfinite().all()


@pytest.mark.parametrize("cls", ALL)
def test_parameters_that_want_gradients_are_merged_as_numbers(cls):
    tensors, base = tuned(2, (4, 9), torch.float32)
    sparse: dict[str, Any] = {} if cls is TaskArithmetic else {"density": 0.5}
    result = merged(cls, [torch.nn.Parameter(tensor) for tensor in tensors], torch.nn.Parameter(base), **sparse)
    assert not result.requires_grad
    assert result.equal(merged(cls, tensors, base, **sparse))


def test_parameters_may_differ_by_tensor():
    tensors, base = tuned(2, (4, 9))
    density = [{"mlp": 0.2, "*": 0.7}, {"gradient": [0.4, 0.6]}]
    for name, depth, plain in (("h.0.mlp.w", 0.0, [0.2, 0.4]), ("h.1.attn.w", 0.5, [0.7, 0.5])):
        result = merged(
            Ties, tensors, base, at=TensorPlace(name, depth), density=density, **{"lambda": {"mlp": 1, "*": 2}}
        )
        assert result.equal(merged(Ties, tensors, base, density=plain, **{"lambda": 1 if "mlp" in name else 2}))


# --------------------------------------------------------------------------------------------------------- at random

DRAWS = 2500


def bound(comparisons: int, spread: float = 1.0) -> float:
    """How far off the mean of DRAWS numbers from a range of this width is with a probability of 1e-7 (Hoeffding)."""
    return spread * math.sqrt(math.log(2 * comparisons / 1e-7) / (2 * DRAWS))


def seeded(cls: type[TaskVectorMerge], tensors: Sequence[Tensor], base: Tensor, **parameters: Any) -> Tensor:
    """The results of DRAWS seeds."""
    merge = cls.model_validate({"models": ["a", "b"][: len(tensors)], "base": "base", **parameters})
    places = (TensorPlace("w", seed=seed) for seed in range(DRAWS))
    return torch.stack([merge_tensor(merge, tensors, base, place) for place in places])


@pytest.mark.parametrize("cls", [DareLinear, DareTies])
def test_dare_keeps_each_entry_with_the_density_as_its_probability(cls):
    base = some((3, 4))
    results = seeded(cls, [base + 1 + some((3, 4), 1).abs()], base, density=0.4, rescale=False)
    assert float(((results != base).double().mean(0) - 0.4).abs().max()) < bound(12) < 0.07


def test_dare_is_right_in_the_mean_when_rescaled():
    base = torch.zeros(300, dtype=torch.float64)
    delta = some((300,), 1).sign()  # of equal magnitudes, for the mean to be exact
    results = seeded(DareLinear, [delta], base, density=0.5)
    largest = float(results.abs().max())
    assert largest < 3
    assert float((results.mean(0) - delta).abs().max()) < bound(300, 2 * largest) < 0.5


@pytest.mark.parametrize("cls", [DellaLinear, Della])
def test_della_keeps_large_entries_more_often(cls):
    base = torch.zeros(2, 3, dtype=torch.float64)
    delta = torch.tensor([[1.0, -3.0, 2.0], [0.3, 0.2, -0.1]], dtype=torch.float64)
    results = seeded(cls, [delta], base, density=0.5, epsilon=0.3, rescale=False)
    expected = torch.tensor([[0.2, 0.8, 0.5], [0.8, 0.5, 0.2]], dtype=torch.float64)
    assert float(((results != 0).double().mean(0) - expected).abs().max()) < bound(6) < 0.07


def test_models_are_thinned_out_independently():
    base = torch.zeros(2, dtype=torch.float64)
    tensors = [torch.ones(2).double(), torch.full((2,), 10.0).double()]
    results = seeded(DareLinear, tensors, base, density=0.5, rescale=False)
    for value in (0.0, 1.0, 10.0, 11.0):
        assert float(((results == value).double().mean(0) - 0.25).abs().max()) < bound(8)


@pytest.mark.parametrize("cls", RANDOM)
def test_rescaled_task_vectors_are_as_large_as_they_were(cls):
    (tensor,), base = tuned(1, (6, 7))
    for seed in range(5):
        result = merged(cls, [tensor], base, at=TensorPlace("w", seed=seed), density=0.5, normalize=False)
        assert float((result - base).abs().sum()) == pytest.approx(float((tensor - base).abs().sum()))
        assert bool((result == base).any())


@pytest.mark.parametrize("cls", RANDOM)
def test_the_seed_and_the_name_alone_decide(cls):
    tensors, base = tuned(2, (6, 7))

    def drawn(name: str = "w", seed: int = 0) -> Tensor:
        return merged(cls, tensors, base, at=TensorPlace(name, seed=seed), density=0.5)

    first = drawn()
    threads = torch.get_num_threads()
    torch.manual_seed(9)
    torch.rand(5)
    try:
        torch.set_num_threads(3)
        assert drawn().equal(first)
    finally:
        torch.set_num_threads(threads)
    assert not drawn(seed=1).equal(first)
    assert not drawn(name="v").equal(first)


# ----------------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("cls", "wrong", "message"),
    [
        (Ties, {"density": 0}, "greater than 0"),
        (Ties, {"density": 1.1}, "less than or equal to 1"),
        (Ties, {"density": [0.5]}, "1 entries of density for 2 models"),
        (Ties, {"weight": [1, math.inf]}, "finite"),
        (Ties, {"lambda": math.nan}, "finite"),
        (Ties, {"lambda_": 1}, "lambda_"),
        (Ties, {"base": ""}, "base"),
        (TaskArithmetic, {"density": 0.5}, "density"),
        (Breadcrumbs, {"gamma": 1}, "less than 1"),
        (Breadcrumbs, {"gamma": -0.1}, "greater than or equal to 0"),
        (Della, {"density": 0.9}, "density 0.9 and epsilon 0.15 give .* epsilon must be below 0.1"),
        (Della, {"density": 0.1}, "from -0.05 to 0.25"),
        (Della, {"density": [0.5, 0.8], "epsilon": [0.3, 0.2]}, "density 0.8 and epsilon 0.2"),
        (DellaLinear, {"epsilon": -0.1}, "greater than or equal to 0"),
    ],
)
def test_parameters_without_sense_are_refused(cls, wrong, message):
    with pytest.raises(ValidationError, match=message):
        cls.model_validate({"models": ["a", "b"], "base": "c"} | wrong)


def test_a_base_is_needed():
    for cls in ALL:
        with pytest.raises(ValidationError, match="base"):
            cls.model_validate({"models": ["a", "b"]})


def test_della_refuses_probabilities_that_do_not_fit_a_tensor():
    tensors, base = tuned(2)
    density = {"mlp": 0.9, "*": 0.5}
    merged(Della, tensors, base, density=density)
    with pytest.raises(CompatError, match=r"h\.0\.mlp: density 0\.9 and epsilon 0\.15 give"):
        merged(Della, tensors, base, at=TensorPlace("h.0.mlp"), density=density)
