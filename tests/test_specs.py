"""The specs of this repository are right, can be planned, and editors find their schema."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from compat_spec import registry
from compat_spec.plan import StepKind, make_plan
from compat_spec.spec import load
from compat_spec.spec.schema import json_schema

SPECS = Path(__file__).parents[1] / "specs"
ALL = sorted(SPECS.glob("*.yaml"))


@pytest.mark.parametrize("path", ALL, ids=lambda path: path.stem)
def test_a_spec_is_right_and_can_be_planned(path: Path) -> None:
    spec = load(path)
    plan = make_plan(spec)
    assert spec.name == path.stem
    trained = {step.label.split(" (")[0] for step in plan.steps.values() if step.kind is StepKind.TRAIN}
    assert {f"train {name}" for name in spec.models} >= trained
    assert len(plan.measurements) >= len(spec.metrics)


@pytest.mark.parametrize("path", ALL, ids=lambda path: path.stem)
def test_a_spec_names_its_schema_in_its_first_line(path: Path) -> None:
    first = path.read_text("utf-8").splitlines()[0]
    assert first == "# yaml-language-server: $schema=compat.schema.json"


def test_the_schema_beside_them_is_that_of_the_plugins() -> None:
    """compat schema -o specs/compat.schema.json makes it anew."""
    kept = json.loads((SPECS / "compat.schema.json").read_text("utf-8"))
    assert kept == json_schema()


def test_the_experiments_at_the_scale_of_a_laptop_share_their_base() -> None:
    plans = [make_plan(load(SPECS / f"{name}.yaml")) for name in ("routing", "critical_step")]
    shared = set(plans[0].steps) & set(plans[1].steps)
    assert {step.label.split(" (")[0] for key, step in plans[0].steps.items() if key in shared} >= {
        "train base",
        "tokenizer of base",
    }


def test_the_copies_have_as_many_experts_as_the_span_gives() -> None:
    spec = load(SPECS / "layers.yaml")
    spans = {variant.merge.span for variant in spec.merges["span"].variants.values()}  # type: ignore[attr-defined]
    copies = {len(variant.experts) // 2 for variant in spec.merges["copies"].variants.values()}
    assert copies == spans - {1}


def test_every_plugin_is_used_by_a_spec_here_or_in_the_readme() -> None:
    texts = [path.read_text("utf-8") for path in (*ALL, SPECS.parent / "README.md")]
    text = "\n".join(texts)
    for namespace in ("compat.tasks", "compat.merges", "compat.metrics", "compat.models"):
        for name in registry.names(namespace):
            assert f"use: {name}" in text, name
