"""Imports configurations of mergekit, and gives what they become, or what is said of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from compat_spec.spec import SpecError, load
from compat_spec.spec.importing import import_spec

TWO = "models:\n- {model: models/math, parameters: {weight: 0.3}}\n- {model: models/code, parameters: {weight: 0.7}}\n"
BARE = "models:\n- model: models/math\n- model: models/code\n"
BASE = "base_model: models/base\n"


def converted(folder: Path, config: str | Mapping[str, Any]) -> dict[str, Any]:
    """The spec that a configuration becomes, which `compat validate` accepts as it stands."""
    text = config if isinstance(config, str) else yaml.safe_dump(dict(config))
    (folder / "merge.yml").write_text(text, "utf-8")
    spec = import_spec("mergekit", Path("merge.yml"))
    (folder / "merge.yaml").write_text(spec, "utf-8")
    load("merge.yaml")
    found: dict[str, Any] = yaml.safe_load(spec)
    return found


def merge_of(folder: Path, config: str | Mapping[str, Any]) -> dict[str, Any]:
    merge: dict[str, Any] = converted(folder, config)["merges"]["merged"]
    return merge


def complaints(folder: Path, config: str) -> list[str]:
    (folder / "merge.yml").write_text(config, "utf-8")
    with pytest.raises(SpecError) as raised:
        import_spec("mergekit", Path("merge.yml"))
    assert raised.value.exit_status == 2
    return str(raised.value).splitlines()


def notes(folder: Path, config: str) -> list[str]:
    """The comments at the head of the spec, but the first, which names the file."""
    (folder / "merge.yml").write_text(config, "utf-8")
    head = import_spec("mergekit", Path("merge.yml")).partition("version:")[0]
    return [line.removeprefix("# ") for line in head.splitlines()][1:]
