"""The task of the user's own text files."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationInfo, field_validator, model_validator

from compat_plugins.tasks.columns import Columns, RecordError
from compat_plugins.tasks.grading import GRADED_BY, GradedBy, is_right
from compat_plugins.tasks.hash_split import split_of
from compat_plugins.tasks.local_files import checksum, find_files, read_text
from compat_spec.components import Example, Task
from compat_spec.errors import UsageError


@dataclass(frozen=True)
class _Found:
    """An example and where it stands: `FILE:LINE`."""

    place: str
    example: Example


class TextFiles(Task):
    """The user's own text: .txt files cut into documents, and .jsonl files with one example per line.

    Give files for both splits, or only `train` and a `test_fraction`; then a hash of each example's prompt, or of its
    text where it has none, decides which split it belongs to. Relative paths start at the folder of the spec.

    Example: {use: text, train: data/train-*.jsonl, test: data/test.jsonl, fields: {prompt: "{question}\\n", answer: a}}
    """

    train: str | tuple[str, ...] = Field(
        description="The files to train on: a path, with `*` for several, or a list of paths."
    )
    test: str | tuple[str, ...] | None = Field(default=None, description="The files to test on, likewise.")
    test_fraction: float | None = Field(
        default=None, gt=0, lt=1, description="Instead of `test`: about which share of the examples to test on."
    )
    separator: str | None = Field(
        default="\n\n",
        min_length=1,
        description="What stands between the documents of a .txt file; null takes each file as one document.",
    )
    fields: Columns | None = Field(
        default=None,
        description="Which fields of a .jsonl line to use; by default `text`, or else `answer` with `prompt` and "
        "`expected` where it has them.",
    )
    graded_by: GradedBy = Field(default="exact", description=GRADED_BY)

    @field_validator("train", "test")
    @classmethod
    def _find(cls, paths: str | tuple[str, ...] | None, info: ValidationInfo) -> tuple[str, ...] | None:
        if paths is None:
            return None
        folder = Path((info.context or {}).get("folder", "."))
        patterns = [paths] if isinstance(paths, str) else paths
        # absolute, and without patterns, so that the step that reads them finds the same files wherever it runs
        files = dict.fromkeys(file for pattern in patterns for file in find_files(pattern, folder))
        if not files:
            raise ValueError("the list of files is empty")
        for file in files:
            if file.suffix not in (".txt", ".jsonl"):
                raise ValueError(f"{file} is neither a .txt nor a .jsonl file")
        return tuple(str(file) for file in files)

    @model_validator(mode="after")
    def _one_way_to_test(self) -> TextFiles:
        if (self.test is None) == (self.test_fraction is None):
            raise ValueError("say what to test on: either files, `test`, or a share, `test_fraction`")
        return self

    def identity(self) -> Mapping[str, Any]:
        return {split: [checksum(Path(path)) for path in paths] for split, paths in self._files().items()}

    def splits(self) -> Mapping[str, Sequence[Example]]:
        found = {
            split: [entry for path in paths for entry in self._read(path)] for split, paths in self._files().items()
        }
        if self.test_fraction is not None:
            found = _divide(found["train"], self.test_fraction)
        for split, entries in found.items():
            if not entries:
                raise UsageError(f"no examples for the split {split!r} in {self._where(split)}")
        _check_apart(found)
        return {split: [entry.example for entry in entries] for split, entries in found.items()}

    def grade(self, generated: str, example: Example) -> bool:
        return is_right(generated, example, self.graded_by)

    def _files(self) -> dict[str, tuple[str, ...]]:
        named = {"train": self.train, "test": self.test}
        return {split: (paths,) if isinstance(paths, str) else paths for split, paths in named.items() if paths}

    def _where(self, split: str) -> str:
        files = self._files()
        share = "" if split in files else f", with a `test_fraction` of {self.test_fraction}"
        return ", ".join(files.get(split, files["train"])) + share

    def _read(self, path: str) -> Iterator[_Found]:
        text = read_text(Path(path))
        if path.endswith(".txt"):
            return _documents(path, text, self.separator)
        return _lines(path, text, self.fields)


def _documents(path: str, text: str, separator: str | None) -> Iterator[_Found]:
    """The documents of a .txt file, without blank space around them."""
    line = 1
    for document in [text] if separator is None else text.split(separator):
        content = document.lstrip()
        if content:
            start = line + document[: len(document) - len(content)].count("\n")
            yield _Found(f"{path}:{start}", Example(prompt="", answer=content.rstrip() + "\n"))
        line += document.count("\n") + (separator or "").count("\n")


def _lines(path: str, text: str, columns: Columns | None) -> Iterator[_Found]:
    """The examples of a .jsonl file."""
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        place = f"{path}:{number}"
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            raise UsageError(f"{place}:{error.colno}: not JSON: {error.msg}") from None
        except (ValueError, RecursionError) as error:
            raise UsageError(f"{place}: not JSON that can be read: {error}") from None
        if not isinstance(record, dict):
            raise UsageError(f"{place}: a line must be a JSON object with fields, not a {type(record).__name__}")
        try:
            example = (columns or _usual_columns(record)).example(record)
            example.text.encode()
        except RecordError as error:
            raise UsageError(f"{place}: {error}") from None
        except UnicodeEncodeError:
            raise UsageError(f"{place}: the text has half of a surrogate pair") from None
        yield _Found(place, example)


def _usual_columns(record: Mapping[str, Any]) -> Columns:
    if "text" in record:
        return Columns(text="text")
    if "answer" in record:
        return Columns(**{name: name for name in ("prompt", "answer", "expected") if name in record})
    there = ", ".join(record) or "none"
    raise RecordError(f"neither a field 'text' nor 'answer'; there are {there}: say which to use by `fields:`")


def _divide(entries: Sequence[_Found], test_fraction: float) -> dict[str, list[_Found]]:
    splits: dict[str, list[_Found]] = {"train": [], "test": []}
    for entry in entries:
        # by the prompt, so that one question with two answers stays on one side
        splits[split_of(entry.example.prompt or entry.example.text, test_fraction)].append(entry)
    return splits


def _check_apart(splits: Mapping[str, Sequence[_Found]]) -> None:
    trained = {entry.example.text: entry.place for entry in splits["train"]}
    both = [(trained[entry.example.text], entry.place) for entry in splits["test"] if entry.example.text in trained]
    if both:
        train, test = both[0]
        more = f", and {len(both) - 1} more" if len(both) > 1 else ""
        raise UsageError(f"{test}: this example is to test on, but {train} is the same to train on{more}")
