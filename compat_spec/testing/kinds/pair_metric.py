"""Checks of metrics of the features of two networks: `compare`, and `errors` where it knows any."""

from __future__ import annotations

from typing import TYPE_CHECKING

from compat_spec.components import PairMetric
from compat_spec.testing.checks import Checks, demand
from compat_spec.testing.subject import Subject

if TYPE_CHECKING:
    from torch import Tensor

check = Checks(PairMetric)

ROWS = 50


def features(seed: int, layers: int, width: int) -> list[Tensor]:
    """Made-up features `[rows, width]` of each layer; neighbouring layers are alike, as those of networks are."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(layers + 1, ROWS, width, generator=generator)
    return [drawn[layer] + 0.7 * drawn[layer + 1] for layer in range(layers)]


@check
def compares_any_features(subject: Subject) -> None:
    """Features of unlike widths and depths give finite numbers `[len(a), len(b)]`."""
    metric = subject.make()
    for a, b in ((features(0, 3, 8), features(1, 2, 8)), (features(0, 2, 8), features(1, 3, 5))):
        found = metric.compare(a, b)
        demand(
            tuple(found.shape) == (len(a), len(b)),
            f"compare made {list(found.shape)} of {len(a)} and {len(b)} layers, and has to make {[len(a), len(b)]}.",
        )
        demand(
            bool(found.isfinite().all()),
            f"compare made infinities or not-a-numbers of random features {[ROWS, a[0].shape[1]]} and "
            f"{[ROWS, b[0].shape[1]]}.",
        )


@check
def leaves_features_unchanged(subject: Subject) -> None:
    """The features are as they were: other metrics look at the same ones."""
    import torch

    metric, a, b = subject.make(), features(0, 3, 8), features(1, 2, 8)
    before = [one.clone() for one in (*a, *b)]
    metric.compare(a, b)
    metric.errors(a, b)
    demand(
        all(torch.equal(old, new) for old, new in zip(before, (*a, *b), strict=True)),
        "compare or errors changed features in place, which are shared: clone them first.",
    )


@check
def finds_a_layer_most_like_itself(subject: Subject) -> None:
    """Compared with itself, each layer has the highest number of all, or the lowest of all, with itself."""
    layers = features(0, 3, 8)
    found = subject.make().compare(layers, [layer.clone() for layer in layers]).double()
    own, room = found.diagonal(), 1e-4 * found.abs().max().clamp(min=1)
    demand(
        bool((own >= found.max(dim=1).values - room).all()) or bool((own <= found.min(dim=1).values + room).all()),
        f"Compared with itself, a layer is more like another one than like itself: {found.tolist()}.",
    )
