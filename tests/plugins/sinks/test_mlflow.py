"""The sink `mlflow`, read back with MLflow's own client."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from compat_plugins.sinks.mlflow import MLflow
from compat_spec.components import Sink
from tests.plugins.sinks.conftest import SECRET, SPEC


def test_a_run_is_a_parent_with_a_child_for_each_point(
    tmp_path: Path, send: Callable[[Sink], tuple[str, str | None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # a database of its own takes seconds to make
    uri = (tmp_path / "mlruns").as_uri()
    run, where = send(MLflow(tracking_uri=uri, experiment="merging"))
    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("merging")
    assert experiment is not None
    found = client.search_runs([experiment.experiment_id], max_results=100)
    (parent,) = [one for one in found if "mlflow.parentRunId" not in one.data.tags]
    assert where == f"run {parent.info.run_id} of {uri}"
    assert (parent.info.run_name, parent.info.status) == (f"routing {run}", "FAILED")
    assert parent.data.tags["compat.error"] == "train code: the loss became nan"
    assert parent.data.params == {"seeds": "0, 1", "swept": "alpha, layers"}

    def history(run_id: str, name: str) -> list[tuple[int, float]]:
        return [(m.step, pytest.approx(m.value)) for m in client.get_metric_history(run_id, name)]

    assert history(parent.info.run_id, "training/train math/loss") == [(2, 3.0), (4, 2.5)]
    assert history(parent.info.run_id, "cka/program/math and code/seed 0") == [(10, 0.75), (20, 0.75)]
    children = {one.info.run_name: one for one in found if one is not parent}
    points = [f"blend alpha={alpha} layers=[1,2] seed={seed}" for alpha in ("0", "0.5") for seed in (0, 1)]
    assert set(children) == {"average seed=0", "blend seed=0", *points}
    assert {child.data.tags["mlflow.parentRunId"] for child in children.values()} == {parent.info.run_id}
    assert {child.info.status for child in children.values()} == {"FAILED"}
    point = children["blend alpha=0.5 layers=[1,2] seed=1"]
    assert point.data.params == {"merge": "blend", "seed": "1", "alpha": "0.5", "layers": "[1,2]"}
    assert history(point.info.run_id, "loss/program") == [(10, 3.5), (20, 3.4)]
    assert children["blend seed=0"].data.metrics["load/program/block 1/expert 1"] == 0.25

    artifacts = tmp_path / "mlruns" / experiment.experiment_id / parent.info.run_id / "artifacts"
    assert (artifacts / "spec.yaml").read_text("utf-8") == SPEC
    header, first, *rest = (artifacts / "scores.csv").read_text("utf-8").splitlines()
    assert header.startswith("merge,role,task,split,metric,quantity,seed,step,value,")
    assert header.endswith(",alpha,layers")
    assert first.startswith("blend,merge,program,test,loss,loss,0,10,2.9,")
    assert len(rest) == 12
    assert len((artifacts / "similarities.csv").read_text("utf-8").splitlines()) == 9
    kept = [path.read_bytes() for path in (tmp_path / "mlruns").rglob("*") if path.is_file()]
    assert not [data for data in kept if SECRET.encode() in data]
