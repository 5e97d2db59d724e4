"""The `greedy_soup` merge."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from pydantic import Field

from compat_spec.components import MergeStudy, TaskName, TensorMerge
from compat_spec.nn.per_tensor import TensorPlace

if TYPE_CHECKING:
    from torch import Tensor

_CHOSEN = "chosen"


class GreedySoup(TensorMerge):
    """The uniform average of those models that make it no worse on a task, tried from the best model to the worst.

    What is tried is the loss of the average of the models chosen so far and the next one.

    Wortsman et al., "Model soups: averaging weights of multiple fine-tuned models improves accuracy without increasing
    inference time", 2022, arXiv:2203.05482 (recipe 1).
    """

    unit = "entry"

    on: TaskName = Field(description="The task whose loss decides.")
    split: str = Field(default="train", description="The split of the task to read; not one to measure the result on.")
    tokens: int | None = Field(
        default=None, ge=1, description="Read about so many tokens, from the split's beginning; all by default."
    )
    context: int | None = Field(
        default=None, ge=2, description="The longest sequence to read; by default what the network accepts, to 1,024."
    )

    def study(self, study: MergeStudy) -> Mapping[str, Tensor]:
        import torch

        from compat_spec.nn.evaluation import token_scores
        from compat_spec.nn.merging import merge_tensor
        from compat_spec.nn.network import Network
        from compat_spec.nn.parameter_names import parameters_by_tensor

        encoded = study.encoded(self.on, self.split)
        rounds = 2 * len(self.models) - 1  # each model, then each but the best with those chosen before it

        def loss(network: Network, done: int, note: str) -> float:
            def tell(tokens: int, total: int) -> None:
                study.progress(done * total + tokens, rounds * total, note)

            scores = token_scores(
                network, encoded, tokens=self.tokens, context=self.context, device=study.device, progress=tell
            )
            return scores.mean_loss if math.isfinite(scores.mean_loss) else math.inf

        losses = [loss(study.network(model), model, f"loss of {name}") for model, name in enumerate(self.models)]
        first, *others = sorted(range(len(losses)), key=lambda model: losses[model])
        chosen, best = [first], losses[first]
        soup = study.copy(first)
        parameters = parameters_by_tensor(soup.module, study.tensors(first))
        for done, model in enumerate(others, len(losses)):
            tried = [*chosen, model]
            place = {_CHOSEN: torch.arange(len(tried))}
            with torch.no_grad():
                for tensor, parameter in parameters.items():
                    of_models = [study.tensors(one)[tensor] for one in tried]
                    average = merge_tensor(self, of_models, None, TensorPlace(tensor, found=place))
                    parameter.copy_(average)
            with_it = loss(soup, done, f"{' + '.join(self.models[one] for one in tried)}")
            if with_it <= best:
                chosen, best = tried, with_it
        study.record(chosen=[str(self.models[model]) for model in chosen], loss=best, losses=losses)
        return {_CHOSEN: torch.tensor(chosen)}

    def combine(self, tensors: Sequence[Tensor], base: Tensor | None, *, at: TensorPlace) -> Tensor:
        from compat_spec.nn.averages import mean

        return mean([tensors[model] for model in at.found[_CHOSEN].tolist()])
