"""Finds components by name: stevedore namespaces -> classes. Loads only the plugin that is asked for."""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from importlib.metadata import Distribution, EntryPoint, entry_points
from pathlib import Path
from typing import Any

from stevedore.named import NamedExtensionManager

from compat_spec.components import Component, Executor, Merge, Metric, ModelSource, Sink, Task, Trainer
from compat_spec.errors import UsageError

CONTRACTS: dict[str, type[Component]] = {
    contract.namespace: contract for contract in (ModelSource, Trainer, Task, Merge, Metric, Executor, Sink)
}


class PluginError(UsageError):
    """A plugin that is not installed, does not load, or is not what its namespace asks for."""


@dataclass(frozen=True, slots=True)
class Plugin:
    """An installed plugin: the class, or why it could not be loaded."""

    namespace: str
    name: str
    target: str
    distribution: str
    distribution_version: str
    component: type[Component] | None
    error: str | None

    @property
    def summary(self) -> str:
        """The first line of its docstring."""
        if self.component is None:
            return self.error or ""
        return (inspect.getdoc(self.component) or "").partition("\n")[0]


@cache
def names(namespace: str) -> tuple[str, ...]:
    """The names that are registered in a namespace, sorted; nothing is loaded."""
    return tuple(sorted(_entry_points(namespace)))


def plugin(namespace: str, name: str) -> Plugin:
    """Load one plugin. A plugin that does not load comes back with its `error`.

    Raises:
        PluginError: no plugin of that name is installed.
    """
    if name not in names(namespace):
        raise PluginError(_unknown(namespace, name))
    return _load(namespace, name)


def plugins(namespace: str) -> Iterator[Plugin]:
    """Every installed plugin of a namespace, broken ones included."""
    for name in names(namespace):
        yield plugin(namespace, name)


def component(namespace: str, name: str) -> type[Component]:
    """The class of a component.

    Raises:
        PluginError: it is not installed or does not load; the message has the reason.
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
    if name not in names(group):
        raise PluginError(_unknown(group, name))
    found, error = _imported(group, name)
    if error is not None:
        raise PluginError(f"the plugin {_entry_point(group, name).value!r} does not load: {error}")
    return found


@cache
def source_identity(namespace: str, name: str) -> str:
    """What stands for a component's code in fingerprints.

    Its version; and for code under development (an editable install) the checksum of its module's source, so that
    an edit takes effect without a new version number.
    """
    cls = component(namespace, name)
    entry_point = _entry_point(namespace, name)
    identity = f"{name}:{cls.version}"
    if entry_point.dist is not None and _is_editable(entry_point.dist):
        source = Path(inspect.getfile(cls)).read_bytes()
        identity += f":{hashlib.sha256(source).hexdigest()[:16]}"
    return identity


@cache
def _load(namespace: str, name: str) -> Plugin:
    entry_point = _entry_point(namespace, name)
    cls, error = _imported(namespace, name)
    contract = CONTRACTS[namespace]
    if error is None and not (isinstance(cls, type) and issubclass(cls, contract)):
        cls, error = None, f"{entry_point.value} is not a {contract.__module__}.{contract.__name__}"
    dist = entry_point.dist
    return Plugin(
        namespace=namespace,
        name=name,
        target=entry_point.value,
        distribution=dist.name if dist else "unknown",
        distribution_version=dist.version if dist else "unknown",
        component=cls,
        error=error,
    )


class _Manager(NamedExtensionManager[Any]):
    """stevedore's, of entry points that are read afresh: its cache on disk misses what was installed a minute ago."""

    def list_entry_points(self) -> list[EntryPoint]:
        return list(_entry_points(self.namespace).values())


def _imported(namespace: str, name: str) -> tuple[Any, str | None]:
    """What an entry point names, or what went wrong when it was imported."""
    errors: list[BaseException] = []
    try:
        manager = _Manager(
            namespace,
            names=[name],
            on_load_failure_callback=lambda _, __, error: errors.append(error),
            on_missing_entrypoints_callback=None,
        )
    except (AssertionError, SystemExit) as error:  # which stevedore lets through
        errors.append(error)
    if errors:
        return None, f"{type(errors[0]).__name__}: {errors[0]}"
    return manager[name].plugin, None


@cache
def _entry_points(namespace: str) -> dict[str, EntryPoint]:
    """By name; where several distributions have a name, the first on the path has it, as with modules."""
    found: dict[str, EntryPoint] = {}
    for entry_point in entry_points(group=namespace):
        found.setdefault(entry_point.name, entry_point)
    return found


def _entry_point(namespace: str, name: str) -> EntryPoint:
    return _entry_points(namespace)[name]


@cache
def _is_editable(distribution: Distribution) -> bool:
    text = distribution.read_text("direct_url.json")
    return bool(text and json.loads(text).get("dir_info", {}).get("editable"))


def _unknown(namespace: str, name: str) -> str:
    known = names(namespace)
    kind = namespace.removeprefix("compat.").removesuffix("s")
    close = get_close_matches(name, known, n=1)
    advice = f"did you mean {close[0]!r}?" if close else f"installed: {', '.join(known) or 'none'}"
    return f"no {kind} plugin {name!r}; {advice}"
