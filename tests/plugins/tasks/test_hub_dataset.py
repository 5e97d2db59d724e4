"""Data sets by the real `datasets` library, from folders of this machine."""

import json
import sys
from pathlib import Path
from typing import Any

import datasets
import pytest
from pydantic import ValidationError

from compat_plugins.tasks.hub_dataset import HubDataset
from compat_spec.components import Example
from compat_spec.errors import UsageError


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data set of 20 rows to train and 6 rows to test on, two of which are the same."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    data = tmp_path / "data"
    data.mkdir()
    for split, numbers in (("train", range(20)), ("test", range(18, 24))):
        rows = ({"q": f"{i} + {i}?", "a": str(2 * i), "n": i, "l": [i], "e": None if i == 3 else "x"} for i in numbers)
        (data / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return data


def task(folder: Path, **params: Any) -> HubDataset:
    return HubDataset(path=str(folder), **params)


def test_rows_become_examples_and_those_of_the_test_are_not_trained_on(folder: Path) -> None:
    splits = task(folder, prompt="Question: {q}\n", answer="a", expected="n").splits()
    assert splits["train"] == [Example(f"Question: {i} + {i}?\n", str(2 * i), str(i)) for i in range(18)]
    assert splits["test"] == [Example(f"Question: {i} + {i}?\n", str(2 * i), str(i)) for i in range(18, 24)]


def test_parts_of_splits_and_a_limit(folder: Path) -> None:
    splits = task(folder, text="q", train="train[:50%]", test="train[50%:]", limit=3).splits()
    assert [e.answer for e in splits["train"]] == ["0 + 0?", "1 + 1?", "2 + 2?"]
    assert [e.answer for e in splits["test"]] == ["10 + 10?", "11 + 11?", "12 + 12?"]


def test_rows_without_content_are_left_out(folder: Path) -> None:
    splits = task(folder, prompt="q", answer="{a}{e}").splits()
    assert len(splits["train"]) == 17
    assert all("3 + 3" not in example.prompt for example in splits["train"])


def test_parquet_is_read_too(folder: Path) -> None:
    for split in ("train", "test"):
        source = folder / f"{split}.jsonl"
        rows = [json.loads(line) for line in source.read_text().splitlines()]
        datasets.Dataset.from_list(rows).to_parquet(folder / f"{split}.parquet")
        source.unlink()
    assert task(folder, text="q").splits()["test"][0] == Example("", "18 + 18?")


def test_a_folder_is_found_from_the_spec_and_its_files_are_its_identity(folder: Path) -> None:
    found = HubDataset.model_validate({"path": "./data", "text": "q"}, context={"folder": folder.parent})
    assert found == task(folder, text="q")
    before = found.identity()
    assert set(before["files"]) == {"train.jsonl", "test.jsonl"}
    (folder / "test.jsonl").write_text('{"q": "other"}\n')
    assert found.identity() != before
    assert HubDataset(path="someone/something", text="q").identity() == {}


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"text": "nope"}, r"row 0 of 'test': no field 'nope'; there are q, a, n, l, e"),
        ({"text": "l"}, r"row 0 of 'test': the field 'l' is a list, not text"),
        ({"text": "q", "test": "validation"}, "validation"),
        ({"text": "q", "test": "test[oops]"}, "cannot be loaded"),
        ({"text": "q", "name": "other"}, "'other' not found"),
        ({"text": "q", "test": "train"}, "no examples in 'train', besides those that are in the test split"),
    ],
)
def test_what_the_data_set_does_not_have(folder: Path, params: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        task(folder, **params).splits()


def test_a_data_set_that_cannot_be_reached_is_a_clear_error(folder: Path) -> None:
    with pytest.raises(UsageError, match=r"no-one/nothing cannot be loaded: HF_HUB_OFFLINE is set.*hf download"):
        HubDataset(path="no-one/nothing", text="q").splits()


def test_code_of_a_data_set_is_never_run(folder: Path) -> None:
    (folder / "data.py").write_text(f"open({str(folder.parent / 'ran')!r}, 'w')\n")
    with pytest.raises(UsageError, match=r"found data\.py"):
        task(folder, text="q").splits()
    assert not (folder.parent / "ran").exists()


def test_without_the_library_it_says_what_to_install(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(UsageError, match=r"pip install 'compat-spec\[hub\]'"):
        task(folder, text="q").splits()


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"path": "./nowhere", "text": "q"}, "there is no folder"),
        ({"path": "a/b"}, "either `answer`"),
        ({"path": "a/b", "text": "q", "expected": "n"}, "`text` is a whole example"),
        ({"path": "a/b", "text": "{q:>9}"}, "is no template"),
        ({"path": "a/b", "text": "q", "limit": 0}, "greater than or equal to 1"),
        ({"path": "a/b", "text": "q", "trust_remote_code": True}, "Extra inputs"),
    ],
)
def test_parameters_that_cannot_be_meant(params: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        HubDataset(**params)


def test_answers_are_graded_as_asked() -> None:
    example = Example("q", "#### 18")
    assert HubDataset(path="a/b", text="q", graded_by="number").grade("it is 18", example)
    assert not HubDataset(path="a/b", text="q").grade("it is 18", example)
