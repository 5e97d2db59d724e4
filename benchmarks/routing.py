"""How fast routers are trained, and in how much memory: against the authors' loop, and against bare matrix products.

    python benchmarks/routing.py                       # GPT-2's shape, 8 experts, 512 tokens: six minutes on two cores
    python benchmarks/routing.py --device cuda --batch 8 --context 1024

"loop" is the mixture of Pari et al., 2024 (arXiv:2411.02207), as their code has it: for each expert a boolean mask over
the tokens, the tokens gathered, the expert called, its output weighted and added where it belongs. "loop, fused" is the
same with an activation that is one operation, as in their own GPT (transformers writes gpt2's out in eight). Only
routers require a gradient, in theirs and in ours. Every row is the same trainer on the same batches, in a process of
its own, of whose steps the fastest counts; "peak" is memory beyond what the process held before the first step, the
models' weights.

"floor" is the time of the matrix products that all of them need, and nothing else: of experts (forward, and backward to
their inputs), attention's projections and the head. "floor, joined" is the same if the experts of a block were one
matrix, which would have to be held beside them.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from tokenizers import Tokenizer
from tokenizers.models import BPE
from torch import Tensor, nn
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast
from transformers.activations import NewGELUActivation
from transformers.models.gpt2.modeling_gpt2 import GPT2MLP

from compat_spec.nn.anatomy import anatomy_of
from compat_spec.nn.data import EncodedSplit
from compat_spec.nn.mixture import Mixture, route
from compat_spec.nn.network import Network
from compat_spec.nn.training import Recipe, train

WAYS = ("loop", "loop, fused", "ours")
PRECISIONS = ("float32", "bfloat16")


@dataclass(frozen=True)
class Shape:
    blocks: int
    width: int
    vocabulary: int
    experts: int
    batch: int
    context: int

    @property
    def tokens(self) -> int:
        return self.batch * self.context


class Loop(nn.Module):
    """The authors' mixture: every expert by a mask over all tokens `[batch, seq, width]`."""

    def __init__(self, mixture: Mixture) -> None:
        super().__init__()
        self.router, self.experts, self.top_k = (
            mixture.router,
            mixture.experts,
            mixture.choice.top_k or len(mixture.experts),
        )

    def forward(self, x: Tensor) -> Tensor:
        probabilities = self.router(x)  # [batch, seq, experts]
        chosen = probabilities.topk(self.top_k).indices
        mask = torch.zeros_like(probabilities).scatter_(-1, chosen, 1)
        kept = torch.zeros_like(probabilities).scatter(-1, chosen, probabilities.gather(-1, chosen))
        total = torch.zeros_like(x)
        for number, expert in enumerate(self.experts):
            here = mask[..., number].bool()
            total[here] += kept[..., [number]][here] * expert(x[here])
        return total


class Session:
    """What a trainer is given, here without checkpoints: it notes when each step ends."""

    seed = 0

    def __init__(self, device: str, clock: Callable[[], float]) -> None:
        self.device, self.clock = device, clock
        self.ends: list[float] = []

    def restore(self) -> None:
        return None

    def checkpoint_due(self) -> bool:
        return False

    def checkpoint(self, state: Mapping[str, Tensor]) -> None: ...

    def keep(self, step: int) -> None: ...

    def progress(self, done: int, total: int, note: str = "") -> None:
        self.ends.append(self.clock())

    def record(self, **facts: Any) -> None:
        self.loss = facts["loss"]


def routed(shape: Shape, way: str, top_k: int | None, device: str) -> Network:
    """Experts that share one trunk, and differ in their MLPs."""
    torch.manual_seed(0)
    config = GPT2Config(
        bos_token_id=0,
        eos_token_id=0,
        n_layer=shape.blocks,
        n_embd=shape.width,
        n_head=shape.width // 64,
        n_positions=shape.context,
        vocab_size=shape.vocabulary,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
    )
    tokenizer: Any = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(BPE(vocab={"a": 0}, merges=[])))  # type: ignore[no-untyped-call]
    model: nn.Module = GPT2LMHeadModel(config)
    trunk = Network(model.to(device), tokenizer)
    experts = [trunk]
    for _ in range(shape.experts - 1):
        mlps = [GPT2MLP(4 * shape.width, config).to(device) for _ in range(shape.blocks)]  # type: ignore[no-untyped-call]
        experts.append(Network(trunk.anatomy.with_mlps(mlps), tokenizer))
    module = route(experts, top_k=top_k)
    for block in anatomy_of(module).blocks if way != "ours" else ():
        assert isinstance(block.mlp, Mixture)
        block.mlp = Loop(block.mlp)
    for part in list(module.modules()) if way == "loop, fused" else ():
        if isinstance(getattr(part, "act", None), NewGELUActivation):
            part.act = nn.GELU(approximate="tanh")
    return Network(module, tokenizer)


