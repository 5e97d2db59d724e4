"""What is trained of each way to route comes back from the store, and what it adds to the loss is recorded."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from compat_spec.run.networks import TRAINED, Networks
from compat_spec.store import ArtifactRef
from tests.run.experiments import SPEC, Workplace

MERGES = """merges:
  noisy:
    use: routing
    models: [one, two]
    top_k: 1
    noise: true
    balance: 0.5
    train: &t {on: program, steps: 4, batch_size: 2, context: 32}
  chosen: {use: routing, models: [one, two], capacity: 1, router: previous, train: *t}
  of_texts: {use: routing, models: [one, two, base], router: sequence, top_k: 2, normalize: true, train: *t}
  both: {use: routing, models: [one, two], experts: both, router: shared, trunk: base, train: *t}
  residual: {use: residual_routing, models: [one, two], base: base, rank: 3, balance: 0.1, train: *t}
metrics:
  loss: {use: cross_entropy, on: program, tokens: 64, of: [noisy, chosen, of_texts, both, residual]}
  load: {use: router_load, on: program, tokens: 64}
"""
TRAINED_PARTS = {"noisy": 4, "chosen": 2, "of_texts": 2, "both": 2, "residual": 2}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    place = Workplace(tmp_path_factory.mktemp("variants"))
    place.spec.write_text(SPEC[: SPEC.index("merges:")] + MERGES, "utf-8")
    summary = place.run()
    assert summary.exit_status == 0, summary.failed
    return place


@pytest.mark.parametrize("merge", TRAINED_PARTS)
def test_what_was_trained_comes_back(place: Workplace, merge: str) -> None:
    label = next(step.label for step in place.plan().steps.values() if step.label.startswith(f"merge {merge}"))
    ref = ArtifactRef(place.fingerprint(label))
    stored = load_file(Path(place.store.path(ref)) / TRAINED)
    again = dict(Networks(place.store).open(ref, "cpu").module.named_parameters())
    assert len(stored) == TRAINED_PARTS[merge]
    assert all(again[name].equal(tensor) for name, tensor in stored.items())
    if merge == "noisy":
        assert all(bool(tensor.any()) for name, tensor in stored.items() if name.endswith("noise"))
    assert not any(parameter.requires_grad for parameter in again.values())
    assert torch.isfinite(Networks(place.store).open(ref, "cpu").logits(torch.arange(12)[None])).all()


def test_what_a_training_adds_to_the_loss_is_recorded_beside_it(place: Workplace) -> None:
    steps = place.results.steps(place.results.run("last").id)
    facts = {step.label.split()[1]: step.facts for step in steps if step.kind == "merge"}
    assert {name for name, of in facts.items() if "auxiliary_loss" in of} == {"noisy", "residual"}
    # two blocks, each from 0.5 (equal loads) to 1 (one of two experts has it all)
    assert all(0.9 < value <= 2 for value in facts["noisy"]["auxiliary_loss"])
    assert all(0.19 < value <= 0.4 for value in facts["residual"]["auxiliary_loss"])
    assert len(facts["noisy"]["loss"]) == 4


def test_each_block_reports_its_router(place: Workplace) -> None:
    rows = place.rows("SELECT merge, count(*), sum(value) FROM routing WHERE quantity = 'load' GROUP BY merge")
    assert {name: (count, round(total, 6)) for name, count, total in rows} == {
        name: (6 if name == "of_texts" else 4, 2) for name in TRAINED_PARTS
    }
