"""CKA agrees with its formulas in float64, and has the invariances that make it a measure of representations."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from compat_spec.nn import similarity as module
from compat_spec.nn.similarity import similarity


def gaussian(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def related(n: int, widths: list[int], seed: int) -> list[Tensor]:
    """Layers that share something: random maps of common causes, and noise."""
    causes = gaussian(n, 3, seed=99)
    return [
        causes @ gaussian(3, w, seed=seed + i) + 0.5 * gaussian(n, w, seed=seed + 50 + i) for i, w in enumerate(widths)
    ]


def biased_by_definition(x: Tensor, y: Tensor) -> float:
    """Kornblith et al., 2019: HSIC = tr(K H L H) / (n - 1)², with the centring matrix H."""
    x, y = x.double(), y.double()
    n = len(x)
    h = torch.eye(n, dtype=torch.float64) - 1 / n

    def hsic(k: Tensor, l: Tensor) -> Tensor:  # noqa: E741
        return torch.trace(k @ h @ l @ h) / (n - 1) ** 2

    k, l = x @ x.T, y @ y.T  # noqa: E741
    return float(hsic(k, l) / (hsic(k, k) * hsic(l, l)).sqrt())


def unbiased_by_definition(x: Tensor, y: Tensor) -> float:
    """Song et al., 2012, equation 5, on kernels of features that are not centred."""
    n = len(x)

    def hsic(k: Tensor, l: Tensor) -> Tensor:  # noqa: E741
        one = torch.ones(n, dtype=torch.float64)
        k, l = k - torch.diag(k.diag()), l - torch.diag(l.diag())  # noqa: E741
        correction = (one @ k @ one) * (one @ l @ one) / ((n - 1) * (n - 2)) - 2 / (n - 2) * (one @ k @ l @ one)
        return (torch.trace(k @ l) + correction) / (n * (n - 3))

    k, l = x @ x.T, y @ y.T  # noqa: E741
    return float(hsic(k, l) / (hsic(k, k) * hsic(l, l)).sqrt())


DEFINITIONS = {False: biased_by_definition, True: unbiased_by_definition}


def by_definition(xs: list[Tensor], ys: list[Tensor], unbiased: bool) -> Tensor:
    return torch.tensor([[DEFINITIONS[unbiased](x, y) for y in ys] for x in xs], dtype=torch.float64)


@pytest.mark.parametrize("unbiased", [False, True])
@settings(max_examples=40)
@given(
    n=st.integers(5, 40),
    widths_x=st.lists(st.integers(1, 30), min_size=1, max_size=3),
    widths_y=st.lists(st.integers(1, 30), min_size=1, max_size=3),
    seed=st.integers(0, 1000),
)
def test_cka_agrees_with_its_definition_on_odd_shapes(unbiased, n, widths_x, widths_y, seed):
    xs, ys = related(n, widths_x, seed), related(n, widths_y, seed + 7)
    found = similarity("cka", xs, ys, unbiased=unbiased)
    assert found.shape == (len(xs), len(ys))
    assert found.dtype == torch.float64
    torch.testing.assert_close(found, by_definition(xs, ys, unbiased), atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("unbiased", [False, True])
@pytest.mark.parametrize("n", [300, 7])
def test_feature_space_and_gram_space_agree(monkeypatch, unbiased, n):
    xs, ys = related(n, [20, 33], 1), related(n, [20, 8, 41], 5)
    found = {}
    for gram in (False, True):
        monkeypatch.setattr(module, "_gram_is_cheaper", lambda *_, gram=gram: gram)
        found[gram] = similarity("cka", xs, ys, unbiased=unbiased)
    torch.testing.assert_close(found[True], found[False], atol=1e-12, rtol=1e-9)
    torch.testing.assert_close(found[True], by_definition(xs, ys, unbiased), atol=1e-9, rtol=1e-9)


def test_gram_matrices_in_pieces_are_those_in_one(monkeypatch):
    xs, ys = related(50, [200, 300], 1), related(50, [250], 5)
    assert module._gram_is_cheaper(xs, ys)
    whole = similarity("cka", xs, ys, unbiased=True)
    monkeypatch.setattr(module, "_GRAM_ENTRIES", 7 * 2 * 50)
    torch.testing.assert_close(similarity("cka", xs, ys, unbiased=True), whole, atol=1e-12, rtol=0)


@pytest.mark.parametrize("unbiased", [False, True])
@pytest.mark.parametrize(("n", "width"), [(200, 12), (30, 90)])
def test_a_large_offset_costs_no_accuracy(unbiased, n, width):
    xs = [(x + 1e4).float() for x in related(n, [width, width], 1)]
    ys = [(y - 1e4).float() for y in related(n, [width], 5)]
    expected = by_definition(
        [x.double() - x.double().mean(0) for x in xs], [y.double() - y.double().mean(0) for y in ys], unbiased
    )
    torch.testing.assert_close(similarity("cka", xs, ys, unbiased=unbiased), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_any_float_dtype_is_compared_as_it_stands(dtype):
    xs, ys = [x.to(dtype) for x in related(60, [9], 1)], [y.to(dtype) for y in related(60, [11], 5)]
    found = similarity("cka", xs, ys)
    torch.testing.assert_close(found, by_definition(xs, ys, False), atol=1e-9, rtol=0)


@pytest.mark.parametrize("unbiased", [False, True])
def test_layers_resemble_themselves_rotated_scaled_and_moved(unbiased):
    (x,) = related(40, [15], 3)
    rotation = torch.linalg.qr(gaussian(15, 15, seed=8)).Q
    others = [x, x @ rotation, -0.01 * x, x + gaussian(15, seed=4)]
    found = similarity("cka", [x], others, unbiased=unbiased)
    torch.testing.assert_close(found, torch.ones(1, 4, dtype=torch.float64), atol=1e-9, rtol=0)


@pytest.mark.parametrize("unbiased", [False, True])
def test_turning_the_pair_around_transposes_the_matrix(unbiased):
    xs, ys = related(40, [5, 60, 9], 3), related(40, [7, 80], 4)
    found = similarity("cka", xs, ys, unbiased=unbiased)
    torch.testing.assert_close(similarity("cka", ys, xs, unbiased=unbiased), found.T, atol=1e-12, rtol=0)


def test_unrelated_wide_features_look_alike_to_the_biased_estimator_only():
    xs = [gaussian(60, 400, seed=i) for i in range(6)]
    ys = [gaussian(60, 400, seed=20 + i) for i in range(6)]
    assert float(similarity("cka", xs, ys).min()) > 0.7
    unbiased = similarity("cka", xs, ys, unbiased=True)
    assert abs(float(unbiased.mean())) < 0.03
    assert float(unbiased.min()) < 0 < float(unbiased.max())


def test_one_tensor_of_all_layers_is_as_good_as_a_list():
    xs = torch.stack(related(30, [6, 6, 6], 1))
    ys = torch.stack(related(30, [9, 9], 5))
    assert similarity("cka", xs, ys).equal(similarity("cka", list(xs), list(ys)))


@pytest.mark.parametrize("unbiased", [False, True])
@pytest.mark.parametrize("value", [0.0, 0.1, 1e4 / 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("width", [3, 100])
def test_features_that_do_not_vary_have_no_similarity(unbiased, value, dtype, width):
    flat = torch.full((33, width), value, dtype=dtype)
    (x,) = related(33, [width], 1)
    found = similarity("cka", [x, flat], [flat, x], unbiased=unbiased)
    assert found.isnan().tolist() == [[True, False], [True, True]]


def test_tokens_that_are_all_equally_far_apart_have_no_unbiased_similarity():
    apart = torch.eye(9, dtype=torch.float64)
    assert similarity("cka", [apart], [gaussian(9, 4)], unbiased=True).isnan().all()


def test_a_small_variation_on_a_large_offset_is_not_taken_for_none():
    x = gaussian(50, 4)
    moved = torch.cat([1e6 + 1e-4 * x, torch.full((50, 1), 1e8, dtype=torch.float64)], dim=1)
    assert float(similarity("cka", [x], [moved])) == pytest.approx(1, abs=1e-5)


def test_inputs_are_left_as_they_were():
    xs = related(20, [5], 1)
    before = xs[0].clone()
    similarity("cka", xs, xs, unbiased=True)
    assert xs[0].equal(before)


X = torch.zeros(5, 3)


@pytest.mark.parametrize(
    ("measure", "xs", "ys", "options", "message"),
    [
        ("ckaa", [X], [X], {}, "no measure 'ckaa'; there are: cka"),
        ("cka", [X], [X], {"debiased": True}, "no option 'debiased'; its options are: kernel, unbiased"),
        ("cka", [X], [X], {"kernel": "rbf"}, "no kernel 'rbf'; there is: linear"),
        ("cka", [X[:3]], [X[:3]], {"unbiased": True}, "at least 4 tokens, not 3"),
        ("cka", [X], [X[:4]], {}, "same tokens: one has 4, another 5"),
        ("cka", [X], [], {}, "no layers"),
        ("cka", X, [X], {}, r"\[n, width\]"),
        ("cka", [X.int()], [X], {}, "float dtype"),
    ],
)
def test_what_cannot_be_compared_is_named(measure, xs, ys, options, message):
    with pytest.raises(ValueError, match=message):
        similarity(measure, xs, ys, **options)
