"""A first spec for someone's own models: every usual way to combine them, with comments that say what each is."""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from compat_spec.errors import UsageError
from compat_spec.spec.problems import Problem, SpecError
from compat_spec.spec.reading import load
from compat_spec.spec.writing import on_one_line

HUB = "hub:"

COLUMNS = (
    ("prompt", "answer"),
    ("question", "answer"),
    ("problem", "solution"),
    ("instruction", "output"),
    ("instruction", "response"),
    ("input", "output"),
    ("prompt", "completion"),
    ("prompt", "response"),
)
"""What the fields of examples with a prompt and an answer are usually called, in the order of preference."""


@dataclass(frozen=True)
class Starter:
    """What a first spec is about.

    Attributes:
        models: the models to combine, by name: a folder, or `hub:ID`.
        base: what they were fine-tuned from, likewise, or None.
        tasks: files of examples by name; the first is what the combination should be good at.
    """

    name: str
    models: Mapping[str, str]
    base: str | None
    tasks: Mapping[str, str]


@dataclass(frozen=True)
class Written:
    """A first spec, and which merges stand in it as comments, with the reason."""

    text: str
    left_out: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Merge:
    name: str
    declaration: Mapping[str, Any]
    about: str = ""


def write_starter(starter: Starter, path: Path) -> Written:
    """The text of a spec that is to stand at `path`; relative folders and files start at the working folder.

    Raises:
        UsageError: a model or a file is not what it should be. Merges that do not go with the models are comments.
    """
    with _beside(path) as draft:
        merges = _merges(starter)
        _check(starter, draft, [])
        left_out = {merge.name: why for merge in merges if (why := _misfit(starter, draft, merge)) is not None}
        text = _text(starter, draft.parent, merges, left_out, file=path.name)
        draft.write_text(text, "utf-8")
        load(draft)
    return Written(text, left_out)


def _merges(starter: Starter) -> list[_Merge]:
    models, target = list(starter.models), next(iter(starter.tasks))
    on_base: dict[str, Any] = {} if starter.base is None else {"base": "base"}
    trunk: dict[str, Any] = {} if starter.base is None else {"trunk": "base"}
    found = [_Merge("average", {"use": "linear", "models": models}, PARAMETERS)]
    if on_base:
        strengths = {"sweep": [0.3, 0.5, 0.7, 1.0]}
        found += [
            _Merge("task_vectors", {"use": "task_arithmetic", "models": models, **on_base, "lambda": strengths}),
            _Merge("ties", {"use": "ties", "models": models, **on_base, "density": 0.5, "lambda": strengths}),
        ]
    weights: dict[str, Any] = {"alpha": {"sweep": {"from": 0, "to": 1, "num": 5}}} if len(models) == 2 else {}
    found += [
        _Merge("blend", {"use": "activation_interpolation", "models": models, **trunk, **weights}, FEATURES),
        _Merge("ensemble", {"use": "logit_average", "models": models}, PREDICTIONS),
    ]
    experts = models if starter.base is None else [*models, "base"]
    training = {"on": target, "steps": 200, "batch_size": 8, "lr": 1e-3}
    found.append(_Merge("router", {"use": "routing", "models": experts, **trunk, "train": training}, ROUTERS))
    return found


PARAMETERS = "In parameter space: one model, as large as one of them. `compat help merging` has more methods."
FEATURES = "The outputs of the models' MLPs are added up in every block, with constant weights."
PREDICTIONS = "The average of what the models predict."
ROUTERS = "A router in every block says for each token how much each model counts; it is all that is trained."

HEAD = """\
# {what}, on {target}.
#
#   compat validate {file}     checks this file, and runs nothing
#   compat plan {file}         shows the steps, and how much work they are
#   compat run {file}          runs it; compat report shows what it found
#
# compat help spec is the whole language; compat plugins list has every task, merge and metric.
version: 1
name: {name}
seeds: [0] # what is trained starts at random: [0, 1, 2] tells how much that matters
"""


def _text(
    starter: Starter, folder: Path, merges: Sequence[_Merge], left_out: Mapping[str, str], file: str = "SPEC"
) -> str:
    """The spec. `folder` is where it is to stand, from which its paths start."""
    models, tasks = list(starter.models), list(starter.tasks)
    base = "" if starter.base is None else f" and their base, {starter.base}"
    what = f"Ways to combine {', '.join(models[:-1])} and {models[-1]}{base}"
    lines = [HEAD.format(what=what, target=tasks[0], file=file, name=on_one_line(starter.name))]
    lines += [
        "tasks:",
        f"  # {tasks[0]} is what the combination should be good at. A quarter of it is kept to test on.",
    ]
    lines += [_entry(name, _task(given, folder)) for name, given in starter.tasks.items()]
    lines += ["", "models:"]
    given_base = {} if starter.base is None else {"base": starter.base}
    lines += [_entry(name, _model(given, folder)) for name, given in {**given_base, **starter.models}.items()]
    lines += ["", "merges:"]
    for merge in merges:
        if merge.about:
            lines.append(f"  # {merge.about}")
        if merge.name in left_out:
            lines += [f"  # left out: {left_out[merge.name]}", "  # " + _entry(merge.name, merge.declaration).strip()]
        else:
            lines.append(_entry(merge.name, merge.declaration))
    lines += ["", "metrics:"]
    lines += [_entry(name, {"use": use, "on": tasks}) for name, use in METRICS.items()]
    lines += ["  # How alike what two models have inside is, layer by layer: 1 is the same but for rotation and size."]
    lines += [_entry("cka", {"use": "cka", "between": models[:2], "on": tasks[0]})]
    return "\n".join(lines) + "\n"


