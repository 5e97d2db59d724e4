"""Results in float32 and half precision against those in float64, which other tests compare with the definitions."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from compat_plugins.merges.arcee_fusion import ArceeFusion
from compat_plugins.merges.breadcrumbs import Breadcrumbs
from compat_plugins.merges.breadcrumbs_ties import BreadcrumbsTies
from compat_plugins.merges.dare_linear import DareLinear
from compat_plugins.merges.dare_ties import DareTies
from compat_plugins.merges.della import Della
from compat_plugins.merges.della_linear import DellaLinear
from compat_plugins.merges.expo import Expo
from compat_plugins.merges.karcher import Karcher
from compat_plugins.merges.linear import Linear
from compat_plugins.merges.model_stock import ModelStock
from compat_plugins.merges.multislerp import Multislerp
from compat_plugins.merges.nearswap import Nearswap
from compat_plugins.merges.nuslerp import Nuslerp
from compat_plugins.merges.ram import Ram
from compat_plugins.merges.ramplus_tl import RamPlusTl
from compat_plugins.merges.sce import Sce
from compat_plugins.merges.slerp import Slerp
from compat_plugins.merges.task_arithmetic import TaskArithmetic
from compat_plugins.merges.ties import Ties
from compat_spec.components import TensorMerge
from tests.plugins.merges.tensors import merged, tuned

WEIGHT = {"weight": [0.7, 0.2, 0.4]}
THIN = WEIGHT | {"density": [0.5, 0.3, 1.0]}
METHODS: list[tuple[type[TensorMerge], int, bool, dict[str, Any]]] = [
    (Linear, 3, False, WEIGHT),
    (Slerp, 2, False, {"t": 0.3}),
    (Nuslerp, 2, False, {"weight": [0.7, 0.4]}),
    (Nuslerp, 2, True, {"weight": [0.7, 0.4]}),
    (Nuslerp, 2, True, {"weight": [0.7, 0.4], "nuslerp_flatten": False}),
    (Nuslerp, 2, True, {"weight": [0.7, 0.4], "nuslerp_flatten": False, "nuslerp_row_wise": True}),
    (Multislerp, 3, False, WEIGHT),
    (Multislerp, 3, True, WEIGHT),
    (Karcher, 3, False, {}),
    (TaskArithmetic, 3, True, WEIGHT),
    (Ties, 3, True, THIN),
    (Breadcrumbs, 3, True, THIN),
    (BreadcrumbsTies, 3, True, THIN),
    (DareLinear, 3, True, THIN),
    (DareTies, 3, True, THIN),
    (DellaLinear, 3, True, THIN),
    (Della, 3, True, THIN),
    (Sce, 3, True, {}),  # of variances that are equal but for rounding, a share selects others in another type
    (Ram, 3, True, {}),
    (RamPlusTl, 3, True, {}),
    (ModelStock, 3, True, {}),
    (ModelStock, 3, True, {"filter_wise": True}),
    (Nearswap, 1, True, {"t": 0.1}),
    (ArceeFusion, 1, True, {}),
    (Expo, 1, True, {"alpha": 0.3}),
]


@pytest.mark.parametrize("scale", [1.0, 1e-4], ids=["far from the base", "near the base"])
@pytest.mark.parametrize(
    ("cls", "count", "with_base", "parameters"), METHODS, ids=[f"{cls.__name__} {more}" for cls, _, _, more in METHODS]
)
def test_results_are_those_of_float64_but_for_rounding(cls, count, with_base, parameters, scale, record_property):
    for shape in ((13, 31), (257,), (3, 5, 7)):
        for dtype in (torch.float32, torch.bfloat16, torch.float16):
            tensors, base = tuned(count, shape, dtype, scale)
            double = [tensor.double() for tensor in tensors]
            exact = merged(cls, double, base.double() if with_base else None, **parameters)
            result = merged(cls, tensors, base if with_base else None, **parameters)
            # some roundings in float32, of the largest there is on the way, and one to the type of the result
            slack = 2**-23 * float(max(one.abs().max() for one in (*double, base.double(), exact)))
            assert bool(((exact - slack).to(dtype) <= result).all())
            assert bool((result <= (exact + slack).to(dtype)).all())
            if dtype == torch.float32:
                record_property(f"{list(shape)}", float((result - exact).abs().max() / exact.abs().max()))
