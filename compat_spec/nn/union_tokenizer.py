"""A tokenizer with the tokens of several.

The merges of byte pairs of the others are appended to those of the first, so that their tokens come out of texts. As
added tokens, which are looked for in a text before anything else, they would tear words apart that merely contain them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from compat_spec.errors import CompatError
from compat_spec.nn.network import Tokenizer, load_tokenizer

_WITHOUT_EFFECT = frozenset({"add_prefix_space", "trim_offsets", "use_regex"})
"""What the decoder of bytes has and does not use."""


def write_union(tokenizers: Mapping[str, Tokenizer], ids: Mapping[str, int], folder: Path) -> None:
    """Replace the tokenizer in `folder`, a copy of the first's, by that of all.

    A text is first joined by the first's merges, as before, and then by those that the others add. Special tokens of
    the others are special in the union.

    Args:
        tokenizers: by what to call their models.
        ids: the vocabulary of the union, which begins with the first's.

    Raises:
        CompatError: they are not all byte-pair encodings that write their tokens alike.
    """
    cores = {name: _core(name, tokenizer) for name, tokenizer in tokenizers.items()}
    (first_name, first), *others = cores.items()
    for name, other in others:
        if _alphabet(other) != _alphabet(first):
            raise CompatError(
                f"the tokenizers of {first_name} and {name} have no union, for they write their tokens differently: "
                "merge into one of them, with vocabulary: base"
            )
    first["model"]["vocab"] = dict(ids)
    first["model"]["merges"] = _distinct([merge for core in cores.values() for merge in _merges(core)])
    known: dict[str, Any] = {}
    for core in cores.values():
        for token in core["added_tokens"]:
            known.setdefault(token["content"], {**token, "id": ids[token["content"]]})
    first["added_tokens"] = sorted(known.values(), key=lambda token: int(token["id"]))
    (folder / "tokenizer.json").write_text(json.dumps(first, ensure_ascii=False), "utf-8")
    for stale in ("vocab.json", "merges.txt", "tokenizer.model", "added_tokens.json"):
        (folder / stale).unlink(missing_ok=True)
    if load_tokenizer(folder).get_vocab() != ids:
        raise CompatError(f"the tokenizers of {', '.join(cores)} have no union: merge into one, with vocabulary: base")


def _core(name: str, tokenizer: Tokenizer) -> dict[str, Any]:
    """What a tokenizer does, as `tokenizer.json` has it."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    core: dict[str, Any] = json.loads(backend.to_str()) if backend is not None else {"model": {}}
    if core["model"].get("type") != "BPE":
        kind = core["model"].get("type", type(tokenizer).__name__)
        raise CompatError(
            f"the tokenizer of {name} is of the type {kind}, and only byte-pair encodings (BPE) have a union: merge "
            "into one of them, with vocabulary: base"
        )
    return core


def _alphabet(core: Mapping[str, Any]) -> Any:
    """How tokens stand for text."""
    return _plain(core.get("decoder")), core["model"].get("byte_fallback"), core["model"].get("end_of_word_suffix")


def _plain(decoder: Any) -> Any:
    if isinstance(decoder, dict):
        return {key: _plain(value) for key, value in decoder.items() if key not in _WITHOUT_EFFECT}
    return [_plain(one) for one in decoder] if isinstance(decoder, list) else decoder


def _merges(core: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The merges as pairs; older files have them as text."""
    pairs = [merge.split(" ") if isinstance(merge, str) else merge for merge in core["model"]["merges"]]
    return [(left, right) for left, right in pairs]


def _distinct(merges: Sequence[tuple[str, str]]) -> list[list[str]]:
    return [list(merge) for merge in dict.fromkeys(merges)]
