"""Merges of models that lie in folders: whether they go together, and what a merged folder has beside its tensors."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from compat_spec.components import TensorMerge
from compat_spec.nn.block_names import block_count
from compat_spec.nn.checkpoint import TensorSource
from compat_spec.nn.merged_config import CONFIG, check_mergeable, check_one_stack, note_dtype, restack_config
from compat_spec.nn.merging import TensorMerging
from compat_spec.nn.outline import Model, word
from compat_spec.nn.tied import with_names_of
from compat_spec.nn.weights import Weights
from compat_spec.run.vocabularies import ResultVocabulary

_BESIDE = frozenset({".json", ".jinja", ".model", ".py", ".tiktoken", ".txt"})
"""What configs, tokenizers and processors are stored in, and the code of models that have their own."""

_OF_ITS_OWN = ("*.index.json", "artifact.json", "adapter_config.json", "trainer_state.json", "*_results.json")
"""What tells of the tensors, or of the training, of that one model."""

_TEMPLATES = "additional_chat_templates"


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
        for name, place in places.items():
            check_mergeable(name, place.place)
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
        merging = TensorMerging(merge, models, base)
        if merging.blocks is not None:
            for name in merge.models:
                if (places[name].place / CONFIG).exists():
                    check_one_stack(name, places[name].place, block_count(opened[name]))
        yield merging


def write_beside(merging: TensorMerging, places: Mapping[str, Weights], folder: Path) -> None:
    """Config and tokenizer of a merged model: those of one of its models, with what a stack or a vocabulary changes."""
    merge = merging.merge
    owner = places[merge.owner].place
    for path in owner.iterdir() if owner.is_dir() else ():
        if path.is_file() and path.suffix in _BESIDE and not any(map(path.match, _OF_ITS_OWN)):
            shutil.copyfile(path, folder / path.name)
    if (owner / _TEMPLATES).is_dir():
        shutil.copytree(owner / _TEMPLATES, folder / _TEMPLATES, copy_function=shutil.copyfile)
    if merging.blocks is not None and (folder / CONFIG).exists():
        restack_config(folder, [places[name].place for name in merge.models], merging.blocks)
    if merge.aligns:
        ResultVocabulary(merge, places).write(folder)
    sizes: Counter[str] = Counter()
    for output in merging.outputs.values():
        if not output.kept:
            sizes[word(output.dtype)] += output.bytes
    for dtype, _ in sizes.most_common(1):  # what most of it is stored in, as transformers has it
        note_dtype(folder, dtype)


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
