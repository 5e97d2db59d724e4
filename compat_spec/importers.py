"""What turns the configurations of other tools into specs: an entry point of the group `compat.importers`.

Its name is what `compat import NAME FILE` calls it, and its object an `Importer`:

    [project.entry-points."compat.importers"]
    other_tool = "my_package:convert"
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from compat_spec.spec.nodes import Node
    from compat_spec.spec.problems import Problems

__all__ = ["GROUP", "Imported", "Importer"]

GROUP = "compat.importers"


@dataclass(frozen=True, slots=True)
class Imported:
    """What a configuration says, in the words of a spec.

    Attributes:
        sections: the sections of the spec, as plain data: `models`, `merges`.
        notes: what the reader of the spec should know, such as what was left out because it has no effect.
    """

    sections: Mapping[str, Mapping[str, Any]]
    notes: Sequence[str] = ()


class Importer(Protocol):
    """Reads the configurations of one tool."""

    def __call__(self, documents: Sequence[Node], problems: Problems, folder: Path) -> Imported:
        """Convert a configuration.

        What cannot be said in a spec goes into `problems`, each with its place, and what is returned then does not
        matter. Paths are relative to the folder of the spec that is written, which is the working one.

        Args:
            documents: what the file holds: a mapping, or several where `---` stands between them.
            folder: where the file lies.
        """
