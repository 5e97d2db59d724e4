"""Model sources that break their contract, each in one way."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import nn

from compat_spec.components import Example, ModelSource, TaskName
from compat_spec.nn.network import Tokenizer
from compat_spec.testing import byte_tokenizer, tiny_network
from tests.testing.bad.case import Bad

_COUNT = itertools.count()


class Good(ModelSource):
    """A tiny network of bytes."""

    def make_tokenizer(self, examples: Mapping[TaskName, Sequence[Example]]) -> Tokenizer:
        return byte_tokenizer()

    def make_model(self, tokenizer: Tokenizer) -> nn.Module:
        return tiny_network(seed=0, blocks=1).module


class Endless(Good):
    def make_tokenizer(self, examples: Mapping[TaskName, Sequence[Example]]) -> Tokenizer:
        tokenizer = byte_tokenizer()
        tokenizer.eos_token = None
        return tokenizer


class Growing(Good):
    def make_tokenizer(self, examples: Mapping[TaskName, Sequence[Example]]) -> Tokenizer:
        tokenizer = byte_tokenizer()
        tokenizer.add_tokens([f"<{next(_COUNT)}>"])
        return tokenizer


class TooSmall(Good):
    def make_model(self, tokenizer: Tokenizer) -> nn.Module:
        module: Any = tiny_network(blocks=1).module
        module.resize_token_embeddings(100)
        return module  # type: ignore[no-any-return]


class SecretlySeeded(Good):
    def make_model(self, tokenizer: Tokenizer) -> nn.Module:
        return tiny_network(seed=int(torch.randint(1000, ())), blocks=1).module


class Forgetful(Good):
    def make_model(self, tokenizer: Tokenizer) -> nn.Module:
        return tiny_network(seed=next(_COUNT), blocks=1).module


class Boasting(Good):
    def architecture(self) -> Mapping[str, Any]:
        return {"hidden_size": 4096}


class Nowhere(Good):
    bare: ClassVar[bool] = True


BAD = [
    Bad(Endless, "makes_a_tokenizer", "no end-of-text token"),
    Bad(Growing, "makes_a_tokenizer", "the tokenizer is another"),
    Bad(TooSmall, "makes_a_model_for_its_tokenizer", "its vocabulary is too small"),
    Bad(SecretlySeeded, "makes_the_same_model_again", "uses_seed() says False"),
    Bad(Forgetful, "makes_the_same_model_again", "other weights"),
    Bad(Boasting, "knows_its_architecture", "hidden_size is 4096, and the model has 16"),
    Bad(Nowhere, "says_where_its_tensors_lie", "weights() says that there are none"),
]
