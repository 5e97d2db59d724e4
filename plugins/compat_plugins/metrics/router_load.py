"""The `router_load` metric."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from compat_spec.components import Evaluation, ModelMetric, Score
from compat_spec.errors import CompatError

if TYPE_CHECKING:
    from compat_spec.nn.routing_record import RoutingRecord
    from compat_spec.nn.windows import Window

_BATCH_TOKENS = 4096


class RouterLoad(ModelMetric):
    """How a routed network spreads tokens: the load of each expert in each block, for which tokens, and how surely.

    `load` is the mean of the router's probability of an expert, before any but the `top_k` are dropped; `choice` is the
    share of tokens whose most probable expert it is; `entropy` is the mean entropy of a token's probabilities, in nats:
    0 where one expert has it all; `agreement` is the share of tokens for which two blocks find the same expert most
    probable. All count every token read. `class_load` and `class_entropy` are those of the tokens of one class.
    """

    version: ClassVar[str] = "2"
    applies_to: ClassVar[Literal["all", "routed"]] = "routed"
    quantity: ClassVar[str] = "load"

    tokens: int | None = Field(default=4096, ge=1, description="How many tokens to read, about; null is all.")
    context: int | None = Field(
        default=None, ge=2, description="The longest sequence to read; by default what the network accepts, to 1,024."
    )
    classes: bool = Field(
        default=True,
        description="Also by class of the token read: letters, digits, symbols, space …, and prompt or answer.",
    )

    def measure(self, evaluation: Evaluation) -> Sequence[Score]:
        import torch

        from compat_spec.nn.evaluation import inference
        from compat_spec.nn.routing_record import record_routing
        from compat_spec.nn.token_classes import token_classes
        from compat_spec.nn.windows import context_length, evaluation_windows, places_of, read_in_batches

        network, encoded = evaluation.network, evaluation.encoded(self.split)
        windows = evaluation_windows(encoded, self.tokens, context_length(network, self.context))
        if not windows:
            raise CompatError("the split has no tokens to read")
        read = sum(window.length for window in windows)
        names, members = token_classes(encoded, network.tokenizer) if self.classes else ((), None)
        record: RoutingRecord | None = None

        def watch(batch: Sequence[Window]) -> None:
            nonlocal record
            places, inside = places_of(batch)
            places = (places - 1).clamp(max=len(encoded.ids) - 1)
            counted = inside.flatten().nonzero().flatten()
            classes = None if members is None else members[places.flatten()[counted]]
            with record_routing(network.module, counted.to(evaluation.device), classes) as seen:
                network.logits(encoded.ids[places].to(evaluation.device, torch.int64))
            # a batch that was too much for the memory and is read again in halves has not been added
            record = seen if record is None else record.add(seen)
            evaluation.progress(record.tokens, read)

        with inference(network.module):
            read_in_batches(windows, _BATCH_TOKENS, watch)
        assert record is not None
        return [*_of_all(record), *_of_classes(record, names)]


def _of_all(record: RoutingRecord) -> Iterator[Score]:
    for name, shares in (("load", record.probability), ("choice", record.choice)):
        for block, of_block in enumerate(shares.tolist()):
            for expert, share in enumerate(of_block):
                yield Score(share, n=record.tokens, block=block, expert=expert, quantity=name)
    for block, entropy in enumerate(record.entropy.tolist()):
        yield Score(entropy, n=record.tokens, block=block, quantity="entropy")
    agreement = record.agreement
    for block, other in combinations(range(len(agreement)), 2):
        share = float(agreement[block, other])
        yield Score(share, n=record.tokens, block=block, other_block=other, quantity="agreement")


def _of_classes(record: RoutingRecord, names: Sequence[str]) -> Iterator[Score]:
    for number, name in enumerate(names):
        tokens = int(record.class_tokens[number])
        if not tokens:
            continue
        for block, of_block in enumerate(record.class_probability[number].tolist()):
            for expert, load in enumerate(of_block):
                yield Score(load, n=tokens, block=block, expert=expert, quantity="class_load", token_class=name)
        for block, entropy in enumerate(record.class_entropy[number].tolist()):
            yield Score(entropy, n=tokens, block=block, quantity="class_entropy", token_class=name)
