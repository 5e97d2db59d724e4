"""The contracts that plugins implement.

A component is a frozen pydantic model. Its fields are its YAML parameters, its docstring is its help (first line:
what it does; then the source), and its `version` goes into the fingerprint of every step that it takes part in:
raise it when the same parameters start to give other numbers.

How a run uses them, in order: a `Task` says what the examples are; a `ModelSource` says how a base comes to be; a
`Trainer` makes an expert of a base, or trains the routers of a merge; a `Merge` combines experts; a `ModelMetric`
scores one network on one task, a `PairMetric` compares the features of two, and a `LayerMetric` has the layers of two
work together; an `Executor` decides where each step runs; a `Sink` passes on what was found. A component never touches
the store, the database or other components: what it needs is handed to it.

Importing this module, or a module that defines components, must stay cheap: `compat validate` does it for every
component that a spec names. Import torch inside the methods that compute.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, Protocol, Self, TypedDict, Unpack

from pydantic import BaseModel, ConfigDict, Field, GetCoreSchemaHandler, GetJsonSchemaHandler, model_validator
from pydantic.fields import FieldInfo
from pydantic_core import CoreSchema, core_schema

from compat_spec.nn.per_tensor import OnePerModel, TensorPlace
from compat_spec.nn.weights import Weights

if TYPE_CHECKING:
    from torch import Tensor, nn

    from compat_spec.nn.data import EncodedSplit
    from compat_spec.nn.evaluation import TokenScores
    from compat_spec.nn.network import Network, Tokenizer

__all__ = [
    "Comparison",
    "Component",
    "EndedStep",
    "Evaluation",
    "Example",
    "ExampleScore",
    "Executor",
    "FeatureChoice",
    "FitsModels",
    "Job",
    "JobReport",
    "JobRunner",
    "LayerMetric",
    "LayerScores",
    "Link",
    "MeasuredScore",
    "MeasuredSimilarity",
    "Merge",
    "MergeStudy",
    "Metric",
    "ModelMetric",
    "ModelName",
    "ModelSource",
    "ModuleMerge",
    "PairMetric",
    "Score",
    "Sink",
    "StartedRun",
    "Task",
    "TaskName",
    "TensorMerge",
    "Trainer",
    "TrainingSession",
    "names_in",
    "names_within",
]


class _Name(str):
    """A string field that names another declaration of the spec; the engine checks it and hands over the thing."""

    kind: ClassVar[str]

    @classmethod
    def __get_pydantic_core_schema__(cls, source: type[Any], handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(cls, core_schema.str_schema(min_length=1))

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"type": "string", "description": f"The name of a {cls.kind} of this spec."}


class TaskName(_Name):
    """The name of a task of the spec. A component with a field of this type is given that task's data."""

    kind = "task"


class ModelName(_Name):
    """The name of a model of the spec, or of its checkpoint at a step: `math`, `math@100`."""

    kind = "model"


class Component(BaseModel):
    """What all components share: parameters that are validated, frozen, and forbidden when unknown."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_default=True, protected_namespaces=(), serialize_by_alias=True
    )

    namespace: ClassVar[str]
    version: ClassVar[str] = "1"

    @classmethod
    def parameters(cls) -> Mapping[str, FieldInfo]:
        """The fields by what they are called in a spec: their alias where they have one, such as `lambda`."""
        return {field.alias or name: field for name, field in cls.model_fields.items()}

    def identity(self) -> Mapping[str, Any]:
        """JSON-able facts besides the parameters that decide the result: a file's checksum, Python's version."""
        return {}

    def uses_seed(self) -> bool:
        """Whether the run's seed changes the result. Steps that say no are computed once for all seeds."""
        return False


class FitsModels(Component):
    """What is used on models: it may know before they are there that its parameters do not go with their shapes."""

    def misfit(self, architecture: Mapping[str, Any]) -> str | None:
        """What is wrong for models of this `ModelSource.architecture()`, in words; None when nothing is.

        Only what is known without loading anything is in `architecture`: any key may be missing.
        """
        return None


# ---------------------------------------------------------------------------------------------------------- tasks


@dataclass(frozen=True, slots=True)
class Example:
    """One example of a task: the text is `prompt + answer`.

    Plain text has an empty prompt. `expected` is the final answer that `Task.grade` looks for, if there is one.
    """

    prompt: str
    answer: str
    expected: str | None = None

    @property
    def text(self) -> str:
        return self.prompt + self.answer


