"""Which distributions have registered which names: entry points, and what a name means when several have it.

A plain name (`linear`) means the component that ships with compat when there is one, as that is the same in every
installation; else the one of the only distribution that has it. Where several others have it, it means nothing: what
it stood for would depend on what else is installed. `distribution:name` always means one component.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cache
from importlib.metadata import Distribution, EntryPoint, entry_points

OURS = "compat-spec"
"""The distribution of the engine and of the components that ship with it."""


@dataclass(frozen=True, slots=True)
class Registered:
    """A name that a distribution has registered in a namespace."""

    namespace: str
    name: str
    distribution: str
    """Its name in the normal form of PEP 503: `Compat_Extra` is `compat-extra`."""
    entry_point: EntryPoint = field(repr=False)

    @property
    def qualified(self) -> str:
        return f"{self.distribution}:{self.name}"

    @property
    def canonical(self) -> str:
        """What it is called in fingerprints, artifacts and results: the same whatever else is installed."""
        return self.name if self.distribution == OURS else self.qualified

    @property
    def shortest(self) -> str:
        """The shortest name that means it here."""
        meant = meaning(self.namespace, self.name)
        return self.name if meant == self else self.qualified


@cache
def registered(namespace: str) -> Sequence[Registered]:
    """All that is registered in a namespace: by name, then ours first, then by distribution.

    Where a distribution is on the path several times, the first counts, as with modules.
    """
    found: dict[tuple[str, bool, str], Registered] = {}
    for point in entry_points(group=namespace):
        distribution = normalised(point.dist.name) if point.dist else "unknown"
        key = (point.name, distribution != OURS, distribution)
        found.setdefault(key, Registered(namespace, point.name, distribution, point))
    return tuple(found[key] for key in sorted(found))


def candidates(namespace: str, name: str) -> Sequence[Registered]:
    """All that a name may mean, the one that it does mean first; a name may be qualified."""
    plain = [one for one in registered(namespace) if one.name == name]
    if plain or ":" not in name:
        return plain
    distribution, _, rest = name.partition(":")
    return [one for one in registered(namespace) if (one.distribution, one.name) == (normalised(distribution), rest)]


def meaning(namespace: str, name: str) -> Registered | None:
    """What a name means; None when it means nothing, or nothing certain."""
    found = candidates(namespace, name)
    return found[0] if len(found) == 1 or (found and found[0].distribution == OURS) else None


def clash(namespace: str, name: str) -> str | None:
    """What to say to somebody who uses a plain name that several distributions have: what is wrong, and what to do.

    The two are parted by `; `. None when there is no doubt.
    """
    found = candidates(namespace, name)
    if len(found) < 2:
        return None
    owners = " and ".join(one.distribution for one in found)
    what = f"{len(found)} distributions have {a_kind(namespace)} {name!r}: {owners}"
    if found[0].distribution == OURS:
        what += f"; {OURS}'s is used, which ships with compat"
    return f"{what}; write {' or '.join(one.qualified for one in found)}"


def unknown(namespace: str, name: str) -> str:
    """What to say of a name that nobody has registered."""
    known = registered(namespace)
    names = [one.shortest for one in known]
    close = get_close_matches(name, [one.qualified for one in known] if ":" in name else names, n=1)
    advice = f"did you mean {close[0]!r}?" if close else f"installed: {', '.join(names) or 'none'}"
    return f"no {kind_of(namespace)} plugin {name!r}; {advice}"


def kind_of(namespace: str) -> str:
    """`merge` for `compat.merges`."""
    return namespace.removeprefix("compat.").removesuffix("s")


def a_kind(namespace: str) -> str:
    """`a merge`, and `an executor`."""
    kind = kind_of(namespace)
    return f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}"


def normalised(distribution: str) -> str:
    """A distribution's name as PEP 503 compares it."""
    return re.sub(r"[-_.]+", "-", distribution).lower()


@cache
def is_editable(distribution: Distribution) -> bool:
    """Whether a distribution's code is under development here: installed with `pip install -e`."""
    text = distribution.read_text("direct_url.json")
    return bool(text and json.loads(text).get("dir_info", {}).get("editable"))
