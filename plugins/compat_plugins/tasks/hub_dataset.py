"""The task of a data set from the Hugging Face hub, or in its formats in a local folder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field, ValidationInfo, field_validator, model_validator

from compat_plugins.tasks.columns import Column, Columns, EmptyRecordError, RecordError, check_one_kind
from compat_plugins.tasks.grading import GRADED_BY, GradedBy, is_right
from compat_plugins.tasks.local_files import checksum
from compat_spec.components import Example, Task
from compat_spec.errors import UsageError

if TYPE_CHECKING:
    from datasets import Dataset


class HubDataset(Task):
    """A data set of the Hugging Face hub, read by the `datasets` library: pip install 'compat-spec[hub]'.

    Rows without content are left out, and so are training rows whose text is in another split. Code that comes with
    a data set is never run. Without a `revision` the hub may give other data tomorrow; results are shared between
    runs as if it did not.

    Example: {use: hub_dataset, path: microsoft/orca-math-word-problems-200k, train: "train[2000:]",
    test: "train[:2000]", prompt: "Question: {question}\\n", answer: "{answer}\\n"}
    """

    path: str = Field(
        min_length=1,
        description="The data set's name on the hub, `owner/name`; or a local folder of .parquet, .jsonl or .csv "
        "files, which starts with ./, ../, / or ~, relative to the folder of the spec.",
    )
    name: str | None = Field(default=None, description="Which configuration of the data set, where it has several.")
    revision: str | None = Field(default=None, description="The commit, tag or branch of the data set on the hub.")
    train: str = Field(
        default="train", min_length=1, description='The split to train on, or a part of it such as "train[:90%]".'
    )
    test: str = Field(default="test", min_length=1, description="The split to test on, likewise.")
    limit: int | None = Field(default=None, ge=1, description="The most rows to take of each split, from its start.")
    prompt: Column | None = Field(
        default=None,
        description='What comes before the answer: a column, or a template such as "Question: {question}\\n". The two '
        "are joined as they are.",
    )
    answer: Column | None = Field(default=None, description="The answer: a column, or a template.")
    expected: Column | None = Field(default=None, description="The final answer to grade by: a column, or a template.")
    text: Column | None = Field(
        default=None, description="Plain text instead of prompt and answer: a column, or a template."
    )
    graded_by: GradedBy = Field(default="exact", description=GRADED_BY)

    @field_validator("path")
    @classmethod
    def _find(cls, path: str, info: ValidationInfo) -> str:
        if not path.startswith((".", "/", "~")):
            return path
        folder = (Path((info.context or {}).get("folder", ".")) / Path(path).expanduser()).resolve()
        if not folder.is_dir():
            raise ValueError(f"there is no folder {folder}")
        return str(folder)

    @model_validator(mode="after")
    def _one_kind(self) -> HubDataset:
        check_one_kind(self.prompt, self.answer, self.expected, self.text)
        return self

    def identity(self) -> Mapping[str, Any]:
        folder = Path(self.path)
        if not folder.is_absolute():
            return {}
        files = sorted(file for file in folder.rglob("*") if file.is_file())
        return {"files": {file.relative_to(folder).as_posix(): checksum(file) for file in files}}

    def splits(self) -> Mapping[str, Sequence[Example]]:
        test = list(self._examples(self.test))
        tested = {example.text for example in test}
        train = [example for example in self._examples(self.train) if example.text not in tested]
        for split, wanted, examples in (("train", self.train, train), ("test", self.test, test)):
            if not examples:
                lost = ", besides those that are in the test split" if split == "train" and tested else ""
                raise UsageError(f"the data set {self.path} has no examples in {wanted!r}{lost}")
        return {"train": train, "test": test}

    def grade(self, generated: str, example: Example) -> bool:
        return is_right(generated, example, self.graded_by)

    def _examples(self, split: str) -> Iterator[Example]:
        columns = Columns(prompt=self.prompt, answer=self.answer, expected=self.expected, text=self.text)
        rows = self._load(split)
        for number in range(len(rows) if self.limit is None else min(self.limit, len(rows))):
            try:
                yield columns.example(rows[number])
            except EmptyRecordError:
                continue
            except RecordError as error:
                raise UsageError(f"the data set {self.path}, row {number} of {split!r}: {error}") from None

    def _load(self, split: str) -> Dataset:
        try:
            import datasets
        except ImportError:
            raise UsageError(
                "the task hub_dataset needs the library `datasets`: pip install 'compat-spec[hub]'"
            ) from None
        from compat_spec.nn.hub import is_out_of_reach, out_of_reach, quiet_hub

        try:
            with _quiet(), quiet_hub():
                return datasets.load_dataset(self.path, self.name, split=split, revision=self.revision)
        except Exception as error:  # the library, the network and the file formats raise many kinds
            if is_out_of_reach(error):
                raise UsageError(
                    f"the data set {self.path} cannot be loaded: {out_of_reach()}; where there is a network, "
                    f"`hf download --repo-type dataset {self.path}` fetches it, and the task text reads .jsonl files"
                ) from error
            reason = str(error).strip().partition("\n")[0].rstrip(".") or type(error).__name__
            raise UsageError(
                f"the data set {self.path} cannot be loaded: {reason}; check its path, name, revision and the split "
                f"{split!r}, and that this machine may go online"
            ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the library's own progress bars, which would run across those of the run."""
    from datasets.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    if are_progress_bars_disabled():
        yield
        return
    disable_progress_bars()
    try:
        yield
    finally:
        enable_progress_bars()
