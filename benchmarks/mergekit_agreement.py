"""How far the merges are from mergekit's, method by method, on random tensors of awkward shapes.

mergekit has other requirements, so it runs in an interpreter of its own; tensors and results go there in a file.

    python benchmarks/mergekit_agreement.py --mergekit-python ~/mergekit/bin/python
    python benchmarks/mergekit_agreement.py --mergekit-python ~/mergekit/bin/python --scale 0.0001

For each method and each type, the largest difference between two results, relative to the largest entry of mergekit's:
ours and mergekit's; and, to see whose rounding it is, each of them in float32 and ours in float64 on the same tensors.
Methods that draw at random are compared with all that is not random in them: at a density of 1.

What is more than rounding, and why:
- close to the base (`--scale 0.0001`), many differences from it have equal magnitudes in float32. Of those that the
  density cuts through, ours keep the first, mergekit's `ties` and `breadcrumbs` any: its sort is not stable.
- close to the base, `arcee_fusion` and `karcher` of mergekit find small divergences and angles in float32, as
  differences of numbers near 1; ours in float64. Entries at the threshold then fall on the other side.
- `ramplus_tl` of mergekit has its factors in float32 even for float64 tensors.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from compat_spec import registry
from compat_spec.components import TensorMerge
from compat_spec.nn.merging import merge_tensor
from compat_spec.nn.per_tensor import TensorPlace

SHAPES = {"matrix": (67, 130), "vector": (257,), "kernel": (9, 5, 7), "row": (1, 33)}

WEIGHTS = [0.7, 0.2, 0.4]
SPARSE: dict[str, Any] = {"weight": WEIGHTS, "density": [0.5, 0.3, 0.8]}

# method, parameters, how many models, whether there is a base
CASES: list[tuple[str, dict[str, Any], int, bool]] = [
    ("linear", {"weight": WEIGHTS}, 3, False),
    ("linear", {"weight": WEIGHTS, "normalize": False}, 3, False),
    ("nuslerp", {"weight": [0.7, 0.2]}, 2, False),
    ("nuslerp", {"weight": [0.7, 0.2]}, 2, True),
    ("nuslerp", {"weight": [0.7, 0.2], "nuslerp_flatten": False}, 2, True),
    ("nuslerp", {"weight": [0.7, 0.2], "nuslerp_flatten": False, "nuslerp_row_wise": True}, 2, True),
    ("multislerp", {"weight": WEIGHTS}, 3, False),
    ("multislerp", {"weight": WEIGHTS, "normalize_weights": False}, 3, True),
    ("karcher", {}, 3, False),
    ("task_arithmetic", {"weight": WEIGHTS, "lambda": 0.6}, 3, True),
    ("task_arithmetic", {"weight": WEIGHTS, "normalize": True}, 3, True),
    ("ties", {**SPARSE, "lambda": 1.3}, 3, True),
    ("ties", {**SPARSE, "normalize": False, "rescale": True}, 3, True),
    ("ties", {"weight": [0.7, -0.2, 0.4], "density": 0.6}, 3, True),
    ("breadcrumbs", SPARSE, 3, True),
    ("breadcrumbs", {**SPARSE, "gamma": [0.1, 0.8, 0.3], "rescale": True}, 3, True),
    ("breadcrumbs_ties", {**SPARSE, "gamma": 0.05, "normalize": True}, 3, True),
    ("dare_linear", {"weight": WEIGHTS}, 3, True),
    ("dare_ties", {"weight": WEIGHTS}, 3, True),
    ("della_linear", {"weight": WEIGHTS}, 3, True),
    ("della", {"weight": WEIGHTS}, 3, True),
    ("sce", {}, 3, True),
    ("sce", {"select_topk": 0.3}, 3, True),
    ("ram", {"epsilon": 0.01}, 3, True),
    ("ramplus_tl", {"epsilon": 0.01, "r": 0.3, "alpha": 5.0}, 3, True),
    ("ramplus_tl", {}, 3, True),
    ("model_stock", {}, 3, True),
    ("model_stock", {"filter_wise": True}, 3, True),
    ("nearswap", {"t": 0.01}, 1, True),
    ("arcee_fusion", {}, 1, True),
]

# runs in mergekit's interpreter: case.json and tensors.safetensors -> a line of JSON for each case
THEIRS = """
import json, sys
from safetensors.torch import load_file
from mergekit.merge_methods.api import merge_tensors

