"""How far our merges are from mergekit's: the same configurations, run by mergekit and imported.

    python benchmarks/mergekit_import.py --mergekit-python path/to/bin/python
    python benchmarks/mergekit_import.py --mergekit-python path/to/bin/python --kinds llama --only slices

For tiny random models of five architectures, in float32 and bfloat16, it runs a configuration of each method and of
each form that configurations have, and prints the largest difference of any entry, relative to the largest entry of its
tensor. Of methods that draw random numbers there is what is not random in them, at a density of 1. Everything is made
in a temporary folder, which is removed at the end.

In bfloat16 and float16 mergekit rounds each intermediate result, and ours only the last: what differs is its rounding,
and which entries are kept where it decides between two that are as large. `arcee_fusion` compares sums of logarithms
near 0, which mergekit has in the type of the tensors, and ours in float64: entries at the threshold fall on the other
side. mergekit merges all experts of a block of mixtral as one tensor, ours each by itself, as they are stored: methods
that look at whole tensors differ there.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

from compat_spec import CompatError, load
from compat_spec.nn.checkpoint import Checkpoint
from compat_spec.nn.opening import quiet_transformers
from compat_spec.run.single_merge import SingleMerge
from compat_spec.spec.importing import import_spec
from compat_spec.store import Store

END, CHAT = "<|endoftext|>", ("<|im_start|>", "<|im_end|>")
WIDTH, BLOCKS = 32, 4
ROUNDING = {"float32": 1e-6, "float16": 2**-9, "bfloat16": 2**-7}
"""What a difference may be, relative to the largest entry of the tensor."""

EACH = "models: [{model: math, parameters: {weight: 0.3}}, {model: code, parameters: {weight: [0.2, 1, 0.4]}}]\n"
BARE = "models: [{model: math}, {model: code}]\n"
BASE = "base_model: base\n"

METHODS = {
    "slerp": "models: [{model: base}, {model: math}]\n"
    + BASE
    + "parameters: {t: [{filter: mlp, value: [0, 0.5, 0.3, 1]}, "
    "{filter: attn, value: [1, 0.2]}, {value: 0.4}]}",
    "linear": EACH,
    "ties": EACH + BASE + "parameters: {density: [{filter: mlp, value: 0.4}, {value: 0.6}], lambda: 1.2}",
    "task_arithmetic": EACH + BASE + "parameters: {lambda: [0.5, 1]}",
    "dare_linear": EACH + BASE,
    "dare_ties": EACH + BASE,
    "della": EACH + BASE,
    "della_linear": EACH + BASE,
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
    "passthrough": "models: [{model: math, parameters: {scale: [{filter: mlp, value: [0.5, 2]}, {value: 1}]}}]",
}
"""A configuration of each method."""

SLERP = "merge_method: slerp\nbase_model: base\nparameters: {t: [{filter: mlp, value: [0, 1]}, {value: 0.4}]}\n"
FORMS = {
    "stack": "merge_method: passthrough\nslices:\n- sources: [{model: math, layer_range: [0, 3]}]\n"
    "- sources: [{model: code, layer_range: [1, 4], parameters: {scale: [{filter: mlp, value: [0.5, 2]}, "
    "{filter: attn, value: 0}]}}]",
    "stack_on_itself": "merge_method: passthrough\nslices:\n- sources: [{model: math, layer_range: [0, 3]}]\n"
    "- sources: [{model: math, layer_range: [2, 4], parameters: {scale: [{filter: o_proj, value: 0}, "
    "{filter: down_proj, value: 0.0}, {value: 1.0}]}}]",
    "slices_of_all": SLERP + "slices:\n- sources: [{model: math, layer_range: [0, 4]}, "
    "{model: base, layer_range: [0, 4]}]",
    "slices_one_by_one": SLERP + "slices:\n- sources: [{model: math, layer_range: [0, 2]}, "
    "{model: base, layer_range: [0, 2]}]\n  parameters: {t: 0.9}\n"
    "- sources: [{model: base, layer_range: [1, 4]}, {model: code, layer_range: [1, 4]}]",
    "slices_moved": SLERP + "slices:\n- sources: [{model: math, layer_range: [0, 3]}, "
    "{model: base, layer_range: [1, 4]}]",
    "slices_by_linear": "merge_method: linear\nparameters: {weight: 1.0}\ntokenizer_source: chat\nslices:\n"
    "- sources: [{model: math, layer_range: [0, 1]}, {model: chat, layer_range: [0, 1], parameters: {weight: 0}}]\n"
    "- sources: [{model: math, layer_range: [1, 3]}]\n"
    "- sources: [{model: chat, layer_range: [2, 3]}]\n"
    "- sources: [{model: math, layer_range: [3, 4]}, {model: chat, layer_range: [3, 4], parameters: {weight: 0}}]",
    "slices_of_task_vectors": "merge_method: ties\nbase_model: base\nparameters: {density: 0.6, normalize: 1.0}\n"
    "slices:\n- sources: [{model: base, layer_range: [0, 2]}, {model: math, layer_range: [0, 2], parameters: "
    "{weight: 0.4}}, {model: code, layer_range: [0, 2], parameters: {weight: [0, 1]}}]\n"
    "- sources: [{model: base, layer_range: [2, 3]}]\n"
    "- sources: [{model: math, layer_range: [3, 4], parameters: {weight: 1, density: 0.3}}, "
    "{model: base, layer_range: [3, 4]}]",
    "module": "merge_method: ties\nbase_model: base\nout_dtype: float32\n"
    "modules:\n  default:\n    slices:\n    - sources:\n"
    "      - {model: math, layer_range: [0, 4], parameters: {weight: 0.3, density: 0.5}}\n"
    "      - {model: base, layer_range: [0, 4], parameters: {weight: 0.8, density: 0.8}}\n"
    "    parameters: {lambda: 0.7}",
    "conditions": "merge_method: linear\nmodels:\n- {model: math, parameters: {weight: [{filter: layers.1., value: 2}, "
    "{filter: mlp, value: [1e-1, 1]}, {filter: '*', value: 0.5}]}}\n- {model: code}\n"
    "parameters: {weight: [{filter: attn, value: [0.3, 0.6]}, {value: 1}], normalize: false}",
    "merge_keys": "shared: &all {weight: 0.5, density: 0.7}\nmerge_method: ties\nbase_model: base\nmodels:\n"
    "- model: math\n  parameters: {<<: *all, weight: 0.2}\n- model: code\n  parameters: *all",
    "base_alone": "merge_method: task_arithmetic\nbase_model: math\nmodels: [{model: math, parameters: {weight: 1}}]",
    "dtype": "merge_method: linear\ndtype: float16\n" + EACH,
    "adapter": "merge_method: task_arithmetic\nbase_model: base\nmodels:\n"
    "- {model: math+lora, parameters: {weight: 0.5}}\n- {model: code, parameters: {weight: 0.25}}",
    "tokenizer_union": "merge_method: linear\ntokenizer_source: union\nbase_model: base\nparameters: {weight: 0.5}\n"
    "models: [{model: base}, {model: chat}]",
    "tokenizer_default": "merge_method: ties\ntokenizer: {}\nbase_model: base\nparameters: {weight: 0.5}\n"
    "models: [{model: math}, {model: chat}]",
    "tokenizer_base": "merge_method: slerp\ntokenizer: {source: base}\nbase_model: base\nparameters: {t: 0.3}\n"
    "models: [{model: base}, {model: chat}]",
    "tokenizer_of_model": "merge_method: task_arithmetic\ntokenizer_source: chat\nbase_model: base\n"
    "parameters: {weight: 0.5}\nmodels: [{model: math}, {model: chat}]",
    "multi": "name: first\nmerge_method: linear\n"
    + EACH
    + "---\nname: second\nmerge_method: slerp\nbase_model: first\n"
    "models: [{model: base}]\nparameters: {t: 0.5}\n---\nmerge_method: task_arithmetic\nbase_model: base\nmodels:\n"
    "- {model: second, parameters: {weight: 0.5}}\n- {model: code, parameters: {weight: 0.25}}",
}
"""A configuration of each form; several documents are those of mergekit-multi."""

CONFIGS: dict[str, dict[str, Any]] = {
    "llama": {"num_key_value_heads": 2},
    "mistral": {"num_key_value_heads": 2},
    "qwen2": {"num_key_value_heads": 2, "tie_word_embeddings": True},
    "mixtral": {"num_key_value_heads": 2, "num_local_experts": 2},
    "gpt2": {"n_embd": WIDTH, "n_layer": BLOCKS, "n_head": 4, "n_positions": 64},
}
SAME = {
    "hidden_size": WIDTH,
    "intermediate_size": 2 * WIDTH,
    "num_hidden_layers": BLOCKS,
    "num_attention_heads": 4,
}

MERGEKIT = """
import json, sys, traceback
from mergekit.scripts import multimerge, run_yaml

