"""Merges: how models are combined."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, Self

from pydantic import Field, model_validator

from compat_spec.components.component import FitsModels
from compat_spec.components.names import ModelName, TaskName, names_in
from compat_spec.nn.per_tensor import OnePerModel, TensorPlace
from compat_spec.nn.pieces import TensorPieces, Unit

if TYPE_CHECKING:
    from torch import Tensor, nn

    from compat_spec.nn.data import EncodedSplit
    from compat_spec.nn.network import Network


class Merge(FitsModels):
    """Combines models. Implement `TensorMerge` or `ModuleMerge`."""

    namespace = "compat.merges"

    compares: ClassVar[frozenset[str] | None] = None
    """The facts of `ModelSource.architecture()` that the models must share to be combined; None is all of them."""

    models: tuple[ModelName, ...] = Field(min_length=1, description="The models to combine.")


class TensorMerge(Merge):
    """A merge in parameter space: one tensor of the result from the same tensor of each model.

    The engine reads the models tensor by tensor, calls `combine` for each, and writes what it returns. All arithmetic
    is done in float32 (float64 where a model is), whatever the models are stored in, and rounded once at the end.
    Tensors that are no floating-point numbers (masks, counters) are kept as they are, and must be equal in all models.
    """

    unit: ClassVar[Unit] = "tensor"
    """What `combine` must have whole: a `tensor`, a `row` of one along its last dimension, or a single `entry`.

    An entry of the result may depend on the same `unit` of each tensor only, and on what `survey` found. Where that is
    less than a tensor, the engine calls `combine` with pieces, which takes less memory and time: of flattened tensors,
    `[entries]`, or of their rows, `[rows, width]`.
    """

    idempotent: ClassVar[bool] = True
    """Whether a tensor that is the same in all models, the base included, comes out as it is. The engine does not rely
    on it; the conformance kit holds a merge to it. Say False for a method that changes even such a tensor."""

    dtype: Literal["float64", "float32", "bfloat16", "float16"] | None = Field(
        default=None, description="What the result is stored in; by default what the first model is stored in."
    )
    vocabulary: Literal["same", "base", "union"] = Field(
        default="same",
        description="For models with different tokenizers: whether the result has that of the base (of the first model "
        "where there is no base), or one with the tokens of all. `same` asks for equal ones.",
    )
    tokenizer: ModelName | None = Field(
        default=None, description="A model whose tokenizer the result has instead; it need not be merged itself."
    )

    @property
    def aligns(self) -> bool:
        """Whether the rows of tokens are brought into one order, as models with different tokenizers need it."""
        return self.vocabulary != "same" or self.tokenizer is not None

    @property
    def owner(self) -> str:
        """The model whose config the result has, and its tokenizer unless `tokenizer` or a union says another."""
        base = getattr(self, "base", None)
        return str(base) if self.aligns and isinstance(base, ModelName) else self.models[0]

    @model_validator(mode="after")
    def _has_one_vocabulary(self) -> TensorMerge:
        if self.aligns and any(True for _ in names_in(self, TaskName)):
            what = "vocabulary must be same, and tokenizer left out"
            raise ValueError(f"{what}: the method looks at the models at work on one text")
        if self.vocabulary == "union" and self.tokenizer is not None:
            raise ValueError("a union has a tokenizer of its own: leave out `tokenizer`, or `vocabulary`")
        return self

    @model_validator(mode="after")
    def _lists_have_one_per_model(self) -> TensorMerge:
        for name, about in type(self).model_fields.items():
            given = getattr(self, name)
            is_list = isinstance(given, tuple) and any(isinstance(mark, OnePerModel) for mark in about.metadata)
            if is_list and len(given) != len(self.models):
                what = f"{len(given)} entries of {about.alias or name} for {len(self.models)} models"
                raise ValueError(f"{what}; give one per model")
        return self

    def study(self, study: MergeStudy) -> Mapping[str, Tensor]:
        """What `combine` has to know beside the tensors, found once before the first: `combine` has it as `at.found`.

        For methods that look at the models at work, on the tasks that fields of type `TaskName` name, or at all of
        their tensors together. What takes much memory is returned as `study.put_aside(…)`.
        """
        return {}

    def check(self, at: TensorPlace) -> None:
        """Say what is wrong with the numbers that parameters have for a tensor, if anything is.

        Called for each tensor of the result before any is read, as a number may depend on the tensor. What is wrong
        with a plain number is better refused by a validator, when the spec is read.

        Raises:
            CompatError: naming `at.name`, and saying what would be right.
        """

    def survey(self, pieces: TensorPieces, *, at: TensorPlace) -> Any:
        """What `combine` has to know of a whole tensor, such as a norm or a quantile: it has it as `at.surveyed`.

        For methods whose `unit` is less than a tensor. Called once for each tensor, before its first piece is combined.

        Args:
            pieces: the tensor of each model and the base, piece by piece as `combine` is going to have them. They can
                be gone through several times, and are read each time.
        """
        return None

    @classmethod
    def surveys(cls) -> bool:
        """Whether there is a `survey`. Where there is none, the pieces of a tensor are combined side by side."""
        return cls.survey is not TensorMerge.survey

    def blocks(self, counts: Sequence[int]) -> Sequence[tuple[int, int]] | None:
        """For a result with other blocks than the models: which model's which block each of its blocks is made of.

        `combine` is then called with the tensors of one model alone. None, the default, is for all other merges.

        Args:
            counts: how many blocks each of `models` has.
        """
        return None

    @abstractmethod
    def combine(self, tensors: Sequence[Tensor], base: Tensor | None, *, at: TensorPlace) -> Tensor:
        """One tensor of the merged model, or a piece of it. Leaves the tensors that it is given as they are.

        Args:
            tensors: the tensor of each of `models`, in order, all of one shape, all float32 or all float64; never
                empty.
            base: the tensor of the model that a field `base` names, or None where the method has none.
            at: which tensor this is; `at.value(self.t)` is the number that a parameter has for it.
        """


class MergeStudy(Protocol):
    """What the engine offers to a merge that has to know its models before it merges them."""

    @property
    def seed(self) -> int: ...

    @property
    def device(self) -> str: ...

    def config(self, model: int) -> Any:
        """The config of one of `models`, as transformers has it; also where no network can be run."""

    def network(self, model: int) -> Network:
        """The network of one of `models`, on the device, frozen. It is shared: never change it in place."""

    def copy(self, model: int) -> Network:
        """The same, as a copy of the merge's own."""

    def tensors(self, model: int | None) -> Mapping[str, Tensor]:
        """The tensors of one of `models`, or of `base` (None), read from the disk each time one is asked for."""

    def encoded(self, task: TaskName, split: str) -> EncodedSplit: ...

    def put_aside(self, tensors: Iterable[tuple[str, Tensor]]) -> Mapping[str, Tensor]:
        """Tensors by name, written to the disk as they come; each is read when it is asked for.

        They are there as long as the mapping is. `compat_spec.nn.aside.read_piece` reads some entries of one.
        """

    def progress(self, done: int, total: int, note: str = "") -> None: ...

    def record(self, **facts: float | int | str | Sequence[Any]) -> None:
        """Facts for the results (`chosen=[…]`); they do not change the fingerprint."""


