"""Finds components by name: stevedore namespaces -> classes. Loads only the plugin that is asked for.

A name may be qualified by its distribution, `compat-spec:linear`; `installed.py` says what a plain one means.
"""

from __future__ import annotations

import hashlib
import inspect
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

from stevedore.named import NamedExtensionManager

from compat_spec import installed
from compat_spec.components import Component, Executor, Merge, Metric, ModelSource, Sink, Task, Trainer
from compat_spec.errors import UsageError
from compat_spec.installed import Registered

__all__ = ["CONTRACTS", "Plugin", "PluginError", "component", "load", "names", "plugin", "plugins"]

CONTRACTS: dict[str, type[Component]] = {
    contract.namespace: contract for contract in (ModelSource, Trainer, Task, Merge, Metric, Executor, Sink)
}


_IDENTITY = re.compile(r"(?P<name>.+?):(?P<version>[^:]*)(:(?P<source>[0-9a-f]{16}))?")


class PluginError(UsageError):
    """A plugin that is not installed, does not load, is not what its namespace asks for, or may be one of several."""


@dataclass(frozen=True, slots=True)
class Plugin:
    """An installed plugin: the class, or why it could not be loaded."""

    namespace: str
    name: str
    use: str
    """The shortest name that means it here: `name`, or `distribution:name` where another has the plain one."""
    target: str
    distribution: str
    distribution_version: str
    component: type[Component] | None
    error: str | None
    cause: BaseException | None = None
    """What was raised when it was imported."""

    @property
    def summary(self) -> str:
        """The first line of its docstring."""
        if self.component is None:
            return self.error or ""
        return (inspect.getdoc(self.component) or "").partition("\n")[0]


def names(namespace: str) -> tuple[str, ...]:
    """The names of a namespace, one for each plugin, the shortest that means it; nothing is loaded."""
    return tuple(one.shortest for one in installed.registered(namespace))


def has(namespace: str, name: str) -> bool:
    """Whether a name, plain or qualified, stands for anything in a namespace."""
    return bool(installed.candidates(namespace, name))


def plugin(namespace: str, name: str) -> Plugin:
    """Load one plugin. A plugin that does not load comes back with its `error`.

    Raises:
        PluginError: no plugin of that name is installed, or several are and none of them is meant.
    """
    return _load(_meant(namespace, name))


def plugins(namespace: str) -> Iterator[Plugin]:
    """Every installed plugin of a namespace, broken ones and those whose name another has included."""
    for one in installed.registered(namespace):
        yield _load(one)


def candidates(namespace: str, name: str) -> Sequence[Plugin]:
    """All plugins that a name may mean, the one that it does mean first."""
    return [_load(one) for one in installed.candidates(namespace, name)]


def component(namespace: str, name: str) -> type[Component]:
    """The class of a component.

    Raises:
        PluginError: it is not installed, does not load, or the name means none of several; the message has the reason.
    """
    found = plugin(namespace, name)
    if found.component is None:
        raise PluginError(f"the plugin {name!r} of {found.distribution} does not load: {found.error}")
    return found.component


def load(group: str, name: str) -> Any:
    """What an entry point of any group names, such as an importer.

    Raises:
        PluginError: it is not installed or does not load; the message has the reason.
    """
    one = _meant(group, name)
    found, error = _imported(one.entry_point)
    if error is not None:
        raise PluginError(f"the plugin {one.entry_point.value!r} does not load: {_words(error)}")
    return found


def canonical(namespace: str, name: str) -> str:
    """What a component is called in fingerprints, artifacts and results, however a spec spells it.

    `linear` for those that ship with compat and `distribution:name` for all others: the same whatever else is
    installed.

    Raises:
        PluginError: as `plugin`.
    """
    return _meant(namespace, name).canonical


def name_of(cls: type[Component]) -> str:
    """What a class is called in results, by the entry point that names it: the class's own name where none does."""
    for one in installed.registered(cls.namespace):
        if (one.entry_point.module, one.entry_point.attr) == (cls.__module__, cls.__qualname__):
            return one.canonical
    return cls.__name__.lower()


def clash(namespace: str, name: str) -> str | None:
    """What to say of a plain name that several distributions have; None when there is no doubt about it."""
    return installed.clash(namespace, name)


@cache
def source_identity(namespace: str, name: str) -> str:
    """What stands for a component's code in fingerprints.

    Its canonical name, so that no two distributions' components are taken for each other; its version; and for code
    under development (an editable install) the checksum of its module's source, so that an edit takes effect without a
    new version number.
    """
    cls = component(namespace, name)
    one = _meant(namespace, name)
    identity = f"{one.canonical}:{cls.version}"
    if one.entry_point.dist is not None and installed.is_editable(one.entry_point.dist):
        source = Path(inspect.getfile(cls)).read_bytes()
        identity += f":{hashlib.sha256(source).hexdigest()[:16]}"
    return identity


def identity_parts(identity: str) -> tuple[str, str, str | None]:
    """The name, the version, and the source's checksum where there is one, of what `source_identity` gave."""
    found = _IDENTITY.fullmatch(identity)
    return (found["name"], found["version"], found["source"]) if found else (identity, "", None)


def forget() -> None:
    """Look again at what is installed, for a process in which that has changed."""
    for cached in (installed.registered, installed.is_editable, source_identity, _load):
        cached.cache_clear()


def _meant(namespace: str, name: str) -> Registered:
    found = installed.meaning(namespace, name)
    if found is None:
        raise PluginError(installed.clash(namespace, name) or installed.unknown(namespace, name))
    return found


@cache
def _load(one: Registered) -> Plugin:
    cls, cause = _imported(one.entry_point)
    error = _words(cause) if cause is not None else None
    contract = CONTRACTS[one.namespace]
    if error is None and not (isinstance(cls, type) and issubclass(cls, contract)):
        cls, error = None, f"{one.entry_point.value} is not a compat_spec.components.{contract.__name__}"
    dist = one.entry_point.dist
    return Plugin(
        namespace=one.namespace,
        name=one.name,
        use=one.shortest,
        target=one.entry_point.value,
        distribution=one.distribution,
        distribution_version=dist.version if dist else "unknown",
        component=cls,
        error=error,
        cause=cause,
    )


class _Manager(NamedExtensionManager[Any]):
    """stevedore's, of one entry point that was read afresh: its cache on disk misses what was installed a minute ago,
    and it knows no two distributions with one name."""

    def __init__(self, entry_point: EntryPoint, errors: list[BaseException]) -> None:
        self._entry_point = entry_point
        super().__init__(
            entry_point.group,
            names=[entry_point.name],
            on_load_failure_callback=lambda _, __, error: errors.append(error),
            on_missing_entrypoints_callback=None,
        )

    def list_entry_points(self) -> list[EntryPoint]:
        return [self._entry_point]


def _imported(entry_point: EntryPoint) -> tuple[Any, BaseException | None]:
    """What an entry point names, or what was raised when it was imported."""
    errors: list[BaseException] = []
    try:
        manager = _Manager(entry_point, errors)
    except (AssertionError, SystemExit) as error:  # which stevedore lets through
        errors.append(error)
    return (None, errors[0]) if errors else (manager[entry_point.name].plugin, None)


def _words(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"
