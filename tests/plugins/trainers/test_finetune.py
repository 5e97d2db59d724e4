"""The finetune trainer: which parameters it accepts, what it tells the planner, and how it mixes data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from compat_plugins.trainers.finetune import Finetune
from compat_spec.components import TaskName, names_in
from compat_spec.errors import CompatError
from compat_spec.nn.data import EncodedSplit
from tests.builders import tiny_network, undisturbed_session


def make(**fields: Any) -> Finetune:
    return Finetune.model_validate({"on": "math", "steps": 10} | fields)


def stream(tokens: int) -> EncodedSplit:
    ids = torch.arange(tokens, dtype=torch.int32) % 256
    return EncodedSplit(
        ids, torch.ones(tokens, dtype=torch.bool), torch.tensor([0, tokens]), torch.zeros(1, dtype=torch.int32)
    )


def run(trainer: Finetune, folder: Path, **tokens: int) -> dict[str, Any]:
    work = undisturbed_session(folder)
    trainer.train(tiny_network(blocks=1), {TaskName(name): stream(count) for name, count in tokens.items()}, work)
    return work.facts


def test_it_names_the_tasks_that_it_needs() -> None:
    assert list(names_in(make(), TaskName)) == ["math"]
    assert list(names_in(make(on={"math": 1, "code": 3}, mix={"docs": 0.5}), TaskName)) == ["math", "code", "docs"]


def test_it_tells_the_planner_its_steps_and_tokens() -> None:
    trainer = make(steps=100, save_at=[50, 0, 25, 50], batch_size=4, accumulate=2, context=64)
    assert list(trainer.saved_steps()) == [0, 25, 50]
    assert trainer.last_step() == 100
    assert trainer.tokens() == 100 * 4 * 2 * 64
    assert make().tokens() is None
    assert make(steps=None, epochs=2).last_step() is None
    assert trainer.uses_seed()


def test_its_parameters_survive_a_trip_through_json() -> None:
    trainer = make(on={"math": 1, "code": 3}, mix={"docs": 0.5}, save_at=[3, 1], update=r"mlp\.", clip=None)
    assert Finetune.model_validate(trainer.model_dump(mode="json")) == trainer


def test_shares_of_the_data() -> None:
    assert make().shares() == {"math": 1.0}
    shares = make(on={"math": 1, "code": 3}, mix={"docs": 0.5, "news": 0.1}).shares()
    assert shares == pytest.approx({"math": 0.1, "code": 0.3, "docs": 0.5, "news": 0.1})


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"save_at": [5, 11]}, "there is no step 11: .* to 10, the last"),
        ({"save_at": [-1]}, "there is no step -1"),
        ({"epochs": 1.0}, "either steps or epochs"),
        ({"steps": None}, "either steps or epochs"),
        ({"steps": 0}, "greater than or equal to 1"),
        ({"update": "h.(1"}, "not a regular expression"),
        ({"mix": {"docs": 0.6, "news": 0.4}}, "add up to 1, which leaves nothing"),
        ({"mix": {"math": 0.5}}, "math is both in `on` and in `mix`"),
        ({"on": {"math": -1}}, "greater than 0"),
        ({"lr": float("inf")}, "finite number"),
        ({"on": {}}, "at least 1"),
        ({"betas": [0.9, 1.0]}, "less than 1"),
        ({"optimizer": "sgd"}, "'adamw' or 'muon'"),
        ({"momentun": 0.9}, "momentun"),
    ],
)
def test_mistakes_are_found_before_anything_runs(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        make(**fields)


@pytest.mark.parametrize(
    ("mix", "steps"), [({}, 13), ({"docs": 0.5}, 25), ({"docs": 0.2}, 16)]
)  # 400 tokens in windows of 16, two a step
def test_an_epoch_is_as_many_windows_as_hold_the_tokens(mix: dict[str, float], steps: int, tmp_path: Path) -> None:
    trainer = make(on="math", mix=mix, steps=None, epochs=1, batch_size=2, context=16)
    assert run(trainer, tmp_path, math=400, docs=1000)["steps"] == steps


def test_a_step_beyond_the_epochs_is_refused(tmp_path: Path) -> None:
    trainer = make(steps=None, epochs=1, save_at=[14], batch_size=2, context=16)
    with pytest.raises(CompatError, match="there is no step 14: 1 epochs are 13 steps"):
        run(trainer, tmp_path, math=400)


def test_it_keeps_the_steps_between_and_leaves_the_last_to_the_engine(tmp_path: Path) -> None:
    run(make(steps=4, save_at=[0, 2, 4], batch_size=1, context=8), tmp_path, math=50)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-0", "step-2"]


def test_with_epochs_it_keeps_the_last_step_too(tmp_path: Path) -> None:
    run(make(steps=None, epochs=1, save_at=[2, 4], batch_size=1, context=16), tmp_path, math=64)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-2", "step-4"]