def measure(
    shape: Shape, way: str, precision: str, top_k: int | None, steps: int, device: str, clock: Callable[[], float]
) -> dict[str, Any]:
    """Seconds per step, memory beyond the weights, and the losses."""
    network = routed(shape, way, top_k, device)
    ids = torch.randint(shape.vocabulary, (64 * shape.context,), generator=torch.Generator().manual_seed(1))
    scored = torch.ones(len(ids), dtype=torch.bool)
    data = EncodedSplit(ids.to(torch.int32), scored, torch.tensor([0, len(ids)]), torch.zeros(1, dtype=torch.int32))
    recipe = Recipe(
        shares={"text": 1.0},
        steps=steps + 1,
        batch_size=shape.batch,
        context=shape.context,
        lr=5e-3,
        precision=precision,  # type: ignore[arg-type]
    )
    session = Session(device, clock)
    held = _held(device)
    train(network, {"text": data}, recipe, session)
    seconds = [after - before for before, after in zip(session.ends, session.ends[1:], strict=False)]
    return {"seconds": min(seconds), "peak": _peak(device) - held, "loss": session.loss[-1]}


def _held(device: str) -> int:
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated()
    with open("/proc/self/clear_refs", "w") as peak:
        peak.write("5")  # the peak counts from here
    return _status("VmRSS")


def _peak(device: str) -> int:
    return torch.cuda.max_memory_allocated() if device.startswith("cuda") else _status("VmHWM")


def _status(name: str) -> int:
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith(name))


def floor(
    shape: Shape, precision: str, repeat: int, device: str, clock: Callable[[], float], *, joined: bool = False
) -> float:
    """Seconds of the matrix products of one step, each into memory that is there already.

    Args:
        joined: as if the experts of a block were one matrix.
    """
    dtype = getattr(torch, precision)
    experts, times_wider = (1, shape.experts) if joined else (shape.experts, 1)
    width, inner, tokens = shape.width, 4 * shape.width * times_wider, shape.tokens
    products = {  # (from, to): how many of them, with all experts and both directions
        (width, inner): experts * (2 * shape.blocks - 1),  # into the MLP; backward from its output
        (inner, width): experts * (2 * shape.blocks - 1),  # out of it; backward to its input, not in the first
        (width, 3 * width): 2 * shape.blocks - 1,
        (width, width): 2 * shape.blocks - 1,
        (width, shape.vocabulary): 1,
        (shape.vocabulary, width): 1,
    }
    total = 0.0
    for (rows, columns), count in products.items():
        x = torch.randn(tokens, rows, dtype=dtype, device=device)
        matrix = torch.randn(rows, columns, dtype=dtype, device=device)
        out = torch.empty(tokens, columns, dtype=dtype, device=device)
        torch.mm(x, matrix, out=out)
        times = []
        for _ in range(repeat):
            _wait(device)
            started = clock()
            for _ in range(8):
                torch.mm(x, matrix, out=out)
            _wait(device)
            times.append((clock() - started) / 8)
        total += count * min(times)
    return total


def _wait(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--context", type=int, default=512)
    parser.add_argument("--experts", type=int, default=8)
    parser.add_argument("--top-k", type=int, help="how many experts a token goes to; by default all")
    parser.add_argument("--steps", type=int, default=3, help="steps that are timed, after one that is not")
    parser.add_argument("--precisions", nargs="+", default=list(PRECISIONS), choices=PRECISIONS)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--tiny", action="store_true", help="a network of two narrow blocks, to see that it runs")
    parser.add_argument(
        "--cpu-time", action="store_true", help="count CPU seconds of one thread, where other work shares the machine"
    )
    parser.add_argument("--only", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    blocks, width, vocabulary = (2, 64, 128) if chosen.tiny else (12, 768, 50257)
    shape = Shape(blocks, width, vocabulary, chosen.experts, chosen.batch, chosen.context)
    clock = time.process_time if chosen.cpu_time else time.perf_counter
    if chosen.cpu_time:
        torch.set_num_threads(1)
    if chosen.only:
        way, precision = chosen.only.split("/")
        print(json.dumps(measure(shape, way, precision, chosen.top_k, chosen.steps, chosen.device, clock)))
        return
    console = Console(width=120)
    kept = chosen.top_k or shape.experts
    console.print(
        f"{blocks} blocks of width {width}, {shape.experts} experts, {kept} per token, {shape.tokens} tokens per step; "
        f"{chosen.device}, torch has {torch.get_num_threads()} threads"
    )
    table = Table(box=None, pad_edge=False)
    for column in ("precision", "way", "a step", "loop/this", "floor/this", "peak", "of the loop", "loss"):
        table.add_column(column, justify="right")
    for precision in chosen.precisions:
        least = floor(shape, precision, 3, chosen.device, clock) * kept / shape.experts
        first: dict[str, Any] | None = None
        for way in WAYS:
            command = [sys.executable, __file__, *sys.argv[1:], "--only", f"{way}/{precision}"]
            found = json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)
            first = first or found
            cells = [precision, way, f"{found['seconds']:.2f} s", f"{first['seconds'] / found['seconds']:.2f}"]
            cells += [f"{least / found['seconds']:.2f}", f"{found['peak'] / 1e6:.0f} MB"]
            cells += [f"{found['peak'] / first['peak']:.2f}", f"{found['loss']:.4f}"]
            table.add_row(*cells)
            console.print(", ".join(cells), style="dim")
        table.add_row(precision, "floor", f"{least:.2f} s")
        joined = floor(shape, precision, 3, chosen.device, clock, joined=True) * kept / shape.experts
        table.add_row(precision, "floor, joined", f"{joined:.2f} s")
    console.print(table)


if __name__ == "__main__":
    main()
