"""The executor keeps its contract, on a cluster that is there already."""

from __future__ import annotations

from typing import Any

import pytest

from compat_ray.executor import Ray
from compat_spec.components import Executor
from compat_spec.testing import Check, Subject, checks_of


@pytest.fixture(scope="module")
def subject(nodes: Any) -> Subject:
    return Subject(Ray, {"address": nodes.address, "gpus": 0})


@pytest.mark.parametrize("check", [check for check in checks_of(Ray) if check.of is Executor], ids=lambda one: one.name)
def test_it_runs_jobs_as_an_executor_does(check: Check, subject: Subject) -> None:
    check.run(subject)
