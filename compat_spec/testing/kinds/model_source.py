"""Checks of model sources: the tokenizer, the model, and that they go together."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from compat_spec.components import ModelSource, TaskName, names_in
from compat_spec.testing.checks import Checks, demand
from compat_spec.testing.subject import Subject

if TYPE_CHECKING:
    from torch import Tensor

check = Checks(ModelSource)

SEED = 3


def _has_a_network(cls: Any) -> bool:
    return not cls.bare


def _tokenizer(subject: Subject) -> Any:
    from compat_spec.testing.tiny import tiny_examples

    source = subject.make()
    return source.make_tokenizer({TaskName(name): tiny_examples() for name in names_in(source, TaskName)})


def _model(subject: Subject, seed: int = SEED) -> Any:
    from compat_spec.nn.network import seeded

    with seeded(seed):
        return subject.make().make_model(subject.once("tokenizer", lambda: _tokenizer(subject)))


def _state(model: Any) -> dict[str, Tensor]:
    state: dict[str, Tensor] = model.state_dict()
    return state


def _equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(bool((one[name] == other[name]).all()) for name in one)


@check.where(_has_a_network)
def makes_a_tokenizer(subject: Subject) -> None:
    """The tokenizer is the same each time, has an end of text, and makes tokens of any text."""
    tokenizer = subject.once("tokenizer", lambda: _tokenizer(subject))
    demand(tokenizer.eos_token_id is not None, "The tokenizer has no end-of-text token, which ends every example.")
    text = "3 + 4 = 7"
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    demand(len(ids) > 0, f"The tokenizer makes no token of {text!r}.")
    again = _tokenizer(subject)
    demand(
        tokenizer.get_vocab() == again.get_vocab() and ids == again(text, add_special_tokens=False)["input_ids"],
        "Made again of the same examples, the tokenizer is another.",
    )


@check.where(_has_a_network)
def makes_a_model_for_its_tokenizer(subject: Subject) -> None:
    """The model takes every token of the tokenizer, and gives finite logits."""
    import torch

    tokenizer = subject.once("tokenizer", lambda: _tokenizer(subject))
    model = subject.once("model", lambda: _model(subject)).eval()
    top = len(tokenizer) - 1
    ids = torch.tensor([[0, top, top // 2]])
    try:
        with torch.no_grad():
            found = model(input_ids=ids).logits
    except IndexError:
        demand(False, f"The model cannot read token {top} of its tokenizer: its vocabulary is too small.")
    demand(
        found.shape[:2] == (1, 3) and found.shape[-1] > top,
        f"The logits of [1, 3] tokens are {list(found.shape)}, for a tokenizer of {len(tokenizer)} tokens.",
    )
    demand(bool(found.isfinite().all()), "The logits of the model hold infinities or not-a-numbers.")
    on = {str(parameter.device) for parameter in model.parameters()}
    demand(on == {"cpu"}, f"The model is on {' and '.join(sorted(on))}: make it on the CPU, the engine moves it.")


@check.where(_has_a_network)
def makes_the_same_model_again(subject: Subject) -> None:
    """One seed gives one model, whichever other seeds the process has; another seed another if `uses_seed()`."""
    first = _state(subject.once("model", lambda: _model(subject)))
    demand(
        _equal(first, _state(_model(subject))),
        "Made again with the same seed, the model has other weights: draw with torch alone, which is seeded.",
    )
    differs = not _equal(first, _state(_model(subject, SEED + 1)))
    if subject.make().uses_seed():
        demand(differs, "uses_seed() says True, and two seeds give the same model.")
    else:
        demand(
            not differs,
            "The weights change with the run's seed, and uses_seed() says False: all seeds would share one model. Let "
            "it return True.",
        )


@check.where(_has_a_network)
def knows_its_architecture(subject: Subject) -> None:
    """What `architecture()` says is what the model has, and JSON can write it."""
    said = subject.make().architecture()
    if said is None:
        return
    try:
        json.dumps(dict(said))
    except (TypeError, ValueError) as error:
        demand(False, f"architecture() holds what JSON cannot write: {error}.")
    config = getattr(subject.once("model", lambda: _model(subject)), "config", None)
    for key, value in said.items():
        real = getattr(config, key, value)
        if key == "vocab_size" and real < value:
            continue  # a tokenizer that is trained finds no more tokens than there are in the little text here
        demand(
            value is None or real == value,
            f"architecture() says that {key} is {value!r}, and the model has {real!r}: models that fit would be "
            "refused.",
        )


@check.where(lambda cls: cls.bare)
def says_where_its_tensors_lie(subject: Subject) -> None:
    """It is `bare`, tensors alone: `weights()` says where they lie."""
    demand(subject.make().weights() is not None, "bare is true, and weights() says that there are none.")
