"""Each measure of similarity as a metric: what its fields say is what `similarity` is given."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pydantic import ValidationError

from compat_plugins.metrics.similarity_measure import SimilarityMeasure
from compat_spec import registry
from compat_spec.errors import CompatError
from compat_spec.nn.similarity import MEASURES, similarity
from tests.nn.similarity.made_up import related

CASES: list[tuple[str, dict[str, Any]]] = [
    ("cka", {"kernel": "rbf", "sigma": 0.5, "unbiased": True}),
    ("cka", {"batch_size": 16}),
    ("cknna", {"k": 4}),
    ("mutual_knn", {"k": 4}),
    ("svcca", {"variance": 0.9}),
    ("pwcca", {}),
    ("procrustes", {}),
    ("rsa", {"dissimilarity": "euclidean", "correlation": "pearson"}),
]


def metric(name: str, **fields: Any) -> SimilarityMeasure:
    found = registry.component("compat.metrics", name).model_validate(fields)
    assert isinstance(found, SimilarityMeasure)
    return found


@pytest.mark.parametrize(("name", "fields"), CASES)
def test_fields_are_the_options_of_the_measure(name, fields):
    a, b = [x.float() for x in related(70, [9, 6], 1)], [y.float() for y in related(70, [5], 2)]
    assert metric(name).quantity == name
    found = metric(name, **fields).compare(a, b)
    torch.testing.assert_close(found, similarity(name, a, b, **fields), atol=0, rtol=0)
    assert found.shape == (2, 1)
    assert not fields or not torch.allclose(found, metric(name).compare(a, b))


@pytest.mark.parametrize("name", MEASURES)
def test_defaults_are_those_of_the_measure_and_a_network_is_like_itself(name):
    a = [x.float() for x in related(70, [9, 6], 1)]
    found = metric(name).compare(a, a)
    torch.testing.assert_close(found, similarity(name, a, a), atol=0, rtol=0)
    torch.testing.assert_close(found.diagonal(), torch.ones(2, dtype=torch.float64), atol=1e-6, rtol=0)


def test_more_neighbours_than_tokens_are_refused():
    x = related(8, [3], 1)
    with pytest.raises(CompatError, match="less than the number of tokens, 8; it is 8"):
        metric("mutual_knn", k=8).compare(x, x)


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("cka", {"kernel": "cosine"}),
        ("cka", {"sigma": 0}),
        ("cka", {"batch_size": 3}),
        ("svcca", {"variance": 1.1}),
        ("rsa", {"correlation": "kendall"}),
        ("cknna", {"k": 0}),
    ],
)
def test_fields_that_make_no_sense_are_refused_by_the_spec(name, fields):
    with pytest.raises(ValidationError):
        metric(name, **fields)
