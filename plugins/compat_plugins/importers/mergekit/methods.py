"""The merge methods of mergekit 0.1.5: their parameters, and what they make of the base model.

Our merges are called like them, and so are their parameters. The defaults stand here because a parameter that is given
for some models or some tensors only has its default for the others.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Parameter:
    """A parameter of a method.

    Attributes:
        kind: what its values are; only numbers may differ from tensor to tensor in ours.
        default: what it is where it is not given; None where it must be.
        per_model: whether every model may have its own.
    """

    name: str
    kind: Literal["number", "integer", "switch"] = "number"
    default: float | bool | None = None
    per_model: bool = False


@dataclass(frozen=True)
class Method:
    """A method.

    Attributes:
        base: the base model is what the others were fine-tuned from (`apart`), and must be given unless `optional`;
            the first of two (`first`); or a model like the others (`among`).
        alone: whether mergekit takes a base without others, which then is the result.
    """

    base: Literal["apart", "optional", "first", "among"]
    parameters: tuple[Parameter, ...] = ()
    alone: bool = False


_WEIGHT = Parameter("weight", per_model=True)
_DENSITY = Parameter("density", default=1.0, per_model=True)
_GAMMA = Parameter("gamma", default=0.01, per_model=True)
_EPSILON = Parameter("epsilon", default=0.15, per_model=True)
_LAMBDA = Parameter("lambda", default=1.0)
_CLOSE = Parameter("epsilon", default=1e-5)
_T = Parameter("t")


def _switch(name: str, default: bool) -> Parameter:
    return Parameter(name, "switch", default)


def _of_deltas(*sparsify: Parameter, normalize: bool, rescale: bool | None = None) -> Method:
    """A method of the family of task arithmetic."""
    rescaling = () if rescale is None else (_switch("rescale", rescale),)
    return Method("apart", (_WEIGHT, *sparsify, _switch("normalize", normalize), *rescaling, _LAMBDA), alone=True)


METHODS: Mapping[str, Method] = {
    "linear": Method("among", (_WEIGHT, _switch("normalize", True))),
    "karcher": Method("among", (Parameter("max_iter", "integer", 10), Parameter("tol", default=1e-5))),
    "passthrough": Method("among", (Parameter("scale", default=1.0, per_model=True),)),
    "slerp": Method("first", (_T,)),
    "nuslerp": Method("optional", (_WEIGHT, _switch("nuslerp_row_wise", False), _switch("nuslerp_flatten", True))),
    "multislerp": Method("optional", (_WEIGHT, _switch("normalize_weights", True), Parameter("eps", default=1e-8))),
    "task_arithmetic": _of_deltas(normalize=False),
    "ties": _of_deltas(_DENSITY, normalize=True, rescale=False),
    "dare_linear": _of_deltas(_DENSITY, normalize=False, rescale=True),
    "dare_ties": _of_deltas(_DENSITY, normalize=False, rescale=True),
    "della": _of_deltas(_DENSITY, _EPSILON, normalize=True, rescale=True),
    "della_linear": _of_deltas(_DENSITY, _EPSILON, normalize=False, rescale=True),
    "breadcrumbs": _of_deltas(_DENSITY, _GAMMA, normalize=False, rescale=False),
    "breadcrumbs_ties": _of_deltas(_DENSITY, _GAMMA, normalize=False, rescale=False),
    "sce": Method("apart", (Parameter("select_topk", default=1.0),), alone=True),
    "ram": Method("apart", (_CLOSE,), alone=True),
    "ramplus_tl": Method("apart", (Parameter("r", default=0.1), Parameter("alpha", default=0.2), _CLOSE), alone=True),
    "model_stock": Method("apart", (_switch("filter_wise", False),)),
    "nearswap": Method("apart", (_T,)),
    "arcee_fusion": Method("apart"),
}

WITHOUT_EFFECT = frozenset({"int8_mask"})
"""Parameters that change what a merge costs, and nothing of what comes out."""
