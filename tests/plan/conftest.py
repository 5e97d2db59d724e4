"""Plans of small specs."""

from __future__ import annotations

from pathlib import Path

import pytest

from compat_spec.plan import Plan, make_plan
from compat_spec.spec import load
from tests.plan.experiments import SPEC, Planner


@pytest.fixture
def make(tmp_path: Path) -> Planner:
    def plan(*overrides: str, spec: str = SPEC) -> Plan:
        path = tmp_path / "small.yaml"
        path.write_text(spec, "utf-8")
        return make_plan(load(path, overrides))

    return plan
