"""Every component that ships with compat keeps its contract, as the kit checks it for the components of others."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from compat_spec import registry
from compat_spec.components import Component
from compat_spec.testing import Check, Subject, checks_of
from compat_spec.testing.checks import NotChecked
from compat_spec.testing.imports import import_together

OURS = ("compat-spec", "compat-ray")

SIZES: dict[str, Mapping[str, Any]] = {
    "word_problems": {"train": 60, "test": 20},
    "program_problems": {"train": 60, "test": 20},
    "finetune": {"on": {"task": 1}, "steps": 6, "save_at": [0, 2], "batch_size": 2, "context": 16},
    "answer_accuracy": {"examples": 4, "max_new_tokens": 6},
    "stitching": {"steps": 2},
    "causal_lm": {
        "config": {"model_type": "gpt2", "n_layer": 2, "n_embd": 16, "n_head": 2, "n_positions": 32},
        "tokenizer": {"train_on": ["task"], "vocab_size": 260},
    },
}
"""Parameters that are small, or cannot be made up."""

AT_WORK: dict[str, Mapping[str, Any]] = {
    "linear": {"weight": [2, 1]},
    "breadcrumbs": {"density": 0.6},
    "breadcrumbs_ties": {"density": 0.6},
    "dare_linear": {"density": 0.5},
    "dare_ties": {"density": 0.5},
    "della": {"density": 0.5},
    "della_linear": {"density": 0.5},
    "sce": {"select_topk": 0.5},
    "ties": {"density": 0.4},
    "activation_interpolation": {"alpha": 0.25},
    "model_stock": {"filter_wise": True},
    "routing": {"span": 2, "top_k": 1},
}
"""Further parameters of methods whose defaults leave out what is interesting."""

LONGER_ELSEWHERE = {"ray": "a cluster takes seconds to start: the tests of compat-ray have one"}
FILES = ("text", "hub_dataset", "tensors")
"""Components that need files, which `files` writes."""


def plugins() -> Iterator[registry.Plugin]:
    for namespace in registry.CONTRACTS:
        yield from (plugin for plugin in registry.plugins(namespace) if plugin.distribution in OURS)


def cases() -> Iterator[Any]:
    for plugin in plugins():
        assert plugin.component is not None, plugin.error
        checks = checks_of(plugin.component)
        subject = Subject(plugin.component, SIZES.get(plugin.name, {}))
        for check in checks:
            yield pytest.param(plugin.name, subject, check, id=f"{plugin.name}-{check.name}")
        if plugin.name in AT_WORK:
            subject = Subject(plugin.component, AT_WORK[plugin.name])
            for check in checks:
                if check.of is not Component:
                    yield pytest.param(plugin.name, subject, check, id=f"{plugin.name} at work-{check.name}")


@pytest.fixture(scope="module", autouse=True)
def _imported_together() -> None:
    """A process for each module would take half a minute."""
    import_together({plugin.component.__module__ for plugin in plugins() if plugin.component is not None})


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Mapping[str, Any]]:
    """Parameters that name files, which are there."""
    import torch
    from safetensors.torch import save_file

    folder = tmp_path_factory.mktemp("files")
    for split, numbers in (("train", range(12)), ("test", range(12, 16))):
        rows = [json.dumps({"prompt": f"{n} + {n} = ", "answer": str(2 * n)}) for n in numbers]
        (folder / f"{split}.jsonl").write_text("\n".join(rows), "utf-8")
    save_file({"weight": torch.ones(2, 3)}, folder / "model.safetensors")
    return {
        "text": {"train": str(folder / "train.jsonl"), "test": str(folder / "test.jsonl")},
        "hub_dataset": {"path": str(folder), "prompt": "{prompt}", "answer": "answer"},
        "tensors": {"path": str(folder / "model.safetensors")},
    }


_WITH_FILES: dict[str, Subject] = {}


@pytest.mark.parametrize(("name", "subject", "check"), list(cases()))
def test_ours_keep_their_contracts(
    name: str,
    subject: Subject,
    check: Check,
    files: Mapping[str, Mapping[str, Any]],
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if name in LONGER_ELSEWHERE and check.of is not Component:
        pytest.skip(LONGER_ELSEWHERE[name])
    if name == "hub_dataset":
        monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", _cache(tmp_path_factory))
    if name in FILES:
        subject = _WITH_FILES.setdefault(name, Subject(subject.component, files[name]))
    try:
        check.run(subject)
    except NotChecked as reason:
        pytest.skip(str(reason))


def _cache(factory: pytest.TempPathFactory) -> Path:
    return factory.getbasetemp() / "datasets"


def test_none_is_left_out() -> None:
    """All that is registered is checked: a component that is no longer there would be missed in silence."""
    names = {plugin.name for plugin in plugins()}
    assert (set(SIZES) | set(AT_WORK) | set(FILES)) <= names
    assert len(names) > 50
