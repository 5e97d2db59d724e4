"""The vocabulary of a merge of models with different tokenizers."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from compat_spec.components import TensorMerge
from compat_spec.errors import CompatError
from compat_spec.nn.checkpoint import TensorSource
from compat_spec.nn.merged_config import take_token_ids, vocab_size, write_vocab_size
from compat_spec.nn.vocabulary import Aligned, Speaker, rows_of, united
from compat_spec.nn.weights import Weights

if TYPE_CHECKING:
    from compat_spec.nn.network import Tokenizer

OF_TOKENIZERS = (
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json"),
    *("merges.txt", "vocab.txt", "tokenizer.model", "spiece.model", "chat_template.jinja", "chat_template.json"),
)
"""The files of a model's folder that are its tokenizer's."""


class ResultVocabulary:
    """What a merge that aligns the vocabularies of its models makes of them.

    Args:
        places: where the models lie, by the names in `merge.models` and those of the fields `base` and `tokenizer`.

    Raises:
        CompatError: a model has no tokenizer.
    """

    def __init__(self, merge: TensorMerge, places: Mapping[str, Weights]) -> None:
        self._merge = merge
        base = getattr(merge, "base", None)
        merged = dict.fromkeys([merge.owner, *merge.models, *([base] if base is not None else [])])
        self._names: list[str] = [*merged]
        """The merged models, from the owner on."""
        self._donor: str = merge.tokenizer or merge.owner
        self._folders = {name: places[name].place for name in (*merged, self._donor)}

    def aligned(self, opened: Mapping[str, TensorSource]) -> dict[str, TensorSource]:
        """The models with the rows of their tokens in the order of the result's."""
        speakers = [
            Speaker(name, opened[name], self._tokenizers[name].get_vocab(), vocab_size(self._folders[name]))
            for name in self._names
        ]
        owner = self._names.index(self._donor) if self._donor in self._names else None
        # in a union nobody's rows are preferred where no model is the base
        preferred = 0 if self._merge.vocabulary == "base" or getattr(self._merge, "base", None) is not None else None
        return {
            speaker.name: Aligned(speakers, own, self._ids, owner=owner, base=preferred)
            for own, speaker in enumerate(speakers)
        }

    def write(self, folder: Path) -> None:
        """Make a folder with the owner's tokenizer and config that of the result."""
        if self._merge.vocabulary == "union":
            from compat_spec.nn.union_tokenizer import write_union

            write_union(self._tokenizers, self._ids, folder)
        elif self._donor != self._merge.owner:
            self._take_tokenizer(folder)
        rows = vocab_size(self._folders[self._donor]) if self._donor in self._names else 0
        write_vocab_size(folder, rows_of(self._ids, rows))

    def _take_tokenizer(self, folder: Path) -> None:
        """Put the donor's tokenizer into a folder that has the owner's."""
        for name in OF_TOKENIZERS:
            (folder / name).unlink(missing_ok=True)
            if (self._folders[self._donor] / name).is_file():
                shutil.copyfile(self._folders[self._donor] / name, folder / name)
        take_token_ids(folder, self._folders[self._donor])

    @cached_property
    def _tokenizers(self) -> dict[str, Tokenizer]:
        """Those of all models; the first is that of the owner."""
        from compat_spec.nn.network import load_tokenizer  # it takes seconds to import transformers

        found = {}
        for name, folder in self._folders.items():
            if not any((folder / file).exists() for file in ("tokenizer_config.json", "tokenizer.json")):
                given = self._merge.tokenizer
                wanted = f"tokenizer: {given}" if given else f"vocabulary: {self._merge.vocabulary}"
                raise CompatError(f"{wanted} needs the tokenizer of {name}, which has none")
            found[name] = load_tokenizer(folder)
        return found

    @cached_property
    def _ids(self) -> dict[str, int]:
        """From the tokens of the result to their numbers."""
        if self._merge.vocabulary == "union":
            return united([self._tokenizers[name].get_vocab() for name in self._names])
        return dict(self._tokenizers[self._donor].get_vocab())
