"""What is wrong with the plugins that are installed, why, and what would mend it."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import import_module
from importlib.metadata import Distribution, EntryPoint, PackageNotFoundError, distribution, entry_points, version
from itertools import groupby
from typing import Literal, TypeAlias

from packaging.requirements import InvalidRequirement, Requirement

from compat_spec import installed, registry
from compat_spec.components import Component
from compat_spec.importers import GROUP
from compat_spec.testing.checks import checks_of, outcome_of
from compat_spec.testing.subject import Subject

Gravity: TypeAlias = Literal["broken", "clash", "untidy"]

ANATOMIES = "compat.anatomies"
"""Read by `compat_spec.nn.anatomy`, which imports torch."""

TIDINESS = ("says_what_it_does", "describes_its_parameters", "has_a_version")
"""The checks of the conformance kit that cost nothing, and that those who use a component notice."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong.

    Attributes:
        gravity: `broken` cannot be used; a `clash` is of two that can; `untidy` is for the author.
        about: the plugin or distribution.
        what: what is wrong, and why.
        advice: what to do; empty where `what` says it.
    """

    gravity: Gravity
    about: str
    what: str
    advice: str = ""


def examine() -> list[Finding]:
    """Look at all that is installed. Every plugin is imported."""
    found = [*_unknown_groups(), *_unmet_requirements()]
    for namespace in registry.CONTRACTS:
        for plugin in registry.plugins(namespace):
            found += _of_plugin(plugin)
        found += _clashes(namespace)
    return [*found, *_importers()]


# --------------------------------------------------------------------------------------------------- distributions


def _groups() -> Iterator[str]:
    yield from registry.CONTRACTS
    yield GROUP


def _unknown_groups() -> Iterator[Finding]:
    """Entry points that nobody reads."""
    known = [*_groups(), ANATOMIES]
    for group in sorted(entry_points().groups):
        if not group.startswith("compat.") or group in known:
            continue
        for point in entry_points(group=group):
            owner = f"{point.name} of {_owner(point.dist)}"
            close = get_close_matches(_kind(group), map(_kind, known), n=1)
            advice = f"did you mean compat.{close[0]}?" if close else f"there are {', '.join(known)}"
            yield Finding("broken", owner, f"it is registered in {group}, which nobody reads", advice)


def _kind(group: str) -> str:
    return group.removeprefix("compat.")


def _unmet_requirements() -> Iterator[Finding]:
    """Distributions of plugins that need what is not here, such as another version of compat-spec."""
    for owner in _distributions():
        for requirement in _requirements(owner):
            if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
                continue
            here = _version(requirement.name)
            if here is None or not requirement.specifier.contains(here, prereleases=True):
                have = f"{requirement.name} {here} is installed" if here else f"no {requirement.name} is installed"
                if installed.normalised(requirement.name) == installed.OURS:
                    advice = f"take a version of it for {here}: pip install --upgrade {owner.name}"
                else:
                    advice = f"pip install '{_plain(requirement)}'"
                yield Finding("broken", _owner(owner), f"it needs {_plain(requirement)}, and {have}", advice)


def _distributions() -> Iterator[Distribution]:
    """Those that register anything, each once."""
    seen = set()
    for group in _groups():
        for one in installed.registered(group):
            dist = one.entry_point.dist
            if dist is not None and one.distribution not in seen:
                seen.add(one.distribution)
                yield dist


def _requirements(owner: Distribution) -> Iterator[Requirement]:
    for text in owner.requires or ():
        try:
            yield Requirement(text)
        except InvalidRequirement:
            continue


def _plain(requirement: Requirement) -> str:
    return f"{requirement.name}{requirement.specifier}"


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _owner(dist: Distribution | None) -> str:
    return f"{installed.normalised(dist.name)} {dist.version}" if dist else "an unknown distribution"


# --------------------------------------------------------------------------------------------------------- plugins


def _of_plugin(plugin: registry.Plugin) -> Iterator[Finding]:
    kind = installed.kind_of(plugin.namespace)
    about = f"{plugin.name} ({kind}) of {plugin.distribution} {plugin.distribution_version}"
    if plugin.error is not None:
        advice = _cure(plugin.target, plugin.distribution, plugin.cause) if plugin.cause else _right_place(plugin)
        yield Finding("broken", about, plugin.error, advice)
        return
    assert plugin.component is not None
    missing = sorted(getattr(plugin.component, "__abstractmethods__", ()))
    if missing:
        yield Finding("broken", about, f"{plugin.target} does not implement {', '.join(missing)}")
        return
    for check in checks_of(plugin.component):
        if check.of is Component and check.name in TIDINESS:
            outcome = outcome_of(check, Subject(plugin.component))
            if outcome.status == "failed":
                yield Finding("untidy", about, outcome.message)


def _importers() -> Iterator[Finding]:
    for one in installed.registered(GROUP):
        try:
            one.entry_point.load()
        except (Exception, SystemExit) as error:
            about = f"{one.name} (importer) of {_owner(one.entry_point.dist)}"
            advice = _cure(one.entry_point.value, one.distribution, error)
            yield Finding("broken", about, f"{type(error).__name__}: {error}", advice)


def _right_place(plugin: registry.Plugin) -> str:
    """What to do with a thing that is not of the contract of its namespace."""
    thing = EntryPoint(plugin.name, plugin.target, plugin.namespace).load()
    contract = registry.CONTRACTS[plugin.namespace]
    if isinstance(thing, type) and issubclass(thing, Component):
        for namespace, other in registry.CONTRACTS.items():
            if issubclass(thing, other):
                return f"it is a {other.__name__}: register it in {namespace}"
    if isinstance(thing, contract):
        return f"it is made already: register the class {type(thing).__name__}"
    words = _contract_words(contract)
    return f"derive the class from {words} of compat_spec.components"


def _contract_words(contract: type[Component]) -> str:
    """`TensorMerge or ModuleMerge` for `Merge`: what is meant to be implemented."""
    inner = [one for one in contract.__subclasses__() if one.__module__ == contract.__module__]
    return " or ".join(sorted(one.__name__ for one in inner)) or contract.__name__


def _cure(target: str, owner: str, cause: BaseException) -> str:
    """What to do about an entry point that cannot be imported."""
    module, _, attribute = target.partition(":")
    match cause:
        case ModuleNotFoundError(name=str(missing)):
            if missing.partition(".")[0] == module.partition(".")[0]:
                return (
                    f"{owner} has no module {missing}: its entry point or its wheel is wrong; pip install {owner} again"
                )
            return _to_install(missing.partition(".")[0], owner)
        case AttributeError() if attribute:
            close = get_close_matches(attribute, _classes(module), n=1)
            return f"did you mean {module}:{close[0]}?" if close else f"{module} has no such class"
        case SyntaxError(filename=str(file), lineno=int(line)):
            return f"{file}:{line}"
        case ImportError():
            return f"{owner} was made for another version of what it imports: pip install --upgrade {owner}"
    return ""


def _to_install(module: str, owner: str) -> str:
    """How to get a module: as an extra of the distribution that wants it, where it has one."""
    wanted = installed.normalised(module)
    for requirement in _requirements(distribution(owner)):
        if installed.normalised(requirement.name) == wanted:
            if requirement.marker and "extra ==" in str(requirement.marker):
                extra = str(requirement.marker).partition("extra ==")[2].strip().split('"')[1]
                return f"pip install '{owner}[{extra}]'"
            return f"pip install '{_plain(requirement)}'"
    return f"pip install {module.replace('_', '-')}, if that is what the distribution with it is called"


def _classes(module: str) -> Sequence[str]:
    try:
        return [name for name, _ in inspect.getmembers(import_module(module), inspect.isclass)]
    except Exception:
        return ()


# --------------------------------------------------------------------------------------------------------- clashes


def _clashes(namespace: str) -> Iterable[Finding]:
    for name, same in groupby(installed.registered(namespace), key=lambda one: one.name):
        rivals = list(same)
        if len(rivals) < 2:
            continue
        about = f"{name} ({installed.kind_of(namespace)})"
        owners = " and ".join(_owner(one.entry_point.dist) for one in rivals)
        chosen = installed.meaning(namespace, name)
        if chosen is not None:
            what = f"{owners} have it; {name} alone means {chosen.qualified}, which ships with compat"
            others = " or ".join(one.qualified for one in rivals if one != chosen)
            yield Finding("clash", about, what, f"use: {others} for the other")
        else:
            what = f"{owners} have it; {name} alone means none of them"
            yield Finding("clash", about, what, f"use: {' or '.join(one.qualified for one in rivals)}")
