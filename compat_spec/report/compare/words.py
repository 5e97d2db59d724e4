"""What a comparison says: a sentence for each pair, and the numbers as rows."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from compat_spec.report.compare.comparing import Compared
from compat_spec.report.compare.pairs import PairedDifference
from compat_spec.report.wording import UNITS, counted
from compat_spec.statistics import Interval

TIMES = "\N{MULTIPLICATION SIGN}"

CORRECTIONS = {"holm": "Holm", "bh": "Benjamini-Hochberg", "none": ""}

COLUMNS = (
    *("a", "b", "task", "split", "metric", "quantity", "a_mean", "b_mean", "difference", "low", "high", "level"),
    *("error", "p_value", "p_adjusted", "correction", "p_flips", "flips", "exact", "effect_size", "win_rate"),
    *("seeds", "examples", "better"),
)


def sentences(compared: Compared) -> list[str]:
    """One for each pair, the surest first."""
    pairs = sorted(compared.pairs, key=lambda pair: math.inf if math.isnan(pair.p_adjusted) else pair.p_adjusted)
    return [sentence(pair, compared) for pair in pairs]


def sentence(pair: PairedDifference, compared: Compared) -> str:
    """`router is better than average by 0.38 nats per token (95 % CI 0.31 to 0.45, p < 0.001, …).`"""
    found = pair.difference
    if math.isnan(found.mean):
        return f"{pair.a} and {pair.b} cannot be compared: some of their numbers are NaN or infinite."
    # the one that is ahead comes first
    ahead, behind, sign = (pair.a, pair.b, 1) if found.mean >= 0 else (pair.b, pair.a, -1)
    if pair.a_is_better is not None and (found.mean > 0) != pair.a_is_better:
        ahead, behind = behind, ahead
    word = "higher" if pair.a_is_better is None else "better"
    by = f"{number(abs(found.mean), found.error)} {UNITS.get(pair.quantity, '')}".rstrip()
    if math.isnan(found.low):
        return f"{ahead} is {word} than {behind} by {by}; how sure that is, {_counts(pair)} cannot tell."
    low, high = sorted((sign * found.low, sign * found.high))
    percent = f"{100 * compared.level:g} % CI {number(low, found.error)} to {number(high, found.error)}"
    sure = f"({percent}, {p_words(pair.p_adjusted)}{_corrected(compared)}, {_counts(pair)})"
    if found.mean == 0 and found.error == 0:
        return f"{pair.a} and {pair.b} are the same on every seed and example ({_counts(pair)})."
    if found.mean == 0:
        return f"Nothing sure between {pair.a} and {pair.b}: their means are the same {sure}."
    if pair.p_adjusted < 1 - compared.level:
        return f"{ahead} is {word} than {behind} by {by} {sure}."
    return f"Nothing sure between {ahead} and {behind}: {ahead} is {word} by {by} {sure}."


def notes(compared: Compared, *, narrow: bool = False) -> list[str]:
    """What a reader of the `table` has to know: what intervals cover, how points were chosen, what p-values are."""
    found: dict[str, None] = {}
    over = {pair.difference.over for pair in compared.pairs}
    if over == {"seeds and examples"}:
        found["Intervals and p cover other seeds and other examples (crossed random factors, Student's t)."] = None
    for kind, said in (
        ("examples", "One seed: intervals and p cover other examples, not what another training would have given."),
        ("seeds", "Paired over seeds only, for want of numbers per example: other examples are not covered."),
        ("nothing", "One seed and no numbers per example: nothing can be said of how sure the difference is."),
    ):
        if kind in over:
            found[said] = None
    count = sum(not math.isnan(pair.p_value) for pair in compared.pairs)
    if _corrected(compared) and count:
        name = CORRECTIONS[compared.correction]
        found[f"p is corrected for {counted(count, 'comparison')} ({name}); each interval is for itself."] = None
    if compared.measure.quantity == "perplexity":
        found["Perplexity is e to the power of the loss: --metric loss compares by examples, too."] = None
    found.update(dict.fromkeys(compared.notes))
    found.update(dict.fromkeys(note for pair in compared.pairs for note in pair.notes))
    if not narrow and any(not math.isnan(pair.p_flips) for pair in compared.pairs):
        found[_about_flips(compared.pairs)] = None
    return list(found)


def _about_flips(pairs: Sequence[PairedDifference]) -> str:
    some = next(pair for pair in pairs if not math.isnan(pair.p_flips))
    of_what = "examples" if "examples" in some.difference.over else "seeds"
    count = f"all {some.flips:,}" if some.exact else f"{some.flips:,} random"
    held = ", for the models as they were trained" if of_what == "examples" else ""
    return f"p (flips) is the paired permutation test: {count} flips of the signs of {of_what}{held}; not corrected."


def table(compared: Compared, *, narrow: bool = False) -> tuple[list[str], list[list[str]]]:
    """Headings and cells for a terminal. A `narrow` one is told one p-value only."""
    of_what = "wins" if "examples" in compared.pairs[0].difference.over else "seeds won"
    columns: dict[str, Callable[[PairedDifference], str]] = {
        "A": lambda pair: pair.a,
        "B": lambda pair: pair.b,
        "A - B": lambda pair: number(pair.difference.mean, pair.difference.error),
        f"{100 * compared.level:g} % CI": lambda pair: _ends(pair.difference),
        "p": lambda pair: p_short(pair.p_value),
        CORRECTIONS[compared.correction]: lambda pair: p_short(pair.p_adjusted),
        "p (flips)": lambda pair: p_short(pair.p_flips),
        "d_z": lambda pair: "" if math.isnan(pair.effect_size) else f"{pair.effect_size:.2f}",
        of_what: lambda pair: "" if math.isnan(pair.win_rate) else f"{100 * pair.win_rate:.0f} %",
    }
    corrected = bool(_corrected(compared))
    left_out = {"" if corrected else CORRECTIONS[compared.correction]}
    if narrow:
        left_out |= {"p (flips)", "p" if corrected else ""}
    shown = {heading: cell for heading, cell in columns.items() if heading not in left_out}
    return list(shown), [[cell(pair) for cell in shown.values()] for pair in compared.pairs]


def _ends(found: Interval) -> str:
    if math.isnan(found.low):
        return ""
    return f"{number(found.low, found.error)} to {number(found.high, found.error)}"


def rows(compared: Compared) -> list[tuple[Any, ...]]:
    """All numbers, unrounded, in the order of `COLUMNS`; NaN is None."""
    return [
        tuple(None if isinstance(value, float) and math.isnan(value) else value for value in _row(pair, compared))
        for pair in compared.pairs
    ]


def _row(pair: PairedDifference, compared: Compared) -> tuple[Any, ...]:
    found, measure = pair.difference, compared.measure
    better = None if pair.a_is_better is None else pair.a if pair.a_is_better else pair.b
    return (
        *(pair.a, pair.b, measure.task, measure.split, measure.metric, measure.quantity, pair.a_mean, pair.b_mean),
        *(found.mean, found.low, found.high, compared.level, found.error, pair.p_value, pair.p_adjusted),
        *(compared.correction, pair.p_flips, pair.flips, pair.exact, pair.effect_size, pair.win_rate),
        *(found.seeds, found.examples if "examples" in found.over else None, better),
    )


def number(value: float, error: float) -> str:
    """As many digits as its standard error makes worth while: two of the error, three of a number without one."""
    if not math.isfinite(value):
        return "infinity" if value > 0 else "-infinity" if value < 0 else "not a number"
    if math.isfinite(error) and error > 0:
        digits = 1 - math.floor(math.log10(error))
    else:
        digits = 2 - math.floor(math.log10(abs(value))) if value else 0
    digits = min(max(digits, 0), 12)
    text = f"{value:.{digits}f}"
    return text if float(text) else text.lstrip("-")


def p_words(p_value: float) -> str:
    return p_short(p_value) if p_short(p_value).startswith("p") else f"p = {p_short(p_value)}".replace("= <", "<")


def p_short(p_value: float) -> str:
    if math.isnan(p_value):
        return ""
    return "< 0.001" if p_value < 0.001 else f"{p_value:.3f}" if p_value < 0.1 else f"{p_value:.2f}"


def _corrected(compared: Compared) -> str:
    name = CORRECTIONS[compared.correction]
    return f" by {name}" if name and len(compared.pairs) > 1 else ""


def _counts(pair: PairedDifference) -> str:
    seeds = counted(pair.difference.seeds, "seed")
    examples = counted(pair.difference.examples, "example")
    return f"{seeds} {TIMES} {examples}" if "examples" in pair.difference.over else seeds
