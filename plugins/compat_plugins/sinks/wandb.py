"""Passes a run on to Weights & Biases."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field, PrivateAttr

from compat_plugins.sinks.naming import (
    by_pair,
    flat,
    point_name,
    require,
    same_layers_mean,
    score_name,
    spec_as_data,
)
from compat_spec.components import EndedStep, MeasuredScore, MeasuredSimilarity, Sink, StartedRun
from compat_spec.errors import CompatError

if TYPE_CHECKING:
    import wandb

STEP = "training step"
"""The x axis of all curves."""


class WandB(Sink):
    """Weights & Biases (https://wandb.ai): one run there for each run of compat.

    While it goes on, the run there gets the losses of trainings, and each score and the mean similarity of layers of
    the same depth against the training step of the models. Its summary has the last number of each point, its config
    the spec; at the end come the tables `scores` and `similarities`, with a column for each swept parameter. It needs
    pip install 'compat-spec[wandb]'.

    Example:
        {use: wandb, project: merging, mode: offline}
    """

    project: str = Field(default="compat", min_length=1, description="The project that the run is put into.")
    entity: str | None = Field(default=None, description="The user or team that the project belongs to.")
    mode: Literal["online", "offline"] | None = Field(
        default=None, description="offline: into files, for `wandb sync`. By default what WANDB_MODE says, or online."
    )
    folder: str | None = Field(default=None, description="Where its files go; by default into `wandb`, here.")

    _run: wandb.Run | None = PrivateAttr(default=None)
    _parameters: tuple[str, ...] = PrivateAttr(default=())
    _scores: list[MeasuredScore] = PrivateAttr(default_factory=list)
    _similarities: list[MeasuredSimilarity] = PrivateAttr(default_factory=list)

    def check(self) -> None:
        require("wandb", "wandb")
        if (self.mode or os.environ.get("WANDB_MODE", "online")) != "online":
            return
        import wandb

        if not wandb.login(prompt=False):
            raise CompatError("wandb has no API key: run wandb login, or set WANDB_API_KEY, or say mode: offline")

    def begin(self, run: StartedRun) -> None:
        import wandb

        self._parameters = run.parameters
        self._run = wandb.init(
            project=self.project,
            entity=self.entity,
            mode=self.mode,
            dir=self.folder,
            id=f"compat-{run.id}",
            resume="allow",
            name=f"{run.experiment} {run.id}",
            group=run.experiment,
            job_type="compat",
            tags=["compat", run.experiment[:64]],
            config={
                "run": run.id,
                "experiment": run.experiment,
                "spec": spec_as_data(run),
                "seeds": run.seeds,
                "swept": run.parameters,
                "models": run.models,
                "versions": run.versions,
                "commit": run.commit,
                "host": run.host,
                "device": run.device,
            },
            reinit="create_new",
            settings=wandb.Settings(
                silent=True,
                console="off",
                disable_git=True,
                disable_code=True,
                x_disable_meta=True,  # it would have the command, which may have a password in it
            ),
        )

    def step(self, step: EndedStep) -> None:
        for name, curve in step.curves().items():
            self._log(f"training/{step.label}/{name}", curve)

    def scores(self, rows: Sequence[MeasuredScore]) -> None:
        self._scores += rows
        for row in rows:
            name = f"{score_name(row)}/{point_name(row)}"
            if row.step is None:
                self._started().summary[name] = row.value
            else:
                self._log(name, [(row.step, row.value)])

    def similarities(self, rows: Sequence[MeasuredSimilarity]) -> None:
        self._similarities += rows
        for (pair, step, seed), matrix in by_pair(rows).items():
            if step is not None:
                self._log(f"{pair}/seed={seed}", [(step, same_layers_mean(matrix))])

    def end(self, status: Literal["finished", "failed", "interrupted"], error: str | None) -> str | None:
        import wandb

        run = self._started()
        for name, rows in (("scores", self._scores), ("similarities", self._similarities)):
            if rows:
                flattened = [flat(row, self._parameters) for row in rows]
                run.log({name: wandb.Table(list(flattened[0]), [list(row.values()) for row in flattened])})
        run.summary.update({"status": status, "error": error})
        where = f"wandb sync {Path(run.dir).parent}" if run.offline else run.url
        run.finish(exit_code=0 if status == "finished" else 1)
        return where

    def _log(self, name: str, curve: Sequence[tuple[int, float]]) -> None:
        run = self._started()
        run.define_metric(name, step_metric=STEP)
        for step, value in curve:
            run.log({name: value, STEP: step})

    def _started(self) -> wandb.Run:
        assert self._run is not None
        return self._run
