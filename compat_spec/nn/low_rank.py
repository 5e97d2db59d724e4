"""A merge of LoRA adapters as an adapter again: the difference from their base, as products of low rank."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor

from compat_spec.errors import CompatError
from compat_spec.nn.adapter_config import CONFIG, PREFIX, WEIGHTS
from compat_spec.nn.adapters import Adapted
from compat_spec.nn.checkpoint import TensorSource
from compat_spec.nn.merging import TensorMerging


def write_adapter(
    merging: TensorMerging,
    models: Sequence[Adapted],
    base: TensorSource,
    folder: Path,
    *,
    rank: int,
    base_name: str,
    seed: int = 0,
    found: Mapping[str, Tensor] | None = None,
    progress: Callable[[int, int, str], None] = lambda done, total, name: None,
) -> float:
    """Write the merge of adapters of one base as an adapter of this rank, which peft opens.

    Each difference from the base is cut off to its largest singular values: nothing is lost where the merge is linear
    and `rank` is the sum of the adapters' ranks.

    Args:
        models: the models of the merge.
        base: the model that all of them are adapters of.
        base_name: what the adapter's config calls it.

    Returns:
        the share of the differences that is kept: of the sum of all squares, from 0 to 1.

    Raises:
        CompatError: an adapter changes what is no weight of a linear layer, or the merge changes what none changes.
    """
    changed = sorted({name for model in models for name in model.changed})
    for name in changed:
        if not all(name in model.linear or name not in model.changed for model in models):
            raise CompatError(f"{name} is no weight of a linear layer, and cannot be part of a merged adapter")
        if min(base.shape(name)) < rank:
            raise CompatError(f"{name} is {list(base.shape(name))}, and an adapter of rank {rank} is larger than that")
    modules = {name: module for model in models for name, module in model.linear.items()}
    transposed = {name for model in models for name in model.linear if model.transposed(name)}
    _check_rest(merging, base, set(changed), seed, found)
    tensors: dict[str, Tensor] = {}
    kept = whole = 0.0
    for done, name in enumerate(changed):
        progress(done, len(changed), name)
        difference = merging.tensor(name, seed=seed, found=found).double() - base[name].double()
        module = modules[name]
        if name in transposed:
            difference = difference.T
        left, values, right = torch.linalg.svd(difference, full_matrices=False)
        kept, whole = kept + float(values[:rank].square().sum()), whole + float(values.square().sum())
        root = values[:rank].sqrt()
        tensors[f"{PREFIX}{module}.lora_A.weight"] = (root[:, None] * right[:rank]).float().contiguous()
        tensors[f"{PREFIX}{module}.lora_B.weight"] = (left[:, :rank] * root).float().contiguous()
    # as any file is written: save_file keeps others of the group from reading it
    (folder / WEIGHTS).write_bytes(save(tensors, metadata={"format": "pt"}))
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base_name,
        "r": rank,
        "lora_alpha": rank,
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": bool(transposed),
        "target_modules": sorted(modules.values()),
        "inference_mode": True,
    }
    (folder / CONFIG).write_text(json.dumps(config, indent=2) + "\n", "utf-8")
    return kept / whole if whole else 1.0


def _check_rest(
    merging: TensorMerging, base: TensorSource, changed: set[str], seed: int, found: Mapping[str, Tensor] | None
) -> None:
    """Refuse a merge that changes more than the adapters do."""
    for name, output in merging.outputs.items():
        if name not in changed and not output.kept:
            merged = merging.tensor(name, seed=seed, found=found).to(base.dtype(name))
            if not torch.equal(merged, base[name]):
                raise CompatError(
                    f"the merge changes {name}, which no adapter changes: write the whole model, without --adapter"
                )
