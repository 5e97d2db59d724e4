"""What the shell offers for names: `compat help ro<TAB>`. Quick, and silent where it does not know."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress


def topics(incomplete: str) -> list[str]:
    """Pages of the documentation, and plugins."""
    from compat_spec.cli.pages import pages

    return _beginning([*pages(), *_plugins()], incomplete)


def plugins(incomplete: str) -> list[str]:
    """The names of the installed plugins."""
    return _beginning(_plugins(), incomplete)


def kinds(incomplete: str) -> list[str]:
    """The kinds of plugins: `merges` and the others."""
    from compat_spec import registry

    return _beginning((namespace.removeprefix("compat.") for namespace in registry.CONTRACTS), incomplete)


def kinds_and_plugins(incomplete: str) -> list[str]:
    """Both, for a command that takes all of a kind, too."""
    return [*kinds(incomplete), *plugins(incomplete)]


def sinks(incomplete: str) -> list[str]:
    """The names of the installed sinks."""
    from compat_spec import registry

    return _beginning(registry.names("compat.sinks"), incomplete)


def kinds_to_start(incomplete: str) -> list[str]:
    """What `compat plugins new` makes: `merge` and the others."""
    return [kind.removesuffix("s") for kind in kinds("") if kind.startswith(incomplete)]


def executors(incomplete: str) -> list[str]:
    """The names of the installed executors."""
    from compat_spec import registry

    return _beginning(registry.names("compat.executors"), incomplete)


def runs(incomplete: str) -> list[str]:
    """`last`, the experiments, and the ids of runs, of the results in the working folder or in COMPAT_RESULTS."""
    from compat_spec.cli.options import DEFAULT_RESULTS
    from compat_spec.errors import CompatError
    from compat_spec.results import open_results

    found: list[str] = []
    with suppress(CompatError):
        known = open_results(os.environ.get("COMPAT_RESULTS", DEFAULT_RESULTS), create=False).runs()
        found = ["last", *dict.fromkeys(run.experiment for run in known), *(run.id for run in known)]
    return _beginning(found, incomplete)


def _plugins() -> Iterator[str]:
    from compat_spec import registry

    for namespace in registry.CONTRACTS:
        yield from registry.names(namespace)


def _beginning(names: Iterable[str], incomplete: str) -> list[str]:
    return [name for name in dict.fromkeys(names) if name.startswith(incomplete)]
