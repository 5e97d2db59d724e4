"""Steps that prepare text: the examples of a task, a tokenizer, a task as tokens."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from itertools import combinations
from pathlib import Path
from typing import Any

from compat_spec.components import Example, ModelSource, Task, TaskName
from compat_spec.errors import CompatError
from compat_spec.nn.data import EncodedSplit, encode
from compat_spec.nn.network import load_tokenizer
from compat_spec.plan import Step
from compat_spec.run.calls import component_of
from compat_spec.run.workspace import Workspace

TRAIN_SPLIT = "train"


def make_examples(step: Step, _: Workspace, __: str, folder: Path) -> dict[str, Any]:
    """Write every split of a task as `SPLIT.jsonl`; refuse splits that share a text."""
    task = component_of(step.component, Task)
    splits = task.splits()
    _check_apart(step.use, splits)
    for split, examples in splits.items():
        with (folder / f"{split}.jsonl").open("w", encoding="utf-8") as file:
            file.writelines(json.dumps(asdict(example), ensure_ascii=False) + "\n" for example in examples)
    return {"examples": {split: len(examples) for split, examples in splits.items()}}


def read_examples(folder: Path, split: str) -> list[Example]:
    path = folder / f"{split}.jsonl"
    if not path.exists():
        there = ", ".join(sorted(found.stem for found in folder.glob("*.jsonl")))
        raise CompatError(f"the task has no split {split!r}; it has {there}")
    with path.open(encoding="utf-8") as file:
        return [Example(**json.loads(line)) for line in file]


def make_tokenizer(step: Step, workspace: Workspace, _: str, folder: Path) -> dict[str, Any]:
    """Make a model's tokenizer, training it on the tasks that its source names."""
    source = component_of(step.component, ModelSource)
    examples = {
        TaskName(role.removeprefix("task:")): read_examples(workspace.store.path(ref), TRAIN_SPLIT)
        for role, ref in step.inputs.items()
    }
    tokenizer = source.make_tokenizer(examples)
    tokenizer.save_pretrained(folder)
    return {"vocabulary": len(tokenizer)}


def encode_task(step: Step, workspace: Workspace, _: str, folder: Path) -> dict[str, Any]:
    """Write every split of a task as the tokens of one tokenizer."""
    tokenizer = load_tokenizer(workspace.store.path(step.inputs["tokenizer"]))
    examples = workspace.store.path(step.inputs["task"])
    counts = Counter[str]()
    for path in sorted(examples.glob("*.jsonl")):
        encoded = encode(read_examples(examples, path.stem), tokenizer, step.settings["score"])
        encoded.save(folder / f"{path.stem}.safetensors")
        counts[path.stem] = len(encoded.ids)
    return {"tokens": dict(counts)}


def read_tokens(folder: Path, split: str) -> EncodedSplit:
    path = folder / f"{split}.safetensors"
    if not path.exists():
        there = ", ".join(sorted(found.stem for found in folder.glob("*.safetensors")))
        raise CompatError(f"the task has no split {split!r}; it has {there}")
    return EncodedSplit.load(path)


def _check_apart(use: str, splits: dict[str, Sequence[Example]] | Any) -> None:
    for split in (TRAIN_SPLIT, "test"):
        if not splits.get(split):
            raise CompatError(f"the task {use} gives no examples for its split {split!r}")
    texts = {split: {example.text for example in examples} for split, examples in splits.items()}
    for a, b in combinations(texts, 2):
        shared = texts[a] & texts[b]
        if shared:
            sample = min(shared)[:80]
            raise CompatError(
                f"the task {use} has {len(shared)} examples in both {a!r} and {b!r}, such as {sample!r}; "
                "scores on them would say nothing"
            )
