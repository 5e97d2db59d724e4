"""The sink `tensorboard`, read back with TensorBoard's own reader."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import plugin_data_pb2

from compat_plugins.sinks.tensorboard import TensorBoard
from compat_spec.components import Sink
from compat_spec.errors import CompatError


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


def test_a_file_in_the_way_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("")
    with pytest.raises(CompatError, match="needs a folder"):
        TensorBoard(folder=str(tmp_path / "logs")).check()
