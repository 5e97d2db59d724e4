"""Numbers and settings as people read them."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from compat_spec.report.data.intervals import Interval

UNITS = {"loss": "nats per token", "entropy": "nats"}
NAMES = {"answers": "answers", "cka": "CKA", "mutual_knn": "mutual k-NN", "cknna": "CKNNA", "rsa": "RSA"}
LABELS = {
    "loss": "loss, nats per token",
    "accuracy": "accuracy, share of tokens",
    "answers": "answers, share that is right",
    "perplexity": "perplexity",
}


def number(value: float | None) -> str:
    """Three digits after the point; fewer of large numbers."""
    if value is None or math.isnan(value):
        return "not a number"
    if math.isinf(value):
        return "infinite"
    size = abs(value)
    text = f"{value:.3g}" if size >= 1e5 or 0 < size < 5e-4 else f"{value:,.{3 if size < 100 else 1}f}"
    return text.replace("-", "\u2212")


def with_interval(interval: Interval) -> str:
    """`2.721 [2.690, 2.752]`; of one seed, the number alone."""
    if interval.low is None or interval.high is None:
        return number(interval.mean)
    return f"{number(interval.mean)} [{number(interval.low)},\u00a0{number(interval.high)}]"


def label(quantity: str) -> str:
    """A quantity with its unit, for an axis."""
    return LABELS.get(quantity, NAMES.get(quantity, quantity))


def name(quantity: str) -> str:
    return NAMES.get(quantity, quantity)


def short(value: Any) -> str:
    """A value of a sweep: `0.5`, `mlp`, `[1, 2]`."""
    if isinstance(value, float):
        return f"{value:g}"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def settings_in_words(settings: Mapping[str, Any]) -> str:
    """`alpha 0.5, step 80`: by name, the step last; what is not set is left out."""
    known = sorted(settings.items(), key=lambda item: (item[0] == "step", item[0]))
    return ", ".join(f"{key} {short(value)}" for key, value in known if value is not None)


def listed(words: Iterable[str], most: int = 6) -> str:
    """`a, b and c`; of many, the first few and how many more."""
    known: Sequence[str] = list(words)
    if len(known) > most:
        return f"{', '.join(known[: most - 1])} and {len(known) - most + 1} more"
    return " and ".join(filter(None, (", ".join(known[:-1]), *known[-1:])))


def duration(seconds: float | None) -> str:
    """`0.4 s`, `42 s`, `19 min`, `2 h 5 min`."""
    if seconds is None:
        return ""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def counted(count: int, thing: str, things: str = "") -> str:
    return f"{count:,} {thing if count == 1 else things or thing + 's'}"
