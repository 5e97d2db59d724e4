"""Declarations on their way to a `Spec`: read and validated, their names not resolved yet."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from compat_spec.components import Component, Trainer
from compat_spec.spec.axes import Indices
from compat_spec.spec.nodes import Node
from compat_spec.spec.problems import Place
from compat_spec.spec.spec import Axis, Point


@dataclass(frozen=True)
class Part:
    """A declaration at one point of its sweeps. What has mistakes is None; its fields are those that have none."""

    node: Node
    use: str | None = None
    """The plugin's canonical name, however the spec spells it."""
    cls: type[Component] | None = None
    component: Component | None = None
    """None also for a model that descends `from:` another."""
    fields: Mapping[str, Any] = field(default_factory=dict)
    trainer_use: str | None = None
    trainer: Trainer | None = None
    trainer_fields: Mapping[str, Any] = field(default_factory=dict)
    saved_steps: tuple[int, ...] = ()
    """The steps that the training keeps, besides the last."""
    last_step: int | None = None


@dataclass
class Draft:
    """A declaration whose names have not been resolved yet."""

    section: str
    name: str
    place: Place
    """Where its name stands."""
    node: Node
    axes: list[Axis] = field(default_factory=list)
    parts: dict[Point, Part] = field(default_factory=dict)

    @property
    def where(self) -> str:
        return f"{self.section}.{self.name}"

    def indices(self, point: Point) -> Indices:
        return dict(zip((axis.name for axis in self.axes), point, strict=True))

    def kept_steps(self) -> set[tuple[tuple[int, ...], int | None]]:
        """For the points of a model: the steps that its training keeps, and its last step where that is known."""
        return {(part.saved_steps, part.last_step) for part in self.parts.values()}

    def knows_steps(self) -> bool:
        """Whether `kept_steps` can be relied on: not when the training has mistakes."""
        return bool(self.parts) and all(
            part.trainer is not None or not part.node.mapping.keys() & {"train", "from"} for part in self.parts.values()
        )

    def keeps_step(self, step: int) -> bool:
        """Whether a model keeps checkpoints, and among them this step, at every point."""
        return all(saved and (step in saved or step == last) for saved, last in self.kept_steps())


class Drafts:
    """All declarations of a spec, by section and name."""

    def __init__(self, drafts: Mapping[tuple[str, str], Draft], unreadable: Collection[str]) -> None:
        self._drafts = drafts
        self.unreadable = unreadable
        """The sections that are no mappings: which names they meant to declare is not known."""

    def __iter__(self) -> Iterator[Draft]:
        return iter(self._drafts.values())

    def section(self, section: str) -> dict[str, Draft]:
        return {draft.name: draft for draft in self if draft.section == section}
