"""Networks whose every MLP becomes several experts' MLPs.

The result is a copy of the trunk (whose attention, embeddings and norms it uses) that shares its tensors and the
experts', all frozen. The networks that are given do not change.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from compat_spec.errors import CompatError
from compat_spec.nn.anatomy import Anatomy, frozen_copy
from compat_spec.nn.mixture.attention import AttentionMixture
from compat_spec.nn.mixture.choosing import Choice
from compat_spec.nn.mixture.fitting import Parts, trunk_of
from compat_spec.nn.mixture.modules import Blend, Mixture, TextShape
from compat_spec.nn.network import Network
from compat_spec.nn.routers import Follower, Router, RouterKind, Site, routers


def interpolate(
    networks: Sequence[Network], weights: Sequence[float | Sequence[float]], trunk: Network | None = None
) -> nn.Module:
    """Activation interpolation (Pari et al., 2024, arXiv:2411.02207): MLP outputs are added up with constant weights.

    Args:
        weights: for each network a number, or one number per block. They are not normalised.
        trunk: whose attention, embeddings and norms to use; by default the networks', which must be equal.

    Raises:
        CompatError: a list of weights is not as long as the network is deep, or the networks do not fit.
        ValueError: there are not as many weights as networks.
    """
    body = trunk_of(networks, trunk, "mlp")
    per_block = weights_by_block(weights, len(networks), len(body.anatomy))
    mlps = frozen_mlps(networks)
    form = body.anatomy.layout.mlp_form
    blends = [Blend([own[block] for own in mlps], here, form) for block, here in enumerate(per_block)]
    return body.anatomy.with_mlps(blends).train(body.module.training)


def route(
    networks: Sequence[Network],
    *,
    router: RouterKind = "per_block",
    span: int = 1,
    top_k: int | None = None,
    normalize: bool = False,
    capacity: float | None = None,
    noise: bool = False,
    balance: float = 0.0,
    parts: Parts = "mlp",
    trunk: Network | None = None,
) -> nn.Module:
    """A mixture of experts in every block (Pari et al., 2024, arXiv:2411.02207); only the routers can be trained.

    Experts of a block are in the order of `blocks_in_reach`, and for each of those blocks in the order of `networks`.
    The routers' start is drawn from torch's random numbers.

    Args:
        router: one `per_block`; one that is `shared` by all, whose choice at the first block serves every block; or
            `previous` and `sequence`, for which see `PreviousRouter` and `SequenceRouter`.
        span: how many blocks' MLPs each block may choose from (multi-layer routing).
        top_k: how many experts a token goes to; None is all.
        normalize: see `Choice`.
        capacity: experts choose tokens; see `chosen_by_experts`.
        noise: see `Router`.
        balance: the weight of `imbalance` in the loss of a training.
        parts: what the experts are: the networks' MLPs, their attentions, or both, with routers of their own.
        trunk: whose other parts to use; by default the networks', which must be equal.

    Raises:
        CompatError: `span` is more than there are blocks, `top_k` more than there are experts, or the networks do not
            fit.
        ValueError: `span` is not 1 for attentions, or `capacity` goes with `top_k`.
    """
    body = trunk_of(networks, trunk, parts)
    anatomy, depth = body.anatomy, len(body.anatomy)
    if span > depth:
        raise CompatError(f"span: {span} reaches for the MLPs of {span} blocks, and the networks have {depth}")
    if span > 1 and parts != "mlp":
        raise ValueError(f"span: {span} is for MLPs; attentions stay in their blocks")
    experts, choice = len(networks) * span, Choice(top_k, normalize, capacity)
    if top_k is not None and top_k > experts:
        raise CompatError(f"top_k: {top_k} is more than the {experts} experts of a block")

    def routers_for(site: Site) -> list[Router | Follower]:
        made = routers(router, anatomy.width, experts, depth, site=site, noise=noise, balance=balance)
        return [one.to(body.device) for one in made]

    # whether the weights of a token depend on those before it in its text as such, and not by what attention made of it
    of_texts = router == "sequence" or capacity is not None
    shapes = [TextShape() for _ in range(depth)] if of_texts else []
    mlps = _mlp_mixtures(networks, anatomy, routers_for("mlp"), choice, shapes) if parts != "attention" else None
    attentions = _attention_mixtures(networks, routers_for("attention"), choice) if parts != "mlp" else None
    routed = anatomy.with_parts(mlps=mlps, attentions=attentions)
    for block, shape in zip(Anatomy(routed, anatomy.layout).blocks, shapes, strict=of_texts):
        block.register_forward_pre_hook(shape, with_kwargs=True)
    if of_texts or attentions is not None:
        # transformers' word for models that remember more of a text than one attention's keys and values
        routed._is_stateful = True  # type: ignore[assignment]
    return routed.train(body.module.training)


def _mlp_mixtures(
    networks: Sequence[Network],
    anatomy: Anatomy,
    made: Sequence[Router | Follower],
    choice: Choice,
    shapes: Sequence[TextShape],
) -> list[nn.Module]:
    mlps, depth = frozen_mlps(networks), len(anatomy)
    span = made[0].out_features // len(networks)
    return [
        Mixture(
            [own[there] for there in blocks_in_reach(block, span, depth) for own in mlps],
            router,
            choice,
            anatomy.layout.mlp_form,
            shapes[block] if shapes else None,
        )
        for block, router in enumerate(made)
    ]


def _attention_mixtures(
    networks: Sequence[Network], made: Sequence[Router | Follower], choice: Choice
) -> list[nn.Module]:
    return [
        AttentionMixture([frozen_copy(network.anatomy.attention(block)) for network in networks], router, choice)
        for block, router in enumerate(made)
    ]


def weights_by_block(weights: Sequence[float | Sequence[float]], networks: int, depth: int) -> list[list[float]]:
    """What `interpolate` takes, as the weights of each block `[blocks][networks]`, after checking that it fits."""
    if len(weights) != networks:
        raise ValueError(f"{len(weights)} weights are given for {networks} networks")
    for weight in weights:
        if not isinstance(weight, float | int) and len(weight) != depth:
            raise CompatError(f"{len(weight)} weights are given, one per block, and the networks have {depth} blocks")
    return [[w if isinstance(w, float | int) else w[block] for w in weights] for block in range(depth)]


def blocks_in_reach(block: int, span: int, depth: int) -> list[int]:
    """The blocks whose MLPs a block may choose from: its own, those above, and at the top those below, in turn."""
    above = list(range(block, min(block + span, depth)))
    missing = span - len(above)
    return above + [block - 1 - i for i in range(missing)]


def frozen_mlps(networks: Sequence[Network]) -> list[list[nn.Module]]:
    """The MLP of every block of every network `[networks][blocks]`, sharing the networks' tensors."""
    return [[frozen_copy(network.anatomy.mlp(block)) for block in range(len(network.anatomy))] for network in networks]
