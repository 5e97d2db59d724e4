"""The `git_rebasin` merge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from compat_plugins.merges.linear import Linear
from compat_spec.components import MergeStudy
from compat_spec.nn.per_tensor import TensorPlace
from compat_spec.nn.pieces import Unit

if TYPE_CHECKING:
    from torch import Tensor


class GitRebasin(Linear):
    """The weighted average of the models, after the units of each are brought into the places of the first's.

    Neither changes what a model computes: the order of an MLP's hidden units, of attention heads, of the channels of
    the residual stream. Models that do not descend from one base have them in other orders, and only then is an entry
    of one the counterpart of the same entry of another. Matched by weights, one kind after another until none improves.

    Ainsworth, Hayase, Srinivasa, "Git Re-Basin: Merging Models modulo Permutation Symmetries", 2022, arXiv:2209.04836
    (weight matching).
    """

    unit: ClassVar[Unit] = "tensor"

    permute: tuple[Literal["residual", "heads", "mlp"], ...] = Field(
        default=("residual", "heads", "mlp"),
        min_length=1,
        description="What may change places; models with a common base need no other order of the residual stream.",
    )

    def misfit(self, architecture: Mapping[str, Any]) -> str | None:
        from compat_spec.nn.symmetries import unknown

        return unknown(architecture["model_type"]) if "model_type" in architecture else None

    def study(self, study: MergeStudy) -> Mapping[str, Tensor]:
        from compat_spec.nn.aside import shapes_of
        from compat_spec.nn.permutations import axis_orders, match
        from compat_spec.nn.symmetries import symmetries_of

        reference = study.tensors(0)
        shapes = shapes_of(reference)
        symmetries = [symmetry for symmetry in symmetries_of(study.config(0), shapes) if symmetry.kind in self.permute]
        found: dict[str, Tensor] = {}
        for model, name in enumerate(self.models[1:], 1):

            def tell(done: int, total: int, model: int = model, name: str = name) -> None:
                study.progress((model - 1) * total + done, (len(self.models) - 1) * total, f"units of {name}")

            orders = match(reference, study.tensors(model), symmetries, device=study.device, progress=tell)
            for (tensor, axis), order in axis_orders(symmetries, orders, shapes).items():
                found[_key(model, axis, tensor)] = order
        return found

    def combine(self, tensors: Sequence[Tensor], base: Tensor | None, *, at: TensorPlace) -> Tensor:
        return super().combine([_placed(tensor, model, at) for model, tensor in enumerate(tensors)], base, at=at)


def _placed(tensor: Tensor, model: int, at: TensorPlace) -> Tensor:
    for axis in range(tensor.dim()):
        order = at.found.get(_key(model, axis, at.name))
        if order is not None:
            tensor = tensor.index_select(axis, order.to(tensor.device))
    return tensor


def _key(model: int, axis: int, tensor: str) -> str:
    return f"{model}:{axis}:{tensor}"
