"""Plain scalars by the core schema of YAML 1.2 (https://yaml.org/spec/1.2.2/#103-core-schema).

`on`, `yes` and `no` are text, and `1e-3` is a number, which PyYAML's own YAML 1.1 has the other way round.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from yaml.resolver import BaseResolver

from compat_spec.spec.nodes import Scalar

MAX_DIGITS = 100


class CoreResolver(BaseResolver):
    """Which plain scalars are numbers, truth values or null: the core schema of YAML 1.2."""


for _tag, _pattern, _first in (
    ("null", r"(?:~|null|Null|NULL|)", ["~", "n", "N", ""]),
    ("bool", r"(?:true|True|TRUE|false|False|FALSE)", list("tTfF")),
    ("int", r"(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)", list("-+0123456789")),
    (
        "float",
        r"(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))",
        list("-+.0123456789"),
    ),
):
    CoreResolver.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"^{_pattern}$"), _first)


def read_integer(text: str) -> int:
    """Raises ValueError for what is none, or is absurdly long."""
    if len(text) > MAX_DIGITS:  # Python refuses to print a very long one
        raise ValueError
    return int(text, 0) if text[:2] in ("0o", "0x") else int(text)


def _float(text: str) -> float:
    lowered = text.lower()
    return float(lowered.replace(".inf", "inf").replace(".nan", "nan"))


SCALARS: dict[str, Callable[[str], Scalar]] = {
    "str": str,
    "null": lambda _text: None,
    "bool": lambda text: {"true": True, "false": False}[text.lower()],
    "int": read_integer,
    "float": _float,
}
"""From the text of a scalar to its value, by the last word of its tag. They raise ValueError or KeyError."""
