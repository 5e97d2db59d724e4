"""Passes a run on to MLflow."""

from __future__ import annotations

import csv
import io
import logging
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, PrivateAttr

from compat_plugins.sinks.naming import (
    by_pair,
    flat,
    point_name,
    require,
    same_layers_mean,
    score_name,
    short,
)
from compat_spec.components import EndedStep, MeasuredScore, MeasuredSimilarity, Sink, StartedRun

if TYPE_CHECKING:
    from mlflow import MlflowClient

STATUS = {"finished": "FINISHED", "failed": "FAILED", "interrupted": "KILLED"}

AT_ONCE = 1000
"""How many metrics MLflow takes in one call."""


class MLflow(Sink):
    """MLflow (https://mlflow.org): a run there for each run of compat, with a child for each point of its sweeps.

    A child is a model or merge with one value of each swept parameter and one seed: those are its parameters, and what
    was measured of it its metrics, against the training step. So MLflow's own comparison of runs has a curve for each
    point, and parallel coordinates over what was swept. The parent has the losses of trainings, the mean similarity of
    layers of the same depth, and as artifacts the spec and all rows. It needs pip install 'compat-spec[mlflow]'.

    Example:
        {use: mlflow, experiment: merging, tracking_uri: "http://localhost:5000"}
    """

    experiment: str | None = Field(
        default=None, min_length=1, description="The experiment of MLflow; by default called like that of compat."
    )
    tracking_uri: str | None = Field(
        default=None,
        description="The server, or sqlite:///FILE; by default what MLFLOW_TRACKING_URI says, or mlflow.db, here. "
        "Name and password belong into MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD.",
    )

    _client: MlflowClient | None = PrivateAttr(default=None)
    _experiment_id: str = PrivateAttr(default="")
    _parent: str = PrivateAttr(default="")
    _children: dict[str, str] = PrivateAttr(default_factory=dict)
    _parameters: tuple[str, ...] = PrivateAttr(default=())
    _scores: list[MeasuredScore] = PrivateAttr(default_factory=list)
    _similarities: list[MeasuredSimilarity] = PrivateAttr(default_factory=list)

    def check(self) -> None:
        require("mlflow", "mlflow")

    def begin(self, run: StartedRun) -> None:
        from mlflow import MlflowClient

        logging.getLogger("mlflow").setLevel(logging.WARNING)  # it tells how it makes its database
        self._client = client = MlflowClient(tracking_uri=self.tracking_uri)
        self._parameters = run.parameters
        name = self.experiment or run.experiment
        known = client.get_experiment_by_name(name)
        self._experiment_id = known.experiment_id if known else client.create_experiment(name)
        tags = {
            "compat.run": run.id,
            "compat.experiment": run.experiment,
            "mlflow.source.name": run.spec_path,
            "mlflow.source.git.commit": run.commit or "",
            "host": run.host,
            "device": run.device,
            **{f"version.{library}": version for library, version in run.versions.items()},
        }
        self._parent = self._create(f"{run.experiment} {run.id}", tags)
        facts = {"seeds": ", ".join(map(str, run.seeds)), "swept": ", ".join(run.parameters)}
        self._log(self._parent, params={key: value for key, value in facts.items() if value})
        client.log_text(self._parent, run.spec, "spec.yaml")

    def step(self, step: EndedStep) -> None:
        for name, curve in step.curves().items():
            self._log(self._parent, [(allowed(f"training/{step.label}/{name}"), value, at) for at, value in curve])

    def scores(self, rows: Sequence[MeasuredScore]) -> None:
        self._scores += rows
        found: dict[str, list[tuple[str, float, int]]] = {}
        for row in rows:
            found.setdefault(self._child(row), []).append((allowed(score_name(row)), row.value, row.step or 0))
        for child, metrics in found.items():
            self._log(child, metrics)

    def similarities(self, rows: Sequence[MeasuredSimilarity]) -> None:
        self._similarities += rows
        self._log(
            self._parent,
            [
                (allowed(f"{pair}/seed {seed}"), same_layers_mean(matrix), step or 0)
                for (pair, step, seed), matrix in by_pair(rows).items()
            ],
        )

    def end(self, status: Literal["finished", "failed", "interrupted"], error: str | None) -> str:
        client = self._open()
        for name, rows in (("scores", self._scores), ("similarities", self._similarities)):
            if rows:
                client.log_text(self._parent, as_csv([flat(row, self._parameters) for row in rows]), f"{name}.csv")
        if error:
            client.set_tag(self._parent, "compat.error", error[:5000])
        for run in (*self._children.values(), self._parent):
            client.set_terminated(run, STATUS[status])
        return f"run {self._parent} of {client.tracking_uri}"

    def _child(self, row: MeasuredScore) -> str:
        """The run of a point, made when it is first measured."""
        name = point_name(row)
        if name not in self._children:
            tags = {"mlflow.parentRunId": self._parent, "role": row.role}
            child = self._create(name, tags)
            swept = {key: short(value) for key, value in row.parameters.items()}
            self._log(child, params={"merge": row.merge, "seed": str(row.seed), **swept})
            self._children[name] = child
        return self._children[name]

    def _create(self, name: str, tags: Mapping[str, str]) -> str:
        created = self._open().create_run(self._experiment_id, run_name=name, tags=dict(tags))
        return str(created.info.run_id)

    def _log(
        self, run: str, metrics: Sequence[tuple[str, float, int]] = (), params: Mapping[str, str] | None = None
    ) -> None:
        from mlflow.entities import Metric, Param

        now = int(time.time() * 1000)
        entries = [Metric(name, value, now, step) for name, value, step in metrics]
        if params:
            self._open().log_batch(run, params=[Param(key, value) for key, value in params.items()])
        for start in range(0, len(entries), AT_ONCE):
            self._open().log_batch(run, metrics=entries[start : start + AT_ONCE])

    def _open(self) -> MlflowClient:
        assert self._client is not None
        return self._client


def allowed(name: str) -> str:
    """A name with the characters only that MLflow takes in that of a metric."""
    return "".join(letter if letter.isalnum() or letter in "_-. :/" else "_" for letter in name)


def as_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
