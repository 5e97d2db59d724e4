"""Things that are made of each other."""

from __future__ import annotations

from collections.abc import Collection, Mapping


def way_back(start: str, made_of: Mapping[str, Collection[str]]) -> list[str] | None:
    """The way from a name to itself along what each is made of, both ends included; None where there is none."""
    ways = [[start]]
    seen: set[str] = set()
    while ways:
        way = ways.pop()
        for name in sorted(made_of.get(way[-1], ())):
            if name == start:
                return [*way, start]
            if name not in seen:
                seen.add(name)
                ways.append([*way, name])
    return None
