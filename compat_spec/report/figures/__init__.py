"""The charts of a run, each kind in its own file: what of a run it needs, its data, its picture and its words."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from compat_spec.report.data.gathered import Gathered
    from compat_spec.report.figures.figure import Figure

Kind: TypeAlias = "Callable[[Gathered], Iterator[Figure]]"


def sections() -> dict[str, list[Kind]]:
    """The kinds of charts, under the headings of the page, in its order."""
    from compat_spec.report.figures import (
        layer_maps,
        loss_against_similarity,
        over_steps,
        routers,
        scores,
        step_times,
        sweeps,
    )

    return {
        "How good each is": [scores.figures],
        "What the swept parameters do": [sweeps.figures],
        "Over the steps of fine-tuning": [over_steps.figures, loss_against_similarity.figures],
        "How alike the layers are": [layer_maps.figures],
        "What the routers do": [routers.figures],
        "What it cost": [step_times.figures],
    }
