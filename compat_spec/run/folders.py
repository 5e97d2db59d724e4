"""Merges of models that lie in folders: whether they go together, and what a merged folder has beside its tensors."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from compat_spec.components import TensorMerge
from compat_spec.nn.block_names import block_count
from compat_spec.nn.checkpoint import INDEX, TensorSource
from compat_spec.nn.merged_config import CONFIG, note_dtype, restack_config
from compat_spec.nn.merging import Model, TensorMerging
from compat_spec.nn.tied import with_names_of
from compat_spec.nn.weights import Weights
from compat_spec.run.vocabularies import ResultVocabulary


@contextmanager
def merging_of(merge: TensorMerge, places: Mapping[str, Weights]) -> Iterator[TensorMerging]:
    """A merge of models that lie somewhere, checked, and open to be read.

    Args:
        places: by the names in `merge.models` and those of the fields `base` and `tokenizer`.

    Raises:
        CompatError: the models do not go together.
    """
    base_name = getattr(merge, "base", None)
    merged = {*merge.models, base_name}
    with ExitStack() as stack:
        opened: Mapping[str, TensorSource] = {
            name: stack.enter_context(place.open()) for name, place in places.items() if name in merged
        }
        if not merge.aligns:
            _check_same_tokens({name: place.place for name, place in places.items()})
        else:
            if merge.blocks([block_count(opened[name]) for name in merge.models]) is None:
                # models lend each other rows of tensors by their names
                first = merge.models[0]
                opened = {name: with_names_of(opened[first], first, one, name) for name, one in opened.items()}
            opened = ResultVocabulary(merge, places).aligned(opened)
        models = [Model(name, opened[name]) for name in merge.models]
        base = Model(base_name, opened[base_name]) if base_name is not None else None
        yield TensorMerging(merge, models, base)


def write_beside(merging: TensorMerging, places: Mapping[str, Weights], folder: Path) -> None:
    """Config and tokenizer of a merged model: those of one of its models, with what a stack or a vocabulary changes."""
    merge = merging.merge
    owner = places[merge.owner].place
    for path in owner.iterdir() if owner.is_dir() else ():
        kept = path.suffix in {".json", ".txt", ".model", ".jinja"} and path.name not in (INDEX, "artifact.json")
        if kept and path.is_file():
            shutil.copyfile(path, folder / path.name)
    if merging.blocks is not None and (folder / CONFIG).exists():
        restack_config(folder, [places[name].place for name in merge.models], merging.blocks)
    if merge.aligns:
        ResultVocabulary(merge, places).write(folder)
    if merge.dtype is not None:
        note_dtype(folder, merge.dtype)


def _check_same_tokens(folders: Mapping[str, Path]) -> None:
    reading = {name: folder for name, folder in folders.items() if (folder / "tokenizer_config.json").exists()}
    if len(reading) > 1 and not _written_alike([folder / "tokenizer.json" for folder in reading.values()]):
        # only now: it takes seconds to import transformers
        from compat_spec.nn.network import check_same_vocabulary, load_tokenizer

        check_same_vocabulary({name: load_tokenizer(folder) for name, folder in reading.items()})


def _written_alike(files: Sequence[Path]) -> bool:
    """Whether all these files of tokenizers are there and have the same tokens, whatever else they say."""
    if not all(file.exists() for file in files):
        return False
    first, *others = dict.fromkeys(file.read_bytes() for file in files)
    try:
        return all(_tokens(text) == _tokens(first) for text in others)
    except (ValueError, KeyError, TypeError):
        return False


def _tokens(tokenizer: bytes) -> tuple[Any, list[tuple[Any, Any]]]:
    """The vocabulary of a `tokenizer.json`, and the tokens that were added to it."""
    read = json.loads(tokenizer)
    return read["model"]["vocab"], [(added["id"], added["content"]) for added in read["added_tokens"]]
