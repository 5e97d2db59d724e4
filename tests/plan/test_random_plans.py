"""What holds for the plan of any spec: an order that works, one step for each thing, a measurement for each point."""

from __future__ import annotations

import math
import random
import tempfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from compat_spec.plan import Plan, make_plan
from compat_spec.spec import load

unhurried = settings(max_examples=15)


@dataclass
class Drawn:
    """A random spec, and the sweeps that everything in it stands on: how many values each axis has, by a name."""

    document: dict[str, Any]
    axes: dict[str, dict[str, int]] = field(default_factory=dict)

    def points(self, name: str) -> int:
        return math.prod(self.axes[name].values())


@st.composite
def specs(draw: st.DrawFn) -> Drawn:
    def maybe_swept(name: str, key: str, values: list[float]) -> tuple[Any, dict[str, int]]:
        """One value, a sweep, or a sweep that is zipped with all others like it; and its axis."""
        match draw(st.sampled_from(["one", "one", "swept", "zipped"])):
            case "one":
                return draw(st.sampled_from(values)), {}
            case "swept":
                return {"sweep": values}, {f"{name}.{key}": len(values)}
            case _:
                return {"sweep": values, "zip": key}, {f"zip {key}": len(values)}

    tasks = {f"t{index}": {"use": "word_problems", "seed": index} for index in range(draw(st.integers(1, 2)))}
    a_task = st.sampled_from(sorted(tasks))
    config = {"model_type": "gpt2", "n_layer": 2, "n_embd": 16, "n_head": 2}
    tokenizer = {"train_on": [draw(a_task)], "vocab_size": 300}
    rate, axes = maybe_swept("m0", "lr", [1e-3, 2e-3])
    models: dict[str, Any] = {
        "m0": {"use": "causal_lm", "config": config, "tokenizer": tokenizer}
        | {"train": {"on": dict.fromkeys(tasks, 1), "steps": 4, "save_at": [2], "lr": rate}}
    }
    drawn = Drawn({}, {"m0": axes})
    for index in range(1, draw(st.integers(2, 4))):
        parent, name = f"m{draw(st.integers(0, index - 1))}", f"m{index}"
        rate, axes = maybe_swept(name, "lr", [1e-3, 2e-3])
        written = draw(st.sampled_from([parent, f"{parent}@2", f"{parent}@4"]))
        models[name] = {"from": written, "train": {"on": draw(a_task), "steps": 4, "save_at": [2], "lr": rate}}
        drawn.axes[name] = drawn.axes[parent] | axes
    merges: dict[str, Any] = {}
    for index in range(draw(st.integers(0, 2))):
        name = f"g{index}"
        chosen = draw(st.lists(st.sampled_from(sorted(models)), min_size=2, max_size=2, unique=True))
        alpha, axes = maybe_swept(name, "alpha", [0.25, 0.75])
        merges[name] = {"use": "activation_interpolation", "models": chosen, "alpha": alpha}
        if draw(st.booleans()):
            merges[name]["at"] = {"sweep": [2, 4]}
            axes[f"{name}.at"] = 2
        drawn.axes[name] = axes | drawn.axes[chosen[0]] | drawn.axes[chosen[1]]
    metrics = {"loss": {"use": "cross_entropy", "on": sorted(tasks)}}
    seeds = draw(st.lists(st.integers(0, 9), min_size=1, max_size=2, unique=True))
    drawn.document = {"seeds": seeds, "tasks": tasks, "models": models, "merges": merges, "metrics": metrics}
    return drawn


def planned(document: Mapping[str, Any]) -> Plan:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "random.yaml")
        path.write_text(yaml.dump(document, sort_keys=False, Dumper=WithoutAliases), "utf-8")
        return make_plan(load(path))


class WithoutAliases(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


def shuffled(value: Any, dice: random.Random) -> Any:
    """The same with the keys of every mapping in another order, but for the tasks of a mixture."""
    if isinstance(value, dict):
        keys = dice.sample(sorted(value), len(value))
        return {key: value[key] if key == "on" else shuffled(value[key], dice) for key in keys}
    return value


@given(specs())
@unhurried
def test_every_step_comes_once_and_after_its_inputs(drawn: Drawn) -> None:
    plan = planned(drawn.document)
    done: set[str] = set()
    for key, step in plan.steps.items():
        assert step.fingerprint == key
        assert step.needs() <= done
        done.add(key)
    made_of = Counter(
        (step.kind, step.seed, str(step.component), str(step.trainer), str(step.settings), str(step.inputs))
        for step in plan.steps.values()
    )
    assert max(made_of.values()) == 1
    assert set(plan.measurements) <= done


@given(specs(), st.integers(0, 2**32))
@unhurried
def test_the_order_of_keys_changes_nothing(drawn: Drawn, seed: int) -> None:
    plan = planned(drawn.document)
    other = planned(shuffled(drawn.document, random.Random(seed)))
    assert set(other.steps) == set(plan.steps)
    for key, found in plan.measurements.items():
        assert len(other.measurements[key]) == len(found)
        assert all(measurement in other.measurements[key] for measurement in found)


@given(specs())
@unhurried
def test_every_point_of_every_model_and_merge_is_measured_once(drawn: Drawn) -> None:
    plan = planned(drawn.document)
    found = [measurement for some in plan.measurements.values() for measurement in some]
    measured = Counter(measurement.model for measurement in found)
    times = len(drawn.document["seeds"]) * len(drawn.document["tasks"])
    assert measured == {name: times * drawn.points(name) for name in drawn.axes}
    rows = Counter((m.model, m.task, m.seed, m.training_step, str(sorted(m.parameters.items()))) for m in found)
    assert max(rows.values()) == 1
