"""The trainer of networks and of routers: next-token prediction on tasks, by AdamW or Muon."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from compat_spec.components import TaskName, Trainer, TrainingSession
from compat_spec.errors import CompatError

if TYPE_CHECKING:
    from compat_spec.nn.data import EncodedSplit
    from compat_spec.nn.network import Network

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Shares = dict[TaskName, Positive]
Beta = Annotated[float, Field(ge=0, lt=1)]


class Finetune(Trainer):
    """Trains a network by next-token prediction on tasks: a base from scratch, an expert, or the routers of a merge.

    AdamW: Loshchilov & Hutter, 2019, arXiv 1711.05101. Muon: Jordan et al., 2024, as torch.optim.Muon; it trains the
    matrices inside the blocks, and AdamW the rest (embeddings, head, norms, biases). Mixing data of the pre-training
    into fine-tuning: Pari et al., 2024, arXiv 2411.02207.

    Dropout is what the model's config says; gpt2's default is 0.1.

    Example:
        train: {on: math, steps: 400, save_at: [25, 100], update: mlp, batch_size: 8, context: 128}
    """

    on: TaskName | Annotated[Shares, Field(min_length=1)] = Field(
        description="The task to train on, or several with weights: {math: 1, code: 3} takes a quarter of the windows "
        "from math."
    )
    mix: Shares = Field(
        default={},
        description="Shares of other tasks in the data, so that the network does not forget them: {docs: 0.5} takes "
        "half of the windows from docs and the rest from `on`.",
    )
    steps: int | None = Field(default=None, ge=1, description="How many times to move the parameters.")
    epochs: Positive | None = Field(
        default=None,
        description="Instead of `steps`: how often to go over the tasks of `on`; once is as many windows as hold "
        "their tokens. Windows are drawn at random all the same.",
    )
    batch_size: int = Field(default=8, ge=1, description="Windows that go through the network at once.")
    accumulate: int = Field(
        default=1, ge=1, description="Batches whose gradients one step takes together: for less memory, same result."
    )
    context: int | None = Field(
        default=None, ge=1, description="Tokens of a window; by default what the network accepts, at most 1,024."
    )
    optimizer: Literal["adamw", "muon"] = Field(
        default="adamw", description="`muon` trains the matrices inside the blocks by Muon, and the rest by AdamW."
    )
    lr: Positive = Field(default=1e-3, description="The learning rate of AdamW.")
    betas: tuple[Beta, Beta] = Field(default=(0.9, 0.95), description="The betas of AdamW.")
    muon_lr: Positive = Field(
        default=0.02,
        description="The learning rate of Muon. It is multiplied by the square root of rows over columns of a matrix "
        "that has more rows, as it is stored: gpt2 stores its matrices as [in, out], others as [out, in].",
    )
    momentum: float = Field(default=0.95, ge=0, lt=1, description="The momentum of Muon.")
    weight_decay: float = Field(
        default=0.1,
        ge=0,
        allow_inf_nan=False,
        description="The decoupled weight decay of matrices; biases and norms do not decay.",
    )
    schedule: Literal["cosine", "constant"] = Field(
        default="cosine", description="How the learning rates change after the warm-up."
    )
    final: float = Field(default=0.1, ge=0, le=1, description="The share of the learning rates that a cosine ends at.")
    warmup: int = Field(default=10, ge=0, description="Steps over which the learning rates rise.")
    clip: Positive | None = Field(
        default=1.0, description="The largest norm of the gradient of all parameters together; null for none."
    )
    update: str = Field(
        default="all",
        min_length=1,
        description="Which parameters to train: `all`, `mlp`, `attention`, or a regular expression that is searched "
        "for in their names. Of a merge, only what its method trains: its routers.",
    )
    save_at: tuple[int, ...] = Field(
        default=(),
        description="Steps whose networks are kept as `name@step`, besides the last; 0 is the start.",
    )
    precision: Literal["float32", "bfloat16"] = Field(
        default="float32", description="`bfloat16` computes in bfloat16 where that is safe; parameters stay in float32."
    )

    @field_validator("mix")
    @classmethod
    def _leave_room(cls, mix: Shares) -> Shares:
        if sum(mix.values()) >= 1:
            raise ValueError(f"the shares add up to {sum(mix.values()):g}, which leaves nothing for `on`")
        return mix

    @field_validator("update")
    @classmethod
    def _is_expression(cls, update: str) -> str:
        try:
            re.compile(update)
        except re.error as error:
            raise ValueError(f"not a regular expression: {error}; or use all, mlp or attention") from None
        return update

    @field_validator("save_at")
    @classmethod
    def _within_steps(cls, save_at: tuple[int, ...], info: ValidationInfo) -> tuple[int, ...]:
        steps = info.data.get("steps")
        for step in save_at:
            if step < 0 or (steps is not None and step > steps):
                reach = "" if steps is None else f" to {steps}, the last"
                raise ValueError(f"there is no step {step}: the steps go from 0, the start,{reach or ' up'}")
        return tuple(sorted(set(save_at)))

    @model_validator(mode="after")
    def _fits_together(self) -> Finetune:
        if (self.steps is None) == (self.epochs is None):
            raise ValueError("say how long to train: either steps or epochs")
        twice = sorted(set(self._on()) & set(self.mix))
        if twice:
            raise ValueError(f"{twice[0]} is both in `on` and in `mix`; give it one share in one of them")
        return self

    def misfit(self, architecture: Mapping[str, Any]) -> str | None:
        longest = architecture.get("max_position_embeddings")
        if self.context is None or longest is None or self.context <= longest:
            return None
        return f"a context of {self.context} tokens is more than the {longest} that the model reads"

    def saved_steps(self) -> Sequence[int]:
        return self.save_at

    def last_step(self) -> int | None:
        return self.steps

    def tokens(self) -> int | None:
        if self.steps is None or self.context is None:
            return None
        return self.steps * self.batch_size * self.accumulate * self.context

    def shares(self) -> dict[str, float]:
        """The share of all windows that each task has, adding up to 1."""
        weights = self._on()
        rest = (1 - sum(self.mix.values())) / sum(weights.values())
        return {str(task): rest * weight for task, weight in weights.items()} | {
            str(task): share for task, share in self.mix.items()
        }

    def train(self, network: Network, data: Mapping[TaskName, EncodedSplit], session: TrainingSession) -> None:
        from compat_spec.nn.training import Recipe, train
        from compat_spec.nn.windows import context_length

        steps = self.steps or self._steps_of_epochs(data, context_length(network, self.context))
        recipe = Recipe(
            shares=self.shares(),
            steps=steps,
            batch_size=self.batch_size,
            accumulate=self.accumulate,
            context=self.context,
            update=self.update,
            optimizer=self.optimizer,
            lr=self.lr,
            betas=self.betas,
            muon_lr=self.muon_lr,
            momentum=self.momentum,
            weight_decay=self.weight_decay,
            schedule=self.schedule,
            warmup=self.warmup,
            final=self.final,
            clip=self.clip,
            precision=self.precision,
            # the engine stores the last step itself, and knows it as such where it knows its number
            save_at=[step for step in self.save_at if step != self.steps],
        )
        train(network, {str(task): split for task, split in data.items()}, recipe, session)

    def _on(self) -> Mapping[TaskName, float]:
        return self.on if isinstance(self.on, dict) else {self.on: 1.0}

    def _steps_of_epochs(self, data: Mapping[TaskName, EncodedSplit], context: int) -> int:
        assert self.epochs is not None
        tokens = sum(len(data[task].ids) for task in self._on())
        share = 1 - sum(self.mix.values())
        steps = math.ceil(self.epochs * tokens / (share * self.batch_size * self.accumulate * context))
        late = [step for step in self.save_at if step > steps]
        if late:
            raise CompatError(f"save_at: there is no step {late[0]}: {self.epochs:g} epochs are {steps} steps")
        return steps
