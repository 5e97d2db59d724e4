"""Folders of models and tokenizers, looked at without opening them: where they are, what is wrong, what is in them."""

from __future__ import annotations

import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import ValidationInfo

from compat_plugins.models.known_configs import knows


def resolved(path: Path, info: ValidationInfo) -> Path:
    """The folder of a relative path: it is seen from the spec's folder when there is one, else from the working one."""
    base = (info.context or {}).get("folder")
    return (Path(base or ".") / path.expanduser()).resolve()


def check_model_folder(folder: Path) -> None:
    if not folder.is_dir():
        raise ValueError(f"there is no folder {folder}")
    if not (folder / "config.json").exists():
        raise ValueError(f"{folder} has no config.json: it is not a model as save_pretrained writes it")
    if not any(folder.glob("*.safetensors")):
        pickles = sorted(file.name for suffix in ("*.bin", "*.pt", "*.pth") for file in folder.glob(suffix))
        if pickles:
            raise ValueError(
                f"{folder} has its weights in pickles only ({pickles[0]}), which are never opened: convert them to "
                "safetensors, by save_pretrained of transformers"
            )
        raise ValueError(f"{folder} has no model.safetensors")
    read_json(folder / "config.json")


def adapter_folder(path: Path, info: ValidationInfo) -> Path:
    """The folder of a LoRA adapter, looked at."""
    folder = resolved(path, info)
    if not (folder / "adapter_config.json").exists():
        raise ValueError(f"{folder} has no adapter_config.json: it is not an adapter as peft writes it")
    if not (folder / "adapter_model.safetensors").exists():
        raise ValueError(f"{folder} has no adapter_model.safetensors; pickles are never opened")
    return folder


def needs_code(folder: Path) -> bool:
    """Whether a model is not among those of transformers, and brings code along."""
    config = read_json(folder / "config.json")
    return "auto_map" in config and not knows(str(config.get("model_type")))


def has_vocabulary(folder: Path) -> bool:
    """Whether a folder has the tokens of a tokenizer: its config alone opens as one that knows no token."""
    return any(True for pattern in ("tokenizer.json", "vocab.*", "*.model", "*.tiktoken") for _ in folder.glob(pattern))


def checksum_of_folder(folder: Path) -> str:
    """Of the contents of a model's or tokenizer's files, or of one file; read again only after one was written."""
    patterns = ("*.json", "*.safetensors", "*.txt", "*.model")
    files = [folder] if folder.is_file() else sorted(file for pattern in patterns for file in folder.glob(pattern))
    return _checksum(tuple((file, file.stat().st_size, file.stat().st_mtime_ns) for file in files))


def checksum_of_vocabulary(folder: Path) -> str | None:
    """Of the tokens and their ids: networks whose tokenizers agree in them speak one language."""
    if not (folder / "tokenizer.json").exists():
        return None
    vocabulary = read_json(folder / "tokenizer.json").get("model", {}).get("vocab")
    return hashlib.sha256(json.dumps(vocabulary, sort_keys=True).encode()).hexdigest()[:16] if vocabulary else None


def read_json(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{file} cannot be read: {error}") from None
    if not isinstance(content, dict):
        raise ValueError(f"{file} is not a JSON object")
    return content


@cache
def _checksum(files: tuple[tuple[Path, int, int], ...]) -> str:
    total = hashlib.sha256()
    for path, _, _ in files:
        with path.open("rb") as file:
            total.update(f"{path.name} {hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return total.hexdigest()
