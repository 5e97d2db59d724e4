"""The `router_load` metric."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from compat_spec.components import Evaluation, ModelMetric, Score
from compat_spec.errors import CompatError

if TYPE_CHECKING:
    from compat_spec.nn.routers import RoutingRecord
    from compat_spec.nn.windows import Window

_BATCH_TOKENS = 4096


class RouterLoad(ModelMetric):
    """How a routed network spreads tokens: the mean probability of each expert in each block, and the entropy.

    `load` is the mean of the router's probability of an expert, before any but the `top_k` are dropped; `entropy` is
    the mean entropy of a token's probabilities, in nats: 0 where one expert has it all. Both count every token read.
    """

    applies_to: ClassVar[Literal["all", "routed"]] = "routed"
    quantity: ClassVar[str] = "load"

    tokens: int | None = Field(default=4096, ge=1, description="How many tokens to read, about; null is all.")
    context: int | None = Field(
        default=None, ge=2, description="The longest sequence to read; by default what the network accepts, to 1,024."
    )

    def measure(self, evaluation: Evaluation) -> Sequence[Score]:
        import torch

        from compat_spec.nn.evaluation import inference
        from compat_spec.nn.routers import record_routing
        from compat_spec.nn.windows import context_length, evaluation_windows, places_of, read_in_batches

        network, encoded = evaluation.network, evaluation.encoded(self.split)
        windows = evaluation_windows(encoded, self.tokens, context_length(network, self.context))
        if not windows:
            raise CompatError("the split has no tokens to read")
        read = sum(window.length for window in windows)
        record: RoutingRecord | None = None

        def watch(batch: Sequence[Window]) -> None:
            nonlocal record
            places, inside = places_of(batch)
            ids = encoded.ids[(places - 1).clamp(max=len(encoded.ids) - 1)]
            counted = inside.flatten().nonzero().flatten()
            with record_routing(network.module, counted.to(evaluation.device)) as seen:
                network.logits(ids.to(evaluation.device, torch.int64))
            # a batch that was too much for the memory and is read again in halves has not been added
            record = seen if record is None else record.add(seen)
            evaluation.progress(record.tokens, read)

        with inference(network.module):
            read_in_batches(windows, _BATCH_TOKENS, watch)
        assert record is not None
        return _scores(record)


def _scores(record: RoutingRecord) -> list[Score]:
    scores = []
    for block, (load, entropy) in enumerate(zip(record.probability.tolist(), record.entropy.tolist(), strict=True)):
        scores += [Score(value, n=record.tokens, block=block, expert=expert) for expert, value in enumerate(load)]
        scores.append(Score(entropy, n=record.tokens, block=block, quantity="entropy"))
    return scores
