"""Metrics: what is measured of one network, or of two."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple, Protocol, TypedDict, Unpack

from pydantic import Field, model_validator

from compat_spec.components.component import Component
from compat_spec.components.tasks import Example, Task

if TYPE_CHECKING:
    from torch import Tensor

    from compat_spec.nn.data import EncodedSplit
    from compat_spec.nn.evaluation import TokenScores
    from compat_spec.nn.network import Network


class ExampleScore(NamedTuple):
    """What a metric found on one example."""

    example: int
    """Its place in the split, from 0."""
    value: float
    weight: float = 1.0
    """What it counts in the mean, such as its scored tokens."""


@dataclass(frozen=True, slots=True)
class Score:
    """One number that a metric found, as one row of the results."""

    value: float
    n: int | None = None
    """How many tokens or examples it is the mean of."""
    block: int | None = None
    other_block: int | None = None
    """The second block, of a number about two."""
    expert: int | None = None
    """Which expert of a routed block, in the order in which the merge names its models; `span` repeats the order."""
    token_class: str | None = None
    """Which tokens it is about, when it is not about all."""
    quantity: str | None = None
    """What the number is, when the metric reports several things; the metric's `quantity` otherwise."""
    examples: Sequence[ExampleScore] = ()
    """The examples of which it is the weighted mean, where it is one: by them, two models are compared in pairs."""


class Evaluation(Protocol):
    """What the engine offers to a metric: one network, one task, and the costly things computed once."""

    @property
    def network(self) -> Network: ...

    @property
    def task(self) -> Task: ...

    @property
    def device(self) -> str: ...

    def examples(self, split: str) -> Sequence[Example]: ...

    def encoded(self, split: str) -> EncodedSplit: ...

    def token_scores(self, split: str, tokens: int | None, context: int | None) -> TokenScores:
        """Loss and correctness of each next-token prediction on about the first `tokens` tokens of a split.

        `context` is the longest sequence to read at once; None is what the network accepts, at most 1,024.
        """

    def progress(self, done: int, total: int, note: str = "") -> None: ...


class Metric(Component):
    """Implement `ModelMetric`, `PairMetric` or `LayerMetric`."""

    namespace = "compat.metrics"

    quantity: ClassVar[str]
    """What it measures, as a word that people query: `loss`, `accuracy`, `cka`."""

    higher_is_better: ClassVar[bool | None] = None

    split: str = Field(default="test", description="The split of the task to measure on.")


class ModelMetric(Metric):
    """Scores one network on one task."""

    applies_to: ClassVar[Literal["all", "routed"]] = "all"
    """`routed`: only networks with routers; others are left out instead of failing."""

    @abstractmethod
    def measure(self, evaluation: Evaluation) -> Sequence[Score]: ...


@dataclass(frozen=True, slots=True)
class LayerScores:
    """What was found about the layers of two networks."""

    values: Tensor
    """`[layers of a, layers of b]`; pairs that were not asked for are not looked at."""
    n: int
    """How many rows or tokens each value is of."""
    errors: Tensor | None = None
    """The standard error of each value, where it is known."""
    first: int = 0
    """The number of the first layer of both: -1 where what goes into the first block comes before the blocks."""


class FeatureChoice(TypedDict, total=False):
    """Which features: arguments of `compat_spec.nn.features.features`."""

    site: Literal["block", "mlp", "attention"]
    tokens: int
    rows: Literal["tokens", "last", "mean"]
    part: Literal["all", "answer"]
    context: int | None
    seed: int
    embedding: bool


class Comparison(Protocol):
    """What the engine offers to a metric of two networks, which read the same tokens: both, one task, and features."""

    @property
    def a(self) -> Network: ...

    @property
    def b(self) -> Network: ...

    @property
    def device(self) -> str: ...

    def encoded(self, split: str) -> EncodedSplit: ...

    def features(self, split: str, **which: Unpack[FeatureChoice]) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
        """The features `[rows, width]` of each layer of `a` and of `b`, at least 4 rows, the same ones of both.

        By default, of 2,048 tokens of the residual stream after each block; `context` None is what both networks
        accept, at most 1,024. They are shared by metrics: never change them in place.
        """

    def feature_batches(
        self, split: str, **which: Unpack[FeatureChoice]
    ) -> Iterator[tuple[Sequence[Tensor], Sequence[Tensor]]]:
        """The same rows a few thousand at a time, so that they are never all in memory; read anew for each metric."""

    def progress(self, done: int, total: int, note: str = "") -> None: ...


class LayerMetric(Metric):
    """Compares the layers of two networks on one task in a way of its own: a matrix of layers by layers."""

    layers: Literal["all", "same"] = Field(default="all", description="All pairs of layers, or equal depths only.")
    context: int | None = Field(
        default=None, ge=2, description="The longest sequence to read; by default what both networks accept, to 1,024."
    )

    @abstractmethod
    def measure(self, comparison: Comparison) -> LayerScores:
        """The number of each pair of layers that `layers` asks for."""


class PairMetric(LayerMetric):
    """Compares the features of two networks on one task: a matrix of layers by layers."""

    site: Literal["block", "mlp", "attention"] = Field(
        default="block",
        description="Where the features are taken: the residual stream after each block, or the output of its MLP or "
        "of its attention.",
    )
    embedding: bool = Field(
        default=False, description="Compare what goes into the first block, too, as layer -1; for `site: block`."
    )
    rows: Literal["tokens", "last", "mean"] = Field(
        default="tokens",
        description="What is compared: single tokens, the last token of each example, or the mean over each example.",
    )
    part: Literal["all", "answer"] = Field(
        default="all", description="Count all tokens of an example, or those of its answer only."
    )
    tokens: int = Field(
        default=2048, ge=4, description="How many tokens to compare, or examples for rows `last` and `mean`; drawn."
    )
    seed: int = Field(default=0, description="The seed that draws the tokens.")

    @model_validator(mode="after")
    def _embedding_is_of_the_residual_stream(self) -> PairMetric:
        if self.embedding and self.site != "block":
            raise ValueError(f"embedding goes with site: block; what goes into the first block is no {self.site}")
        return self

    def measure(self, comparison: Comparison) -> LayerScores:
        a, b = comparison.features(self.split, **self.taken())
        return LayerScores(self.compare(a, b), n=len(a[0]), errors=self.errors(a, b), first=self.first_layer)

    def taken(self) -> FeatureChoice:
        """Which features it compares."""
        return {
            "site": self.site,
            "tokens": self.tokens,
            "rows": self.rows,
            "part": self.part,
            "context": self.context,
            "seed": self.seed,
            "embedding": self.embedding,
        }

    @property
    def first_layer(self) -> int:
        return -1 if self.embedding else 0

    @abstractmethod
    def compare(self, a: Sequence[Tensor], b: Sequence[Tensor]) -> Tensor:
        """Features `[rows, width]` of each layer of two networks, of the same tokens -> `[len(a), len(b)]`."""

    def errors(self, a: Sequence[Tensor], b: Sequence[Tensor]) -> Tensor | None:
        """The standard error of each number that `compare` gives, for metrics that can say; None otherwise."""
        return None
