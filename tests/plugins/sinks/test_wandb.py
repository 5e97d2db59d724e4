"""The sink `wandb`, offline, read back from the file that `wandb sync` would send."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from compat_plugins.sinks.wandb import WandB
from compat_spec.components import Sink
from compat_spec.errors import CompatError
from tests.plugins.sinks.conftest import SECRET


def test_a_run_is_read_back(
    tmp_path: Path, send: Callable[[Sink], tuple[str, str | None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    import wandb

    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    run, where = send(WandB(mode="offline", folder=str(tmp_path), project="merging"))
    wandb.teardown()  # ends its service, which writes the file
    (folder,) = (tmp_path / "wandb").glob("offline-run-*")
    assert where == f"wandb sync {folder}"
    records = list(read(next(folder.glob("*.wandb"))))
    (begun,) = [record.run for record in records if record.HasField("run")]
    assert (begun.project, begun.display_name, begun.run_group) == ("merging", f"routing {run}", "routing")
    config = {item.key: json.loads(item.value_json) for item in begun.config.update}
    assert config["spec"]["metrics"] == {"loss": {"use": "cross_entropy", "on": "program"}}
    assert config["seeds"] == [0, 1]
    history = [items(record.history.item) for record in records if record.HasField("history")]

    def curve(name: str) -> list[tuple[int, float]]:
        return [(row["training step"], pytest.approx(row[name])) for row in history if name in row]

    assert curve("training/train math/loss") == [(2, 3.0), (4, 2.5)]
    assert curve("loss/program/blend alpha=0.5 layers=[1,2] seed=1") == [(10, 3.5), (20, 3.4)]
    assert curve("cka/program/math and code/seed=0") == [(10, 0.75), (20, 0.75)]
    summary: dict[str, Any] = {}
    for record in records:
        if record.HasField("summary"):
            summary |= items(record.summary.update)
    assert summary["accuracy/program/average seed=0"] == 0.25
    assert summary["load/program/block 1/expert 0/blend seed=0"] == 0.25
    assert (summary["status"], summary["error"]) == ("failed", "train code: the loss became nan")
    (table,) = (folder / "files" / "media" / "table").glob("scores_*.table.json")
    scores = json.loads(table.read_text("utf-8"))
    assert scores["columns"][-2:] == ["alpha", "layers"]
    assert len(scores["data"]) == 13
    kept = [path.read_bytes() for path in (tmp_path / "wandb").rglob("*") if path.is_file()]
    assert not [data for data in kept if SECRET.encode() in data]


def test_without_a_key_it_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setattr("wandb.login", lambda prompt: False)
    with pytest.raises(
        CompatError, match="wandb has no API key: run wandb login, or set WANDB_API_KEY, or say mode: off"
    ):
        WandB().check()
    WandB(mode="offline").check()


def read(path: Path) -> Iterator[Any]:
    """The records of a file of W&B: a log as LevelDB has it, in blocks of 32 KiB, after a header of 7 bytes."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, at, whole = path.read_bytes(), 7, b""
    while at + 7 <= len(data):
        left = 32768 - at % 32768
        if left < 7:
            at += left
            continue
        _, length, kind = struct.unpack("<IHB", data[at : at + 7])
        whole += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # a record that is whole, or the last part of one
            yield Record.FromString(whole)
            whole = b""


def items(found: Any) -> dict[str, Any]:
    return {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in found}
