"""Charts as files."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path

import pytest

from compat_spec.report.export import export, write
from compat_spec.report.figures.figure import Figure


def size_of_png(content: bytes) -> tuple[int, int]:
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    wide, high = struct.unpack(">II", content[16:24])
    return wide, high


def test_an_svg_has_marks_title_and_caption(drawn: Mapping[str, Figure]) -> None:
    text = export(drawn["loss-pro-gram-b"], "svg").decode()
    assert text.startswith("<svg")
    assert text.count('aria-roledescription="point"') == 9
    assert "Loss of each model and merge" in text
    assert "window.attacked" in text
    assert "<script" not in text
    assert "Each at the best point" in text
    assert "Each at the best point" not in export(drawn["loss-pro-gram-b"], "svg", titled=False).decode()


@pytest.mark.parametrize("name", ["steps-pro-gram-b", "layers-cka"])
def test_a_png_is_an_image_of_the_size_that_was_asked_for(drawn: Mapping[str, Figure], name: str) -> None:
    once, twice = (size_of_png(export(drawn[name], "png", scale=scale)) for scale in (1, 2))
    assert 500 < once[0] < 1000
    assert 250 < once[1] < 900
    assert abs(twice[0] - 2 * once[0]) <= 2


def test_a_pdf_is_one(drawn: Mapping[str, Figure]) -> None:
    assert export(drawn["timeline"], "pdf").startswith(b"%PDF-")


def test_json_is_the_specification_with_its_data(drawn: Mapping[str, Figure], tmp_path: Path) -> None:
    write(drawn["layers-cka"], tmp_path / "layers.json")
    spec = json.loads((tmp_path / "layers.json").read_text())
    assert "vega-lite" in spec["$schema"]
    assert len(spec["datasets"]["data"]) == 36
