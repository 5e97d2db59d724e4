"""The task of general text: the documentation that comes with Python."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import Field

from compat_plugins.tasks.hash_split import position, split_of
from compat_plugins.tasks.standard_library import library_folder, library_identity, source_files
from compat_spec.components import Example, Task
from compat_spec.errors import CompatError

SHORTEST = 60


class PythonDocs(Task):
    """General text: the docstrings of the installed standard library and the help topics of pydoc.

    Long texts are cut between lines into chunks. A hash decides whether a file, or a topic, is to train or to test
    on. Modules are parsed, never imported.

    Example: {use: python_docs}
    """

    longest: int = Field(default=2_500, ge=100, description="The most characters of one example.")
    seed: int = Field(default=0, description="The seed of the order of examples.")

    def identity(self) -> Mapping[str, Any]:
        return library_identity()

    def splits(self) -> Mapping[str, Sequence[Example]]:
        texts: dict[str, list[str]] = {"train": [], "test": []}
        seen: set[str] = set()
        # what the test has is seen first, and the training does without it
        for origin, documents in sorted(_documents(), key=lambda document: position(document[0])):
            chunks = [chunk for text in documents for chunk in _chunks(text, self.longest) if len(chunk) >= SHORTEST]
            texts[split_of(origin)] += [chunk for chunk in dict.fromkeys(chunks) if chunk not in seen]
            seen.update(chunks)
        rng = random.Random(self.seed)
        splits = {}
        for split, chunks in texts.items():
            if not chunks:
                raise CompatError(
                    f"no docstrings for the split {split!r} in the standard library of {library_folder()}: this Python "
                    "has too few source files"
                )
            rng.shuffle(chunks)
            splits[split] = [Example(prompt="", answer=chunk) for chunk in chunks]
        return splits


def _documents() -> Iterator[tuple[str, Sequence[str]]]:
    """Where texts come from, and the texts: each file with its docstrings, each topic."""
    for file in source_files():
        yield file.path, file.docstrings
    try:
        from pydoc_data.topics import topics
    except ImportError:  # slim installations do without
        return
    for name, text in topics.items():
        yield f"topic {name}", [text]


def _chunks(text: str, longest: int) -> Iterator[str]:
    """A text in pieces of at most `longest` characters, cut between lines; a longer line is cut itself."""
    chunk = ""
    for line in (text.strip() + "\n").splitlines(keepends=True):
        pieces = [line[start : start + longest] for start in range(0, len(line), longest)]
        for piece in pieces:
            if len(chunk) + len(piece) > longest:
                yield chunk
                chunk = ""
            chunk += piece
    yield chunk
