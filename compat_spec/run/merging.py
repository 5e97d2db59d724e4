"""The step that combines models: tensor by tensor, or as a composed module whose routers may be trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from compat_spec.components import Merge, ModuleMerge, TensorMerge
from compat_spec.errors import CompatError
from compat_spec.nn.network import seeded
from compat_spec.nn.weights import Weights
from compat_spec.plan import Step
from compat_spec.run import networks
from compat_spec.run.calls import component_of
from compat_spec.run.folders import merging_of, write_beside
from compat_spec.run.networks import experts_of
from compat_spec.run.studying import StepStudy
from compat_spec.run.training import train
from compat_spec.run.workspace import Workspace


def merge_models(step: Step, workspace: Workspace, device: str, folder: Path) -> dict[str, Any]:
    merge = component_of(step.component, Merge)
    if isinstance(merge, TensorMerge):
        return _merge_tensors(merge, step, workspace, device, folder)
    assert isinstance(merge, ModuleMerge)
    return _merge_modules(merge, step, workspace, device, folder)


def _merge_tensors(merge: TensorMerge, step: Step, workspace: Workspace, device: str, folder: Path) -> dict[str, Any]:
    def tell(done: int, total: int, note: str) -> None:
        workspace.link.tell(step.fingerprint, done, total, note)
        workspace.stop_here()

    names: list[str] = [*merge.models]
    refs = dict(zip(names, experts_of(dict(step.inputs)), strict=True))
    refs |= {role.removeprefix("model:"): ref for role, ref in step.inputs.items() if role.startswith("model:")}
    places = {name: Weights(workspace.store.path(ref)) for name, ref in refs.items()}
    with merging_of(merge, places) as merging:
        study = StepStudy(step, workspace, device, merging, places, folder, tell)
        with seeded(step.seed or 0):
            found = merge.study(study)
        merging.write(
            folder,
            seed=step.seed or 0,
            found=found,
            device=device,
            progress=tell,
        )
    write_beside(merging, places, folder)
    return study.facts


def _merge_modules(merge: ModuleMerge, step: Step, workspace: Workspace, device: str, folder: Path) -> dict[str, Any]:
    inputs = dict(step.inputs)
    assert step.component is not None
    with seeded(step.seed or 0):
        network = workspace.networks.compose(merge, inputs, device)
    refers = sorted({ref.fingerprint for role, ref in inputs.items() if role.startswith(("expert:", "model:"))})
    facts: dict[str, Any] = {"refers": refers}
    own = [parameter for parameter in network.module.parameters() if parameter.requires_grad]
    if step.trainer is not None:
        if not own:  # what is left are the experts' own tensors, which other steps share
            raise CompatError(f"{step.use} has nothing to train: leave out `train:`")
        facts |= train(step, workspace, device, network, folder, lambda to: networks.save_trained(network, to))
        for parameter in own:
            parameter.requires_grad_(True)  # a trainer leaves everything frozen; these are what was trained
    networks.save_composed(network, step.component, inputs, folder)
    return facts
