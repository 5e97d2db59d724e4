"""Tokens that come in portions have the similarity of all of them at once."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from compat_spec.nn.similarity import Accumulator, UndefinedSimilarityWarning, accumulator, similarity
from tests.nn.similarity.made_up import gaussian, related

STREAMS: list[tuple[str, dict[str, Any]]] = [
    ("cka", {}),
    ("cka", {"unbiased": True}),
    ("cka", {"batch_size": 20}),
    ("cka", {"batch_size": 20, "kernel": "rbf", "sigma": 0.7}),
    ("svcca", {}),
    ("svcca", {"variance": 0.7}),
    ("pwcca", {}),
    ("procrustes", {}),
]
EACH = pytest.mark.parametrize(("measure", "options"), STREAMS)


def streamed(measure: str, xs: list[Tensor], ys: list[Tensor], sizes: list[int], **options: Any) -> Tensor:
    stream = Accumulator(measure, **options)
    start = 0
    for size in [*sizes, len(xs[0])]:
        stop = min(start + size, len(xs[0]))
        if start < stop:
            stream.update([x[start:stop] for x in xs], [y[start:stop] for y in ys])
        start = stop
    return stream.compute()


@EACH
@settings(max_examples=8)
@given(sizes=st.lists(st.integers(1, 60), max_size=12), block=st.integers(1, 50))
def test_portions_of_any_size_are_all_tokens_at_once(measure, options, sizes, block):
    xs, ys = related(150, [9, 14], 1), related(150, [12], 5)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(accumulator, "_BLOCK", block)
        found = streamed(measure, xs, ys, sizes, **options)
    torch.testing.assert_close(found, similarity(measure, xs, ys, **options), atol=1e-8, rtol=0)


@EACH
def test_large_and_drifting_means_cost_no_accuracy(monkeypatch, measure, options):
    drift = torch.linspace(0, 50, 400, dtype=torch.float64)[:, None]
    xs = [(x + drift + 1e3).float() for x in related(400, [9, 14], 1)]
    ys = [(y - 3 * drift).float() for y in related(400, [12], 5)]
    expected = similarity(measure, [x.double() for x in xs], [y.double() for y in ys], **options)
    monkeypatch.setattr(accumulator, "_BLOCK", 32)
    torch.testing.assert_close(streamed(measure, xs, ys, [1, 5, 100], **options), expected, atol=1e-5, rtol=0)


@EACH
@pytest.mark.parametrize("scale", [1e-25, 1e25])
def test_the_scale_of_features_may_be_anything(measure, options, scale):
    xs, ys = ([x.float() * scale for x in related(90, [9], seed)] for seed in (1, 5))
    found = streamed(measure, xs, ys, [40], **options)
    torch.testing.assert_close(found, similarity(measure, xs, ys, **options), atol=1e-6, rtol=0)


@EACH
def test_computing_in_between_changes_nothing(measure, options):
    xs, ys = related(90, [9], 1), related(90, [12], 5)
    stream = Accumulator(measure, **options)
    for start in range(0, 90, 18):
        stream.update([x[start : start + 18] for x in xs], [y[start : start + 18] for y in ys])
        so_far = similarity(measure, [x[: start + 18] for x in xs], [y[: start + 18] for y in ys], **options)
        torch.testing.assert_close(stream.compute(), so_far, atol=1e-8, rtol=0, equal_nan=True)
    assert stream.tokens == 90


def test_buffers_may_be_written_into_again():
    xs, ys = related(50, [4], 1), related(50, [5], 2)
    stream, x, y = Accumulator("cka"), torch.empty(10, 4), torch.empty(10, 5)
    for start in range(0, 50, 10):
        x.copy_(xs[0][start : start + 10])
        y.copy_(ys[0][start : start + 10])
        stream.update([x], [y])
    torch.testing.assert_close(stream.compute(), similarity("cka", xs, ys), atol=1e-6, rtol=0)


def test_features_that_do_not_vary_have_no_similarity():
    stream = Accumulator("cka")
    for _ in range(3):
        stream.update([torch.full((7, 3), 0.1)], [gaussian(7, 3)])
    with pytest.warns(UndefinedSimilarityWarning, match="layer 0 of xs: their features do not vary"):
        assert stream.compute().isnan().all()


def test_components_that_second_moments_do_not_tell_are_said_to_be_so():
    x = related(200, [5], 1)[0] * torch.tensor([1, 1, 1, 1, 1e-6], dtype=torch.float64)
    stream = Accumulator("pwcca")
    stream.update([x], [gaussian(200, 3)])
    with pytest.warns(UndefinedSimilarityWarning, match="second moments do not tell"):
        assert stream.compute().isnan().all()
    assert similarity("pwcca", [x], [gaussian(200, 3)]).isfinite().all()


@pytest.mark.parametrize(
    ("measure", "options"), [("rsa", {}), ("mutual_knn", {}), ("cknna", {"k": 3}), ("cka", {"kernel": "rbf"})]
)
def test_what_needs_all_tokens_at_once_says_what_streams(measure, options):
    with pytest.raises(ValueError, match="From a stream: linear cka, cka with a `batch_size`"):
        Accumulator(measure, **options)


def test_moments_that_would_not_fit_name_minibatch_cka():
    stream = Accumulator("cka", max_bytes=1000)
    with pytest.raises(ValueError, match="minibatch CKA"):
        stream.update([gaussian(5, 20)], [gaussian(5, 20)])


def test_other_widths_than_before_are_refused():
    stream = Accumulator("cka")
    with pytest.raises(ValueError, match="no tokens"):
        stream.compute()
    stream.update([gaussian(5, 20)], [gaussian(5, 20)])
    with pytest.raises(ValueError, match="widths"):
        stream.update([gaussian(5, 21)], [gaussian(5, 20)])
