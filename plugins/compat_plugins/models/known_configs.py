"""What transformers' configs accept, read from its source: to import them takes seconds, and torch."""

from __future__ import annotations

import re
from collections.abc import Mapping
from difflib import get_close_matches
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

_NAME = re.compile(r'^ +(\w+):|\b(\w+) *=|["\'](\w+)["\']', re.MULTILINE)
_FIELD = re.compile(r"^    (\w+): ", re.MULTILINE)
_OTHER_MODEL = re.compile(r"from \.\.(\w+)\.configuration_\w+ import")
_SHARED = ("configuration_utils.py", "modeling_rope_utils.py")


def check_config(config: Mapping[str, Any]) -> None:
    """Refuse a model type or a key that transformers does not know.

    Raises:
        ValueError: with the nearest names.
    """
    model_type = config.get("model_type")
    if not isinstance(model_type, str):
        raise ValueError("needs model_type, such as gpt2, llama or qwen3")
    if not knows(model_type):
        close = get_close_matches(model_type, _model_types(), n=3)
        advice = f"did you mean {' or '.join(close)}?" if close else "transformers lists them as model types"
        raise ValueError(f"transformers has no model_type {model_type!r}; {advice}")
    source = _source(model_type)
    if not source:  # its config is among those of another model
        return
    # too many names rather than too few: a key that the source names nowhere cannot mean anything
    names = {"model_type", *(name for found in _NAME.findall(source + _shared_source()) for name in found)}
    for key in config:
        if key not in names:
            fields = sorted(set(_FIELD.findall(source)))
            close = get_close_matches(str(key), fields, n=3)
            advice = f"did you mean {' or '.join(close)}?" if close else f"it has {', '.join(fields)}"
            raise ValueError(f"{key!r} is not in the config of {model_type}; {advice}")


def knows(model_type: str) -> bool:
    """Whether transformers has this model type built in."""
    return _folder(model_type).is_dir() or model_type in _model_types()


@cache
def _source(model_type: str) -> str:
    """The source of a model's config, and of those that it builds on."""
    source, pending, seen = "", [_folder(model_type)], set[Path]()
    while pending:
        folder = pending.pop()
        seen.add(folder)
        for file in sorted(folder.glob("configuration_*.py")):
            text = file.read_text("utf-8")
            source += text
            pending += {folder.parent / other for other in _OTHER_MODEL.findall(text)} - seen
    return source


@cache
def _shared_source() -> str:
    """The source of what all configs have."""
    return "".join((_transformers() / name).read_text("utf-8") for name in _SHARED)


@cache
def _model_types() -> frozenset[str]:
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING  # takes seconds

    return frozenset(CONFIG_MAPPING)


def _folder(model_type: str) -> Path:
    return _transformers() / "models" / model_type.replace("-", "_")


@cache
def _transformers() -> Path:
    spec = find_spec("transformers")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent
