"""Checks of metrics of one network."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from compat_spec.components import ModelMetric, Score
from compat_spec.testing.checks import Checks, demand
from compat_spec.testing.subject import Subject

if TYPE_CHECKING:
    from compat_spec.testing.in_memory import InMemoryEvaluation

check = Checks(ModelMetric)


def evaluation(subject: Subject) -> InMemoryEvaluation:
    """A tiny network, with routers where the metric asks for them, on a few sums."""
    from compat_spec.nn.mixture import route
    from compat_spec.nn.network import Network, seeded
    from compat_spec.testing.in_memory import InMemoryEvaluation, InMemoryTask
    from compat_spec.testing.tiny import tiny_examples, tiny_experts

    cls: Any = subject.component
    network, other = tiny_experts(2, blocks=2)
    if cls.applies_to == "routed":
        with seeded(0):
            network = Network(route([network, other]).eval().requires_grad_(False), network.tokenizer)
    return InMemoryEvaluation(network, InMemoryTask(given=tuple(tiny_examples(6))))


def _shared(subject: Subject) -> InMemoryEvaluation:
    return subject.once("evaluation", lambda: evaluation(subject))


def _scores(subject: Subject) -> Sequence[Score]:
    return list(subject.make().measure(_shared(subject)))


@check
def gives_scores(subject: Subject) -> None:
    """It gives finite `Score`s of a network that is random, each of a known number of tokens or examples."""
    found = subject.once("scores", lambda: _scores(subject))
    demand(len(found) > 0, "It gives no score.")
    for score in found:
        demand(isinstance(score, Score), f"It gives a {type(score).__name__}, and has to give Scores.")
        demand(
            isinstance(score.value, int | float) and math.isfinite(score.value),
            f"It gives {score.value!r}, of a random network on 6 short examples; a score is a finite float.",
        )
        demand(score.n is None or score.n > 0, f"It gives a score of {score.n} tokens or examples.")


@check
def says_what_it_measures(subject: Subject) -> None:
    """`quantity` is the word by which its numbers are queried."""
    quantity = getattr(subject.component, "quantity", None)
    demand(
        isinstance(quantity, str) and quantity.isidentifier(),
        f'quantity is {quantity!r}: say in a word what it measures, as in `quantity: ClassVar[str] = "loss"`.',
    )


@check
def measures_the_same_again(subject: Subject) -> None:
    """The same network and task give the same scores, whatever the process's random numbers are."""
    from compat_spec.testing.randomness import with_global_seed

    first = subject.once("scores", lambda: _scores(subject))
    again = with_global_seed(99, lambda: _scores(subject))
    demand(
        list(first) == list(again),
        "The second time, the scores are others: draw with a generator of your own, seeded by a parameter.",
    )


@check
def leaves_the_network_unchanged(subject: Subject) -> None:
    """The network is as it was: other metrics look at the same one."""
    from compat_spec.testing.unchanged import state_of

    network = _shared(subject).network
    before = state_of(network)
    _scores(subject)
    changes = before.changes(state_of(network))
    demand(not changes, f"Measuring changed {changes} of the network, which is shared.")
