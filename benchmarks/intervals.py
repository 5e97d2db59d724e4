"""How often intervals hold the truth, beside the bootstrap, and how long they take.

    python benchmarks/intervals.py

Numbers are drawn of seeds crossed with examples, in which seeds and examples matter more or less; the true mean is 0.
A 95 % interval should hold it in 95 of 100 cases. "crossed" is `over_seeds_and_examples`; "pigeonhole" resamples seeds
and examples, each for itself (Owen, 2007), and takes percentiles. The last lines say what one interval and one test by
sign flips take.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
from rich.console import Console
from rich.table import Table

from compat_spec.statistics import over_seeds_and_examples, sign_flips
from compat_spec.statistics.arrays import Array

SPREADS = {
    "seeds matter little": (0.1, 1.0, 0.5),
    "more than examples": (0.3, 1.0, 0.5),
    "far more": (1.0, 1.0, 0.5),
    "nothing but noise": (0.0, 0.0, 1.0),
}
"""Standard deviations of what a seed adds, what an example adds, and of the rest."""

Method = Callable[[Array, np.random.Generator], tuple[float, float]]


def crossed(values: Array, _: np.random.Generator) -> tuple[float, float]:
    found = over_seeds_and_examples(values)
    return found.low, found.high


def pigeonhole(values: Array, generator: np.random.Generator) -> tuple[float, float]:
    seeds, examples = values.shape
    of_seeds = generator.multinomial(seeds, [1 / seeds] * seeds, 1000) / seeds
    of_examples = generator.multinomial(examples, [1 / examples] * examples, 1000) / examples
    return _percentiles(((of_seeds @ values) * of_examples).sum(1))


METHODS: dict[str, Method] = {"crossed": crossed, "pigeonhole": pigeonhole}


def coverage(seeds: int, examples: int, spreads: tuple[float, float, float], times: int) -> dict[str, float]:
    """In which share of cases each method's interval holds 0."""
    generator = np.random.default_rng(0)
    held = dict.fromkeys(METHODS, 0)
    for _ in range(times):
        sizes = [(seeds, 1), (1, examples), (seeds, examples)]
        values = sum(spread * generator.normal(size=size) for spread, size in zip(spreads, sizes, strict=True))
        for name, method in METHODS.items():
            low, high = method(np.asarray(values), generator)
            held[name] += low <= 0 <= high
    return {name: count / times for name, count in held.items()}


def seconds(action: Callable[[], object]) -> float:
    """Of one call, the fastest of five."""
    found = []
    for _ in range(5):
        start = time.perf_counter()
        action()
        found.append(time.perf_counter() - start)
    return min(found)


def _percentiles(means: Array) -> tuple[float, float]:
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=1000, help="how many cases to draw")
    parser.add_argument("--seeds", type=int, nargs="*", default=[2, 3, 5, 10])
    parser.add_argument("--examples", type=int, default=100)
    options = parser.parse_args()
    table = Table("seeds", "seeds' share", *METHODS, title=f"holds the truth, of {options.times} cases")
    for seeds in options.seeds:
        for name, spreads in SPREADS.items():
            found = coverage(seeds, options.examples, spreads, options.times)
            table.add_row(str(seeds), name, *(f"{100 * found[method]:.1f} %" for method in METHODS))
    Console(width=100).print(table)
    values = np.random.default_rng(0).normal(size=(3, 1000))
    print(f"interval of 3 seeds x 1,000 examples: {1e3 * seconds(lambda: over_seeds_and_examples(values)):.2f} ms")
    print(f"10,000 sign flips of 1,000 examples: {1e3 * seconds(lambda: sign_flips(values[0])):.0f} ms")


if __name__ == "__main__":
    main()