class ModuleMerge(Merge):
    """A merge in feature or output space: a module that holds the models and combines them as it runs."""

    training: ClassVar[Literal["needed", "possible", "none"]] = "possible"
    """`needed`: the module is of no use without a `train:` block in the spec; `none`: it has nothing to train."""

    routed: ClassVar[bool] = False
    """Whether its blocks have routers, which metrics with `applies_to = "routed"` read."""

    sweeps: ClassVar[bool] = False
    """Whether `build_together` can make one module of a sweep of this merge."""

    @classmethod
    def build_together(cls, merges: Sequence[Self], networks: Sequence[Network], trunk: Network | None) -> nn.Module:
        """What `build` makes for several merges of the same networks, as one module that computes less.

        For `input_ids [batch, seq]` its logits are `[len(merges) * batch, seq, vocabulary]`, those of the first merge
        first. Called where `sweeps` is true, for merges that nothing is trained of.
        """
        raise NotImplementedError

    @abstractmethod
    def build(self, networks: Sequence[Network], trunk: Network | None) -> nn.Module:
        """A module `(input_ids [batch, seq]) -> object with .logits [batch, seq, vocabulary]`.

        The experts' parameters must come out frozen. Parameters that still require a gradient are what a `train:`
        block trains and what is stored; random numbers are already seeded. A part of the module may have a method
        `auxiliary_loss() -> Tensor | None`: what its last pass in training adds to the loss, as a mean over tokens.

        Args:
            networks: the network of each of `models`, in order. They are shared: never change them in place.
            trunk: the network that a field `trunk` names, or None.
        """
