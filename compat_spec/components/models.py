"""Model sources: how a base model comes to be."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from compat_spec.components.component import Component
from compat_spec.components.names import TaskName
from compat_spec.components.tasks import Example
from compat_spec.nn.weights import Weights

if TYPE_CHECKING:
    from torch import nn

    from compat_spec.nn.network import Tokenizer


class ModelSource(Component):
    """How a base model comes to be: made from a config, read from a folder, fetched from a hub."""

    namespace = "compat.models"

    bare: ClassVar[bool] = False
    """Whether it is tensors alone, of which no network can be made: they can be merged, and nothing else."""

    tokenizer_fields: ClassVar[frozenset[str] | None] = None
    """The fields that decide the tokenizer, so that models which differ in others share it; None is all of them."""

    def architecture(self) -> Mapping[str, Any] | None:
        """What is known of the shapes without loading anything (`hidden_size`, `num_hidden_layers`, …), or None.

        Two models whose architectures disagree on a key cannot be merged; `compat validate` says so. One key does not
        count there: `max_position_embeddings`, the longest text that the model reads.
        """
        return None

    def weights(self) -> Weights | None:
        """Where the model's tensors lie as they are, to be merged from there without a copy; None when nowhere.

        Called when they are about to be read: it may fetch them.
        """
        return None

    @abstractmethod
    def make_tokenizer(self, examples: Mapping[TaskName, Sequence[Example]]) -> Tokenizer:
        """The tokenizer. `examples` holds the `train` split of each task that a field of this component names."""

    @abstractmethod
    def make_model(self, tokenizer: Tokenizer) -> nn.Module:
        """The model, in float32 on the CPU unless the source says otherwise. Random numbers are already seeded."""
