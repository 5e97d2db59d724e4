"""How far our merges are from mergekit's: the same configurations, run by mergekit and imported.

    python benchmarks/mergekit_import.py --mergekit-yaml path/to/bin/mergekit-yaml

For tiny random models of two architectures, in float32, it prints the largest difference of any entry, relative to the
largest entry of its tensor. Methods that draw random numbers are not compared: theirs are others. Everything is made in
a temporary folder, which is removed at the end.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

from compat_spec import load, make_plan, open_results, registry, run_plan
from compat_spec.components import Executor
from compat_spec.nn.checkpoint import Checkpoint
from compat_spec.nn.opening import quiet_transformers
from compat_spec.spec.importing import import_spec
from compat_spec.store import ArtifactRef, Store

END = "<|endoftext|>"
WIDTH, BLOCKS = 32, 4
ROUNDING = 1e-6

EACH = "models: [{model: math, parameters: {weight: 0.3}}, {model: code, parameters: {weight: [0.2, 1, 0.4]}}]\n"
BARE = "models: [{model: math}, {model: code}]\n"
BASE = "base_model: base\n"

CASES = {
    "slerp": "models: [{model: base}, {model: math}]\n"
    + BASE
    + "parameters: {t: [{filter: mlp, value: [0, 0.5, 0.3, 1]}, "
    "{filter: attn, value: [1, 0.2]}, {value: 0.4}]}",
    "linear": EACH,
    "ties": EACH + BASE + "parameters: {density: [{filter: mlp, value: 0.4}, {value: 0.6}], lambda: 1.2}",
    "task_arithmetic": EACH + BASE + "parameters: {lambda: [0.5, 1]}",
    "passthrough": "slices:\n- sources: [{model: math, layer_range: [0, 3]}]\n- sources: [{model: code, layer_range: "
    "[1, 4], parameters: {scale: [{filter: mlp, value: [0.5, 2]}, {filter: attn, value: 0}]}}]",
    "model_stock": BARE + BASE,
    "breadcrumbs": EACH + BASE + "parameters: {density: 0.6, gamma: 0.05}",
    "breadcrumbs_ties": EACH + BASE + "parameters: {density: 0.6, gamma: 0.05}",
    "sce": BARE + BASE + "parameters: {select_topk: 0.5}",
    "nuslerp": EACH + BASE + "parameters: {nuslerp_row_wise: false, nuslerp_flatten: false}",
    "multislerp": EACH + BASE,
    "karcher": BARE,
    "ram": BARE + BASE + "parameters: {epsilon: 1.0e-2}",
    "ramplus_tl": BARE + BASE + "parameters: {epsilon: 1.0e-2, r: 0.3}",
    "nearswap": "models: [{model: math}]\n" + BASE + "parameters: {t: 0.01}",
    "arcee_fusion": "models: [{model: math}]\n" + BASE,
}
"""A configuration of each method."""

CONFIGS: dict[str, dict[str, Any]] = {
    "llama": {
        "hidden_size": WIDTH,
        "intermediate_size": 2 * WIDTH,
        "num_hidden_layers": BLOCKS,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
    },
    "gpt2": {"n_embd": WIDTH, "n_layer": BLOCKS, "n_head": 4, "n_positions": 64},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mergekit-yaml", type=Path, required=True, help="the command of mergekit")
    parser.add_argument("--methods", nargs="+", default=list(CASES), choices=list(CASES))
    arguments = parser.parse_args()
    for kind in CONFIGS:
        with tempfile.TemporaryDirectory(prefix="mergekit-import-") as folder:
            place = Path(folder)
            for seed, name in enumerate(("base", "math", "code")):
                save_model(place / name, kind, seed)
            for method in arguments.methods:
                if method in registry.names("compat.merges"):
                    found = difference(place, method, arguments.mergekit_yaml)
                    print(f"{kind:6} {method:16} {found}", flush=True)
                else:
                    print(f"{kind:6} {method:16} is not among our merges", flush=True)


def save_model(folder: Path, kind: str, seed: int) -> None:
    """A random model; all but the first are a little off it, as fine-tuned ones are."""
    config = AutoConfig.for_model(kind, vocab_size=257, bos_token_id=256, eos_token_id=256, **CONFIGS[kind])

    def random(number: int) -> Any:
        torch.manual_seed(number)
        model = AutoModelForCausalLM.from_config(config)  # type: ignore[no-untyped-call]
        with torch.no_grad():
            for parameter in model.parameters():  # norms and biases too, which start alike
                parameter.add_(torch.randn_like(parameter), alpha=0.02)
        return model

    model = random(0)
    if seed:
        with torch.no_grad():
            for mine, other in zip(model.parameters(), random(seed).parameters(), strict=True):
                mine.add_(other, alpha=0.3)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    core = Tokenizer(models.BPE(vocab={letter: i for i, letter in enumerate(alphabet)} | {END: 256}, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    fast: type[Any] = PreTrainedTokenizerFast
    with quiet_transformers():
        model.save_pretrained(folder)
        fast(tokenizer_object=core, eos_token=END).save_pretrained(folder)


def difference(place: Path, method: str, mergekit: Path) -> str:
    """The largest difference between mergekit's result and ours, and what else is not the same."""
    config = place / f"{method}.yml"
    config.write_text(f"merge_method: {method}\n{CASES[method]}\n", "utf-8")
    theirs = place / f"{method}-mergekit"
    command = [str(mergekit), config.name, theirs.name, "--quiet", "--no-write-model-card"]
    done = subprocess.run(command, cwd=place, capture_output=True, text=True, env={**os.environ, "HF_HUB_OFFLINE": "1"})
    if done.returncode:
        return f"mergekit fails: {done.stderr.strip().splitlines()[-1]}"
    with Checkpoint(theirs) as expected, Checkpoint(merged(place, config)) as found:
        apart = sorted(expected.keys() ^ found.keys())
        shared = expected.keys() & found.keys()
        apart_by = [relative(found[name], expected[name]) for name in shared]
    worst = max(float(tensor.max()) for tensor in apart_by)
    far = sum(int((tensor > ROUNDING).sum()) for tensor in apart_by)
    more = f"; {far} of {sum(map(torch.numel, apart_by)):,} entries differ by more than rounding" if far else ""
    return f"{worst:.1e}{more}" + (f"; only one has {', '.join(apart)}" if apart else "")


def merged(place: Path, config: Path) -> Path:
    """The folder of our result."""
    spec = config.with_suffix(".yaml")
    spec.write_text(import_spec("mergekit", config), "utf-8")
    plan = make_plan(load(spec))
    store, results = Store(place / "store"), open_results(place / "results.db", create=True)
    inline = registry.component("compat.executors", "inline")()
    assert isinstance(inline, Executor)
    summary = run_plan(plan, store, results, inline, devices="cpu", command="mergekit_import")
    if summary.failed:
        sys.exit(f"{config.name}: {summary.failed[0].error}")
    (result,) = (key for key, step in plan.steps.items() if step.label == "merge merged")
    return store.path(ArtifactRef(result))


def relative(found: torch.Tensor, expected: torch.Tensor) -> torch.Tensor:
    """The difference of each entry, relative to the largest entry."""
    return (found.double() - expected.double()).abs() / expected.abs().max().clamp(min=1e-30)


if __name__ == "__main__":
    main()
