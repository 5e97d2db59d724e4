"""The public call: any measure, all pairs of layers."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor

from compat_spec.nn.similarity.cca import pwcca, svcca
from compat_spec.nn.similarity.cka import cka
from compat_spec.nn.similarity.inputs import checked, exact_products
from compat_spec.nn.similarity.knn import cknna, mutual_knn
from compat_spec.nn.similarity.procrustes import procrustes
from compat_spec.nn.similarity.rsa import rsa

MEASURES: dict[str, Callable[..., Tensor]] = {
    "cka": cka,
    "cknna": cknna,
    "mutual_knn": mutual_knn,
    "svcca": svcca,
    "pwcca": pwcca,
    "procrustes": procrustes,
    "rsa": rsa,
}


def similarity(measure: str, xs: Sequence[Tensor] | Tensor, ys: Sequence[Tensor] | Tensor, **options: Any) -> Tensor:
    """The similarity of every layer of `xs` to every layer of `ys`: `[len(xs), len(ys)]`, float64.

    Computed on the device of `xs`, or on the CPU where that device has no float64, and right to 1e-5 for features of
    float32, float16 and bfloat16: what is larger than that is computed in float64. Features of float64 are compared in
    float64. When `xs` and `ys` are the same tensors, half of the work is saved.

    Args:
        measure: one of `MEASURES`: `cka`, `cknna`, `mutual_knn`, `svcca`, `pwcca`, `procrustes`, `rsa`.
        xs: features `[n, width]` of each layer, or all as `[layers, n, width]`; widths may differ.
        ys: the same of another network, on the same n tokens in the same order.
        options: of the measure; its function in this package says which, and docs/similarity.md compares measures.

    A similarity that is undefined is NaN, and an `UndefinedSimilarityWarning` says for which layers and why.

    Raises `ValueError` for an unknown measure or option, and for features that do not fit together.
    """
    function = function_of(measure, options)
    left, right = checked(xs, ys)
    with exact_products(left[0].device):
        return function(left, right, **options)


def function_of(measure: str, options: Mapping[str, Any]) -> Callable[..., Tensor]:
    """The measure's function, when it has all of these options."""
    if measure not in MEASURES:
        raise ValueError(f"no measure {measure!r}; there are: {', '.join(MEASURES)}")
    function = MEASURES[measure]
    known = [p.name for p in inspect.signature(function).parameters.values() if p.kind is p.KEYWORD_ONLY]
    if unknown := sorted(set(options) - set(known)):
        raise ValueError(f"{measure} has no option {unknown[0]!r}; its options are: {', '.join(known) or 'none'}")
    return function
