"""What it costs to read features: against the bare forward pass, the logits included.

    python benchmarks/features.py              a network of the shape of GPT-2, 8,192 tokens in windows of 1,024
    python benchmarks/features.py --tiny

Reads windows with the network alone, with and without its logits, and for the features of all blocks: the residual
stream at some tokens, at all tokens, and as means over examples. Where few tokens are kept, fewer
windows are read, so time is per token that is read. Random weights, as the numbers do not matter. Prints medians over
rounds, the ratio to the bare pass of the same round.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import cast

import torch
from rich.console import Console
from rich.table import Table
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from compat_spec.nn.capture import read_layers
from compat_spec.nn.data import EncodedSplit
from compat_spec.nn.evaluation import inference
from compat_spec.nn.features import features
from compat_spec.nn.network import Network, Tokenizer
from compat_spec.nn.rows import RowKind

GPT2 = {"n_layer": 12, "n_embd": 768, "n_head": 12, "n_positions": 1024, "vocab_size": 50257}
TINY = {"n_layer": 2, "n_embd": 16, "n_head": 2, "n_positions": 32, "vocab_size": 64}
KEPT = (0.05, 0.25, 1.0)
BATCH_TOKENS = 4096


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=8192, help="tokens to read")
    parser.add_argument("--repeat", type=int, default=3, help="rounds")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--tiny", action="store_true", help="a network and a text of nothing, to see that it runs")
    options = parser.parse_args()
    tokens = 256 if options.tiny else options.tokens
    network = random_network(TINY if options.tiny else GPT2, getattr(torch, options.dtype), options.device)
    seconds = measure(network, tokens, options.device, options.repeat)
    bare = seconds["bare forward pass, with logits"]

    table = Table(title=f"{tokens:,} tokens, {options.dtype}, {options.device}, {torch.get_num_threads()} threads")
    for column in ("what is read", "µs per token read", "times the bare pass"):
        table.add_column(column, justify="left" if column == "what is read" else "right")
    for what, found in seconds.items():
        ratio = statistics.median(own / alone for own, alone in zip(found, bare, strict=True))
        table.add_row(what, f"{statistics.median(found) * 1e6:.1f}", f"{ratio:.2f}")
    Console(width=100).print(table)


def random_network(shape: dict[str, int], dtype: torch.dtype, device: str) -> Network:
    config = AutoConfig.for_model("gpt2", **shape)
    module = AutoModelForCausalLM.from_config(config)  # type: ignore[no-untyped-call]
    return Network(module.to(device, dtype).eval(), cast("Tokenizer", None))  # ids are all that is read


def random_split(network: Network, tokens: int) -> EncodedSplit:
    """A stream of examples that fill a window each, with what stands before it."""
    context = cast("int", network.context)
    vocabulary = cast("PreTrainedModel", network.module).config.vocab_size
    ids = torch.randint(vocabulary, (tokens,), dtype=torch.int32)
    offsets = torch.arange(0, tokens + 1, context)
    scored = torch.ones(tokens, dtype=torch.bool)
    return EncodedSplit(ids, scored, offsets, torch.zeros(len(offsets) - 1, dtype=torch.int32))


def measure(network: Network, tokens: int, device: str, repeat: int) -> dict[str, list[float]]:
    """Seconds per token read of each way to read, in each round."""
    split = random_split(network, tokens)
    context = cast("int", network.context)
    windows, at_once = split.ids.view(-1, context).to(device, torch.int64), max(1, BATCH_TOKENS // context)
    batches = [windows[start : start + at_once] for start in range(0, len(windows), at_once)]

    def bare() -> int:
        with inference(network.module):
            for ids in batches:
                network.logits(ids)
        return tokens

    def without_logits() -> int:
        with inference(network.module):
            for ids in batches:
                read_layers(network, ids, "block", lambda layer, hidden: None)
        return tokens

    def kept(share: float, rows: RowKind = "tokens") -> int:
        read = 0

        def progress(done: int, total: int) -> None:
            nonlocal read
            read = done

        features(
            network,
            split,
            site="block",
            tokens=int(tokens * share),
            context=None,
            seed=0,
            device=device,
            rows=rows,
            progress=progress,
        )
        return read

    ways: dict[str, Callable[[], int]] = {
        "bare forward pass, with logits": bare,
        "bare forward pass, without": without_logits,
        **{f"features of {share:.0%} of the tokens": partial(kept, share) for share in KEPT},
        "features, means over examples": partial(kept, 1.0, "mean"),
    }
    seconds: dict[str, list[float]] = {what: [] for what in ways}
    bare()
    for _ in range(repeat):
        for what, read in ways.items():
            synchronise(device)
            started = time.perf_counter()
            count = read()
            synchronise(device)
            seconds[what].append((time.perf_counter() - started) / count)
    return seconds


def synchronise(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
