"""The sink `tensorboard`, read back with TensorBoard's own reader."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import plugin_data_pb2

from compat_plugins.sinks.heat_map import heat_map
from compat_plugins.sinks.tensorboard import TensorBoard
from compat_spec.components import MeasuredSimilarity, Sink
from compat_spec.errors import CompatError
from compat_spec.results import open_results
from compat_spec.run.sending import send_run
from tests.results.made_up import score, similarity, start


def read(folder: Path) -> EventAccumulator:
    accumulator = EventAccumulator(str(folder))
    accumulator.Reload()
    return accumulator


def scalars(folder: Path, tag: str) -> list[tuple[int, float]]:
    return [(event.step, pytest.approx(event.value)) for event in read(folder).Scalars(tag)]


def test_a_run_is_read_back(tmp_path: Path, send: Callable[[Sink], tuple[str, str | None]]) -> None:
    run, where = send(TensorBoard(folder=str(tmp_path / "logs")))
    assert where == f"tensorboard --logdir {tmp_path / 'logs'}"
    place = tmp_path / "logs" / f"routing-{run}"
    assert scalars(place / "training/train math", "training/loss") == [(2, 3.0), (4, 2.5)]
    for seed in (0, 1):
        for alpha in ("0", "0.5"):
            found = scalars(place / f"blend alpha={alpha} layers=[1,2] seed={seed}", "loss/program")
            first = 3.0 + float(alpha) + 0.1 * seed
            assert found == [(10, first - 0.1), (20, first - 0.2)]
    assert scalars(place / "average seed=0", "accuracy/program") == [(0, 0.25)]
    assert np.isnan(read(place / "average seed=0").Scalars("loss/program")[0].value)
    routed = read(place / "blend seed=0").Tags()["scalars"]
    assert {"load/program/block 1/expert 0", "load agreement/program/block 0 and 1"} <= set(routed)
    everything = read(place)
    assert "spec/text_summary" in everything.Tags()["tensors"]
    spec = everything.Tensors("spec/text_summary")[0].tensor_proto.string_val[0].decode()
    assert "    loss: {use: cross_entropy, on: program}" in spec
    status = everything.Tensors("status/text_summary")[0].tensor_proto.string_val[0].decode()
    assert status == "failed train code: the loss became nan"


def test_similarities_are_a_curve_and_pictures(tmp_path: Path, send: Callable[[Sink], tuple[str, str | None]]) -> None:
    run, _ = send(TensorBoard(folder=str(tmp_path / "logs")))
    folder = tmp_path / "logs" / f"routing-{run}" / "similarities seed=0"
    assert scalars(folder, "cka/program/math and code") == [(10, 0.75), (20, 0.75)]
    images = read(folder).Images("cka/program/math and code")
    assert [image.step for image in images] == [10, 20]
    picture = np.asarray(Image.open(io.BytesIO(images[0].encoded_image_string)).convert("RGB")).astype(int)
    side = picture.shape[0] // 2
    # layer 0 of a at the bottom, of b left: 1.0 is the brightest, .25 the darkest
    bottom_left, bottom_right = picture[-1, 0].sum(), picture[-1, -1].sum()
    top_left, top_right = picture[0, 0].sum(), picture[side - 1, side].sum()
    assert bottom_left > bottom_right == top_right > top_left


def test_points_are_in_hparams(tmp_path: Path, send: Callable[[Sink], tuple[str, str | None]]) -> None:
    run, _ = send(TensorBoard(folder=str(tmp_path / "logs")))
    read_back = read(tmp_path / "logs" / f"routing-{run}" / "blend alpha=0.5 layers=[1,2] seed=1")
    content = read_back.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    session = plugin_data_pb2.HParamsPluginData.FromString(content).session_start_info
    assert session.hparams["alpha"].number_value == 0.5
    assert session.hparams["merge"].string_value == "blend"
    assert session.hparams["layers"].string_value == "[1, 2]"
    content = read_back.SummaryMetadata("_hparams_/experiment").plugin_data.content
    experiment = plugin_data_pb2.HParamsPluginData.FromString(content).experiment
    assert [info.name.tag for info in experiment.metric_infos] == ["loss/program"]


def test_matrices_at_other_points_are_curves_of_their_own(tmp_path: Path) -> None:
    results = open_results(tmp_path / "results.db", create=True)
    writer = start(results, parameters=["kernel"])
    swept = [replace(similarity(0, 0, 0.5, steps=(10, 10)), parameters={"kernel": kernel}) for kernel in ("a", "b")]
    apart = [similarity(0, 0, 0.25, steps=(10, 20)), similarity(0, 0, 0.75, steps=(20, 10))]
    with_base = [replace(similarity(0, 0, 1.0, steps=(step, step)), step_b=None) for step in (30, 40)]
    writer.similarities([*swept, *apart, *with_base])
    writer.finish("finished")
    send_run(results, results.run(writer.id), TensorBoard(folder=str(tmp_path / "logs")))
    folder = tmp_path / "logs" / f"routing-{writer.id}" / "similarities seed=0"
    pair = "cka/program/math and code"
    for name, curve in {
        f"{pair} kernel=a": [(10, 0.5)],
        f"{pair} kernel=b": [(10, 0.5)],
        "cka/program/math@10 and code@20": [(0, 0.25)],
        "cka/program/math@20 and code@10": [(0, 0.75)],
        pair: [(30, 1.0), (40, 1.0)],
    }.items():
        assert scalars(folder, name) == curve


def test_a_sweep_over_long_lists_has_folders(tmp_path: Path) -> None:
    results = open_results(tmp_path / "results.db", create=True)
    writer = start(results, parameters=["weights"])
    writer.scores([score("blend", 1.0, weights=[0.125] * 90 + [last]) for last in (0.25, 0.5)])
    writer.finish("finished")
    send_run(results, results.run(writer.id), TensorBoard(folder=str(tmp_path / "logs")))
    folders = [path for path in (tmp_path / "logs" / f"routing-{writer.id}").iterdir() if path.is_dir()]
    assert len(folders) == 2
    assert all(scalars(folder, "loss/program") == [(0, 1.0)] for folder in folders)


def test_a_picture_of_many_layers_is_no_larger_than_a_screen() -> None:
    known: dict[str, Any] = {"metric": "cka", "measure": "cka", "quantity": "cka", "task": "t", "a": "a", "b": "b"}
    known |= {"step_a": 1, "step_b": 1, "seed": 0, "parameters": {}, "se": None, "n": 1, "fingerprint": "f"}
    rows = [MeasuredSimilarity(layer_a=layer, layer_b=layer, value=1.0, **known) for layer in range(1000)]
    assert heat_map(rows).shape == (2000, 2000, 3)


def test_a_file_in_the_way_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("")
    with pytest.raises(CompatError, match="needs a folder"):
        TensorBoard(folder=str(tmp_path / "logs")).check()
