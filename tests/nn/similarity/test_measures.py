"""Every measure agrees with its formula, written naively, and has the invariances that its documentation claims."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import pearsonr, spearmanr
from torch import Tensor

from compat_spec.nn.similarity import MEASURES, UndefinedSimilarityWarning, rsa, similarity
from tests.nn.similarity.made_up import gaussian, related, rotation


def centred(x: Tensor) -> Tensor:
    return x - x.mean(dim=0)


def unbiased_hsic(k: Tensor, l: Tensor) -> Tensor:  # noqa: E741
    """Song et al., 2012, equation 5, for kernels that need not be symmetric."""
    n = len(k)
    k, l = k - torch.diag(k.diag()), l - torch.diag(l.diag())  # noqa: E741
    correction = k.sum() * l.sum() / ((n - 1) * (n - 2)) - 2 / (n - 2) * (k @ l).sum()
    return (torch.trace(k @ l) + correction) / (n * (n - 3))


def near(x: Tensor, k: int) -> Tensor:
    """1 where token j is among the k nearest of token i."""
    products = (x @ x.T).fill_diagonal_(-torch.inf)
    return torch.zeros_like(products).scatter_(1, products.argsort(dim=1, descending=True)[:, :k], 1)


def mutual_knn(x: Tensor, y: Tensor, k: int = 10) -> float:
    return float((near(x, k) * near(y, k)).sum() / (k * len(x)))


def cknna(x: Tensor, y: Tensor, k: int = 10) -> float:
    a, b = near(x, k), near(y, k)

    def hsic(p: Tensor, q: Tensor, mask: Tensor) -> Tensor:
        return unbiased_hsic(mask * (p @ p.T), mask * (q @ q.T))

    return float(hsic(x, y, a * b) / (hsic(x, x, a) * hsic(y, y, b)).sqrt())


def principal(x: Tensor, variance: float) -> Tensor:
    u, s, _ = torch.linalg.svd(centred(x), full_matrices=False)
    u, s = u[:, s > 1e-10 * s[0]], s[s > 1e-10 * s[0]]
    shares = (s**2).cumsum(0) / (s**2).sum()
    return u[:, : int((shares < variance - 1e-12).sum()) + 1]


def svcca(x: Tensor, y: Tensor, variance: float = 0.99) -> float:
    return float(torch.linalg.svdvals(principal(x, variance).T @ principal(y, variance)).mean())


def pwcca(x: Tensor, y: Tensor) -> float:
    u, v = principal(x, 1.0), principal(y, 1.0)
    a, rho, _ = torch.linalg.svd(u.T @ v, full_matrices=False)
    weights = ((u @ a).T @ centred(x)).abs().sum(dim=1)
    return float((weights * rho).sum() / weights.sum())


def procrustes(x: Tensor, y: Tensor) -> float:
    x, y = centred(x), centred(y)
    return float(torch.linalg.svdvals(x.T @ y).sum() / (x.norm() * y.norm()))


def rsa_by_definition(x: Tensor, y: Tensor, dissimilarity: str = "correlation", correlation: str = "spearman") -> float:
    above = np.triu_indices(len(x), 1)
    measured = {
        "correlation": lambda f: 1 - np.corrcoef(f),
        "cosine": lambda f: (
            1 - (f / np.linalg.norm(f, axis=1, keepdims=True)) @ (f / np.linalg.norm(f, axis=1, keepdims=True)).T
        ),
        "euclidean": lambda f: np.linalg.norm(f[:, None] - f[None], axis=2),
    }[dissimilarity]
    correlate = {"spearman": spearmanr, "pearson": pearsonr}[correlation]
    # what is equal but for rounding shares a rank
    a, b = (measured(f.numpy())[above].round(12) for f in (x, y))
    return float(correlate(a, b).statistic)


CASES: list[tuple[str, dict[str, Any], Callable[..., float]]] = [
    ("mutual_knn", {"k": 3}, mutual_knn),
    ("cknna", {"k": 4}, cknna),
    ("svcca", {}, svcca),
    ("svcca", {"variance": 0.8}, svcca),
    ("svcca", {"variance": 1.0}, svcca),
    ("pwcca", {}, pwcca),
    ("procrustes", {}, procrustes),
    ("rsa", {}, rsa_by_definition),
    ("rsa", {"correlation": "pearson"}, rsa_by_definition),
    ("rsa", {"dissimilarity": "euclidean", "correlation": "pearson"}, rsa_by_definition),
    ("rsa", {"dissimilarity": "euclidean"}, rsa_by_definition),
    ("rsa", {"dissimilarity": "cosine", "correlation": "pearson"}, rsa_by_definition),
]
IDS = [f"{name} {' '.join(map(str, options.values()))}" for name, options, _ in CASES]
EACH = pytest.mark.parametrize(("measure", "options", "definition"), CASES, ids=IDS)


def by_definition(xs: list[Tensor], ys: list[Tensor], definition: Callable[..., float], options: Any) -> Tensor:
    table = [[definition(x.double(), y.double(), **options) for y in ys] for x in xs]
    return torch.tensor(table, dtype=torch.float64)


@EACH
@settings(max_examples=15)
@given(
    n=st.integers(8, 40),
    widths_x=st.lists(st.integers(2, 30), min_size=1, max_size=2),
    widths_y=st.lists(st.integers(2, 30), min_size=1, max_size=3),
    seed=st.integers(0, 1000),
)
def test_agrees_with_the_formula_on_odd_shapes(measure, options, definition, n, widths_x, widths_y, seed):
    if measure == "cknna":
        n += 20  # of few tokens, a layer's neighbourhoods may have no positive HSIC, and next to that no accuracy
    if measure == "pwcca":
        n += 60  # with as many features as tokens, correlations of 1 leave their directions and so their weights open
    xs, ys = related(n, widths_x, seed), related(n, widths_y, seed + 7)
    found = similarity(measure, xs, ys, **options)
    assert found.shape == (len(xs), len(ys))
    assert found.dtype == torch.float64
    torch.testing.assert_close(found, by_definition(xs, ys, definition, options), atol=1e-7, rtol=1e-7, equal_nan=True)


@EACH
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("n", "width"), [(300, 40), (60, 150)])
@pytest.mark.parametrize("offset", [0.0, 100.0])
def test_narrow_types_and_large_offsets_cost_no_accuracy(measure, options, definition, dtype, n, width, offset):
    offsets = offset * gaussian(width, seed=5)
    xs = [(x + offsets).to(dtype) for x in related(n, [width, width], 1)]
    ys = [(y - offsets).to(dtype) for y in related(n, [width], 5)]
    # bfloat16 leaves ties, which sorts may break in any order
    if dtype == torch.bfloat16 and offset and measure in ("mutual_knn", "cknna"):
        pytest.skip("neighbours are not determined")
    expected = by_definition(xs, ys, definition, options)
    torch.testing.assert_close(similarity(measure, xs, ys, **options), expected, atol=1e-5, rtol=0)


@EACH
def test_does_not_change_under_scaling_and_reordering_of_tokens(measure, options, definition):
    xs, ys = related(50, [15, 70], 3), related(50, [9], 4)
    found = similarity(measure, xs, ys, **options)
    order = torch.randperm(50, generator=torch.Generator().manual_seed(0))
    reordered = similarity(measure, [x[order] for x in xs], [y[order] for y in ys], **options)
    torch.testing.assert_close(reordered, found, atol=1e-7, rtol=0)
    torch.testing.assert_close(similarity(measure, [0.01 * x for x in xs], ys, **options), found, atol=1e-7, rtol=0)
    torch.testing.assert_close(similarity(measure, xs, [1e5 * y for y in ys], **options), found, atol=1e-7, rtol=0)


ROTATED = [case for case in CASES if case[0] != "pwcca" and case[1].get("dissimilarity", case[0]) != "rsa"]


@pytest.mark.parametrize(("measure", "options", "definition"), ROTATED)
def test_does_not_change_under_rotation_of_either_side(measure, options, definition):
    xs, ys = related(50, [15], 3), related(50, [9], 4)
    found = similarity(measure, xs, ys, **options)
    turned = similarity(measure, [xs[0] @ rotation(15)], [ys[0] @ rotation(9, 1)], **options)
    torch.testing.assert_close(turned, found, atol=1e-7, rtol=0)


@pytest.mark.parametrize("measure", ["svcca", "pwcca", "procrustes", "cka"])
def test_does_not_change_when_features_are_moved(measure):
    xs, ys = related(50, [15], 3), related(50, [9], 4)
    moved = similarity(
        measure,
        [xs[0] + gaussian(15)],
        [ys[0] - 7],
    )
    torch.testing.assert_close(moved, similarity(measure, xs, ys), atol=1e-7, rtol=0)


@pytest.mark.parametrize("measure", ["mutual_knn", "cknna"])
def test_neighbours_by_inner_products_change_when_features_are_moved(measure):
    xs, ys = related(50, [15], 3), related(50, [9], 4)
    assert not torch.allclose(similarity(measure, [xs[0] + 2], ys), similarity(measure, xs, ys), atol=0.01)


def test_correlation_over_features_changes_under_rotation_and_distances_do_not():
    xs, ys = related(50, [15], 3), related(50, [9], 4)
    turned = [(xs[0] + 1) @ rotation(15)]
    assert not torch.allclose(similarity("rsa", turned, ys), similarity("rsa", xs, ys), atol=1e-3)
    euclidean = {"dissimilarity": "euclidean"}
    torch.testing.assert_close(similarity("rsa", turned, ys, **euclidean), similarity("rsa", xs, ys, **euclidean))


def test_canonical_correlations_do_not_change_under_invertible_maps_and_others_do():
    x, y = related(200, [8], 3)[0], related(200, [6], 4)[0]
    mapped = x @ (gaussian(8, 8, seed=9) * torch.logspace(-2, 2, 8, dtype=torch.float64))
    whole = {"variance": 1.0}
    torch.testing.assert_close(similarity("svcca", [mapped], [y], **whole), similarity("svcca", [x], [y], **whole))
    torch.testing.assert_close(similarity("pwcca", [y], [mapped]), similarity("pwcca", [y], [x]))
    one = torch.ones(1, 1, dtype=torch.float64)
    torch.testing.assert_close(similarity("pwcca", [x], [mapped]), one)
    for measure in ("cka", "procrustes", "rsa"):
        assert float(similarity(measure, [x], [mapped])) < 0.98


@EACH
def test_is_one_for_a_layer_with_itself(measure, options, definition):
    xs = [x.float() for x in related(60, [15, 90], 3)]
    for others in (xs, [x.clone() for x in xs]):
        found = similarity(measure, xs, others, **options).diagonal()
        torch.testing.assert_close(found, torch.ones(2, dtype=torch.float64), atol=1e-6, rtol=0)


@EACH
def test_is_small_for_what_is_unrelated(measure, options, definition):
    xs, ys = [gaussian(2000, 5, seed=1)], [gaussian(2000, 5, seed=2)]
    assert abs(float(similarity(measure, xs, ys, **options))) < 0.1


@pytest.mark.parametrize("measure", [name for name in MEASURES if name != "pwcca"])
def test_turning_the_pair_around_transposes_the_matrix(measure):
    xs, ys = related(40, [5, 60, 9], 3), related(40, [7, 80], 4)
    tolerance = 0.02 if measure == "cknna" else 1e-9  # the kernels at common neighbours are not symmetric
    torch.testing.assert_close(similarity(measure, ys, xs), similarity(measure, xs, ys).T, atol=tolerance, rtol=0)


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("value", [0.0, 0.1, 1e4 / 3])
def test_features_that_do_not_vary_have_no_similarity_and_it_is_said(measure, value):
    flat, (x,) = torch.full((33, 6), value), [x.float() for x in related(33, [6], 1)]
    with pytest.warns(UndefinedSimilarityWarning, match=f"{measure} is NaN for layer 1 of xs and layer 0 of ys"):
        found = similarity(measure, [x, flat], [flat, x])
    assert found.isnan().tolist() == [[True, False], [True, True]]


def test_a_token_of_equal_features_has_no_correlation():
    (x,) = related(20, [6], 1)
    x[4] = 3
    with pytest.warns(UndefinedSimilarityWarning, match="layer 0 of xs: .*all equal and have no correlation"):
        assert similarity("rsa", [x], [gaussian(20, 4)]).isnan().all()


@pytest.mark.parametrize("measure", ["mutual_knn", "cknna"])
def test_neighbours_that_are_equally_near_count_by_their_place(measure):
    (x,), (y,) = related(40, [6], 1), related(40, [9], 5)
    repeated = [torch.cat([f, f, f]).float() for f in (x, y)]

    def stable(f: Tensor) -> Tensor:
        products = (f.double()[:, None] * f.double()).sum(dim=2).fill_diagonal_(-torch.inf)
        return products.argsort(dim=1, descending=True, stable=True)[:, :4]

    if measure == "mutual_knn":
        a, b = (stable(f) for f in repeated)
        expected = float((a[:, :, None] == b[:, None]).sum()) / a.numel()
        assert float(similarity(measure, repeated[:1], repeated[1:], k=4)) == pytest.approx(expected, abs=1e-12)
    same = similarity(measure, repeated[:1], [repeated[0].clone()], k=4)
    assert float(same) == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("options", [{}, {"dissimilarity": "euclidean"}])
def test_ranks_of_many_dissimilarities_are_counted_in_bins(monkeypatch, options):
    xs, ys = [x.float() for x in related(300, [9, 40], 1)], [y.float() for y in related(300, [12], 5)]
    exact = similarity("rsa", xs, ys, **options)
    monkeypatch.setattr(rsa, "_SORTED_TOKENS", 100)
    torch.testing.assert_close(similarity("rsa", xs, ys, **options), exact, atol=1e-5, rtol=0)


def test_the_nuclear_norm_is_exact_for_matrices_of_low_rank():
    xs, ys = [gaussian(500, 2) @ gaussian(2, 300)], [gaussian(500, 2) @ gaussian(2, 200, seed=3)]
    assert float(similarity("procrustes", xs, ys)) == pytest.approx(procrustes(xs[0], ys[0]), abs=1e-9)


def test_canonical_correlations_of_nearly_dependent_features_are_exact():
    (x,), (y,) = related(300, [20], 1), related(300, [12], 5)
    x = x * torch.logspace(0, -8, 20, dtype=torch.float64)
    assert float(similarity("pwcca", [x], [y])) == pytest.approx(pwcca(x, y), abs=1e-7)
    assert float(similarity("svcca", [x], [y], variance=1.0)) == pytest.approx(svcca(x, y, 1.0), abs=1e-7)


X = torch.eye(5, 3)


@pytest.mark.parametrize(
    ("measure", "options", "message"),
    [
        ("mutual_knn", {"k": 5}, "less than the number of tokens, 5; it is 5"),
        ("cknna", {"k": 0}, "k must be at least 1"),
        ("svcca", {"variance": 0}, "a share above 0"),
        ("pwcca", {"variance": 1}, "pwcca has no option 'variance'; its options are: none"),
        ("rsa", {"dissimilarity": "manhattan"}, "there are: correlation, cosine, euclidean"),
        ("rsa", {"correlation": "kendall"}, "there are: spearman, pearson"),
        ("cka", {"sigma": 0.0, "kernel": "rbf"}, "positive multiple"),
        ("cka", {"batch_size": 3}, "at least 4"),
    ],
)
def test_options_that_make_no_sense_are_named(measure, options, message):
    with pytest.raises(ValueError, match=message):
        similarity(measure, [X], [X], **options)