cases, tensors = json.load(open(sys.argv[1])), load_file(sys.argv[2])
for case in cases:
    base = [tensors[case["base"]]] if case["base"] else []
    inputs = base + [tensors[name] for name in case["models"]]
    ids = ["base"] * len(base) + case["models"]
    parameters = {
        name: dict(zip(case["models"], value)) if isinstance(value, list) else value
        for name, value in case["parameters"].items()
    }
    theirs = merge_tensors(
        inputs, case["method"], parameters=parameters, ids=ids, base_index=0 if base else None
    ).double()
    ours, exact = tensors[case["ours"]].double(), tensors[case["exact"]]
    pairs = ((ours, theirs), (ours, exact), (theirs, exact))
    apart = [float((a - b).abs().max() / theirs.abs().max()) for a, b in pairs]
    print(json.dumps([case["method"], case["dtype"], *apart]))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mergekit-python", required=True, help="The Python of an environment that has mergekit.")
    parser.add_argument("--scale", type=float, default=0.05, help="How far models are from their base, which is of 1.")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    tensors, cases = merged(options.scale, options.seed)
    with tempfile.TemporaryDirectory() as folder:
        described, stored = Path(folder) / "cases.json", Path(folder) / "tensors.safetensors"
        described.write_text(json.dumps(cases), "utf-8")
        save_file(tensors, stored)
        command = [options.mergekit_python, "-c", THEIRS, str(described), str(stored)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        sys.exit("mergekit's side failed")
    report([json.loads(line) for line in done.stdout.splitlines()])


def merged(scale: float, seed: int) -> tuple[dict[str, Tensor], list[dict[str, Any]]]:
    """All tensors, those of our results among them, and what there is to compare."""
    generator = torch.Generator().manual_seed(seed)
    tensors: dict[str, Tensor] = {}
    cases: list[dict[str, Any]] = []
    for dtype in (torch.float32, torch.float64):
        for shape_name, shape in SHAPES.items():
            prefix = f"{str(dtype).removeprefix('torch.')}.{shape_name}"
            base = torch.randn(shape, generator=generator, dtype=torch.float64)
            shared = torch.randn(shape, generator=generator, dtype=torch.float64)
            tensors[f"{prefix}.base"] = base.to(dtype)
            for model in range(3):
                own = torch.randn(shape, generator=generator, dtype=torch.float64)
                tensors[f"{prefix}.m{model}"] = (base + scale * (own + 0.5 * shared)).to(dtype)
            for method, parameters, count, with_base in CASES:
                if parameters.get("nuslerp_row_wise") and shape[0] == 1:
                    continue  # arcs between opposite numbers, along no determined way
                case: dict[str, Any] = {"method": method, "dtype": prefix.partition(".")[0], "parameters": parameters}
                models = [f"{prefix}.m{model}" for model in range(count)]
                case |= {"models": models, "base": f"{prefix}.base" if with_base else None}
                case |= {"ours": f"ours.{len(cases)}", "exact": f"exact.{len(cases)}"}
                given, origin = [tensors[name] for name in models], tensors.get(str(case["base"]))
                fields = parameters | {"models": models} | ({"base": case["base"]} if with_base else {})
                merge = registry.component("compat.merges", method).model_validate(fields)
                assert isinstance(merge, TensorMerge)
                tensors[case["ours"]] = merge_tensor(merge, given, origin, TensorPlace("h.0.weight"))
                given, origin = [tensor.double() for tensor in given], origin.double() if origin is not None else None
                tensors[case["exact"]] = merge_tensor(merge, given, origin, TensorPlace("h.0.weight"))
                cases.append(case)
    return tensors, cases


def report(found: list[tuple[str, str, float, float, float]]) -> None:
    print(f"{'':18} {'float32':>34} {'float64':>16}")
    print(f"{'':18} {'ours-theirs':>12} {'ours-exact':>10} {'theirs-exact':>12} {'ours-theirs':>14}")
    for method in dict.fromkeys(method for method, *_ in found):
        single = [apart for of, dtype, *apart in found if (of, dtype) == (method, "float32")]
        double = [apart for of, dtype, *apart in found if (of, dtype) == (method, "float64")]
        ours_theirs, ours_exact, theirs_exact = (max(column) for column in zip(*single, strict=True))
        in_double = max(apart[0] for apart in double)
        print(f"{method:18} {ours_theirs:12.1e} {ours_exact:10.1e} {theirs_exact:12.1e} {in_double:14.1e}")


if __name__ == "__main__":
    main()
