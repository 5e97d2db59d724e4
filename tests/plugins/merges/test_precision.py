"""How far merges are from their equations in float64: by rounding and nothing more.

Every method that draws nothing at random is held to one bound, for models far from their base and very near to it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import pytest
import torch
from torch import Tensor

from compat_plugins.merges.arcee_fusion import ArceeFusion
from compat_plugins.merges.breadcrumbs import Breadcrumbs
from compat_plugins.merges.breadcrumbs_ties import BreadcrumbsTies
from compat_plugins.merges.expo import Expo
from compat_plugins.merges.karcher import Karcher
from compat_plugins.merges.linear import Linear
from compat_plugins.merges.model_stock import ModelStock
from compat_plugins.merges.multislerp import Multislerp
from compat_plugins.merges.nearswap import Nearswap
from compat_plugins.merges.nuslerp import Nuslerp
from compat_plugins.merges.passthrough import Passthrough
from compat_plugins.merges.ram import Ram
from compat_plugins.merges.ramplus_tl import RamPlusTl
from compat_plugins.merges.sce import Sce
from compat_plugins.merges.slerp import Slerp
from compat_plugins.merges.task_arithmetic import TaskArithmetic
from compat_plugins.merges.ties import Ties
from compat_spec.components import TensorMerge
from compat_spec.nn import pieces
from tests.plugins.merges.tensors import merged, some
from tests.plugins.merges.test_from_base import fused, ram, ram_plus, sce_by_definition, stock
from tests.plugins.merges.test_slerp import by_definition
from tests.plugins.merges.test_sphere import along, by_tangents, karcher_mean
from tests.plugins.merges.test_task_vectors import oracle

Oracle: TypeAlias = Callable[[list[Tensor], Tensor], Tensor]

WEIGHTS = [0.71, 0.23, 0.43]
SHARES = [weight / sum(WEIGHTS) for weight in WEIGHTS]
TWO = WEIGHTS[1] / sum(WEIGHTS[:2])
EPSILON = 3e-6


class Case(NamedTuple):
    """A method, how many models it is given, its parameters, and what it should make of models and base."""

    cls: type[TensorMerge]
    models: int
    parameters: dict[str, Any]
    oracle: Oracle
    has_base: bool = True


def _ranked(shares: Sequence[tuple[float, float]], **given: Any) -> Oracle:
    """Task vectors of which those ranks count that lie between two shares of the size, the largest being 0."""

    def expected(tensors: list[Tensor], base: Tensor) -> Tensor:
        size = base.numel()
        ranks = [(int(gamma * size), max(1, int(gamma * size) + int(density * size))) for gamma, density in shares]
        return oracle(tensors, base, WEIGHTS, ranks=ranks, **given)

    return expected


def _weighted(tensors: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    return torch.stack([weight * tensor for weight, tensor in zip(weights, tensors, strict=True)]).sum(0)


def _from(base: Tensor, tensors: list[Tensor], how: Callable[[list[Tensor]], Tensor]) -> Tensor:
    return base + how([tensor - base for tensor in tensors])


def _arc(a: Tensor, b: Tensor, t: float) -> Tensor:
    """Shoemake's, and the straight line for tensors as near as `slerp` takes it for."""
    cosine = float((a * b).sum() / a.norm() / b.norm())
    return (1 - t) * a + t * b if abs(cosine) > 0.9995 else by_definition(a, b, t)


_EXACT = {"max_iter": 1000, "tol": 1e-15}
_SPARSE = {"weight": WEIGHTS, "density": [0.5, 0.3, 1.0]}
_TRIMMED = [(0, 0.5), (0, 0.3), (0, 1.0)]
_CRUMBS = {"weight": WEIGHTS, "density": [0.5, 0.3, 0.8], "gamma": [0.2, 0.1, 0.05]}
_MIDDLE = [(0.2, 0.5), (0.1, 0.3), (0.05, 0.8)]

