"""Networks as artifacts: Hugging Face folders, and composed modules that refer to the networks they combine."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel

from compat_spec.components import ModuleMerge
from compat_spec.errors import CompatError
from compat_spec.nn.network import Network, load_network, save_network
from compat_spec.plan import ComponentCall
from compat_spec.run.calls import component_of
from compat_spec.store import ArtifactRef, Store

COMPOSED = "compat_module.json"
TRAINED = "trained.safetensors"


class Networks:
    """Opens network artifacts, and keeps the last ones open for the steps to come.

    The networks are shared: whoever changes one in place must open it with `fresh`.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._open: OrderedDict[tuple[ArtifactRef, str], Network] = OrderedDict()

    def open(self, ref: ArtifactRef, device: str) -> Network:
        key = (ref, device)
        if key not in self._open:
            self._open[key] = self._load(ref, device)
            self._forget(device)
        self._open.move_to_end(key)
        return self._open[key]

    def fresh(self, ref: ArtifactRef, device: str) -> Network:
        """A copy of one's own, to train."""
        if device.startswith("cuda"):  # a training may need all of its memory
            self._open.clear()
        network = self._load(ref, device)
        for parameter in network.module.parameters():
            parameter.requires_grad_(parameter.is_floating_point())
        return network

    def _load(self, ref: ArtifactRef, device: str) -> Network:
        folder = self._store.path(ref)
        if (folder / COMPOSED).exists():
            return self._compose_again(folder, device)
        return load_network(folder, device)

    def _compose_again(self, folder: Path, device: str) -> Network:
        call, inputs = _composition(folder)
        network = self.compose(component_of(call, ModuleMerge), inputs, device)
        trained = load_file(folder / TRAINED, device=device) if (folder / TRAINED).exists() else {}
        parameters = dict(network.module.named_parameters())
        with torch.no_grad():
            for name, tensor in trained.items():
                parameters[name].copy_(tensor)
        for parameter in parameters.values():
            parameter.requires_grad_(False)
        return network

    def compose(self, merge: ModuleMerge, inputs: dict[str, ArtifactRef], device: str) -> Network:
        """Build the module of a merge from its inputs by role: `expert:0` …, and `model:NAME` of a trunk."""
        experts, trunk = self._parts(merge, inputs, device)
        return Network(merge.build(experts, trunk).to(device).eval(), experts[0].tokenizer)

    def compose_together(self, ref: ArtifactRef, params: Sequence[Mapping[str, Any]], device: str) -> Network:
        """Build one module of several merges: that of a stored composed module, with these parameters instead."""
        call, inputs = _composition(self._store.path(ref))
        merges = [component_of(replace(call, params=own), ModuleMerge) for own in params]
        experts, trunk = self._parts(merges[0], inputs, device)
        module = type(merges[0]).build_together(merges, experts, trunk)
        return Network(module.to(device).eval(), experts[0].tokenizer)

    def _parts(
        self, merge: ModuleMerge, inputs: Mapping[str, ArtifactRef], device: str
    ) -> tuple[list[Network], Network | None]:
        """The experts of a merge and its trunk, if it has one."""
        experts = [self.open(ref, device) for ref in experts_of(inputs)]
        trunk = inputs.get(f"model:{getattr(merge, 'trunk', None)}")
        return experts, None if trunk is None else self.open(trunk, device)

    def _forget(self, device: str) -> None:
        """Close the networks that were not used for longest, while they take more memory than their share."""
        limit = _share_of_memory(device)
        while len(self._open) > 1 and sum(map(_bytes, self._open.values())) > limit:
            self._open.popitem(last=False)


def _composition(folder: Path) -> tuple[ComponentCall, dict[str, ArtifactRef]]:
    """Which merge a stored composed module is of, and its inputs by role."""
    description = json.loads((folder / COMPOSED).read_text("utf-8"))
    inputs = {role: ArtifactRef(**ref) for role, ref in description["inputs"].items()}
    return ComponentCall(**description["component"]), inputs


def experts_of(inputs: Mapping[str, ArtifactRef]) -> list[ArtifactRef]:
    """The experts among a merge's inputs, in the order of its `models`."""
    count = sum(role.startswith("expert:") for role in inputs)
    return [inputs[f"expert:{index}"] for index in range(count)]


def save(network: Network, folder: Path) -> None:
    """Write a plain network as a Hugging Face folder."""
    if not isinstance(network.module, PreTrainedModel):
        raise CompatError(f"a {type(network.module).__name__} cannot be stored as a model of transformers")
    save_network(network, folder)


def save_composed(network: Network, call: ComponentCall, inputs: dict[str, ArtifactRef], folder: Path) -> None:
    """Write what rebuilds a composed module: the merge, the artifacts of its models, and what was trained."""
    description: dict[str, Any] = {
        "component": {"namespace": call.namespace, "use": call.use, "params": dict(call.params)},
        "inputs": {
            role: {"fingerprint": ref.fingerprint, "part": ref.part}
            for role, ref in inputs.items()
            if role.startswith(("expert:", "model:"))
        },
    }
    (folder / COMPOSED).write_text(json.dumps(description, indent=1), "utf-8")
    save_trained(network, folder)


def save_trained(network: Network, folder: Path) -> None:
    """Write the parameters that training changes or changed: those that are the composed module's own."""
    trained = {name: p.detach().cpu().contiguous() for name, p in network.module.named_parameters() if p.requires_grad}
    if trained:
        save_file(trained, folder / TRAINED)


def _bytes(network: Network) -> int:
    return sum(parameter.numel() * parameter.element_size() for parameter in network.module.parameters())


def _share_of_memory(device: str) -> float:
    """A quarter of the memory of a device, in bytes."""
    if device.startswith("cuda"):
        return torch.cuda.get_device_properties(device).total_memory / 4
    import os

    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 4
    return 2e9