METRICS = {"loss": "cross_entropy", "accuracy": "token_accuracy"}


def _entry(name: str, declaration: Mapping[str, Any]) -> str:
    """`  name: {use: …}` on one line."""
    return f"  {on_one_line(name)}: {on_one_line(declaration)}"


def _model(given: str, folder: Path) -> dict[str, Any]:
    if given.startswith(HUB):
        return {"use": "causal_lm", "hub": given.removeprefix(HUB)}
    return {"use": "causal_lm", "path": _from(folder, given)}


def _task(given: str, folder: Path) -> dict[str, Any]:
    task: dict[str, Any] = {"use": "text", "train": _from(folder, given), "test_fraction": 0.25}
    fields = _fields(Path(given))
    if "text" not in fields:
        task["score"] = "answer"
        if fields != ("prompt", "answer"):
            task["fields"] = {"prompt": f"{{{fields[0]}}}\n", "answer": fields[1]}
    return task


def _fields(path: Path) -> tuple[str, ...]:
    """Which fields of a file of examples to use: `text`, or that of the prompt and that of the answer."""
    if path.suffix != ".jsonl":
        return ("text",)
    try:
        with path.open(encoding="utf-8") as lines:
            record = json.loads(next(line for line in lines if line.strip()))
    except (OSError, ValueError, StopIteration) as error:
        raise UsageError(f"{path} is not a file with an example in JSON on each line: {error}") from None
    keys = list(record) if isinstance(record, dict) else []
    for pair in COLUMNS:
        if set(pair) <= set(keys):
            return pair
    if "text" in keys:
        return ("text",)
    usual = "`text`, or `prompt` and `answer`"
    raise UsageError(f"{path} has the fields {', '.join(keys) or 'of no mapping'}; an example has {usual}")


def _from(folder: Path, given: str) -> str:
    """A path as the spec says it: from the spec's folder, unless it is absolute or begins elsewhere."""
    path = Path(given).expanduser()
    return str(path) if path.is_absolute() else os.path.relpath(path.absolute(), folder.absolute())


# ------------------------------------------------------------------------------------------------------- checking


@contextmanager
def _beside(path: Path) -> Iterator[Path]:
    """A hidden file in the folder of a spec that is not there yet, for a spec that is only checked."""
    handle, name = tempfile.mkstemp(prefix=".starter-", suffix=".yaml", dir=path.absolute().parent)
    os.close(handle)
    try:
        yield Path(name)
    finally:
        Path(name).unlink(missing_ok=True)


def _check(starter: Starter, draft: Path, merges: Sequence[_Merge]) -> None:
    """Raise a UsageError that says what is wrong with what the user gave, by its name."""
    try:
        _load(starter, draft, merges)
    except SpecError as error:
        raise UsageError("\n".join(_words(starter, problem) for problem in error.problems)) from None


def _misfit(starter: Starter, draft: Path, merge: _Merge) -> str | None:
    """Why a merge does not go with the models; None when it does."""
    try:
        _load(starter, draft, [merge])
    except SpecError as error:
        return "; ".join(problem.what for problem in error.problems)
    return None


def _load(starter: Starter, draft: Path, merges: Sequence[_Merge]) -> None:
    draft.write_text(_text(starter, draft.parent, merges, {}), "utf-8")
    load(draft)


def _words(starter: Starter, problem: Problem) -> str:
    section, _, rest = problem.where.partition(".")
    name = re.split(r"[.\[]", rest)[0]
    given = {"models": {"base": starter.base, **starter.models}, "tasks": starter.tasks}.get(section, {})
    advice = f"; {problem.advice}" if problem.advice else ""
    return f"{given.get(name) or problem.where}: {problem.what}{advice}"


TAKEN = frozenset({"all", "base", "average", "task_vectors", "ties", "blend", "ensemble", "router"})
"""Names that mean something else in the spec."""


def name_of(given: str, taken: Collection[str] = ()) -> str:
    """A name for a model or a file, as a spec can call it: the last part of where it is, unless that is taken."""
    last = given.removeprefix(HUB).rstrip("/").rpartition("/")[2]
    stem = last.removesuffix(".jsonl").removesuffix(".txt")
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", stem).strip("-") or "model"
    name = name if re.match(r"[A-Za-z_]", name) else f"m{name}"
    while name in TAKEN or name in taken:
        name += "_"
    return name
