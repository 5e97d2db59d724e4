"""A working folder with models, whose files hold no more than an importer looks at."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

BLOCKS = 4


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with models that lie in it."""
    monkeypatch.chdir(tmp_path)
    for name in ("base", "math", "code"):
        model = tmp_path / "models" / name
        model.mkdir(parents=True)
        config = {"model_type": "llama", "hidden_size": 32, "num_hidden_layers": BLOCKS, "vocab_size": 100}
        (model / "config.json").write_text(json.dumps(config), "utf-8")
        (model / "tokenizer.json").write_text(json.dumps({"model": {"vocab": {"a": 0}}}), "utf-8")
        (model / "model.safetensors").write_bytes(b"")
    return tmp_path
