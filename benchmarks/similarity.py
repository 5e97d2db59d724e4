"""How fast representations are compared, and in how much memory: against the machine's GEMM rate and pytorch-cka.

    python benchmarks/similarity.py
    python benchmarks/similarity.py --pytorch-cka ~/peer/lib/python3.11/site-packages --measures cka "cka unbiased"

Features of two networks, in float32, that share something and have means of their own; each measure compares all pairs
of layers in a process of its own. "GEMM" is the rate at which that process multiplies large float32 matrices, before
and after; "of GEMM" is what a measure's products would take at this rate, over what it takes: half of each Gram matrix
and the products of these for cka, all of each for neighbours. "memory" is the peak beyond the features. pytorch-cka
1.1.3 is found in the folder that is given, if any, and has only unbiased linear CKA. The last rows compare one pair of
layers of many tokens.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from compat_spec.nn.similarity import Accumulator, similarity, standard_error

MEASURES: dict[str, dict[str, Any]] = {
    "cka": {},
    "cka unbiased": {"unbiased": True},
    "cka minibatch": {"batch_size": 256},
    "cka rbf": {"kernel": "rbf"},
    "cka streamed": {},
    "cka standard_error": {},
    "mutual_knn": {},
    "cknna": {},
    "procrustes": {},
    "svcca": {},
    "rsa": {},
}
SLOW = ("pwcca",)
PEER = "pytorch-cka"
MANY = ("cka", "cka unbiased", "mutual_knn", "procrustes", "svcca")


def features(layers: int, tokens: int, width: int, seed: int) -> list[Tensor]:
    causes = torch.randn(tokens, 16, generator=torch.Generator().manual_seed(0))
    own = torch.Generator().manual_seed(seed)
    made = []
    for _ in range(layers):
        layer = torch.randn(tokens, width, generator=own)
        layer.addmm_(causes, torch.randn(16, width, generator=own)).add_(10 * torch.randn(width, generator=own))
        made.append(layer)
    return made


def gemm_rate(size: int) -> float:
    """Floating-point operations per second in the product of two square matrices, the best of some."""
    a = torch.randn(size, size)
    out = torch.empty(size, size)
    best = float("inf")
    for _ in range(4):
        started = time.perf_counter()
        torch.mm(a, a, out=out)
        best = min(best, time.perf_counter() - started)
    return 2 * size**3 / best


def operations(name: str, layers: int, tokens: int, width: int) -> float | None:
    """What the products of a measure take at the least, in Gram space."""
    gram = 2 * layers * tokens**2 * width
    if name in ("cka", "cka unbiased", "cka standard_error"):
        in_features = tokens * width**2 * (2 * layers**2 + 2 * layers)
        return min(gram + layers**2 * tokens**2, in_features)
    return 2 * gram if name in ("mutual_knn", "cknna") else None


def computation(name: str, xs: list[Tensor], ys: list[Tensor], peer: str | None) -> Callable[[], Tensor]:
    if name == PEER:
        sys.path.append(str(peer))
        from cka import cka_from_features  # type: ignore[import-not-found]

        return lambda: cka_from_features(xs, ys)
    measure, _, way = name.partition(" ")
    if way == "standard_error":
        return lambda: standard_error(measure, xs, ys)
    if way == "streamed":

        def stream() -> Tensor:
            accumulator = Accumulator(measure)
            for start in range(0, len(xs[0]), 1024):
                tokens = slice(start, start + 1024)
                accumulator.update([x[tokens] for x in xs], [y[tokens] for y in ys])
            return accumulator.compute()

        return stream
    options = MEASURES.get(name, {})
    return lambda: similarity(measure, xs, ys, **options)


def one(name: str, layers: int, tokens: int, width: int, repeat: int, peer: str | None) -> dict[str, float]:
    """Runs in a process of its own."""
    size = min(2048, tokens)
    xs, ys = features(layers, tokens, width, 1), features(layers, tokens, width, 2)
    compute = computation(name, xs, ys, peer)
    small = [x[:64].clone() for x in xs[:2]]
    computation(name, small, small, peer)()  # what is loaded when it is first used
    rates, seconds = [gemm_rate(size)], []
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(repeat):
        started = time.perf_counter()
        compute()
        seconds.append(time.perf_counter() - started)
        rates.append(gemm_rate(size))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    # of a machine that others use, too: the fastest of each
    return {"seconds": min(seconds), "median": statistics.median(seconds), "rate": max(rates), "memory": peak * 1024.0}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--measures", nargs="+", default=list(MEASURES), choices=[*MEASURES, *SLOW])
    parser.add_argument("--layers", type=int, default=13, help="of each network")
    parser.add_argument("--tokens", type=int, default=4096)
    parser.add_argument("--width", type=int, default=768)
    parser.add_argument("--many-tokens", type=int, default=100_000, help="of one pair of layers; 0 leaves it out")
    parser.add_argument("--many-width", type=int, default=128)
    parser.add_argument("--repeat", type=int, default=3, help="times each is computed; the fastest is shown")
    parser.add_argument("--pytorch-cka", help="the folder where pytorch-cka 1.1.3 and what it imports are installed")
    parser.add_argument("--one", nargs=5, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.one:
        name, (layers, tokens, width, repeat) = chosen.one[0], map(int, chosen.one[1:])
        print(json.dumps(one(name, layers, tokens, width, repeat, chosen.pytorch_cka)))
        return
    console = Console()
    console.print(f"torch has {torch.get_num_threads()} threads")
    size = (chosen.layers, chosen.tokens, chosen.width)
    names = [*([PEER] if chosen.pytorch_cka else []), *chosen.measures]
    show(console, f"{size[0]} x {size[0]} layers, {size[1]:,} tokens, width {size[2]}", names, size, chosen)
    if chosen.many_tokens:
        many = (1, chosen.many_tokens, chosen.many_width)
        names = [name for name in MANY if name in chosen.measures]
        show(console, f"one pair of layers, {many[1]:,} tokens, width {many[2]}", names, many, chosen)


def show(
    console: Console, title: str, names: list[str], size: tuple[int, int, int], chosen: argparse.Namespace
) -> None:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    columns = ["measure", "seconds", "median", "GEMM", "of GEMM", "memory", f"times {PEER}"]
    for column in columns:
        table.add_column(column, justify="right")
    theirs: float | None = None
    for name in names:
        numbers = [str(number) for number in (*size, chosen.repeat)]
        command = [sys.executable, __file__, "--one", name, *numbers]
        command += ["--pytorch-cka", chosen.pytorch_cka] if chosen.pytorch_cka else []
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        found = json.loads(done.stdout.splitlines()[-1])
        if name == PEER:
            theirs = found["seconds"]
        products = operations("cka" if name == PEER else name, *size)
        cells = [name, f"{found['seconds']:.2f} s", f"{found['median']:.2f} s", f"{found['rate'] / 1e9:.0f} GFLOP/s"]
        share = products / found["rate"] / found["seconds"] if products else None
        cells += ["" if share is None else f"{share:.0%}", f"{found['memory'] / 1e6:.0f} MB"]
        cells.append(f"{theirs / found['seconds']:.1f}" if theirs and name.startswith("cka") else "")
        table.add_row(*cells)
        console.print(", ".join(f"{c} {cell}" for c, cell in zip(columns, cells, strict=True) if cell), style="dim")
    console.print(table)


if __name__ == "__main__":
    main()
