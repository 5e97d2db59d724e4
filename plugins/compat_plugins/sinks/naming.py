"""What the points and quantities of an experiment are called in other tools, and what those need to have of them."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Any

import yaml

from compat_spec.components import MeasuredScore, MeasuredSimilarity, StartedRun
from compat_spec.errors import CompatError


def require(module: str, extra: str) -> None:
    """Raises `CompatError` when a library is not installed. Nothing is imported."""
    found = find_spec(module)
    if found is None or found.loader is None:  # a folder of this name, which a tool may have made, is no library
        raise CompatError(f"the sink {extra} needs the library `{module}`: pip install 'compat-spec[{extra}]'")


def point_name(row: MeasuredScore) -> str:
    """A merge at one point of its sweeps, for one seed: `blend alpha=0.5 seed=0`."""
    swept = {key: row.parameters[key] for key in sorted(row.parameters)} | {"seed": row.seed}
    return " ".join([row.merge, *(f"{key}={short(value)}" for key, value in swept.items())])


def score_name(row: MeasuredScore) -> str:
    """`loss/program`; of blocks and experts `load/program/block 2/expert 0`."""
    parts = [quantity_name(row), row.task]
    if row.split != "test":
        parts.append(row.split)
    if row.block is not None:
        other = "" if row.other_block is None else f" and {row.other_block}"
        parts.append(f"block {row.block}{other}")
    if row.expert is not None:
        parts.append(f"expert {row.expert}")
    if row.token_class is not None:
        parts.append(row.token_class)
    return "/".join(parts)


def pair_name(row: MeasuredSimilarity) -> str:
    """`cka/program/math and code`: what is compared, without seed and layers, at one point of what was swept.

    Without the training step, unless the two stand at different ones: `math@25 and code@50`.
    """
    both = row.step_a is not None and row.step_b is not None and row.step_a != row.step_b
    a, b = (f"{row.a}@{row.step_a}", f"{row.b}@{row.step_b}") if both else (row.a, row.b)
    swept = "".join(f" {key}={short(row.parameters[key])}" for key in sorted(row.parameters))
    return f"{quantity_name(row)}/{row.task}/{a} and {b}{swept}"


def pair_step(row: MeasuredSimilarity) -> int | None:
    """The training step of both models, or of the one that has steps: a base has none."""
    return row.step_b if row.step_a is None else row.step_a if row.step_b is None else row.step


def quantity_name(row: MeasuredScore | MeasuredSimilarity) -> str:
    """The quantity, with the metric's name in the spec where that is another word."""
    return row.quantity if row.metric == row.quantity else f"{row.metric} {row.quantity}"


def same_layers_mean(rows: Sequence[MeasuredSimilarity]) -> float:
    """One number for a matrix of layers by layers: the mean over layers of the same depth; NaN without any."""
    values = [row.value for row in rows if row.layer_a == row.layer_b]
    return sum(values) / len(values) if values else math.nan


def by_pair(rows: Sequence[MeasuredSimilarity]) -> dict[tuple[str, int | None, int], list[MeasuredSimilarity]]:
    """The rows of each matrix, by `pair_name`, training step and seed."""
    found: dict[tuple[str, int | None, int], list[MeasuredSimilarity]] = {}
    for row in rows:
        found.setdefault((pair_name(row), pair_step(row), row.seed), []).append(row)
    return found


def flat(row: MeasuredScore | MeasuredSimilarity, parameters: Sequence[str]) -> dict[str, Any]:
    """A row for a table: each swept parameter of the run is a column, None where it does not apply."""
    columns = {field: getattr(row, field) for field in row.__dataclass_fields__ if field != "parameters"}
    return columns | {name: plain(row.parameters.get(name)) for name in parameters}


def short(value: Any) -> str:
    """A value of a parameter, in few characters that are allowed in the name of a file."""
    text = f"{value:g}" if isinstance(value, float) else value if isinstance(value, str) else json.dumps(value)
    return text.replace("/", "_").replace('"', "").replace(" ", "")


def plain(value: Any) -> Any:
    """A value that is a number, text, truth value or None: of others their JSON."""
    return json.dumps(value) if isinstance(value, Mapping | list | tuple) else value


class _Yaml12(yaml.SafeLoader):
    """Reads `on` and dates as the words that they are in a spec."""


_Yaml12.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith((":bool", ":timestamp"))]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Yaml12.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile("true|false"), list("tf"))


def spec_as_data(run: StartedRun) -> Any:
    """The spec as mappings and lists; its text where that cannot be."""
    try:
        return yaml.load(run.spec, _Yaml12)
    except (yaml.YAMLError, ValueError):
        return run.spec