class Task(Component):
    """Named splits of examples: at least `train` and `test`, which must not share a text (the engine checks)."""

    namespace = "compat.tasks"

    score: Literal["answer", "all"] = Field(
        default="all", description="Count the loss of the answer's tokens only, or of all tokens."
    )

    @abstractmethod
    def splits(self) -> Mapping[str, Sequence[Example]]:
        """The examples of every split. The same parameters and `identity()` must give the same examples."""

    def grade(self, generated: str, example: Example) -> bool:
        """Whether `generated`, the network's continuation of the prompt, answers the example."""
        return generated.strip() == example.answer.strip()


# --------------------------------------------------------------------------------------------------------- models


class ModelSource(Component):
    """How a base model comes to be: made from a config, read from a folder, fetched from a hub."""

    namespace = "compat.models"

    bare: ClassVar[bool] = False
    """Whether it is tensors alone, of which no network can be made: they can be merged, and nothing else."""

    tokenizer_fields: ClassVar[frozenset[str] | None] = None
    """The fields that decide the tokenizer, so that models which differ in others share it; None is all of them."""

    def architecture(self) -> Mapping[str, Any] | None:
        """What is known of the shapes without loading anything (`hidden_size`, `num_hidden_layers`, …), or None.

        Two models whose architectures disagree on a key cannot be merged; `compat validate` says so. One key does not
        count there: `max_position_embeddings`, the longest text that the model reads.
        """
        return None

    def weights(self) -> Weights | None:
        """Where the model's tensors lie as they are, to be merged from there without a copy; None when nowhere.

        Called when they are about to be read: it may fetch them.
        """
        return None

    @abstractmethod
    def make_tokenizer(self, examples: Mapping[TaskName, Sequence[Example]]) -> Tokenizer:
        """The tokenizer. `examples` holds the `train` split of each task that a field of this component names."""

    @abstractmethod
    def make_model(self, tokenizer: Tokenizer) -> nn.Module:
        """The model, in float32 on the CPU unless the source says otherwise. Random numbers are already seeded."""


# ------------------------------------------------------------------------------------------------------- trainers


class TrainingSession(Protocol):
    """What the engine offers to a trainer while it runs one step."""

    @property
    def seed(self) -> int: ...

    @property
    def device(self) -> str: ...

    def restore(self) -> Mapping[str, Tensor] | None:
        """The state that `checkpoint` saved before this step was interrupted, or None when it starts afresh."""

    def checkpoint_due(self) -> bool:
        """Whether it is time to call `checkpoint`. The `checkpoint` of a stopping run raises `InterruptedRun`."""

    def checkpoint(self, state: Mapping[str, Tensor]) -> None:
        """Save everything that is needed to go on from here, to the bit."""

    def keep(self, step: int) -> None:
        """Store the network as it is now as the checkpoint `name@step`."""

    def progress(self, done: int, total: int, note: str = "") -> None:
        """Tell the user how far the training is."""

    def record(self, **facts: float | int | str | Sequence[Any]) -> None:
        """Facts for the results (`tokens_per_second=…`, `loss=[…]`); they do not change the fingerprint."""


class Trainer(FitsModels):
    """Makes an expert of a network by training it, or trains what a composed module declares trainable."""

    namespace = "compat.trainers"

    def uses_seed(self) -> bool:
        return True

    def saved_steps(self) -> Sequence[int]:
        """The steps whose checkpoints `train` keeps, besides the last."""
        return ()

    def last_step(self) -> int | None:
        """The number of steps, when it is known before the data is."""
        return None

    def tokens(self) -> int | None:
        """How many tokens it trains on, when that is known before the data is; `compat plan` adds them up."""
        return None

    @abstractmethod
    def train(self, network: Network, data: Mapping[TaskName, EncodedSplit], session: TrainingSession) -> None:
        """Train `network` in place. `data` holds the encoded `train` split of each task that a field names."""


