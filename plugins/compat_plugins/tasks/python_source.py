"""The task of Python code: functions of the installed standard library, and generated ones."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import Field, field_validator

from compat_plugins.tasks.generated_functions import generate
from compat_plugins.tasks.hash_split import fill, split_of, training_position
from compat_plugins.tasks.standard_library import library_folder, library_identity, source_files
from compat_spec.components import Example, Task
from compat_spec.errors import CompatError

SHORTEST, LONGEST = 80, 900


class PythonSource(Task):
    """Python code: functions of the installed standard library, mixed with short generated functions.

    The library's functions and methods of 80 to 900 characters, without their docstrings. A hash of a file's path
    decides whether its functions are to train or to test on, the same for every `portion`; a function that several
    files have counts for one of them. The generated functions assign, combine and return numbers, as those of
    tinycodes do.

    Example: {use: python_source, portion: [0.25, 1]}
    """

    generated: float = Field(
        default=0.375, ge=0, le=0.95, description="The share of examples that are generated functions."
    )
    portion: tuple[float, float] = Field(
        default=(0.0, 1.0),
        description="Which part of the training files to take, in the order of a hash of their paths: [0, 0.25] is the "
        "first quarter. Tasks whose portions do not overlap have no training example in common; all share the test.",
    )
    seed: int = Field(default=0, description="The seed of the generated functions and of the order of examples.")

    @field_validator("portion")
    @classmethod
    def _is_range(cls, portion: tuple[float, float]) -> tuple[float, float]:
        start, end = portion
        if not 0 <= start < end <= 1:
            raise ValueError(f"[{start:g}, {end:g}] is no part of the files: give two rising numbers from 0 to 1")
        return portion

    def identity(self) -> Mapping[str, Any]:
        return library_identity()

    def splits(self) -> Mapping[str, Sequence[Example]]:
        texts = self._library_functions()
        for split, functions in texts.items():
            if not functions:
                raise CompatError(
                    f"no functions for the split {split!r} in the standard library of {library_folder()}: this Python "
                    f"has too few source files, or the portion {list(self.portion)} is too narrow"
                )
        rng = random.Random(self.seed)
        ratio = self.generated / (1 - self.generated)
        generated = fill(
            {split: round(ratio * len(functions)) for split, functions in texts.items()},
            draw=lambda: generate(rng),
            key=str,
            split=self._split,
        )
        splits = {}
        for split, functions in texts.items():
            functions += generated[split]
            rng.shuffle(functions)
            splits[split] = [Example(prompt="", answer=text) for text in functions]
        return splits

    def _library_functions(self) -> dict[str, list[str]]:
        texts: dict[str, list[str]] = {"train": [], "test": []}
        seen: set[str] = set()
        for file in source_files():
            functions = [text + "\n" for text in file.functions if SHORTEST <= len(text) <= LONGEST and text.isascii()]
            split = self._split(file.path)
            if split is not None:
                texts[split] += [text for text in functions if text not in seen]
            seen.update(functions)
        return texts

    def _split(self, text: str) -> str | None:
        """The split of a file by its path, or of a generated function by its text; None outside the portion."""
        split = split_of(text)
        start, end = self.portion
        return split if split == "test" or start <= training_position(text) < end else None
