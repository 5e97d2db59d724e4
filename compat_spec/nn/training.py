"""Trains a network, or what a composed module declares trainable, on next tokens; goes on to the bit after a stop."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from compat_spec.errors import CompatError
from compat_spec.nn.auxiliary import auxiliary_loss
from compat_spec.nn.batches import IGNORED, Batches, derived_seed
from compat_spec.nn.data import EncodedSplit
from compat_spec.nn.head import logits_at
from compat_spec.nn.network import Network
from compat_spec.nn.optimizers import Optimizers, Schedule, block_matrices, clip_gradients
from compat_spec.nn.windows import context_length

if TYPE_CHECKING:
    from compat_spec.components import TrainingSession

__all__ = ["Recipe", "select_parameters", "train"]

LOSS_POINTS = 50
"""How many points of the loss curve are recorded, at most."""

_SMOOTHED_OVER = 20
_PARAMETER = "parameter:"


@dataclass(frozen=True)
class Recipe:
    """How to train.

    Attributes:
        shares: the share of all windows that each task has, adding up to 1.
        steps: how many times the parameters are moved.
        batch_size: windows that go through the network at once.
        accumulate: how many such batches one step takes together.
        context: tokens of a window; None is what the network accepts, at most 1,024.
        update: which parameters to train: `all`, `mlp`, `attention`, or a regular expression that is searched for in
            their names.
        warmup: steps over which the learning rate rises.
        final: the share of the learning rate at the end of the cosine.
        clip: the largest norm of the gradient of all parameters together.
        precision: what activations are computed in. The parameters stay as they are.
        save_at: the steps whose networks are kept, from 0 (the start) to `steps`.
    """

    shares: Mapping[str, float]
    steps: int
    batch_size: int = 8
    accumulate: int = 1
    context: int | None = None
    update: str = "all"
    optimizer: Literal["adamw", "muon"] = "adamw"
    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.95)
    muon_lr: float = 0.02
    momentum: float = 0.95
    weight_decay: float = 0.1
    schedule: Literal["cosine", "constant"] = "cosine"
    warmup: int = 10
    final: float = 0.1
    clip: float | None = 1.0
    precision: Literal["float32", "bfloat16"] = "float32"
    save_at: Sequence[int] = ()


def train(network: Network, data: Mapping[str, EncodedSplit], recipe: Recipe, session: TrainingSession) -> None:
    """Train a network in place, and leave it frozen and in evaluation mode.

    What parts of the module ask for by a method `auxiliary_loss()` is added to the loss. The loss that is recorded is
    the cross-entropy without it; it is recorded beside it. Batches have no padding: it is over all tokens read.

    On a CPU, a training that was interrupted and goes on from its checkpoint ends with the same bits as one that was
    not. What is not selected by `recipe.update` does not change by a bit.

    Args:
        data: the encoded training split of each task of `recipe.shares`.

    Raises:
        CompatError: nothing is selected, the loss is no longer a number, the device is out of memory, or the data and
            the network do not fit the recipe.
    """
    device = torch.device(session.device)
    own = _eligible(network)
    trained = select_parameters(network, recipe.update)
    with _set_up(network, trained), torch.random.fork_rng([device] if device.type == "cuda" else []):
        _Training(network, own, trained, data, recipe, session, device).run()


def select_parameters(network: Network, update: str) -> dict[str, nn.Parameter]:
    """The parameters to train, by name: of those that require a gradient.

    Args:
        update: `all`, `mlp`, `attention`, or a regular expression that is searched for in the names.

    Raises:
        CompatError: none is selected, or a selected one is in half precision.
    """
    eligible = _eligible(network)
    if update == "all":
        selected = eligible
    elif update in ("mlp", "attention"):
        anatomy = network.anatomy
        part = anatomy.mlp if update == "mlp" else anatomy.attention
        inside = {id(p) for index in range(len(anatomy.blocks)) for p in part(index).parameters()}
        selected = {name: parameter for name, parameter in eligible.items() if id(parameter) in inside}
    else:
        selected = {name: parameter for name, parameter in eligible.items() if re.search(update, name)}
    if not selected:
        examples = list(eligible)[:: max(1, len(eligible) // 5)][:5]
        raise CompatError(f"update: {update} selects none of the parameters; some are {', '.join(examples)}")
    for name, parameter in selected.items():
        if parameter.dtype in (torch.float16, torch.bfloat16):
            raise CompatError(
                f"{name} is {str(parameter.dtype).removeprefix('torch.')}, too coarse to be trained: load the model "
                "with dtype: float32 (and train with precision: bfloat16 to compute in bfloat16)"
            )
    return selected


def _eligible(network: Network) -> dict[str, nn.Parameter]:
    parameters = dict(network.module.named_parameters())
    eligible = {name: parameter for name, parameter in parameters.items() if parameter.requires_grad}
    if not eligible:
        raise CompatError("there is nothing to train: no parameter of the network requires a gradient")
    return eligible


@contextmanager
def _set_up(network: Network, trained: Mapping[str, nn.Parameter]) -> Iterator[None]:
    network.module.requires_grad_(False)
    for parameter in trained.values():
        parameter.requires_grad_(True)
    network.module.train()
    try:
        yield
    finally:
        network.module.eval()
        network.module.requires_grad_(False)
        network.module.zero_grad(set_to_none=True)


class _Training:
    """A training under way."""

    def __init__(
        self,
        network: Network,
        own: Mapping[str, nn.Parameter],
        trained: Mapping[str, nn.Parameter],
        data: Mapping[str, EncodedSplit],
        recipe: Recipe,
        session: TrainingSession,
        device: torch.device,
    ) -> None:
        self.network, self.recipe, self.session, self.device = network, recipe, session, device
        self.own, self.trained = own, trained
        self.context = context_length(network, recipe.context)
        self.schedule = Schedule(recipe.schedule, recipe.steps, recipe.warmup, recipe.final)
        self.batches = Batches(
            data,
            recipe.shares,
            rows=recipe.batch_size * recipe.accumulate,
            context=self.context,
            seed=session.seed,
        )
        self.optimizers = Optimizers(
            trained,
            lr=recipe.lr,
            betas=recipe.betas,
            weight_decay=recipe.weight_decay,
            muon_names=block_matrices(trained, network.anatomy.blocks) if recipe.optimizer == "muon" else frozenset(),
            muon_lr=recipe.muon_lr,
            momentum=recipe.momentum,
        )
        self.losses: list[float] = []
        self.auxiliary: list[float] = []
        self.seconds = 0.0
        self.steps_here = 0

    @property
    def done(self) -> int:
        return len(self.losses)

    def run(self) -> None:
        self._restore()
        self._keep()
        while self.done < self.recipe.steps:
            started = time.perf_counter()
            self.losses.append(self._step(self.done))
            self.seconds += time.perf_counter() - started
            self.steps_here += 1
            self._keep()
            recent = self.losses[-_SMOOTHED_OVER:]
            note = f"loss {sum(recent) / len(recent):.2f} · {self._tokens_per_second():,.0f} tokens/s"
            self.session.progress(self.done, self.recipe.steps, note)
            if self.done < self.recipe.steps and self.session.checkpoint_due():
                self.session.checkpoint(self._state())
        self.session.record(
            steps=self.done, tokens_per_second=round(self._tokens_per_second()), loss=_curve(self.losses)
        )
        if any(self.auxiliary):
            self.session.record(auxiliary_loss=_curve(self.auxiliary))

    def _step(self, step: int) -> float:
        """Move the parameters once; returns the mean cross-entropy per scored token of the step's batch."""
        torch.manual_seed(derived_seed(self.session.seed, f"dropout {step}"))
        inputs, targets = self.batches.draw(step)
        scored = (targets != IGNORED).sum().item()
        size = self.recipe.batch_size
        loss, added = torch.zeros(2, device=self.device).unbind()
        try:
            for part, part_targets in zip(torch.split(inputs, size), torch.split(targets, size), strict=True):
                part_loss = self._loss(part, part_targets) / scored
                auxiliary = auxiliary_loss(self.network.module)
                whole = part_loss if auxiliary is None else part_loss + auxiliary * (len(part) / len(inputs))
                whole.backward()  # type: ignore[no-untyped-call]
                loss += part_loss.detach()
                if auxiliary is not None:
                    added += auxiliary.detach() * (len(part) / len(inputs))
        except torch.OutOfMemoryError as error:
            raise CompatError(
                f"{self.device} is out of memory, training on {size} windows of {self.context} tokens at once: halve "
                "batch_size and double accumulate (the result is the same), or train with precision: bfloat16"
            ) from error
        factor = self.schedule.factor(step)
        value, auxiliary_value = (float(number) for number in torch.stack([loss, added]).tolist())
        if not math.isfinite(value):
            raise CompatError(
                f"the loss became {value} in step {step + 1}, at {factor:.3g} times the learning rate: try a lower lr"
                f" than {self.recipe.lr:g}"
                + (f" (and muon_lr than {self.recipe.muon_lr:g})" if self.recipe.optimizer == "muon" else "")
                + f", a longer warmup than {self.recipe.warmup} steps"
                + (", or clip: 1.0" if self.recipe.clip is None else "")
            )
        if self.recipe.clip is not None:
            clip_gradients(list(self.trained.values()), self.recipe.clip)
        self.optimizers.step(factor)
        self.auxiliary.append(auxiliary_value)
        return value

    def _loss(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """The summed cross-entropy of the scored targets, from float32 logits."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.recipe.precision == "bfloat16"):
            logits = logits_at(self.network, inputs.to(self.device), (targets != IGNORED).flatten())
        wanted = targets[targets != IGNORED].to(self.device)
        return F.cross_entropy(logits.float(), wanted, reduction="sum")

    def _keep(self) -> None:
        if self.done not in self.recipe.save_at:
            return
        # what is stored of a composed module are the parameters that require a gradient, trained here or not
        left_out = [parameter for name, parameter in self.own.items() if name not in self.trained]
        for parameter in left_out:
            parameter.requires_grad_(True)
        self.session.keep(self.done)
        for parameter in left_out:
            parameter.requires_grad_(False)

    def _state(self) -> dict[str, Tensor]:
        parameters: dict[str, Tensor] = {_PARAMETER + name: parameter for name, parameter in self.trained.items()}
        losses = torch.tensor(self.losses, dtype=torch.float64)
        auxiliary = torch.tensor(self.auxiliary, dtype=torch.float64)
        return parameters | self.optimizers.state() | {"losses": losses, "auxiliary": auxiliary}

    def _restore(self) -> None:
        state = self.session.restore()
        if state is None:
            return
        with torch.no_grad():
            for name, parameter in self.trained.items():
                parameter.copy_(state[_PARAMETER + name])
        self.optimizers.restore(state)
        self.losses = state["losses"].tolist()
        self.auxiliary = state["auxiliary"].tolist() if "auxiliary" in state else [0.0] * self.done

    def _tokens_per_second(self) -> float:
        """Of the steps that were done here, since the training was begun or taken up again."""
        tokens = self.steps_here * self.batches.rows * self.context
        return tokens / self.seconds if self.seconds else 0.0


def _curve(losses: Sequence[float]) -> list[float]:
    """The loss over the training: means over at most `LOSS_POINTS` stretches of equal length."""
    points = min(LOSS_POINTS, len(losses))
    edges = [len(losses) * point // points for point in range(points + 1)]
    return [round(sum(losses[a:b]) / (b - a), 5) for a, b in pairwise(edges)]
