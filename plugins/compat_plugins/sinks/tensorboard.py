"""Writes a run for TensorBoard."""

from __future__ import annotations

import hashlib
import socket
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, PrivateAttr

from compat_plugins.sinks.heat_map import heat_map
from compat_plugins.sinks.naming import by_pair, plain, point_name, require, same_layers_mean, score_name
from compat_spec.components import EndedStep, MeasuredScore, MeasuredSimilarity, Sink, StartedRun
from compat_spec.errors import CompatError

if TYPE_CHECKING:
    from tensorboard.compat.proto.summary_pb2 import Summary

LONGEST = 200
"""Bytes that the name of a folder may have."""


class TensorBoard(Sink):
    """TensorBoard: event files in a folder for each run of compat, and in it one for each point of its sweeps.

    A point is a model or merge with one value of each swept parameter and one seed. What was measured of it stands
    against the training step, and all points share a chart; HPARAMS has them in a table and in parallel coordinates.
    The losses of trainings are curves, similarities of layers are curves (the mean over layers of the same depth) and
    images, and the spec is a text. It needs pip install 'compat-spec[tensorboard]'.

    Example:
        {use: tensorboard, folder: logs}
    """

    folder: str = Field(default="runs", min_length=1, description="What `tensorboard --logdir` is given.")

    _place: Path = PrivateAttr(default=Path())
    _files: dict[str, Path] = PrivateAttr(default_factory=dict)
    _points: dict[str, MeasuredScore] = PrivateAttr(default_factory=dict)
    _measured: dict[str, dict[str, float]] = PrivateAttr(default_factory=dict)

    def check(self) -> None:
        require("tensorboard", "tensorboard")
        if Path(self.folder).exists() and not Path(self.folder).is_dir():
            raise CompatError(f"the sink tensorboard needs a folder: {self.folder} is a file")

    def begin(self, run: StartedRun) -> None:
        from torch.utils.tensorboard.summary import text

        self._place = Path(self.folder, f"{run.experiment}-{run.id}")
        about = {"run": run.id, "command": run.command, "commit": run.commit, "on": f"{run.host}, {run.device}"}
        facts = "\n".join(f"- {name}: `{value}`" for name, value in about.items() if value)
        indented = "\n".join(f"    {line}" for line in run.spec.splitlines())
        self._write("", [(text("run", facts), None), (text("spec", indented), None)])

    def step(self, step: EndedStep) -> None:
        from torch.utils.tensorboard.summary import scalar

        for name, curve in step.curves().items():
            where = f"training/{step.label}"
            self._write(where, [(scalar(f"training/{name}", value), at) for at, value in curve])

    def scores(self, rows: Sequence[MeasuredScore]) -> None:
        from torch.utils.tensorboard.summary import scalar

        found: dict[str, list[tuple[Summary, int | None]]] = {}
        for row in rows:
            point, name = point_name(row), score_name(row)
            self._points.setdefault(point, row)
            self._measured.setdefault(point, {})[name] = row.value
            found.setdefault(point, []).append((scalar(name, row.value), row.step))
        for point, summaries in found.items():
            self._write(point, summaries)

    def similarities(self, rows: Sequence[MeasuredSimilarity]) -> None:
        from torch.utils.tensorboard.summary import image, scalar

        for (pair, step, seed), matrix in by_pair(rows).items():
            mean = scalar(pair, same_layers_mean(matrix))
            picture = image(pair, heat_map(matrix), dataformats="HWC")
            self._write(f"similarities seed={seed}", [(mean, step), (picture, step)])

    def end(self, status: Literal["finished", "failed", "interrupted"], error: str | None) -> str:
        from torch.utils.tensorboard.summary import hparams, text

        for point, row in self._points.items():
            swept: dict[str, Any] = {key: plain(value) for key, value in row.parameters.items() if value is not None}
            chosen = {"merge": row.merge, "role": row.role, "seed": row.seed, **swept}
            whole = {name: value for name, value in self._measured[point].items() if "/block " not in name}
            self._write(point, [(summary, None) for summary in hparams(chosen, whole)])
        self._write("", [(text("status", f"{status} {error or ''}".strip()), None)])
        return f"tensorboard --logdir {self.folder}"

    def _write(self, where: str, summaries: Iterable[tuple[Summary, int | None]]) -> None:
        """Append to the event file of a folder: one file for each, however many there are, none of which stays open."""
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.summary.writer.record_writer import RecordWriter

        now = time.time()
        events = [Event(wall_time=now, step=step or 0, summary=summary) for summary, step in summaries]
        if where not in self._files:
            folder = self._place.joinpath(*map(file_name, where.split("/")))
            folder.mkdir(parents=True, exist_ok=True)
            self._files[where] = folder / f"events.out.tfevents.{now:.0f}.{socket.gethostname()}.compat"
            events.insert(0, Event(wall_time=now, file_version="brain.Event:2"))
        with self._files[where].open("ab") as file:
            writer = RecordWriter(file)
            for event in events:
                writer.write(event.SerializeToString())


def file_name(name: str) -> str:
    """A name, cut where file systems would not take it: a sweep over lists makes long ones."""
    if len(name.encode()) <= LONGEST:
        return name
    kept = name.encode()[: LONGEST - 10].decode(errors="ignore")
    return f"{kept}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