CASES = {
    "linear": Case(Linear, 3, {"weight": WEIGHTS}, lambda t, b: _weighted(t, SHARES), False),
    "linear, not normalized": Case(
        Linear, 3, {"weight": WEIGHTS, "normalize": False}, lambda t, b: _weighted(t, WEIGHTS), False
    ),
    "slerp": Case(Slerp, 2, {"t": 0.3}, lambda t, b: _arc(*t, 0.3), False),
    "nuslerp": Case(Nuslerp, 2, {"weight": WEIGHTS[:2]}, lambda t, b: along(t, None, TWO), False),
    "nuslerp, by rows": Case(
        Nuslerp, 2, {"weight": WEIGHTS[:2], "nuslerp_flatten": False}, lambda t, b: along(t, -1, TWO), False
    ),
    "nuslerp, by columns": Case(
        Nuslerp,
        2,
        {"weight": WEIGHTS[:2], "nuslerp_flatten": False, "nuslerp_row_wise": True},
        lambda t, b: _from(b, t, lambda deltas: along(deltas, 0, TWO)),
    ),
    "nuslerp from a base": Case(
        Nuslerp, 2, {"weight": WEIGHTS[:2]}, lambda t, b: _from(b, t, lambda deltas: along(deltas, None, TWO))
    ),
    "multislerp": Case(Multislerp, 3, {"weight": WEIGHTS, "eps": 1e-20}, lambda t, b: by_tangents(t, SHARES), False),
    "multislerp from a base": Case(
        Multislerp,
        3,
        {"weight": WEIGHTS, "eps": 1e-20},
        lambda t, b: _from(b, t, lambda deltas: by_tangents(deltas, SHARES)),
    ),
    "karcher": Case(Karcher, 3, _EXACT, lambda t, b: karcher_mean(t), False),
    "task_arithmetic": Case(
        TaskArithmetic,
        3,
        {"weight": WEIGHTS, "lambda": 0.6},
        lambda t, b: oracle(t, b, WEIGHTS, elect=False, factor=0.6),
    ),
    "task_arithmetic, normalized": Case(
        TaskArithmetic,
        3,
        {"weight": WEIGHTS, "normalize": True},
        lambda t, b: oracle(t, b, WEIGHTS, elect=False, normalize=True),
    ),
    "ties": Case(Ties, 3, _SPARSE, _ranked(_TRIMMED, elect=True, normalize=True)),
    "ties, rescaled": Case(
        Ties, 3, _SPARSE | {"rescale": True, "normalize": False}, _ranked(_TRIMMED, elect=True, rescale=True)
    ),
    "breadcrumbs": Case(Breadcrumbs, 3, _CRUMBS, _ranked(_MIDDLE, elect=False)),
    "breadcrumbs_ties": Case(BreadcrumbsTies, 3, _CRUMBS | {"lambda": 0.7}, _ranked(_MIDDLE, elect=True, factor=0.7)),
    "sce": Case(Sce, 3, {}, lambda t, b: sce_by_definition(t, b, 1.0)),
    "sce, selected": Case(Sce, 3, {"select_topk": 0.6}, lambda t, b: sce_by_definition(t, b, 0.6)),
    "ram": Case(Ram, 3, {"epsilon": EPSILON}, lambda t, b: ram(t, b, EPSILON)),
    "ramplus_tl": Case(
        RamPlusTl,
        3,
        {"epsilon": EPSILON, "r": 0.3, "alpha": 9},
        lambda t, b: ram_plus(t, b, EPSILON, r=0.3, alpha=9),
    ),
    "model_stock": Case(
        ModelStock, 3, {}, lambda t, b: stock([tensor.flatten() for tensor in t], b.flatten()).view(b.shape)
    ),
    "model_stock, by rows": Case(
        ModelStock,
        3,
        {"filter_wise": True},
        lambda t, b: torch.stack([stock([tensor[i] for tensor in t], b[i]) for i in range(len(b))]),
    ),
    "nearswap": Case(Nearswap, 1, {"t": 1e-5}, lambda t, b: b + (t[0] - b).clamp(-1e-5, 1e-5)),
    "arcee_fusion": Case(ArceeFusion, 1, {}, lambda t, b: fused(t[0], b)),
    "expo": Case(Expo, 1, {"alpha": 0.3}, lambda t, b: t[0] + 0.3 * (t[0] - b)),
    "passthrough": Case(Passthrough, 1, {"scale": 0.7}, lambda t, b: 0.7 * t[0], False),
}

ROUNDINGS = 4.0
"""Units of rounding in float32, of what is added up, that a result is off by at most."""


NEAR_AND_FAR = [
    *((torch.float32, apart) for apart in (1e-5, 1e-2, 1.0, 100.0)),
    *((dtype, apart) for dtype in (torch.bfloat16, torch.float16) for apart in (2e-2, 1.0, 100.0)),
]


def given(count: int, apart: float, dtype: torch.dtype) -> tuple[list[Tensor], Tensor]:
    """A base of entries about 1, and models that differ from it by about `apart`, partly alike, in most entries."""
    base, shared, changed = some((7, 19), 100), some((7, 19), 101), (some((7, 19), 200 + seed) for seed in range(count))
    models = [
        base + apart * (1 + seed) * (some((7, 19), seed) + 0.5 * shared) * (at > -0.6)
        for seed, at in enumerate(changed)
    ]
    return [model.to(dtype) for model in models], base.to(dtype)


@pytest.mark.parametrize(("dtype", "apart"), NEAR_AND_FAR)
@pytest.mark.parametrize("method", CASES)
def test_a_result_is_the_equation_but_for_rounding(monkeypatch, record_property, method, dtype, apart):
    case = CASES[method]
    tensors, base = given(case.models, apart, dtype)
    monkeypatch.setattr(pieces, "PIECE", 40)
    result = merged(case.cls, tensors, base if case.has_base else None, **case.parameters)
    exact = case.oracle([tensor.double() for tensor in tensors], base.double())
    assert not exact.equal(base.double())

    # what is added up: the base and the differences from it, or the models
    terms = [tensor.double() - (base.double() if case.has_base else 0) for tensor in tensors]
    scale = exact.abs() + torch.stack(terms).abs().amax(0)
    unit = torch.finfo(torch.float32).eps / 2
    if dtype == torch.float32:
        off = float(((result.double() - exact).abs() / (scale * unit)).max())
        record_property("units of rounding", off)
        assert off <= ROUNDINGS
    else:  # rounded once: as the exact number is, unless it is so near to the middle of two that either may be next
        low, high = ((exact + sign * ROUNDINGS * unit * scale).to(dtype) for sign in (-1, 1))
        assert bool(((low <= result) & (result <= high)).all())
