"""The `answer_accuracy` metric."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from pydantic import Field

from compat_spec.components import Evaluation, ExampleScore, ModelMetric, Score
from compat_spec.errors import CompatError


class AnswerAccuracy(ModelMetric):
    """The share of prompts that the network answers as the task wants, decoding greedily.

    The task decides what counts as answered: `program_problems`, for one, works out the program that was written.
    """

    version: ClassVar[str] = "3"
    quantity: ClassVar[str] = "answers"
    higher_is_better: ClassVar[bool | None] = True

    examples: int = Field(default=64, ge=1, description="How many examples to answer, evenly spaced over the split.")
    max_new_tokens: int = Field(default=128, ge=1, description="The longest answer, in tokens.")

    def measure(self, evaluation: Evaluation) -> Sequence[Score]:
        import torch

        from compat_spec.nn.generation import greedy_answers

        encoded, examples = evaluation.encoded(self.split), evaluation.examples(self.split)
        starts, lengths = encoded.offsets[:-1].tolist(), encoded.prompt_lengths.tolist()
        prompted = [i for i, length in enumerate(lengths) if length]
        if not prompted:
            raise CompatError(
                "answer_accuracy needs examples with a prompt, and this task has none: measure `cross_entropy` or "
                "`token_accuracy` on it"
            )
        end = torch.tensor([evaluation.network.tokenizer.eos_token_id], dtype=encoded.ids.dtype)
        count = min(self.examples, len(prompted))
        chosen = [prompted[k * len(prompted) // count] for k in range(count)]
        answers = greedy_answers(
            evaluation.network,
            # after an end of text, as in training and in the windows of the other metrics
            [torch.cat([end, encoded.ids[starts[i] : starts[i] + lengths[i]]]) for i in chosen],
            self.max_new_tokens,
            evaluation.device,
            progress=evaluation.progress,
        )
        right = [evaluation.task.grade(answer, examples[i]) for i, answer in zip(chosen, answers, strict=True)]
        scores = [ExampleScore(i, float(answered)) for i, answered in zip(chosen, right, strict=True)]
        return [Score(sum(right) / count, n=count, examples=scores)]
