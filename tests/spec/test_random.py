"""Whatever stands in a file, `load` gives a spec or a list of mistakes, never another error."""

from __future__ import annotations

import copy
import math
import random
import re
import tempfile
from pathlib import Path
from typing import Any

import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from compat_spec.plan import make_plan
from compat_spec.spec import Spec, SpecError, load
from tests.spec.conftest import GOOD

KEYS = [
    "use",
    "from",
    "train",
    "at",
    "on",
    "of",
    "between",
    "sweep",
    "zip",
    "models",
    "alpha",
    "num",
    "extends",
    "steps",
]
SCALARS: list[Any] = [
    None, True, 0, -1, 3, 0.5, float("nan"), float("inf"), 10**30, "", "x", "all", "math", "math@5", "math@", "@5",
    "base@4", "router", "linear", "causal_lm", "finetune", "é\u2028", "a.b",
]  # fmt: skip
VALUES: list[Any] = [
    *SCALARS,
    [],
    {},
    {"sweep": [1, 2]},
    {"sweep": ["math", "code"], "zip": "z"},
    {"sweep": {"from": 0, "to": 1, "num": 3}},
    {"sweep": {"from": 1, "to": 0, "num": 2, "scale": "log"}},
    {"sweep": 3},
    ["math", "code"],
    ["math", ["code"]],
    {"math": 1},
    {"use": "linear", "models": ["math"]},
]

unhurried = settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])


@given(st.integers(0, 2**32), st.integers(1, 4))
@unhurried
def test_any_change_of_a_good_spec(seed: int, changes: int) -> None:
    spec = _load(yaml.dump(_changed(seed, changes), sort_keys=False, allow_unicode=True))
    if spec is not None:
        for section in (spec.tasks, spec.models, spec.merges, spec.metrics):
            for declaration in section.values():
                assert len(declaration.variants) == math.prod(len(axis.values) for axis in declaration.axes)
        make_plan(spec)


@given(st.integers(0, 2**32), st.integers(1, 6))
@unhurried
def test_any_change_of_its_text(seed: int, changes: int) -> None:
    dice = random.Random(seed)
    text = GOOD
    for _ in range(changes):
        start = dice.randrange(len(text))
        end = start + dice.choice([0, 0, 1, 1, 2, 10])
        text = text[:start] + dice.choice(["", "", "\n", "\t", " ", *":{}[],-&*!|>'\"%@`#?~\\"]) + text[end:]
    _load(text)


@given(st.binary(max_size=200))
@unhurried
def test_any_bytes(data: bytes) -> None:
    _load(data)


@given(st.text(max_size=40), st.sampled_from(["merges.router.", "seeds.", "models.", "models.math.train.", ""]))
@unhurried
def test_any_set(text: str, start: str) -> None:
    _load(GOOD, start + text)


def _load(text: str | bytes, *overrides: str) -> Spec | None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "spec.yaml")
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        try:
            return load(path, overrides)
        except SpecError as error:
            str(error).encode()  # can be printed
            return None


def _changed(seed: int, changes: int) -> Any:
    dice = random.Random(seed)
    document = yaml.safe_load(re.sub(r"\bon:", '"on":', GOOD))
    for _ in range(changes):
        parent, key = dice.choice(list(_places(document)))
        match dice.randrange(4):
            case 0:
                del parent[key]
            case 1 if isinstance(parent, dict):
                parent[dice.choice(KEYS)] = copy.deepcopy(dice.choice(VALUES))
            case 2 if isinstance(parent, dict):
                other, name = dice.choice(list(_places(document)))
                parent[key] = copy.deepcopy(other[name])
            case _:
                parent[key] = copy.deepcopy(dice.choice(VALUES))
        if not document:
            break
    return document


def _places(value: Any) -> Any:
    """Every entry of the mappings and lists inside: the mapping or list, and the key."""
    for key, inner in list(value.items() if isinstance(value, dict) else enumerate(value)):
        yield value, key
        if isinstance(inner, dict | list):
            yield from _places(inner)
