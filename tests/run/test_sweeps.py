"""The points of a sweep that are measured as one are measured like each alone."""

from __future__ import annotations

import pytest

from compat_spec.plan import StepKind, gathering
from tests.run.experiments import Workplace

ALPHAS = "merges.blend.alpha={sweep: [0, 0.2, 0.4, 0.5, 0.6, 0.8, 0.9, 0.95, 1]}"


def test_measurements_of_the_same_experts_on_the_same_tokens_go_together(place: Workplace) -> None:
    plan = place.plan(ALPHAS)
    groups = {}
    for step in plan.steps.values():
        if "together" in step.settings:
            assert step.kind is StepKind.MEASURE
            networks = [network for network, _ in step.settings["together"]]
            assert step.inputs["network"].fingerprint in networks
            groups.setdefault((step.use, *networks), []).append(step)
    # nine alphas at two steps: the first eight of each; the ninth is alone
    assert {len(key) - 1 for key in groups} == {8}
    assert all(len(steps) == 8 for steps in groups.values())
    for steps in groups.values():
        alphas = [params["alpha"] for _, params in steps[0].settings["together"]]
        assert alphas == [0, 0.2, 0.4, 0.5, 0.6, 0.8, 0.9, 0.95]
    assert all(plan.steps[key].fingerprint == key for key in plan.steps)


def test_it_makes_no_difference(place: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    query = "SELECT merge, step, alpha, value, n FROM loss WHERE merge = 'blend' ORDER BY step, alpha"
    place.run(ALPHAS)
    together = place.rows(query)
    monkeypatch.setattr(gathering, "MOST", 1)
    plan = place.plan(ALPHAS)
    assert not any("together" in step.settings for step in plan.steps.values())
    for step in plan.steps.values():
        if step.kind is StepKind.MEASURE:
            place.store.set_aside(step.fingerprint)
    assert place.run(ALPHAS).computed > 18
    alone = place.rows(query)
    assert len(alone) == 18
    for found, expected in zip(together, alone, strict=True):
        assert found[:3] == expected[:3]
        assert found[3] == pytest.approx(expected[3], abs=1e-6)
        assert found[4] == expected[4]
