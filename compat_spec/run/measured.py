"""What measuring steps have written, read back: apart from what measures, so that reading needs no torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from compat_spec.components import ExampleScore, Score

SCORES = "scores.json"
SIMILARITY = "similarity.json"


def read_scores(folder: Path) -> tuple[str, list[Score]]:
    """The split, and the scores on it."""
    data = json.loads((folder / SCORES).read_text("utf-8"))
    examples = [[ExampleScore(*example) for example in row.pop("examples", ())] for row in data["scores"]]
    return data["split"], [Score(**row, examples=of_row) for row, of_row in zip(data["scores"], examples, strict=True)]


def read_similarity(folder: Path) -> dict[str, Any]:
    """`{"split", "n", "pairs": [{"layer_a", "layer_b", "value"}]}`."""
    data: dict[str, Any] = json.loads((folder / SIMILARITY).read_text("utf-8"))
    return data
