"""Checks of trainers: what they change, and that a training goes on after a stop as if there had been none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from compat_spec.components import TaskName, Trainer, names_in
from compat_spec.testing.checks import Checks, NotChecked, demand
from compat_spec.testing.subject import Subject

if TYPE_CHECKING:
    from torch import Tensor

    from compat_spec.nn.network import Network
    from compat_spec.testing.in_memory import InMemorySession

check = Checks(Trainer)

SEED = 3


@dataclass(frozen=True)
class Trained:
    """A training, before and after."""

    before: dict[str, Tensor]
    after: dict[str, Tensor]
    session: InMemorySession
    frozen: frozenset[str]
    """The parameters that required no gradient."""


def _network() -> Network:
    """A tiny network whose first block is frozen; it drops out, as GPT-2 does: what is not seeded, shows."""
    from compat_spec.testing.tiny import tiny_network

    network = tiny_network(blocks=2, context=128, resid_pdrop=0.1)
    for parameter in network.anatomy.blocks[0].parameters():
        parameter.requires_grad_(False)
    return network


def _state(network: Network) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in network.module.state_dict().items()}


def _train(subject: Subject, seed: int = SEED, **how: Any) -> Trained:
    """Train, until the end or a stop."""
    from compat_spec.errors import InterruptedRun
    from compat_spec.testing.in_memory import InMemorySession
    from compat_spec.testing.tiny import tiny_split

    trainer, network = subject.make(), _network()
    frozen = frozenset(name for name, one in network.module.named_parameters() if not one.requires_grad)
    session = InMemorySession(network, seed=seed, **how)
    before = _state(network)
    data = {TaskName(name): tiny_split(count=40) for name in names_in(trainer, TaskName)}
    try:
        trainer.train(network, data, session)
    except InterruptedRun:
        if session.stop_after is None:
            raise
    return Trained(before, _state(network), session, frozen)


def _whole(subject: Subject) -> Trained:
    from compat_spec.testing.randomness import with_global_seed

    return subject.once("training", lambda: with_global_seed(98, lambda: _train(subject)))


def _differing(one: dict[str, Tensor], other: dict[str, Tensor]) -> list[str]:
    return [name for name in one if not bool((one[name] == other[name]).all())]


@check
def changes_what_it_may(subject: Subject) -> None:
    """Training changes parameters that require a gradient, and none that does not; they stay finite."""
    trained = _whole(subject)
    changed = _differing(trained.before, trained.after)
    wrongly = sorted(trained.frozen & set(changed))
    demand(bool(changed), "Training changed nothing: it has to train the network that it is given, in place.")
    demand(
        not wrongly,
        f"Training changed {len(wrongly)} parameters that require no gradient ({', '.join(wrongly[:2])}, …): of a "
        "merge, they are the experts' own, which other steps share.",
    )
    broken = [name for name, one in trained.after.items() if one.is_floating_point() and not one.isfinite().all()]
    demand(not broken, f"After training, {', '.join(broken[:2])} are not finite.")


@check
def trains_the_same_again(subject: Subject) -> None:
    """One seed gives one result, whatever the process's own random numbers are."""
    from compat_spec.testing.randomness import with_global_seed

    again = with_global_seed(99, lambda: _train(subject))
    different = _differing(_whole(subject).after, again.after)
    demand(
        not different,
        f"Trained again with the same seed, {len(different)} tensors are others ({', '.join(different[:2])}, …): seed "
        "everything that is drawn by session.seed.",
    )


@check
def says_whether_the_seed_matters(subject: Subject) -> None:
    """The run's seed changes the result only if `uses_seed()` says so."""
    if subject.make().uses_seed():
        return
    different = _differing(_whole(subject).after, _train(subject, SEED + 1).after)
    demand(not different, "The result changes with the run's seed, and uses_seed() says False.")


@check
def keeps_the_steps_that_it_promises(subject: Subject) -> None:
    """It calls `session.keep` for each of `saved_steps()`."""
    promised, kept = set(subject.make().saved_steps()), set(_whole(subject).session.kept)
    lost = sorted(promised - kept)
    demand(not lost, f"saved_steps() promises the steps {lost}, which train never kept; it kept {sorted(kept)}.")


@check
def goes_on_after_a_stop(subject: Subject) -> None:
    """Stopped and taken up again from its checkpoint, a training ends with the same bits."""
    whole = _whole(subject)
    chances = whole.session.chances
    if not chances:
        raise NotChecked(
            "it never asks session.checkpoint_due(), so a training that is stopped starts afresh; fine when it is short"
        )
    stopped = _train(subject, stop_after=max(1, chances // 2))
    demand(
        stopped.session.state is not None,
        "checkpoint_due() said that it is time, and train did not call session.checkpoint: Ctrl-C would not stop it.",
    )
    resumed = _train(subject, state=stopped.session.state)
    different = _differing(whole.after, resumed.after)
    demand(
        not different,
        f"After a stop, {len(different)} tensors end otherwise ({', '.join(different[:2])}, …): checkpoint all that "
        "decides what follows (parameters, the optimizer's state, the step), and read it by session.restore().",
    )
