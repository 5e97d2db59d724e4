"""The importer of mergekit's configurations: `compat import mergekit merge.yml`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compat_plugins.importers.mergekit.configuration import Configuration
from compat_plugins.importers.mergekit.models import Models
from compat_spec.circles import way_back
from compat_spec.importers import Imported

if TYPE_CHECKING:
    from compat_spec.spec.nodes import Node
    from compat_spec.spec.problems import Problems

MERGE = "merged"
"""What a merge without a name is called; models and merges share their names."""


def convert(documents: Sequence[Node], problems: Problems, folder: Path) -> Imported:
    """The importer of mergekit's configurations; see `Importer`.

    Several documents are those of mergekit-multi: each but one has a name, by which the others refer to what it makes.
    """
    written = _names(documents, problems)
    models = Models(folder, problems, [name for name in written if name is not None], MERGE)
    found = [
        Configuration(document, MERGE if name is None else models.merges[name], models, problems)
        for name, document in zip(written, documents, strict=True)
    ]
    for configuration in found:
        configuration.convert()
    merges: dict[str, dict[str, Any]] = {}
    for configuration in found:
        merges |= configuration.merges
    _check_circles(found, problems)
    several = len(found) > 1
    notes = [f"{one.name}: {note}" if several else note for one in found for note in one.notes]
    return Imported({"models": models.declarations(), "merges": merges}, notes)


def _names(documents: Sequence[Node], problems: Problems) -> list[str | None]:
    """What the file calls each merge; a single one has no name, for mergekit ignores it."""
    if len(documents) == 1:
        return [None]
    found: list[str | None] = []
    for document in documents:
        node = document.mapping.get("name")
        name = None if node is None or node.value is None else str(node.value)
        if name in found:
            what = "there are two merges without a `name`" if name is None else f"two merges are called {name}"
            problems.add(
                node.place if node else document.place, "name", what, "give each one of its own; one may be without"
            )
        found.append(name)
    return found


def _check_circles(found: Sequence[Configuration], problems: Problems) -> None:
    """Report a merge that is made of itself."""
    uses = {one.name: one.uses() for one in found}
    for one in found:
        way = way_back(one.name, uses)
        if way:
            place = one.document.place_of("name")
            problems.add(place, "name", f"{one.name} is made of itself: {' → '.join(way)}")
            return