# --------------------------------------------------------------------------------------------------------- merges


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

    elementwise: ClassVar[bool] = False
    """Whether an entry of the result depends on the same entry of each tensor only, and on what `survey` found. The
    engine then calls `combine` with pieces of flattened tensors, which takes less memory and time."""

    idempotent: ClassVar[bool] = True
    """Whether a tensor that is the same in all models, the base included, comes out as it is. The engine does not rely
    on it; the conformance kit holds a merge to it. Say False for a method that changes even such a tensor."""

    surveys: ClassVar[bool] = False
    """Whether `survey` is to be asked for each tensor of each model."""

    dtype: Literal["float64", "float32", "bfloat16", "float16"] | None = Field(
        default=None, description="What the result is stored in; by default what the first model is stored in."
    )
    vocabulary: Literal["same", "base", "union"] = Field(
        default="same",
        description="For models with different tokenizers: whether the result has that of the base (of the first model "
        "where there is no base), or one with the tokens of all. `same` asks for equal ones.",
    )

    @property
    def owner(self) -> str:
        """The model whose tokenizer and config the result has."""
        base = getattr(self, "base", None)
        return str(base) if self.vocabulary != "same" and isinstance(base, ModelName) else self.models[0]

    @model_validator(mode="after")
    def _looks_at_one_vocabulary(self) -> TensorMerge:
        if self.vocabulary != "same" and any(True for _ in names_in(self, TaskName)):
            raise ValueError("vocabulary must be same: the method looks at the models at work on one text")
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
        their tensors together.
        """
        return {}

    def survey(self, tensor: Tensor, base: Tensor | None, *, model: int, at: TensorPlace) -> Mapping[str, Tensor]:
        """What `combine` has to know of a whole tensor of one model, such as which of its entries count.

        For methods that are `elementwise` otherwise: `combine` has it as `at.surveyed[model]`, and of what has as many
        entries as the tensor it has the piece that belongs to its own.
        """
        return {}

    def blocks(self, counts: Sequence[int]) -> Sequence[tuple[int, int]] | None:
        """For a result with other blocks than the models: which model's which block each of its blocks is made of.

        `combine` is then called with the tensors of one model alone. None, the default, is for all other merges.

        Args:
            counts: how many blocks each of `models` has.
        """
        return None

    @abstractmethod
    def combine(self, tensors: Sequence[Tensor], base: Tensor | None, *, at: TensorPlace) -> Tensor:
        """One tensor of the merged model. Leaves the tensors that it is given as they are.

        Args:
            tensors: the tensor of each of `models`, in order, all of one shape, all float32 or all float64.
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


# -------------------------------------------------------------------------------------------------------- metrics


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


# ------------------------------------------------------------------------------------------------------ executors


@dataclass(frozen=True, slots=True)
class Job:
    """One step, ready to run, as plain data that can cross a process or a network.

    `needs` are the artifacts that it reads: a process that has read them before may have them in memory still.
    """

    fingerprint: str
    label: str
    payload: Mapping[str, Any] = field(repr=False)
    needs: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class JobReport:
    """How a job went: facts for the `steps` table, among them where it ran."""

    seconds: float
    facts: Mapping[str, Any]


class Link(Protocol):
    """What a running job tells, and hears, wherever it runs."""

    def tell(self, fingerprint: str, done: int, total: int, note: str) -> None:
        """How far the job is, for the user."""

    def stopping(self) -> bool:
        """Whether the run has been told to stop."""


class JobRunner(Protocol):
    """What the engine hands to an executor: runs one job where it is called, on the device that is named.

    It can be pickled; each process that gets it keeps its own networks in memory, for one job at a time.
    """

    @property
    def anywhere(self) -> bool:
        """Whether it runs on any machine; otherwise its store is a folder of this one."""

    def __call__(self, job: Job, device: str, link: Link) -> JobReport: ...


class Executor(Component):
    """Decides where steps run.

    The scheduler calls `open` once, then `submit` for jobs whose inputs are in the store, never more than `capacity`
    at a time, and `close` at the end. A job fails by the exception of its future: `WorkerLost` when it is not to blame.
    """

    namespace = "compat.executors"

    @abstractmethod
    def open(self, runner: JobRunner, devices: Sequence[str], link: Link) -> None:
        """Get ready to run jobs on these devices, at least one."""

    @property
    @abstractmethod
    def capacity(self) -> int:
        """How many jobs it runs at once."""

    @abstractmethod
    def submit(self, job: Job) -> Future[JobReport]: ...

    @abstractmethod
    def close(self) -> None:
        """Wait for the jobs that run, which end soon once `link.stopping()`, and let go of everything."""


# ---------------------------------------------------------------------------------------------------------- sinks


