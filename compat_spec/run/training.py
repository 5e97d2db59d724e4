"""Steps that make models: the start of a base, and fine-tuning."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from compat_spec.components import ModelSource, TaskName, Trainer
from compat_spec.nn.data import EncodedSplit
from compat_spec.nn.network import Network, load_tokenizer, seeded
from compat_spec.nn.opening import check_causal
from compat_spec.plan import Step
from compat_spec.run import networks
from compat_spec.run.calls import component_of
from compat_spec.run.examples import TRAIN_SPLIT, read_tokens
from compat_spec.run.session import Session
from compat_spec.run.workspace import Workspace


def make_source(step: Step, workspace: Workspace, _: str, folder: Path) -> dict[str, Any]:
    """Write a base as its source gives it."""
    source = component_of(step.component, ModelSource)
    tokenizer = load_tokenizer(workspace.store.path(step.inputs["tokenizer"]))
    with seeded(step.seed or 0):
        model = source.make_model(tokenizer)
    if isinstance(model, PreTrainedModel):
        check_causal(model)
    networks.save(Network(model, tokenizer), folder)
    return {"parameters": sum(parameter.numel() for parameter in model.parameters())}


def train_model(step: Step, workspace: Workspace, device: str, folder: Path) -> dict[str, Any]:
    """Fine-tune a model; the artifact is the end of the training, with its checkpoints as `step-N` inside."""
    network = workspace.networks.fresh(step.inputs["parent"], device)
    facts = train(step, workspace, device, network, folder, lambda to: networks.save(network, to))
    networks.save(network, folder)
    return facts


def train(
    step: Step,
    workspace: Workspace,
    device: str,
    network: Network,
    folder: Path,
    save: Callable[[Path], None],
) -> dict[str, Any]:
    """Run a step's trainer on a network, in place, going on where an earlier try was interrupted."""
    trainer = component_of(step.trainer or step.component, Trainer)
    workspace.store.fetch_work(step.fingerprint)
    session = Session(
        workspace.store.work_folder(step.fingerprint),
        seed=step.seed or 0,
        device=device,
        save=save,
        tell=lambda done, total, note: workspace.link.tell(step.fingerprint, done, total, note),
        stopping=workspace.link.stopping,
        checkpoint_every=workspace.checkpoint_every,
        saved=lambda: workspace.store.save_work(step.fingerprint),
    )
    trainer.train(network, training_data(step, workspace), session)
    session.hand_over(folder, set(trainer.saved_steps()) - {trainer.last_step()})
    return session.facts


def training_data(step: Step, workspace: Workspace) -> dict[TaskName, EncodedSplit]:
    """The training split of each task that a step names."""
    return {
        TaskName(role.removeprefix("tokens:")): read_tokens(workspace.store.path(ref), TRAIN_SPLIT)
        for role, ref in step.inputs.items()
        if role.startswith("tokens:")
    }
