"""CKA agrees with its formulas in float64, and has the invariances that make it a measure of representations."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from compat_spec.nn.similarity import UndefinedSimilarityWarning, distances, gram, hsic, inputs, similarity
from tests.nn.similarity.made_up import gaussian, related


def biased_hsic(k: Tensor, l: Tensor) -> Tensor:  # noqa: E741
    """tr(K H L H) / (n - 1)², with the centring matrix H."""
    n = len(k)
    h = torch.eye(n, dtype=torch.float64) - 1 / n
    return torch.trace(k @ h @ l @ h) / (n - 1) ** 2


def unbiased_hsic(k: Tensor, l: Tensor) -> Tensor:  # noqa: E741
    """Song et al., 2012, equation 5."""
    n = len(k)
    one = torch.ones(n, dtype=torch.float64)
    k, l = k - torch.diag(k.diag()), l - torch.diag(l.diag())  # noqa: E741
    correction = (one @ k @ one) * (one @ l @ one) / ((n - 1) * (n - 2)) - 2 / (n - 2) * (one @ k @ l @ one)
    return (torch.trace(k @ l) + correction) / (n * (n - 3))


HSIC = {False: biased_hsic, True: unbiased_hsic}


def linear(x: Tensor) -> Tensor:
    return x @ x.T


def rbf(x: Tensor, sigma: float) -> Tensor:
    distances = torch.pdist(x)
    median = (distances.sort().values[(len(distances) - 1) // 2] + distances.sort().values[len(distances) // 2]) / 2
    return torch.exp(
        -(torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist") ** 2) / (2 * (sigma * median) ** 2)
    )


def by_definition(
    xs: list[Tensor], ys: list[Tensor], unbiased: bool, kernel: Callable[..., Tensor] = linear, **options: float
) -> Tensor:
    hsic = HSIC[unbiased]
    ks, ls = ([kernel(x.double(), **options) for x in side] for side in (xs, ys))
    return torch.stack(
        [torch.stack([hsic(k, l) / (hsic(k, k) * hsic(l, l)).sqrt() for l in ls]) for k in ks]  # noqa: E741
    )


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
    for in_gram in (False, True):
        monkeypatch.setattr(hsic, "gram_is_cheaper", lambda *_, in_gram=in_gram, same: in_gram)
        found[in_gram] = similarity("cka", xs, ys, unbiased=unbiased)
    torch.testing.assert_close(found[True], found[False], atol=1e-12, rtol=1e-9)
    torch.testing.assert_close(found[True], by_definition(xs, ys, unbiased), atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("kernel", ["linear", "rbf"])
def test_gram_matrices_in_tiles_are_those_in_one(monkeypatch, kernel):
    xs, ys = related(50, [200, 300], 1), related(50, [250], 5)
    whole = similarity("cka", xs, ys, unbiased=True, kernel=kernel)
    monkeypatch.setattr(gram, "_tile_size", lambda *_: 8)
    torch.testing.assert_close(similarity("cka", xs, ys, unbiased=True, kernel=kernel), whole, atol=1e-12, rtol=0)


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
    torch.testing.assert_close(found, by_definition(xs, ys, False), atol=1e-6, rtol=0)


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


@pytest.mark.parametrize("unbiased", [False, True])
@pytest.mark.parametrize("sigma", [0.1, 0.4, 1.0, 3.0])
@settings(max_examples=10)
@given(n=st.integers(5, 40), widths=st.lists(st.integers(1, 30), min_size=1, max_size=3), seed=st.integers(0, 1000))
def test_rbf_cka_agrees_with_its_definition(unbiased, sigma, n, widths, seed):
    xs, ys = related(n, widths, seed), related(n, [6, 2], seed + 7)
    found = similarity("cka", xs, ys, kernel="rbf", sigma=sigma, unbiased=unbiased)
    torch.testing.assert_close(found, by_definition(xs, ys, unbiased, rbf, sigma=sigma), atol=1e-9, rtol=1e-9)
    found = similarity("cka", [x.float() for x in xs], [y.float() for y in ys], kernel="rbf", sigma=sigma)
    torch.testing.assert_close(found, by_definition(xs, ys, False, rbf, sigma=sigma), atol=1e-5, rtol=0)


@pytest.mark.parametrize("unbiased", [False, True])
@pytest.mark.parametrize("sigma", [1e3, 1e6, 1e12, 1e200])
def test_a_wide_rbf_kernel_is_as_good_as_linear(sigma, unbiased):
    xs, ys = ([x.float() for x in related(40, [9], seed)] for seed in (1, 5))
    found = similarity("cka", xs, ys, kernel="rbf", sigma=sigma, unbiased=unbiased)
    torch.testing.assert_close(found, similarity("cka", xs, ys, unbiased=unbiased), atol=1e-5, rtol=0)


def test_a_narrow_rbf_kernel_tells_all_tokens_apart():
    xs, ys = related(40, [9], 1), related(40, [12], 5)
    assert similarity("cka", xs, ys, kernel="rbf", sigma=1e-200).item() == pytest.approx(1)


def test_rbf_cka_tells_small_differences_of_distances_in_wide_features():
    xs, ys = related(80, [3000], 1), related(80, [2000], 5)
    expected = by_definition(xs, ys, True, rbf, sigma=1.0)
    found = similarity("cka", [x.float() + 30 for x in xs], [y.float() for y in ys], kernel="rbf", unbiased=True)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_the_median_of_many_distances_is_counted_in_bins(monkeypatch):
    xs, ys = related(300, [9], 1), related(300, [12], 5)
    exact = similarity("cka", xs, ys, kernel="rbf")
    monkeypatch.setattr(distances, "_EXACT_PAIRS", 100)
    torch.testing.assert_close(similarity("cka", xs, ys, kernel="rbf"), exact, atol=1e-6, rtol=0)


def test_most_tokens_being_equal_leaves_no_median_distance():
    x = torch.cat([torch.zeros(8, 3), gaussian(2, 3).float()])
    with pytest.warns(UndefinedSimilarityWarning, match="layer 0 of xs: .*median"):
        assert similarity("cka", [x], [gaussian(10, 3)], kernel="rbf").isnan().all()


@pytest.mark.parametrize("kernel", ["linear", "rbf"])
def test_minibatch_cka_is_of_the_mean_unbiased_hsic(kernel):
    xs, ys = related(60, [9, 30], 1), related(60, [12], 5)
    k = {"linear": linear, "rbf": lambda x: rbf(x, 1.0)}[kernel]

    def mean(x: Tensor, y: Tensor) -> Tensor:
        return torch.stack([unbiased_hsic(k(a), k(b)) for a, b in zip(x.split(20), y.split(20), strict=True)]).mean()

    expected = torch.stack([mean(x, ys[0]) / (mean(x, x) * mean(ys[0], ys[0])).sqrt() for x in xs])[:, None]
    found = similarity("cka", xs, ys, kernel=kernel, batch_size=20)
    torch.testing.assert_close(found, expected, atol=1e-9, rtol=0)
    # three tokens that are left over are too few for a batch
    longer = [torch.cat([x, x[:3]]) for x in xs], [torch.cat([y, y[:3]]) for y in ys]
    torch.testing.assert_close(similarity("cka", *longer, kernel=kernel, batch_size=20), expected, atol=1e-9, rtol=0)


@pytest.mark.parametrize("unbiased", [False, True])
@pytest.mark.parametrize(("n", "width"), [(4, 8192), (5, 1), (40, 3000), (3000, 5), (700, 600)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_narrow_types_are_right_to_five_digits_at_any_shape(n, width, unbiased, dtype):
    xs = [(x + 3).to(dtype) for x in related(n, [width, width], 1)]
    ys = [y.to(dtype) for y in related(n, [max(1, width // 2)], 5)]
    expected = similarity("cka", [x.double() for x in xs], [y.double() for y in ys], unbiased=unbiased)
    torch.testing.assert_close(similarity("cka", xs, ys, unbiased=unbiased), expected, atol=1e-5, rtol=0)
    if n < 1000:
        centred = [[f.double() - f.double().mean(0) for f in side] for side in (xs, ys)]
        torch.testing.assert_close(expected, by_definition(*centred, unbiased), atol=1e-6, rtol=0)


def test_a_token_that_outweighs_all_others_costs_the_unbiased_estimator_no_accuracy():
    xs, ys = related(500, [40], 1), related(500, [30], 5)
    for features in (*xs, *ys):
        features[7] *= 3000
    found = similarity("cka", [x.float() for x in xs], [y.float() for y in ys], unbiased=True)
    expected = by_definition([x.float() for x in xs], [y.float() for y in ys], True)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("scale", [1e-30, 1e-12, 1e12, 1e30])
@pytest.mark.parametrize("n", [20, 300])
def test_the_scale_of_features_may_be_anything(scale, n):
    xs, ys = related(n, [30], 1), related(n, [20], 5)
    found = similarity("cka", [(scale * x).float() for x in xs], [y.float() for y in ys])
    torch.testing.assert_close(found, similarity("cka", xs, ys), atol=1e-5, rtol=0)


@pytest.mark.parametrize("unbiased", [False, True])
@pytest.mark.parametrize("n", [12, 400])
def test_the_same_layers_on_both_sides_give_a_symmetric_matrix_of_ones_on_the_diagonal(n, unbiased):
    xs = [x.float() for x in related(n, [30, 40, 5], 1)]
    found = similarity("cka", xs, xs, unbiased=unbiased)
    assert found.equal(found.T)
    torch.testing.assert_close(found.diagonal(), torch.ones(3, dtype=torch.float64), atol=1e-12, rtol=0)
    apart = similarity("cka", xs, [x.clone() for x in xs], unbiased=unbiased)
    torch.testing.assert_close(found, apart, atol=1e-6, rtol=0)


def test_what_is_not_finite_is_named():
    x, y = related(20, [5], 1)[0], related(20, [5], 2)[0]
    y[3, 2] = torch.inf
    with pytest.warns(UndefinedSimilarityWarning, match="layer 1 of ys: they have values that are not finite"):
        found = similarity("cka", [x], [x, y])
    assert found.isnan().tolist() == [[False, True]]


def test_precision_is_set_back_when_the_last_of_several_threads_is_done():
    matmul, device = torch.backends.mkldnn.matmul, torch.device("cpu")
    inside, leave = threading.Event(), threading.Event()

    def other() -> str:
        with inputs.exact_products(device):
            inside.set()
            leave.wait(timeout=30)
            return matmul.fp32_precision

    before = matmul.fp32_precision
    try:
        matmul.fp32_precision = "bf16"
        with ThreadPoolExecutor(1) as pool:
            with inputs.exact_products(device):
                seen = pool.submit(other)
                assert inside.wait(timeout=30)
            leave.set()
            assert seen.result() == "ieee"
        assert matmul.fp32_precision == "bf16"
        with pytest.raises(KeyError), inputs.exact_products(device):
            raise KeyError
        assert matmul.fp32_precision == "bf16"
    finally:
        leave.set()
        matmul.fp32_precision = before


def test_low_precision_elsewhere_does_not_leak_into_the_products():
    xs, ys = [x.float() for x in related(300, [30], 1)], [y.float() for y in related(300, [20], 5)]
    exact = similarity("cka", xs, ys)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = similarity("cka", xs, ys)
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)
    assert found.equal(exact)


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
        (
            "cka",
            [X],
            [X],
            {"debiased": True},
            "no option 'debiased'; its options are: kernel, sigma, unbiased, batch_size",
        ),
        ("cka", [X], [X], {"kernel": "cosine"}, "no kernel 'cosine'; there are: linear, rbf"),
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
