"""Checks of merges of modules: `build`, and `build_together` where sweeps are made at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from compat_spec.components import ModuleMerge
from compat_spec.testing.checks import Checks, NotChecked, demand
from compat_spec.testing.subject import Subject

if TYPE_CHECKING:
    from torch import Tensor, nn

    from compat_spec.nn.network import Network

check = Checks(ModuleMerge)

SEED = 3
BATCH, SEQUENCE = 2, 9


def networks(subject: Subject) -> tuple[list[Network], Network | None]:
    """A tiny frozen network for each model, and one for the trunk where the merge has one; they are shared."""
    from compat_spec.testing.tiny import tiny_experts

    def made() -> tuple[list[Network], Network]:
        *experts, trunk = tiny_experts(len(subject.make().models) + 1)
        return experts, trunk

    experts, trunk = subject.once("networks", made)
    return experts, trunk if getattr(subject.make(), "trunk", None) is not None else None


def build(subject: Subject, seed: int = SEED) -> nn.Module:
    """The module, as the engine has it built."""
    from compat_spec.nn.network import seeded

    experts, trunk = networks(subject)
    with seeded(seed):
        module: nn.Module = subject.make().build(experts, trunk)
    return module.eval()


def tokens(seed: int = 0) -> Tensor:
    import torch

    return torch.randint(0, 256, (BATCH, SEQUENCE), generator=torch.Generator().manual_seed(seed))


def logits(module: nn.Module, input_ids: Tensor) -> Tensor:
    import torch

    with torch.no_grad():
        out = module(input_ids=input_ids)
    demand(
        isinstance(getattr(out, "logits", None), torch.Tensor),
        f"The module gives a {type(out).__name__}, and has to give an object with `.logits`.",
    )
    found: Tensor = out.logits
    return found


@check
def gives_logits(subject: Subject) -> None:
    """The module takes `input_ids [batch, seq]` and gives finite `.logits [batch, seq, vocabulary]`."""
    experts, _ = networks(subject)
    found = logits(build(subject), tokens())
    vocabulary = logits(experts[0].module, tokens()).shape[-1]
    wanted = (BATCH, SEQUENCE, vocabulary)
    demand(
        tuple(found.shape) == wanted,
        f"The logits of input_ids {[BATCH, SEQUENCE]} are {list(found.shape)}, and have to be {list(wanted)}.",
    )
    demand(found.is_floating_point(), f"The logits are {found.dtype}.")
    demand(bool(found.isfinite().all()), "The logits of two random networks hold infinities or not-a-numbers.")


@check
def sees_no_later_token(subject: Subject) -> None:
    """The logits of a token do not depend on later tokens."""
    import torch

    module, ids = build(subject), tokens()
    for place in (1, SEQUENCE - 1):
        other = ids.clone()
        other[:, place:] = (other[:, place:] + 1) % 256
        demand(
            torch.allclose(logits(module, ids)[:, :place], logits(module, other)[:, :place], atol=1e-5),
            f"The logits of the first {place} tokens change with those that follow: a language model that sees what it "
            "has to predict scores too well.",
        )


@check
def reads_rows_alone(subject: Subject) -> None:
    """The logits of a row do not depend on the other rows of the batch."""
    import torch

    module, ids = build(subject), tokens()
    together = logits(module, ids)
    alone = torch.cat([logits(module, row[None]) for row in ids])
    demand(
        torch.allclose(together, alone, atol=1e-4),
        "A row has other logits in a batch than alone: results would depend on the size of batches.",
    )


@check
def freezes_the_experts(subject: Subject) -> None:
    """The experts' own parameters come out frozen."""
    experts, trunk = networks(subject)
    own = {
        id(parameter): name
        for network in (*experts, *([trunk] if trunk else []))
        for name, parameter in network.module.named_parameters()
    }
    free = [own[id(one)] for one in build(subject).parameters() if one.requires_grad and id(one) in own]
    for network in experts:
        network.module.requires_grad_(False)
    demand(
        not free,
        f"{len(free)} parameters of the experts require a gradient ({', '.join(free[:2])}, …): a `train:` block would "
        "train them, and they are shared with other steps. Freeze them: parameter.requires_grad_(False).",
    )


@check
def leaves_networks_unchanged(subject: Subject) -> None:
    """`build`, and running what it builds, leave the networks that are given as they are."""
    from compat_spec.testing.unchanged import state_of

    experts, trunk = networks(subject)
    given = [*experts, *([trunk] if trunk else [])]
    before = [state_of(network) for network in given]
    scores = [logits(network.module, tokens()) for network in given]
    logits(build(subject), tokens())
    for number, (old, score, network) in enumerate(zip(before, scores, given, strict=True)):
        changes = old.changes(state_of(network))
        if not changes and not bool((logits(network.module, tokens()) == score).all()):
            changes = "what it computes"
        demand(
            not changes,
            f"build changed {changes} of network {number}, which other steps share: deepcopy what has to change.",
        )