for config, out, several in json.load(sys.stdin):
    command = multimerge.main if several else run_yaml.main
    more = ["--intermediate-dir", out + "-parts", "--out-path", out] if several else [out]
    more += ["--lora-merge-cache", "adapters"]
    try:
        command.main([config, *more, "--quiet", "--no-write-model-card"], standalone_mode=False)
    except BaseException as error:
        open(out + ".error", "w").write(f"{type(error).__name__}: {error}")
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mergekit-python", type=Path, required=True, help="the interpreter that has mergekit")
    parser.add_argument("--kinds", nargs="+", default=list(CONFIGS), choices=list(CONFIGS))
    parser.add_argument("--dtypes", nargs="+", default=["float32", "bfloat16"], choices=list(ROUNDING))
    parser.add_argument("--only", default="", help="the cases whose names begin like this")
    arguments = parser.parse_args()
    configs = {name: f"merge_method: {name}\n{rest}\n" for name, rest in METHODS.items()} | FORMS
    configs = {name: text for name, text in configs.items() if name.startswith(arguments.only)}
    for kind in arguments.kinds:
        for dtype in arguments.dtypes:
            with tempfile.TemporaryDirectory(prefix="mergekit-import-") as folder:
                place = Path(folder)
                os.chdir(place)
                for seed, name in enumerate(("base", "math", "code")):
                    save_model(place / name, kind, seed, dtype)
                save_model(place / "chat", kind, 3, dtype, CHAT)
                save_adapter(place / "math", place / "lora")
                run_mergekit(place, configs, arguments.mergekit_python)
                for name in configs:
                    print(f"{kind:8} {dtype:9} {name:22} {difference(place, name, ROUNDING[dtype])}", flush=True)


