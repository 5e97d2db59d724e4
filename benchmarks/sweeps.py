"""What reading a sweep of interpolations together saves: eight points as one module, against one after the other.

    python benchmarks/sweeps.py                     the network of specs/laptop.yaml, 4 blocks of width 128
    python benchmarks/sweeps.py --blocks 12 --width 768 --heads 12

Scores the same tokens both ways, in turn; the sweep over `alpha` differs from the first block on, "last block" by the
weights of the last block only. Times are CPU seconds of one thread, medians over rounds, so that other work on the
machine does not count. Building the modules is part of both. "largest difference" is that of a token's loss.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from collections.abc import Callable, Sequence

import torch
from rich.console import Console
from rich.table import Table
from tokenizers import Tokenizer
from tokenizers.models import BPE
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from compat_spec.nn.data import EncodedSplit
from compat_spec.nn.evaluation import token_scores, token_scores_together
from compat_spec.nn.interpolation_sweep import interpolate_together
from compat_spec.nn.mixture import interpolate
from compat_spec.nn.network import Network

POINTS = 8

Weights = Sequence[Sequence[float | Sequence[float]]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--blocks", type=int, default=4)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--context", type=int, default=128)
    parser.add_argument("--vocabulary", type=int, default=1024)
    parser.add_argument("--tokens", type=int, default=4096)
    parser.add_argument("--repeat", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    networks = experts(options)
    offsets = torch.tensor([0, options.tokens])
    split = EncodedSplit(
        torch.randint(options.vocabulary, (options.tokens,), dtype=torch.int32),
        torch.ones(options.tokens, dtype=torch.bool),
        offsets,
        torch.zeros(1, dtype=torch.int32),
    )
    table = Table(title=f"{options.blocks} blocks of width {options.width}, {POINTS} points, {options.tokens:,} tokens")
    for column in ("sweep", "one by one", "together", "times as fast", "largest difference"):
        table.add_column(column, justify="left" if column == "sweep" else "right")
    for name, weights in sweeps(options.blocks).items():
        alone, together, difference = compare(networks, weights, split, options.repeat)
        table.add_row(name, f"{alone:.2f} s", f"{together:.2f} s", f"{alone / together:.2f}", f"{difference:.1e}")
    Console(width=100).print(table)


def sweeps(blocks: int) -> dict[str, Weights]:
    alphas = [point / (POINTS - 1) for point in range(POINTS)]
    last = [[0.5] * (blocks - 1) + [alpha] for alpha in alphas]
    return {
        "alpha": [[alpha, 1 - alpha] for alpha in alphas],
        "last block": [[own, [1 - weight for weight in own]] for own in last],
    }


def experts(options: argparse.Namespace) -> list[Network]:
    """Two networks that differ in their MLPs."""
    config = GPT2Config(
        n_layer=options.blocks,
        n_embd=options.width,
        n_head=options.heads,
        n_positions=options.context,
        vocab_size=options.vocabulary,
        bos_token_id=0,
        eos_token_id=0,
    )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(BPE()))  # type: ignore[no-untyped-call]
    first = Network(GPT2LMHeadModel(config).eval(), tokenizer)  # type: ignore[no-untyped-call]
    second = Network(copy.deepcopy(first.module), tokenizer)
    with torch.no_grad():
        for block in range(options.blocks):
            for parameter in second.anatomy.mlp(block).parameters():
                parameter.add_(0.02 * torch.randn_like(parameter))
    return [first, second]


def compare(networks: list[Network], weights: Weights, split: EncodedSplit, repeat: int) -> tuple[float, float, float]:
    """CPU seconds one by one and together, and by how much a loss differs."""
    tokenizer = networks[0].tokenizer

    def one_by_one() -> Tensor:
        modules = [Network(interpolate(networks, own), tokenizer) for own in weights]
        return torch.stack([token_scores(m, split, tokens=None, context=None, device="cpu").loss for m in modules])

    def together() -> Tensor:
        module = Network(interpolate_together(networks, weights), tokenizer)
        found = token_scores_together(module, len(weights), split, tokens=None, context=None, device="cpu")
        return torch.stack([scores.loss for scores in found])

    seconds: dict[Callable[[], Tensor], list[float]] = {one_by_one: [], together: []}
    for _ in range(repeat):
        losses = []
        for way, spent in seconds.items():
            started = time.process_time()
            losses.append(way())
            spent.append(time.process_time() - started)
    alone, joint = (statistics.median(spent) for spent in seconds.values())
    return alone, joint, float((losses[0] - losses[1]).abs().max())


if __name__ == "__main__":
    main()
