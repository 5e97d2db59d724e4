"""Writes a project with a plugin: a distribution with one component that works as it stands, and its tests."""

from __future__ import annotations

import keyword
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from importlib.util import find_spec
from pathlib import Path

from compat_spec import components, installed, registry
from compat_spec.errors import CompatError, UsageError

TEMPLATE = Path(__file__).with_name("plugin")

FORMS: Mapping[str, Sequence[str]] = {
    "model": ("",),
    "trainer": ("",),
    "task": ("",),
    "merge": ("tensor", "module"),
    "metric": ("model", "pair"),
    "executor": ("",),
    "sink": ("",),
}
"""The kinds of plugins, and for those that have several contracts, what these are called; the first is the default."""

LONGEST_NAME = 40

_NAME = re.compile(r"[a-z][a-z0-9]*([-_][a-z0-9]+)*")
_WORDS_OF_YAML = frozenset({"true", "false", "null"})


@dataclass(frozen=True, slots=True)
class PluginProject:
    """A project to be written.

    Attributes:
        kind: what it makes, one of `FORMS`.
        name: what a spec calls it in `use:`; the folder is called the same.
        contract: one of the contracts of the kind; empty for the first.
    """

    kind: str
    name: str
    contract: str = ""

    @property
    def distribution(self) -> str:
        """What pip calls it."""
        return self.name.replace("_", "-")

    @property
    def module(self) -> str:
        """What Python imports."""
        return self.name.replace("-", "_")

    @property
    def class_name(self) -> str:
        return "".join(word.capitalize() for word in self.module.split("_"))

    def check(self) -> None:
        """Raises `UsageError` when no such project can be made, with what would be right."""
        if self.kind not in FORMS:
            raise UsageError(f"{self.kind!r} is no kind of plugin; {_nearest(self.kind, list(FORMS))}")
        contracts = FORMS[self.kind]
        if self.contract and self.contract not in contracts:
            known = f"there are {' and '.join(contracts)}" if len(contracts) > 1 else "leave --contract out"
            raise UsageError(f"a {self.kind} has no contract {self.contract!r}; {known}")
        if not _NAME.fullmatch(self.name):
            raise UsageError(
                f"{self.name!r} cannot be the name: take small letters and digits, with - or _ between words, such as "
                f"my-{self.kind}"
            )
        if len(self.name) > LONGEST_NAME:
            raise UsageError(f"the name has {len(self.name)} letters; take one of at most {LONGEST_NAME}")
        taken = self._taken()
        if taken:
            raise UsageError(f"{self.name!r} cannot be the name: {taken}; take another, such as my-{self.name}")

    def write(self, parent: Path) -> Path:
        """Write it as a folder of `parent`, and return that.

        Raises:
            UsageError: the names do not do, or there is something of the name.
            CompatError: copier is not installed, or the folder cannot be written.
        """
        self.check()
        folder = parent / self.name
        if folder.exists() or folder.is_symlink():
            raise UsageError(f"{folder} is there already, and nothing is overwritten; take another name, or --into")
        try:
            from copier import run_copy
        except ImportError as error:
            raise CompatError("copier is missing, which writes projects: pip install 'compat-spec[authors]'") from error
        answers = {
            "kind": self.kind,
            "form": self._form,
            "name": self.name,
            "distribution": self.distribution,
            "module": self.module,
            "class_name": self.class_name,
        }
        try:
            parent.mkdir(parents=True, exist_ok=True)
            run_copy(str(TEMPLATE), folder, data=answers, defaults=True, quiet=True)
        except OSError as error:
            raise CompatError(f"{folder} cannot be written: {error.strerror or error}") from error
        return folder

    @property
    def _form(self) -> str:
        """The name of the files in the template that it starts from."""
        contract = self.contract or FORMS[self.kind][0]
        return self.kind if contract == FORMS[self.kind][0] else f"{self.kind}-{contract}"

    def _taken(self) -> str | None:
        """What has the name already."""
        namespace = f"compat.{self.kind}s"
        if registry.has(namespace, self.name):
            owner = registry.candidates(namespace, self.name)[0].distribution
            return f"there is {installed.a_kind(namespace)} of that name, of {owner}"
        if keyword.iskeyword(self.module) or self.module in _WORDS_OF_YAML:
            return "it is a word of Python or YAML"
        if hasattr(components, self.class_name):
            return f"its class would be called {self.class_name}, like one of compat_spec.components"
        if self.module in sys.stdlib_module_names or find_spec(self.module) is not None:
            return f"Python has a module {self.module}"
        return None


def _nearest(word: str, known: Sequence[str]) -> str:
    close = get_close_matches(word, known, n=1)
    return f"did you mean {close[0]!r}?" if close else f"there are {', '.join(known)}"
