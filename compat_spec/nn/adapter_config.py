"""What the config of a LoRA adapter says, as peft writes it."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from compat_spec.errors import CompatError

WEIGHTS = "adapter_model.safetensors"
CONFIG = "adapter_config.json"

PREFIX = "base_model.model."
"""What peft writes before the name that a module has in the model."""

_FOREIGN = (
    "alora_invocation_tokens",
    "arrow_config",
    "kasa_config",
    "layer_replication",
    "target_parameters",
    "trainable_token_indices",
    "use_bdlora",
    "use_qalora",
)
"""What makes an adapter more than products that are added to matrices."""

_CHANGES_BASE = ("pissa", "corda", "olora", "loftq", "lora_ga")
"""Beginnings of `init_lora_weights` with which peft takes the first product away from the model that is trained."""


def read_config(adapter: Path) -> Mapping[str, Any]:
    """The config of an adapter that can be folded into a model. Raises `CompatError` for all others."""
    try:
        config: Mapping[str, Any] = json.loads((adapter / CONFIG).read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise CompatError(f"{adapter / CONFIG} cannot be read: {error}") from error
    kind = config.get("peft_type") if isinstance(config, dict) else None
    if kind != "LORA":
        raise CompatError(f"the adapter {adapter} is of the kind {kind}; only LORA can be folded into a model")
    if not isinstance(config.get("lora_alpha"), int | float):
        raise CompatError(f"{adapter / CONFIG} has no number as lora_alpha, by which its products are scaled")
    foreign = next((key for key in _FOREIGN if config.get(key)), None)
    if foreign:
        raise CompatError(f"the adapter {adapter} uses {foreign}, which cannot be folded in: merge it by peft first")
    begun = config.get("init_lora_weights")
    if isinstance(begun, str) and begun.lower().startswith(_CHANGES_BASE):
        raise CompatError(
            f"the adapter {adapter} began as {begun}, which changes the model under it: save it by peft with "
            "path_initial_model_for_weight_conversion, which makes it one of the model itself"
        )
    if not (adapter / WEIGHTS).exists():
        raise CompatError(f"{adapter} has no {WEIGHTS}; only safetensors are read")
    return config


def scale_of(module: str, rank: int, config: Mapping[str, Any]) -> float:
    """What the product of a module, as the adapter calls it, is multiplied by."""
    special = config.get("alpha_pattern") or {}
    alpha = next((value for key, value in special.items() if re.match(rf"(.*\.)?({key})$", module)), None)
    alpha = config["lora_alpha"] if alpha is None else alpha
    return float(alpha) / (math.sqrt(rank) if config.get("use_rslora") else rank)
