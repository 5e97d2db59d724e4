"""Opens models of transformers, and refuses what transformers would open with a warning and wrong weights."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers.utils import logging

from compat_spec.errors import CompatError
from compat_spec.nn.hub import is_out_of_reach, out_of_reach, quiet_hub

_LEFTOVERS = ("masked_bias", "inv_freq")
"""Buffers in the files of old versions of transformers, which newer ones compute."""


def open_model(place: Path | str, **options: Any) -> PreTrainedModel:
    """Open a causal language model from a folder or a hub; only safetensors are read.

    Args:
        place: the folder, or the hub's id.
        options: for `AutoModelForCausalLM.from_pretrained`.

    Raises:
        CompatError: it cannot be opened, or its weights are not those that its config tells of.
    """
    try:
        with quiet_transformers(), quiet_hub():
            opened: Any = AutoModelForCausalLM.from_pretrained(
                place, use_safetensors=True, output_loading_info=True, ignore_mismatched_sizes=True, **options
            )
    except Exception as error:  # whatever a model makes of a config or of a file that is damaged
        raise CompatError(f"the model {place} cannot be opened: {reason(error, place)}") from error
    model: PreTrainedModel
    model, found = opened
    _check_complete(place, found)
    return model


def _check_complete(place: Path | str, found: dict[str, Any]) -> None:
    mismatched = sorted(found["mismatched_keys"])
    if mismatched:
        name, in_file, by_config = mismatched[0]
        shapes = f"{name} is {list(in_file)}, and by the config it is {list(by_config)}"
        raise CompatError(f"the weights of {place} do not fit its config: {shapes}{_and_more(mismatched)}")
    missing = sorted(found["missing_keys"])
    if missing:
        raise CompatError(f"the weights of {place} do not fit its config: {missing[0]} is missing{_and_more(missing)}")
    left = sorted(name for name in found["unexpected_keys"] if not name.endswith(_LEFTOVERS))
    if left:
        raise CompatError(
            f"the weights of {place} do not fit its config: {left[0]} has no place in it{_and_more(left)}"
        )


def _and_more(names: Collection[Any]) -> str:
    return f", and {len(names) - 1} more like it" if len(names) > 1 else ""


def check_causal(model: PreTrainedModel) -> None:
    """Refuse a model in which a token sees those that come after it: its loss would say nothing.

    Raises `CompatError`.
    """
    text = torch.arange(8)[None] % len(model.get_input_embeddings().weight)  # type: ignore[arg-type]
    other = text.clone()
    other[0, -1] = 0

    def before_the_last(ids: Tensor) -> Tensor:
        logits: Tensor = model(input_ids=ids, use_cache=False).logits
        return logits[:, :-1]

    was_training = model.training
    model.eval()  # type: ignore[no-untyped-call]
    with torch.no_grad():
        a, b = before_the_last(text), before_the_last(other)
    model.train(was_training)
    # routed experts may round differently when another token goes to another of them
    allowed = max(1e-4, 8 * torch.finfo(a.dtype).eps)
    if (a - b).abs().max() > allowed * a.abs().max():
        advice = "; say is_decoder: true in its config" if hasattr(model.config, "is_decoder") else ""
        raise CompatError(
            f"{type(model).__name__} is not a causal language model: a token sees those that come after it{advice}"
        )


def reason(error: Exception, place: Path | str | None = None) -> str:
    """The part of an error of transformers that says what is wrong, on one line.

    Args:
        place: where the files should have come from: a folder, or the hub's id.
    """
    if isinstance(place, str) and is_out_of_reach(error):
        fetched = f"where there is a network, `hf download {place}` fetches it, and `path:` reads it from a folder"
        return f"{out_of_reach()}; {fetched}"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:2])[:400] or type(error).__name__


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """The progress bars and tables of transformers would run across a run's own."""
    bars, verbosity = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]
