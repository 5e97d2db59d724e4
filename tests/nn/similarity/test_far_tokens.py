"""A few tokens or features that are much larger than all others, as language models have, cost no accuracy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch import Tensor

from compat_spec.nn.similarity import distances, rsa, similarity, standard_error
from tests.nn.similarity.made_up import gaussian, related
from tests.nn.similarity.test_cka import by_definition, rbf
from tests.nn.similarity.test_measures import cknna, pwcca


def rank_correlation(x: Tensor, y: Tensor, dissimilarity: str) -> float:
    """RSA in float64, from differences of features, so that small ones are exact."""
    above = np.triu_indices(len(x), 1)

    def measured(features: Tensor) -> np.ndarray:
        f = features.double().numpy()
        if dissimilarity == "correlation":
            f = f - f.mean(axis=1, keepdims=True)
            f = f / np.linalg.norm(f, axis=1, keepdims=True)
        return np.linalg.norm(f[:, None] - f[None], axis=2)[above]

    return float(spearmanr(measured(x), measured(y)).statistic)


def with_a_far_token(x: Tensor, times: float) -> Tensor:
    x = x.clone()
    x[0] *= times
    return x


def in_two_groups(x: Tensor) -> Tensor:
    return torch.cat([x[::2], x[1::2] + 1e4])


def with_a_large_feature(x: Tensor) -> Tensor:
    return torch.cat([x[:, :1] * 1e4, x[:, 1:]], dim=1)


def mostly_one_token(x: Tensor) -> Tensor:
    return torch.where(torch.arange(len(x))[:, None] % 3 > 0, x[:1], x)


@pytest.mark.parametrize("dissimilarity", ["euclidean", "correlation"])
@pytest.mark.parametrize("sorted_tokens", [1024, 50])
@pytest.mark.parametrize(
    "changed",
    [lambda x: with_a_far_token(x, 1e5), in_two_groups, with_a_large_feature, mostly_one_token],
    ids=["far token", "two groups", "large feature", "mostly one token"],
)
def test_ranks_tell_small_dissimilarities_apart(monkeypatch, changed, sorted_tokens, dissimilarity):
    monkeypatch.setattr(rsa, "_SORTED_TOKENS", sorted_tokens)
    x, y = (changed(related(240, [width], seed)[0]).float() for width, seed in ((9, 1), (12, 5)))
    found = similarity("rsa", [x], [y], dissimilarity=dissimilarity).item()
    assert found == pytest.approx(rank_correlation(x, y, dissimilarity), abs=1e-5)


def test_distances_of_equal_tokens_are_zero():
    x, y = (torch.cat([related(20, [w], 1)[0]] * 2).float() for w in (30, 50))
    exact = similarity("rsa", [x.double()], [y.double()], dissimilarity="euclidean", correlation="pearson")
    a, b = (torch.pdist(z.double()) for z in (x, y))
    expected = float(torch.corrcoef(torch.stack([a, b]))[0, 1])
    assert exact.item() == pytest.approx(expected, abs=1e-9)
    found = similarity("rsa", [x], [y], dissimilarity="euclidean", correlation="pearson")
    torch.testing.assert_close(found, exact, atol=1e-6, rtol=0)


def test_the_median_distance_in_bins_is_that_of_near_tokens(monkeypatch):
    monkeypatch.setattr(distances, "_EXACT_PAIRS", 100)
    xs, ys = ([with_a_far_token(related(120, [w], seed)[0], 1e5)] for w, seed in ((9, 1), (12, 5)))
    found = similarity("cka", xs, ys, kernel="rbf")
    torch.testing.assert_close(found, by_definition(xs, ys, False, rbf, sigma=1.0), atol=1e-5, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_unbiased_cka_that_float32_cannot_tell_is_computed_in_float64(dtype):
    for seed in range(20):
        xs, ys = ([x.to(dtype) for x in related(7, [w], seed)] for w in (20, 30))
        xs[0][0] += 1e4
        ys[0][0] += 1e4
        found = similarity("cka", xs, ys, unbiased=True)
        torch.testing.assert_close(found, similarity("cka", [xs[0].double()], [ys[0].double()], unbiased=True))


def test_cknna_of_a_far_token_has_its_exact_products():
    x, y = (with_a_far_token(related(12, [w], seed)[0], 1e4).float() for w, seed in ((20, 1), (30, 5)))
    found = similarity("cknna", [x], [y], k=3).item()
    assert found == pytest.approx(cknna(x.double(), y.double(), k=3), abs=1e-6)


@pytest.mark.parametrize("k", [30, 3, 1])
def test_cknna_is_the_same_by_gathered_neighbours_and_by_all_products(k):
    xs, ys = related(100, [9], 1), related(100, [12], 5)
    exact = cknna(xs[0], ys[0], k=k)
    assert similarity("cknna", xs, ys, k=k).item() == pytest.approx(exact, abs=1e-9)


@pytest.mark.parametrize("offset", [0, 1e3, 1e5])
def test_cknna_among_all_tokens_is_unbiased_cka_however_large_the_means(offset):
    xs, ys = ([x.float() + offset for x in related(60, [w], seed)] for w, seed in ((9, 1), (70, 5)))
    expected = similarity("cka", xs, ys, unbiased=True)
    torch.testing.assert_close(similarity("cknna", xs, ys, k=59), expected, atol=1e-5, rtol=0)


def test_pwcca_of_unlike_features_has_the_weights_of_float64():
    for seed in range(5):
        x = with_a_large_feature(related(150, [40], seed)[0]).float()
        y = with_a_large_feature(related(150, [20], seed + 60)[0]).float()
        assert similarity("pwcca", [x], [y]).item() == pytest.approx(pwcca(x.double(), y.double()), abs=1e-6)


@pytest.mark.parametrize("unbiased", [False, True])
@pytest.mark.parametrize("width", [9, 200])
def test_the_standard_error_without_a_far_token_is_exact(width, unbiased):
    xs, ys = ([with_a_far_token(x.float(), 1e4) for x in related(64, [width], seed)] for seed in (1, 5))
    expected = standard_error("cka", [xs[0].double()], [ys[0].double()], unbiased=unbiased)
    torch.testing.assert_close(standard_error("cka", xs, ys, unbiased=unbiased), expected, atol=0, rtol=1e-4)


def test_the_standard_error_is_undefined_where_only_one_group_varies():
    x = torch.full((40, 5), 0.3)
    x[:2] = gaussian(2, 5).float()
    assert standard_error("cka", [x], [gaussian(40, 6).float()]).isnan().all()


@pytest.mark.parametrize(("measure", "options"), [("cka", {}), ("cka", {"unbiased": True}), ("procrustes", {})])
@pytest.mark.parametrize("widths", [(1, 1), (8, 15), (3, 200)])
def test_thin_layers_of_many_tokens_lose_nothing_in_long_sums(widths, measure, options):
    xs, ys = ([in_two_groups(x * 10)[torch.arange(20000) % 10003]] for x in (gaussian(20000, w) for w in widths))
    xs[0][0] *= 100
    found = similarity(measure, [xs[0].float()], [ys[0].float()], **options)
    expected = similarity(measure, [xs[0].float().double()], [ys[0].float().double()], **options)
    torch.testing.assert_close(found, expected, atol=2e-6, rtol=0)