def save_model(folder: Path, kind: str, seed: int, dtype: str, more_tokens: Sequence[str] = ()) -> None:
    """A random model; all but the first are a little off it, as fine-tuned ones are."""
    size = 257 + len(more_tokens)
    sizes = CONFIGS[kind] if kind == "gpt2" else {**SAME, **CONFIGS[kind]}

    def random(number: int) -> Any:
        torch.manual_seed(number)
        config = AutoConfig.for_model(kind, vocab_size=size, bos_token_id=256, eos_token_id=256, **sizes)
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
    core.add_special_tokens([AddedToken(token, special=True) for token in more_tokens])
    fast: type[Any] = PreTrainedTokenizerFast
    with quiet_transformers():
        model.to(getattr(torch, dtype)).save_pretrained(folder)
        fast(tokenizer_object=core, eos_token=END).save_pretrained(folder)


def save_adapter(model: Path, folder: Path) -> None:
    """A LoRA adapter of a model, with random weights."""
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(4)
    with quiet_transformers():
        opened = AutoModelForCausalLM.from_pretrained(model, dtype="auto")
    linear = "c_attn" if opened.config.model_type == "gpt2" else "q_proj"
    config = LoraConfig(r=2, lora_alpha=8, target_modules=[linear], init_lora_weights=False)
    get_peft_model(opened, config).save_pretrained(str(folder))


