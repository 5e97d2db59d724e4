"""How people name a model at one point of its sweeps: `router`, `blend[alpha=0.5,step=160]`, `RUN/math@80`."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any

import yaml

from compat_spec.errors import UsageError

STEP = ("step", "at")
"""How a training step is called: as in the views, or as in the spec."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A name, taken apart. `run` is None where none was named."""

    text: str
    run: str | None
    model: str
    at: Mapping[str, Any]


def wanted(text: str, known: Collection[str]) -> Wanted:
    """Take a name apart.

    Args:
        known: the models of the run that is compared: names that have a `/` or `@` in them stay whole.
    """
    match = re.fullmatch(r"(?P<head>[^\[]+?)\s*(?:\[(?P<at>.*)\])?", text.strip(), re.DOTALL)
    if match is None:
        raise UsageError(f"{text!r} names no model; write NAME, NAME[alpha=0.5,step=160] or RUN/NAME")
    head, at = match["head"], settings(match["at"] or "", text)
    run = None
    if head not in known and "/" in head:
        run, head = head.split("/", 1)
    if head not in known and (checkpoint := re.fullmatch(r"(.+)@(\d+)", head)):
        head, at = checkpoint[1], {**at, "step": int(checkpoint[2])}
    return Wanted(text, run, head, at)


def settings(text: str, whole: str) -> dict[str, Any]:
    """`alpha=0.5,step=160` as values, which are read as a spec would read them."""
    found: dict[str, Any] = {}
    for part in re.split(r",(?![^\[{]*[\]}])", text):
        if not part.strip():
            continue
        name, equals, value = part.partition("=")
        try:
            found[name.strip()] = yaml.safe_load(value)
        except yaml.YAMLError:
            equals = ""
        if not (equals and name.strip() and value.strip()):
            raise UsageError(f"{part.strip()!r} of {whole!r} sets nothing; write NAME=VALUE, such as alpha=0.5")
    return found


def same(one: Any, other: Any) -> bool:
    """Whether a value that was written is one of a sweep: `0.3` is what a range calls 0.30000000000000004."""
    if isinstance(one, Real) and isinstance(other, Real):
        return math.isclose(one, other, rel_tol=1e-9)
    return bool(one == other) or str(one) == str(other)
