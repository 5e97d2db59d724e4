"""How fast models are merged, and in how much memory: against the bytes that have to move, and against mergekit.

    python benchmarks/merge.py                                        # four models of half a billion parameters
    python benchmarks/merge.py --mergekit-yaml ~/mergekit/bin/mergekit-yaml

Makes a base and three fine-tunes of the shape of a llama in bfloat16, 1 GB each, in a folder that is removed again; the
files are in the page cache then, so that no disk is measured. Each merge is a process of its own, from its start to its
end. "floor" is the time to read the same bytes and to write the same bytes, and nothing else; "runtime" the memory
that the same command takes for models of a few kilobytes.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
import yaml
from rich.console import Console
from rich.table import Table

from compat_spec.nn.shards import ShardWriter

COMPAT = Path(sys.executable).parent / "compat"
CHUNK = 1 << 24
EXPERTS = ("law", "code", "math")


@dataclass(frozen=True)
class Size:
    """The shape of a llama."""

    blocks: int
    width: int
    inner: int
    vocabulary: int


HALF_BILLION = Size(blocks=26, width=1024, inner=4096, vocabulary=32000)
TINY = Size(blocks=2, width=16, inner=32, vocabulary=64)


@dataclass(frozen=True)
class Cost:
    seconds: float
    peak_bytes: int


def shapes(size: Size) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield "model.embed_tokens.weight", (size.vocabulary, size.width)
    yield "lm_head.weight", (size.vocabulary, size.width)
    yield "model.norm.weight", (size.width,)
    for block in range(size.blocks):
        name = f"model.layers.{block}"
        for part in "qkvo":
            yield f"{name}.self_attn.{part}_proj.weight", (size.width, size.width)
        yield f"{name}.mlp.gate_proj.weight", (size.inner, size.width)
        yield f"{name}.mlp.up_proj.weight", (size.inner, size.width)
        yield f"{name}.mlp.down_proj.weight", (size.width, size.inner)
        yield f"{name}.input_layernorm.weight", (size.width,)
        yield f"{name}.post_attention_layernorm.weight", (size.width,)


def make_models(folder: Path, size: Size) -> None:
    """`base`, and the fine-tunes, which differ from it by a tenth of its scale."""
    outline = {name: (torch.bfloat16, shape) for name, shape in shapes(size)}
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": size.width,
        "intermediate_size": size.inner,
        "num_hidden_layers": size.blocks,
        "num_attention_heads": 16,
        "num_key_value_heads": 16,
        "vocab_size": size.vocabulary,
        "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
    }
    for number, name in enumerate(("base", *EXPERTS)):
        place = folder / name
        place.mkdir()
        (place / "config.json").write_text(json.dumps(config))
        base_numbers, own_numbers = torch.Generator().manual_seed(0), torch.Generator().manual_seed(number)
        with ShardWriter(place, outline) as writer:
            for tensor in writer.order:
                shape = outline[tensor][1]
                values = torch.randn(shape, generator=base_numbers) * 0.02
                if number:
                    values += torch.randn(shape, generator=own_numbers) * 0.002
                writer.write(tensor, values.bfloat16())


def floor(folder: Path, read: list[Path], written: int) -> float:
    """Seconds to read these files and to write so many bytes, chunk by chunk."""
    buffer = bytearray(CHUNK)
    target = folder / "floor.bin"
    started = time.perf_counter()
    for file in read:
        descriptor = os.open(file, os.O_RDONLY)
        offset = 0
        while count := os.preadv(descriptor, [buffer], offset):
            offset += count
        os.close(descriptor)
    with target.open("wb", buffering=0) as out:
        for start in range(0, written, CHUNK):
            out.write(memoryview(buffer)[: min(CHUNK, written - start)])
    seconds = time.perf_counter() - started
    target.unlink()
    return seconds


LAUNCHER = """
import json, os, subprocess, sys, time
started = time.perf_counter()
process = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL, stdout=sys.stderr)
_, status, usage = os.wait4(process.pid, 0)
print(json.dumps([time.perf_counter() - started, usage.ru_maxrss * 1024, os.waitstatus_to_exitcode(status)]))
"""
"""Runs a command from a small process, for Linux counts the memory of the process that starts another as its own."""


def cost(command: list[str | Path], folder: Path) -> Cost:
    """What a command takes as a whole process."""
    launch = [sys.executable, "-c", LAUNCHER, *command]
    done = subprocess.run(launch, cwd=folder, capture_output=True, text=True, check=True)
    seconds, peak, status = json.loads(done.stdout)
    if status:
        raise SystemExit(f"{command} failed:\n{done.stderr[-2000:]}")
    return Cost(seconds, peak)


def write_specs(folder: Path, methods: Mapping[str, dict[str, object]]) -> None:
    models = {name: {"use": "tensors", "path": name} for name in ("base", *EXPERTS)}
    spec = {"models": models, "merges": methods}
    (folder / "spec.yaml").write_text(yaml.safe_dump(spec, sort_keys=False))
    for name, merge in methods.items():
        (folder / f"{name}.mergekit.yaml").write_text(yaml.safe_dump(mergekit_config(merge), sort_keys=False))


def mergekit_config(merge: Mapping[str, object]) -> dict[str, object]:
    parameters = {key: value for key, value in merge.items() if key not in ("use", "models", "base")}
    models = merge["models"]
    assert isinstance(models, list)
    config: dict[str, object] = {"merge_method": merge["use"], "dtype": "bfloat16"}
    if merge["use"] == "slerp":
        parameters["t"] = parameters.get("t", 0.5)
        config["base_model"] = models[0]
        own: dict[str, object] = {}
    else:
        own = {"weight": 1.0}
        own |= {key: parameters.pop(key) for key in ("density",) if key in parameters}
    if "base" in merge:
        config["base_model"] = merge["base"]
    config["models"] = [{"model": name, **({"parameters": own} if own else {})} for name in models]
    return config | {"parameters": parameters}


METHODS: Mapping[str, dict[str, object]] = {
    "linear": {"use": "linear", "models": list(EXPERTS)},
    "slerp": {"use": "slerp", "models": list(EXPERTS[:2]), "t": 0.5},
    "task_arithmetic": {"use": "task_arithmetic", "models": list(EXPERTS), "base": "base"},
    "ties": {"use": "ties", "models": list(EXPERTS), "base": "base", "density": 0.5},
    "dare_ties": {"use": "dare_ties", "models": list(EXPERTS), "base": "base", "density": 0.5},
    "breadcrumbs": {"use": "breadcrumbs", "models": list(EXPERTS), "base": "base", "density": 0.5},
    "model_stock": {"use": "model_stock", "models": list(EXPERTS), "base": "base"},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--repeat", type=int, default=3, help="runs of ours and of the floor; medians are shown")
    parser.add_argument(
        "--mergekit-yaml", help="the command mergekit-yaml of an environment that has mergekit; run once"
    )
    parser.add_argument("--folder", type=Path, help="where to make the models: about 6 GB")
    parser.add_argument("--tiny", action="store_true", help="models of a few kilobytes, to see that it runs")
    chosen = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="merge-", dir=chosen.folder))
    try:
        measure(folder, TINY if chosen.tiny else HALF_BILLION, chosen.methods, chosen.repeat, chosen.mergekit_yaml)
    finally:
        shutil.rmtree(folder)


def measure(folder: Path, size: Size, methods: list[str], repeat: int, mergekit: str | None) -> None:
    console = Console()
    used = {name: METHODS[name] for name in methods}
    large, tiny = folder / "large", folder / "tiny"
    for place, of in ((large, size), (tiny, TINY)):
        place.mkdir()
        make_models(place, of)
        write_specs(place, used)
    bytes_of_one = (large / "base" / "model.safetensors").stat().st_size
    console.print(f"models of {bytes_of_one / 1e9:.2f} GB; torch has {torch.get_num_threads()} threads")
    table = Table(box=None, pad_edge=False)
    columns = ["merge", "floor", "ours", "ours/floor", "peak", "over runtime", "of a model"]
    columns += ["mergekit", "ours/mergekit", "its peak"] if mergekit else []
    for column in columns:
        table.add_column(column, justify="right")
    for name, merge in used.items():
        models = merge["models"]
        assert isinstance(models, list)
        inputs = [large / one / "model.safetensors" for one in [*models, *(["base"] if "base" in merge else [])]]

        def ours(place: Path, name: str = name) -> Cost:
            found = cost([COMPAT, "merge", "spec.yaml", name, "--out", "out", "--quiet"], place)
            shutil.rmtree(place / "out")
            return found

        runtime = ours(tiny)
        floors, costs = [], []
        for _ in range(repeat):
            floors.append(floor(folder, inputs, bytes_of_one))
            costs.append(ours(large))
        least, seconds = statistics.median(floors), statistics.median(one.seconds for one in costs)
        peak = max(one.peak_bytes for one in costs)
        extra = peak - runtime.peak_bytes
        cells = [name, f"{least:.2f} s", f"{seconds:.2f} s", f"{seconds / least:.2f}", f"{peak / 1e6:.0f} MB"]
        cells += [f"{extra / 1e6:.0f} MB", f"{extra / bytes_of_one:.2f}"]
        if mergekit:
            theirs = cost([mergekit, f"{name}.mergekit.yaml", "theirs", "--no-cuda", "--no-write-model-card"], large)
            shutil.rmtree(large / "theirs")
            cells += [f"{theirs.seconds:.1f} s", f"{seconds / theirs.seconds:.2f}", f"{theirs.peak_bytes / 1e6:.0f} MB"]
        table.add_row(*cells)
        console.print(", ".join(f"{column} {cell}" for column, cell in zip(columns, cells, strict=True)), style="dim")
    console.print(table)


if __name__ == "__main__":
    main()
