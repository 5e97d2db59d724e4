"""The step that combines models: tensor by tensor, or as a composed module whose routers may be trained."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from compat_spec.components import Merge, ModuleMerge, TensorMerge
from compat_spec.errors import CompatError
from compat_spec.nn.checkpoint import INDEX, SINGLE, Checkpoint
from compat_spec.nn.network import check_same_vocabulary, load_tokenizer, seeded
from compat_spec.plan import Step
from compat_spec.run import networks
from compat_spec.run.calls import component_of
from compat_spec.run.networks import experts_of
from compat_spec.run.training import train
from compat_spec.run.workspace import Workspace


def merge_models(step: Step, workspace: Workspace, device: str, folder: Path) -> dict[str, Any]:
    merge = component_of(step.component, Merge)
    if isinstance(merge, TensorMerge):
        return _merge_tensors(merge, step, workspace, folder)
    assert isinstance(merge, ModuleMerge)
    return _merge_modules(merge, step, workspace, device, folder)


def _merge_tensors(merge: TensorMerge, step: Step, workspace: Workspace, folder: Path) -> dict[str, Any]:
    inputs = dict(step.inputs)
    folders = [workspace.store.path(ref) for ref in experts_of(inputs)]
    base_ref = inputs.get(f"model:{getattr(merge, 'base', None)}")
    _check_same_tokens(dict(zip(merge.models, folders, strict=True)))
    with ExitStack() as stack:
        checkpoints = [stack.enter_context(Checkpoint(path)) for path in folders]
        base = stack.enter_context(Checkpoint(workspace.store.path(base_ref))) if base_ref else None
        _check_same_tensors(merge, [*checkpoints, base] if base else checkpoints)
        names = list(checkpoints[0])
        merged = {}
        with seeded(step.seed or 0):
            for done, name in enumerate(names):
                workspace.link.tell(step.fingerprint, done, len(names), name)
                tensors = [checkpoint[name] for checkpoint in checkpoints]
                merged[name] = merge.combine(tensors, base[name] if base else None, name=name).contiguous()
    save_file(merged, folder / SINGLE, metadata={"format": "pt"})
    _copy_all_but_tensors(folders[0], folder)
    return {}


def _check_same_tokens(folders: Mapping[str, Path]) -> None:
    files = {(folder / "tokenizer.json") for folder in folders.values()}
    alike = all(file.exists() for file in files) and len({file.read_bytes() for file in files}) == 1
    if not alike:
        check_same_vocabulary({name: load_tokenizer(folder) for name, folder in folders.items()})


def _check_same_tensors(merge: TensorMerge, checkpoints: list[Checkpoint]) -> None:
    named = list(zip([*merge.models, getattr(merge, "base", None)], checkpoints, strict=False))
    (first_name, first), *others = named
    for name, other in others:
        apart = sorted(set(first) ^ set(other))
        if apart:
            raise CompatError(
                f"{first_name} and {name} do not have the same tensors: {apart[0]} is in one of them only"
                + (f", and {len(apart) - 1} more" if len(apart) > 1 else "")
            )
        for tensor in first:
            if first.shape(tensor) != other.shape(tensor):
                raise CompatError(
                    f"{first_name} and {name} have different shapes: {tensor} is {list(first.shape(tensor))} "
                    f"and {list(other.shape(tensor))}"
                )


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
