"""Checks of metrics of the layers of two networks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from compat_spec.components import LayerMetric, LayerScores
from compat_spec.testing.checks import Checks, demand
from compat_spec.testing.subject import Subject

if TYPE_CHECKING:
    from compat_spec.testing.in_memory import InMemoryComparison

check = Checks(LayerMetric)

BLOCKS = (3, 2)
"""Of the two networks: they need not have as many."""


def comparison(subject: Subject) -> InMemoryComparison:
    """Two tiny networks with unlike numbers of blocks, on a few sums."""
    from compat_spec.testing.in_memory import InMemoryComparison
    from compat_spec.testing.tiny import tiny_network, tiny_split

    def made() -> InMemoryComparison:
        a, b = (tiny_network(seed=seed, blocks=blocks) for seed, blocks in enumerate(BLOCKS))
        for network in (a, b):
            network.module.requires_grad_(False)
        return InMemoryComparison(a, b, tiny_split(count=40))

    return subject.once("comparison", made)


def _measured(subject: Subject) -> LayerScores:
    found: LayerScores = subject.make().measure(comparison(subject))
    return found


def _first(subject: Subject) -> LayerScores:
    return subject.once("measured", lambda: _measured(subject))


@check
def says_what_it_measures(subject: Subject) -> None:
    """`quantity` is the word by which its numbers are queried."""
    quantity = getattr(subject.component, "quantity", None)
    demand(
        isinstance(quantity, str) and quantity.isidentifier(),
        f'quantity is {quantity!r}: say in a word what it measures, as in `quantity: ClassVar[str] = "cka"`.',
    )


@check
def gives_a_number_for_each_pair(subject: Subject) -> None:
    """It gives `LayerScores` with finite values `[layers of a, layers of b]`, of networks with unlike depths."""
    found = _first(subject)
    demand(isinstance(found, LayerScores), f"It gives a {type(found).__name__}, and has to give LayerScores.")
    wanted = tuple(blocks - found.first for blocks in BLOCKS)
    demand(
        tuple(found.values.shape) == wanted,
        f"The values of networks with {BLOCKS[0]} and {BLOCKS[1]} blocks are {list(found.values.shape)}, and have to "
        f"be {list(wanted)}.",
    )
    demand(bool(found.values.isfinite().all()), "Some values are infinite or no numbers, of two random networks.")
    demand(found.n > 0, f"It says that the values are of {found.n} rows.")
    if found.errors is not None:
        demand(found.errors.shape == found.values.shape, "There are not as many standard errors as values.")
        demand(not bool((found.errors < 0).any()), "A standard error is negative.")


@check
def compares_the_same_again(subject: Subject) -> None:
    """The same networks give the same numbers, whatever the process's random numbers are."""
    import torch

    from compat_spec.testing.randomness import with_global_seed

    again = with_global_seed(99, lambda: _measured(subject))
    demand(
        torch.equal(_first(subject).values, again.values),
        "The second time, the values are others: draw with a generator of your own, seeded by the parameter `seed`.",
    )


@check
def leaves_the_networks_unchanged(subject: Subject) -> None:
    """Both networks are as they were: other metrics look at the same ones."""
    from compat_spec.testing.unchanged import state_of

    given = comparison(subject)
    before = [state_of(network) for network in (given.a, given.b)]
    _measured(subject)
    for name, old, network in zip("ab", before, (given.a, given.b), strict=True):
        changes = old.changes(state_of(network))
        demand(not changes, f"Comparing changed {changes} of network {name}, which is shared.")
