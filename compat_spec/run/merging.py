"""The step that combines models: tensor by tensor, or as a composed module whose routers may be trained."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from compat_spec.components import Merge, ModuleMerge, TensorMerge
from compat_spec.errors import CompatError
from compat_spec.nn.checkpoint import INDEX, Checkpoint
from compat_spec.nn.merged_config import restack_config
from compat_spec.nn.merging import Model, TensorMerging
from compat_spec.nn.network import check_same_vocabulary, load_tokenizer, seeded
from compat_spec.plan import Step
from compat_spec.run import networks
from compat_spec.run.calls import component_of
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
    inputs = dict(step.inputs)
    folders = [workspace.store.path(ref) for ref in experts_of(inputs)]
    base_name = getattr(merge, "base", None)
    base_ref = inputs.get(f"model:{base_name}")
    _check_same_tokens(dict(zip(merge.models, folders, strict=True)))
    with ExitStack() as stack:
        models = [
            Model(name, stack.enter_context(Checkpoint(path))) for name, path in zip(merge.models, folders, strict=True)
        ]
        base = (
            Model(str(base_name), stack.enter_context(Checkpoint(workspace.store.path(base_ref)))) if base_ref else None
        )
        merging = TensorMerging(merge, models, base)
        with seeded(step.seed or 0):
            found = merge.study(StepStudy(step, workspace, device, models, base))
        merging.write(
            folder,
            seed=step.seed or 0,
            found=found,
            device=device,
            progress=lambda done, total, name: _tell(workspace, step, done, total, name),
        )
    _copy_all_but_tensors(folders[0], folder)
    if merging.blocks is not None:
        restack_config(folder, folders, merging.blocks)
    return {}


def _tell(workspace: Workspace, step: Step, done: int, total: int, name: str) -> None:
    workspace.link.tell(step.fingerprint, done, total, name)
    workspace.stop_here()


def _check_same_tokens(folders: Mapping[str, Path]) -> None:
    files = {(folder / "tokenizer.json") for folder in folders.values()}
    alike = all(file.exists() for file in files) and len({file.read_bytes() for file in files}) == 1
    if not alike:
        check_same_vocabulary({name: load_tokenizer(folder) for name, folder in folders.items()})


def _copy_all_but_tensors(source: Path, folder: Path) -> None:
    """Config and tokenizer are the first model's."""
    for path in source.iterdir():
        kept = path.suffix in {".json", ".txt", ".model", ".jinja"} and path.name not in (INDEX, "artifact.json")
        if kept and path.is_file():
            shutil.copyfile(path, folder / path.name)


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
