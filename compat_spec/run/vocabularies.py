"""The vocabulary of a merge of models with different tokenizers."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from compat_spec.components import TensorMerge
from compat_spec.errors import CompatError
from compat_spec.nn.checkpoint import TensorSource
from compat_spec.nn.merged_config import vocab_size, write_vocab_size
from compat_spec.nn.vocabulary import Aligned, Speaker, rows_of, united
from compat_spec.nn.weights import Weights

if TYPE_CHECKING:
    from compat_spec.nn.network import Tokenizer


class ResultVocabulary:
    """What a merge whose `vocabulary` is not `same` makes of the vocabularies of its models.

    Args:
        places: where the models lie, by the names in `merge.models` and that of the field `base`.

    Raises:
        CompatError: a model has no tokenizer.
    """

    def __init__(self, merge: TensorMerge, places: Mapping[str, Weights]) -> None:
        self._merge = merge
        owner_first = dict.fromkeys([merge.owner, *places])
        self._folders = {name: places[name].place for name in owner_first}

    def aligned(self, opened: Mapping[str, TensorSource]) -> dict[str, TensorSource]:
        """The models with the rows of their tokens in the order of the result's."""
        speakers = [
            Speaker(name, opened[name], tokenizer.get_vocab(), vocab_size(self._folders[name]))
            for name, tokenizer in self._tokenizers.items()
        ]
        # in a union nobody's rows are preferred where no model is the base
        preferred = 0 if self._merge.vocabulary == "base" or getattr(self._merge, "base", None) is not None else None
        return {
            speaker.name: Aligned(speakers, own, self._ids, owner=0, base=preferred)
            for own, speaker in enumerate(speakers)
        }

    def write(self, folder: Path) -> None:
        """Make a folder with the owner's tokenizer and config that of the result."""
        if self._merge.vocabulary == "union":
            from compat_spec.nn.union_tokenizer import write_union

            write_union(self._tokenizers, self._ids, folder)
        write_vocab_size(folder, rows_of(self._ids, vocab_size(self._folders[self._merge.owner])))

    @cached_property
    def _tokenizers(self) -> dict[str, Tokenizer]:
        """Those of all models; the first is that of the owner."""
        from compat_spec.nn.network import load_tokenizer  # it takes seconds to import transformers

        found = {}
        for name, folder in self._folders.items():
            if not any((folder / file).exists() for file in ("tokenizer_config.json", "tokenizer.json")):
                raise CompatError(f"vocabulary: {self._merge.vocabulary} needs the tokenizer of {name}, which has none")
            found[name] = load_tokenizer(folder)
        return found

    @cached_property
    def _ids(self) -> dict[str, int]:
        """From the tokens of the result to their numbers."""
        vocabularies = [tokenizer.get_vocab() for tokenizer in self._tokenizers.values()]
        return united(vocabularies) if self._merge.vocabulary == "union" else dict(vocabularies[0])
