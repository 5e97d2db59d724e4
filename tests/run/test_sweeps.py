"""The points of a sweep that are measured as one are measured like each alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import nn

from compat_plugins.merges.activation_interpolation import ActivationInterpolation
from compat_spec.nn.network import Network
from compat_spec.plan import StepKind, gathering
from compat_spec.run import measuring
from tests.run.experiments import Workplace

ALPHAS = "merges.blend.alpha={sweep: [0, 0.2, 0.4, 0.5, 0.6, 0.8, 0.9, 0.95, 1]}"


def test_measurements_of_the_same_experts_on_the_same_tokens_go_together(place: Workplace) -> None:
    plan = place.plan(ALPHAS)
    assert not any("together" in step.settings for step in plan.steps.values())
    plan = gathering.gathered(plan, plan.steps)
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
    for step in place.plan(ALPHAS).steps.values():
        if step.kind is StepKind.MEASURE:
            place.store.set_aside(step.fingerprint)
    assert place.run(ALPHAS).computed > 18
    alone = place.rows(query)
    assert len(alone) == 18
    for found, expected in zip(together, alone, strict=True):
        assert found[:3] == expected[:3]
        assert found[3] == pytest.approx(expected[3], abs=1e-6)
        assert found[4] == expected[4]


def test_a_score_is_the_weighted_mean_of_its_examples(place: Workplace) -> None:
    place.run(ALPHAS)
    found = place.rows(
        "SELECT s.merge, s.step, s.alpha, s.value, sum(e.value * e.weight) / sum(e.weight), sum(e.weight) = s.n "
        "FROM loss s JOIN examples e USING (metric, merge, task, seed) WHERE e.step IS s.step AND e.alpha IS s.alpha "
        "GROUP BY s.merge, s.step, s.alpha, s.value, s.n"
    )
    assert len(found) > 18
    for *_, value, mean, all_tokens in found:
        assert mean == pytest.approx(value, rel=1e-12)
        assert all_tokens


LOSSES = "SELECT alpha, value FROM loss WHERE merge = 'blend' AND step = 6 ORDER BY alpha"


def test_what_is_measured_already_is_not_read_again(place: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    place.run(ALPHAS)
    before = place.rows(LOSSES)
    read: list[int] = []
    scores = measuring.token_scores_together

    def counting(network: Network, count: int, *args: object, **named: object) -> object:
        read.append(count)
        return scores(network, count, *args, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(measuring, "token_scores_together", counting)
    place.run("merges.blend.alpha={sweep: [0, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1]}")
    assert read == [2, 2]  # the two new ones, at each step of the experts
    after = place.rows(LOSSES)
    assert len(after) == 11
    assert set(before) < set(after)


def test_one_that_cannot_be_built_leaves_the_others_alone(place: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where a model's source does not say how deep it is."""
    monkeypatch.setattr(ActivationInterpolation, "misfit", lambda *_: None)
    summary = place.run("merges.blend.alpha={sweep: [0.2, 0.6, [0.5, 0.5, 0.1]]}")
    assert {failure.step.label for failure in summary.failed} == {
        "merge blend (alpha [0.5, 0.5, 0.1], at 3)",
        "merge blend (alpha [0.5, 0.5, 0.1], at 6)",
    }
    assert [alpha for alpha, _ in place.rows(LOSSES)] == [0.2, 0.6]


def test_networks_that_are_too_large_together_are_read_alone(place: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    def build_together(merges: Sequence[Any], networks: Sequence[Network], trunk: Network | None) -> nn.Module:
        module: nn.Module = merges[0].build(networks, trunk)
        module.register_forward_pre_hook(no_memory)
        return module

    def no_memory(*_: object) -> None:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(ActivationInterpolation, "build_together", build_together)
    assert place.run().exit_status == 0
    assert [alpha for alpha, _ in place.rows(LOSSES)] == [0.25, 0.75]
