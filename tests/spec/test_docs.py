"""docs/spec.md says what is so."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from compat_spec.spec import load
from compat_spec.spec.keys import KEYS, TOP_LEVEL

DOCS = Path(__file__).parents[2].joinpath("docs", "spec.md").read_text("utf-8")


(EXAMPLE,) = [block for block in re.findall(r"```yaml\n(.*?)```", DOCS, re.DOTALL) if "version: 1" in block]


def test_its_example_is_right(write: Callable[..., Path]) -> None:
    spec = load(write(EXAMPLE))
    assert all((spec.tasks, spec.models, spec.merges, spec.metrics))


def test_mistakes_look_as_it_shows(problems_of: Callable[..., list[str]]) -> None:
    bad = EXAMPLE.replace("word_problems", "word_problms")
    bad = bad.replace("linear, models: [math, code]", "linear, models: [math, base], at: 60")
    (shown,) = re.findall(r"\$ compat validate spec.yaml\n(.*?)```", DOCS, re.DOTALL)
    assert problems_of(bad) == shown.splitlines()


def test_every_key_is_documented() -> None:
    for key in {*TOP_LEVEL, "extends", *(key for keys in KEYS.values() for key in keys)}:
        assert re.search(rf"^\|.*`{key}`.*\|", DOCS, re.MULTILINE), key