def run_mergekit(place: Path, configs: Mapping[str, str], python: Path) -> None:
    """Run all configurations in one process; what goes wrong is in a file beside where the result would be."""
    jobs = []
    for name, text in configs.items():
        (place / f"{name}.yml").write_text(text, "utf-8")
        jobs.append((f"{name}.yml", f"{name}-mergekit", "\n---\n" in text))
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    command = [str(python), "-W", "ignore", "-c", MERGEKIT]
    subprocess.run(command, cwd=place, input=json.dumps(jobs), text=True, capture_output=True, env=environment)


def difference(place: Path, name: str, rounding: float) -> str:
    """The largest difference between mergekit's result and ours, and what else is not the same.

    Args:
        rounding: of the models' type.
    """
    theirs = place / f"{name}-mergekit"
    failure = place / f"{name}-mergekit.error"
    fails = f"mergekit fails: {failure.read_text('utf-8').splitlines()[0]}" if failure.exists() else ""
    try:
        ours = merged(place, name)
    except CompatError as error:
        return f"ours fails: {error}" + (f"; {fails}" if fails else "")
    if fails:
        return fails
    expected, found = tensors(theirs), tensors(ours)
    apart = sorted(expected.keys() ^ found.keys())
    if apart:  # names that transformers takes for each other
        expected, found = network(theirs), network(ours)
        apart = sorted(expected.keys() ^ found.keys())
    shapes = [key for key in expected.keys() & found.keys() if expected[key].shape != found[key].shape]
    alike = [key for key in expected if key in found and key not in shapes]
    apart_by = [relative(found[key], expected[key]) for key in alike]
    roundings = [max(rounding, ROUNDING[_word(found[key].dtype)]) for key in alike]
    worst = max(float(tensor.max()) for tensor in apart_by)
    far = sum(int((tensor > least).sum()) for tensor, least in zip(apart_by, roundings, strict=True))
    more = f"; {far} of {sum(map(torch.numel, apart_by)):,} entries differ by more than rounding" if far else ""
    said = [f"{len(apart)} tensors that only one has, such as {apart[0]}"] if apart else []
    said += [f"other shapes: {', '.join(shapes)}"] if shapes else []
    kinds = {(_word(found[key].dtype), _word(expected[key].dtype)) for key in alike}
    said += [f"{ours} for {theirs}" for ours, theirs in sorted(kinds) if ours != theirs]
    return "; ".join([f"{worst:.1e}{more}", *said])


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    with Checkpoint(folder) as checkpoint:
        return {name: checkpoint[name] for name in checkpoint}


def network(folder: Path) -> dict[str, torch.Tensor]:
    with quiet_transformers():
        opened = AutoModelForCausalLM.from_pretrained(folder, dtype="auto")
    return dict(opened.state_dict())


def _word(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def merged(place: Path, name: str) -> Path:
    """The folder of our result."""
    spec = place / f"{name}.yaml"
    spec.write_text(import_spec("mergekit", Path(f"{name}.yml")), "utf-8")
    out = place / f"{name}-ours"
    SingleMerge(load(spec), "merged", Store(place / "store")).write(out)
    return out


def relative(found: torch.Tensor, expected: torch.Tensor) -> torch.Tensor:
    """The difference of each entry, relative to the largest entry."""
    return (found.double() - expected.double()).abs() / expected.double().abs().max().clamp(min=1e-30)


if __name__ == "__main__":
    main()