@check
def says_whether_it_trains(subject: Subject) -> None:
    """`training` says whether there is anything to train."""
    cls: Any = subject.component
    free = [name for name, parameter in build(subject).named_parameters() if parameter.requires_grad]
    if cls.training == "none":
        demand(not free, f"training is 'none', and {', '.join(free[:3])} require a gradient.")
    if cls.training == "needed":
        demand(bool(free), "training is 'needed', and no parameter of the module requires a gradient.")


@check
def trains_what_it_declares(subject: Subject) -> None:
    """A pass backwards reaches every parameter that requires a gradient."""
    module = build(subject)
    free = {name: parameter for name, parameter in module.named_parameters() if parameter.requires_grad}
    if not free:
        raise NotChecked("there is nothing to train")
    module.train()
    module(input_ids=tokens()).logits.float().log_softmax(-1)[..., 0].sum().backward()
    missed = [name for name, parameter in free.items() if parameter.grad is None]
    broken = [name for name, one in free.items() if one.grad is not None and not bool(one.grad.isfinite().all())]
    module.zero_grad(set_to_none=True)
    module.eval()
    demand(not missed, f"No gradient reaches {', '.join(missed[:3])}: it is declared trainable and never learns.")
    demand(not broken, f"The gradient of {', '.join(broken[:3])} is not finite.")


@check
def builds_the_same_again(subject: Subject) -> None:
    """The same networks and seed give the same module; another seed another only if `uses_seed()` says so."""
    first, again = logits(build(subject), tokens()), logits(build(subject), tokens())
    demand(bool((first == again).all()), "Built again from the same networks and seed, it computes something else.")
    free = any(parameter.requires_grad for parameter in build(subject).parameters())
    if not subject.make().uses_seed() and not free:
        other = logits(build(subject, SEED + 1), tokens())
        demand(
            bool((first == other).all()),
            "What it computes changes with the run's seed, and uses_seed() says False: all seeds would share the "
            "result of one. Let it return True.",
        )


@check
def comes_back_from_what_is_stored(subject: Subject) -> None:
    """Built again, with the trained parameters put back by name, it computes the same."""
    import torch

    trained = build(subject)
    with torch.no_grad():
        for number, parameter in enumerate(one for one in trained.parameters() if one.requires_grad):
            generator = torch.Generator().manual_seed(number)
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    stored = {name: one.detach().clone() for name, one in trained.named_parameters() if one.requires_grad}
    if not stored:
        raise NotChecked("there is nothing to train")
    wanted = logits(trained, tokens())
    back = build(subject, SEED)
    parameters = dict(back.named_parameters())
    lost = sorted(stored.keys() - parameters.keys())
    demand(not lost, f"Built again, the module has no parameter {', '.join(lost[:3])}: names must stay the same.")
    with torch.no_grad():
        for name, tensor in stored.items():
            parameters[name].copy_(tensor)
    demand(
        torch.allclose(logits(back, tokens()), wanted, atol=1e-5),
        "Built again with its trained parameters, it computes something else: what decides the result has to be a "
        "parameter that requires a gradient, for only those are stored.",
    )


@check.where(lambda cls: cls.sweeps)
def sweeps_agree_with_single_builds(subject: Subject) -> None:
    """`build_together` gives the logits of each merge, the first merge's rows first."""
    import torch

    cls: Any = subject.component
    merges = [subject.make(), *_other_points(subject)]
    experts, trunk = networks(subject)
    together = logits(cls.build_together(merges, experts, trunk).eval(), tokens())
    demand(
        together.shape[0] == len(merges) * BATCH,
        f"The logits of {len(merges)} merges together have {together.shape[0]} rows for a batch of {BATCH}, and should "
        f"have {len(merges) * BATCH}.",
    )
    for number, merge in enumerate(merges):
        found = together[number * BATCH : (number + 1) * BATCH]
        wanted = logits(merge.build(experts, trunk).eval(), tokens())
        demand(
            torch.allclose(found, wanted, atol=1e-4),
            f"Built together with others, {merge!r} gives other logits than alone.",
        )


def _other_points(subject: Subject) -> Sequence[Any]:
    """The merge at other values of a parameter that is a number."""
    for name, field in subject.component.parameters().items():
        default = field.get_default() if not field.is_required() else None
        if isinstance(default, float):
            found = []
            for value in (default / 2, default / 4):
                try:
                    found.append(subject.make(**{name: value}))
                except ValueError:
                    continue
            if found:
                return found
    return [subject.make()]
