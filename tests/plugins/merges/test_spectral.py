"""Merges by singular vectors: `tsv` and `iso_c`."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from compat_plugins.merges.iso_c import IsoC
from compat_plugins.merges.tsv import TSV
from compat_spec.components import TensorMerge
from compat_spec.errors import CompatError
from compat_spec.nn.merging import merge_tensor
from compat_spec.nn.per_tensor import TensorPlace
from tests.plugins.merges.matrices import MATRICES, SHAPES, orthogonal, singular_values, some

BOTH = pytest.mark.parametrize("method", [TSV, IsoC])


def merge(method: type[TensorMerge], tensors: list[Tensor], base: Tensor, **parameters: object) -> Tensor:
    names = [f"m{i}" for i in range(len(tensors))]
    component = method.model_validate({"models": names, "base": "base", **parameters})
    return merge_tensor(component, tensors, base, TensorPlace("h.0.weight"))


def procrustes(matrix: np.ndarray) -> np.ndarray:
    """The polar factor by the eigenvectors of the smaller Gram matrix: M (M^T M)^(-1/2) or (M M^T)^(-1/2) M."""
    tall = matrix.shape[0] >= matrix.shape[1]
    values, vectors = np.linalg.eigh(matrix.T @ matrix if tall else matrix @ matrix.T)
    root = vectors @ np.diag(values**-0.5) @ vectors.T
    return matrix @ root if tall else root @ matrix


def tsv_by_the_paper(deltas: list[np.ndarray]) -> np.ndarray:
    """Keep 1/T of each, concatenate, replace U and V by their Procrustes solutions, recombine."""
    us, ss, vs = [], [], []
    for delta in deltas:
        u, s, vt = np.linalg.svd(delta)
        kept = min(delta.shape) // len(deltas)
        us.append(u[:, :kept])
        ss += s[:kept].tolist()
        vs.append(vt.T[:, :kept])
    u, v = procrustes(np.concatenate(us, 1)), procrustes(np.concatenate(vs, 1))
    return u @ np.diag(ss) @ v.T


def iso_by_the_paper(deltas: list[np.ndarray]) -> np.ndarray:
    total = np.sum(deltas, axis=0)
    return float(np.mean(np.linalg.svd(total, compute_uv=False))) * procrustes(total)


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("shape", [(5, 3), (3, 7), (6, 6)])
@pytest.mark.parametrize(("method", "oracle"), [(TSV, tsv_by_the_paper), (IsoC, iso_by_the_paper)])
def test_matrices_are_those_of_the_paper(method, oracle, shape, count):
    base, *models = some(shape, count + 1)
    expected = base.numpy() + 0.7 * oracle([(model - base).numpy() for model in models])
    merged = merge(method, models, base, **{"lambda": 0.7})
    np.testing.assert_allclose(merged.numpy(), expected, atol=1e-12)
    single = merge(method, [model.float() for model in models], base.float(), **{"lambda": 0.7})
    assert single.dtype == torch.float32
    np.testing.assert_allclose(single.numpy(), expected, atol=1e-4)


@BOTH
@pytest.mark.parametrize("shape", [(), (3,), (0,), (2, 3, 4)])
def test_what_is_no_matrix_gets_the_mean_task_vector(method, shape):
    base, *models = some(shape, 4)
    expected = base + 0.5 * (sum(models) / 3 - base)
    torch.testing.assert_close(merge(method, models, base, **{"lambda": 0.5}), expected)


@BOTH
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("shape", SHAPES)
def test_models_that_equal_their_base_give_the_base_to_the_bit(method, shape, dtype):
    base = some(shape, 1, dtype)[0]
    assert merge(method, [base.clone(), base.clone()], base).equal(base)


@BOTH
def test_masks_of_infinities_stay_as_they_are(method):
    mask = torch.tensor([0.0, float("-inf"), float("inf")])
    assert merge(method, [mask, mask], mask).equal(mask)


@BOTH
@pytest.mark.parametrize("shape", MATRICES)
def test_nothing_is_added_where_lambda_is_zero(method, shape):
    base, *models = some(shape, 3)
    assert merge(method, models, base, **{"lambda": {"h.0": 0, "*": 1}}).equal(base)


@BOTH
def test_other_axes_give_the_same_matrix_in_those_axes(method):
    base, *models = some((6, 4), 3)
    left, right = orthogonal(6, 1), orthogonal(4, 2)
    turned = merge(method, [left @ model @ right for model in models], left @ base @ right)
    torch.testing.assert_close(turned, left @ merge(method, models, base) @ right, atol=1e-12, rtol=0)


@BOTH
def test_the_order_of_the_models_does_not_matter(method):
    base, *models = some((6, 8), 4)
    torch.testing.assert_close(merge(method, models[::-1], base), merge(method, models, base), atol=1e-12, rtol=0)


@pytest.mark.parametrize("shape", MATRICES)
def test_tsv_of_one_model_is_that_model(shape):
    base, model = some(shape, 2)
    torch.testing.assert_close(merge(TSV, [model], base), model, atol=1e-12, rtol=0)


def test_tsv_of_a_model_with_itself_is_the_model_with_half_of_its_directions():
    base, model = some((7, 6), 2)
    u, s, vt = np.linalg.svd((model - base).numpy(), full_matrices=False)
    half = (u[:, :3] * s[:3]) @ vt[:3]
    np.testing.assert_allclose((merge(TSV, [model, model.clone()], base) - base).numpy(), half, atol=1e-12)


def test_tsv_keeps_the_singular_values_of_each_task():
    base, *models = some((9, 6), 4)
    kept = np.concatenate([singular_values(model - base)[:2] for model in models])
    np.testing.assert_allclose(singular_values(merge(TSV, models, base) - base), np.sort(kept)[::-1], atol=1e-12)


def test_tsv_is_not_moved_by_a_task_that_left_the_matrix_alone():
    base, model = some((6, 6), 2)
    u, s, vt = np.linalg.svd((model - base).numpy())
    merged = merge(TSV, [model, base.clone()], base)
    np.testing.assert_allclose((merged - base).numpy(), (u[:, :3] * s[:3]) @ vt[:3], atol=1e-12)


def test_tsv_of_more_tasks_than_directions_keeps_one_of_each():
    base, *models = some((1, 4), 4)
    merged = merge(TSV, models, base) - base
    assert singular_values(merged)[0] > 0.1
    assert bool(merged.isfinite().all())


@pytest.mark.parametrize("shape", MATRICES)
def test_iso_c_makes_all_singular_values_the_mean(shape):
    base, *models = some(shape, 3)
    mean = singular_values(sum(models) - 2 * base).mean()
    np.testing.assert_allclose(singular_values(merge(IsoC, models, base) - base), mean)


def test_iso_c_adds_nothing_in_directions_that_no_task_has():
    base = some((6, 5), 1)[0]
    column, row = some((6, 2), 1, seed=1)[0], some((2, 5), 1, seed=2)[0]
    merged = merge(IsoC, [base + column @ row], base) - base
    mean = singular_values(column @ row)[:2].mean()
    np.testing.assert_allclose(singular_values(merged), [mean, mean, 0, 0, 0], atol=1e-12)


@BOTH
def test_what_is_given_does_not_change(method):
    for shape in ((4, 3), (3,)):
        base, *models = some(shape, 3)
        before = [tensor.clone() for tensor in (base, *models)]
        merge(method, models, base).add_(1)
        assert all(a.equal(b) for a, b in zip((base, *models), before, strict=True))


@BOTH
def test_a_matrix_that_is_not_finite_is_refused_by_name(method):
    base, one, two = some((3, 3), 3)
    two[1, 1] = float("nan")
    with pytest.raises(CompatError, match=r"h\.0\.weight of m1 .* not finite"):
        merge(method, [one, two], base)


@BOTH
@pytest.mark.parametrize("wrong", [{"base": None}, {"lambda": float("nan")}, {"lambda": [1, 1]}, {"lamda": 1}])
def test_parameters_without_sense_are_refused(method, wrong):
    with pytest.raises(ValidationError):
        method.model_validate({"models": ["a", "b"], "base": "base"} | wrong)
    with pytest.raises(ValidationError, match="base"):
        method.model_validate({"models": ["a", "b"]})