@dataclass(frozen=True, slots=True, kw_only=True)
class StartedRun:
    """A run as it begins. `spec` is the whole spec, as YAML; `models` has the role of each model and merge."""

    id: str
    experiment: str
    spec: str
    spec_path: str
    command: str
    seeds: tuple[int, ...]
    parameters: tuple[str, ...]
    """The names of the swept parameters."""
    models: Mapping[str, str]
    tasks: tuple[str, ...]
    versions: Mapping[str, str]
    commit: str | None
    host: str
    device: str
    executor: str
    started: datetime
    """With its time zone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EndedStep:
    """A step of the plan that ended, as the table `steps` has it; of one that is reused, `seconds` is None."""

    fingerprint: str
    kind: str
    label: str
    status: Literal["computed", "reused", "failed", "skipped"]
    seconds: float | None
    device: str | None
    error: str | None
    facts: Mapping[str, Any]

    def curves(self) -> dict[str, list[tuple[int, float]]]:
        """What a training recorded as it went (`loss=[…]`), by name: the training step, from 1, and the value there.

        A list with fewer entries than there were steps has means over stretches of equal length; each stands at the
        end of its stretch.
        """
        steps = self.facts.get("steps")
        if not isinstance(steps, int):
            return {}
        return {
            name: [(steps * (i + 1) // len(values), value) for i, value in enumerate(values)]
            for name, values in self.facts.items()
            if isinstance(values, list | tuple) and values and all(isinstance(value, int | float) for value in values)
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredScore:
    """A number about a model or merge on a task, with the columns of the view `all_scores`."""

    merge: str
    role: str
    task: str
    split: str
    metric: str
    quantity: str
    seed: int
    step: int | None
    """The training step at which the model, or the experts of the merge, stand."""
    parameters: Mapping[str, Any]
    """The swept parameters of this point."""
    value: float
    n: int | None
    block: int | None
    other_block: int | None
    expert: int | None
    token_class: str | None
    fingerprint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredSimilarity:
    """A number about a layer of model `a` and a layer of `b`, with the columns of the view `all_similarities`."""

    metric: str
    measure: str
    quantity: str
    task: str
    a: str
    b: str
    step_a: int | None
    step_b: int | None
    layer_a: int
    layer_b: int
    seed: int
    parameters: Mapping[str, Any]
    value: float
    se: float | None
    n: int | None
    fingerprint: str

    @property
    def step(self) -> int | None:
        """The training step of both, where they have the same."""
        return self.step_a if self.step_a == self.step_b else None


class Sink(Component):
    """Passes on what a run finds, as it finds it, to a service or a file of another tool.

    A run calls `check` before anything is computed. Then, in a thread of their own, one after the other: `begin`;
    as steps end, `step`, and after it `scores` or `similarities` when the step measured something; at last `end`, also
    when the run failed or was interrupted. `compat send` makes the same calls for a run of the past.

    The run never waits for a sink: the results are the truth, and what a sink gets is a copy. A sink that raises is
    left out from there on, and the user is told once. It changes no number, so it is in no fingerprint and in no spec.
    Its fields say where things go; passwords and keys belong where the tool itself looks for them.
    """

    namespace = "compat.sinks"

    def check(self) -> None:
        """Raises `CompatError` when it could not take a run: a library that is not installed, a folder not there."""

    @abstractmethod
    def begin(self, run: StartedRun) -> None: ...

    def step(self, step: EndedStep) -> None:
        """A step of the plan ended."""

    def scores(self, rows: Sequence[MeasuredScore]) -> None:
        """All scores that a step found."""

    def similarities(self, rows: Sequence[MeasuredSimilarity]) -> None:
        """All similarities that a step found: the layers of two models."""

    @abstractmethod
    def end(self, status: Literal["finished", "failed", "interrupted"], error: str | None) -> str | None:
        """Close what is open. Returns where the user can look at it: a URL, a folder, a command."""


# ----------------------------------------------------------------------------------------------------- references


def names_in(component: Component, kind: type[_Name]) -> Iterator[str]:
    """Every name of a kind (`TaskName`, `ModelName`) in a component's fields, in order, each once."""
    seen: set[str] = set()
    for _, value in component:
        for name in names_within(value, kind):
            if name not in seen:
                seen.add(name)
                yield name


def names_within(value: Any, kind: type[_Name]) -> Iterator[str]:
    """Every name of a kind in the value of a field: itself, or inside models, mappings (keys too) and lists."""
    if isinstance(value, kind):
        yield value
    elif isinstance(value, BaseModel):
        for _, inner in value:
            yield from names_within(inner, kind)
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from names_within(key, kind)
            yield from names_within(inner, kind)
    elif isinstance(value, list | tuple | set | frozenset):
        for inner in value:
            yield from names_within(inner, kind)
