"""Which device a run computes on: what `--device` says, checked before anything starts."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

from compat_spec.errors import UsageError


def resolve_devices(wanted: str) -> list[str]:
    """`auto`, or one or several of `cpu | cuda | cuda:N | mps` with commas between -> torch devices that are there.

    `auto` is every CUDA GPU, or Apple's, or the CPU.

    Raises:
        UsageError: one is not a device, or this machine has none such.
    """
    if wanted == "auto":
        import torch

        if torch.cuda.is_available():
            return [f"cuda:{index}" for index in range(torch.cuda.device_count())]
        return ["mps" if torch.backends.mps.is_available() else "cpu"]
    return list(dict.fromkeys(_resolve(one.strip()) for one in wanted.split(",")))


def _resolve(wanted: str) -> str:
    match = re.fullmatch(r"(cpu|mps|cuda)(?::(\d+))?", wanted)
    if match is None or (match[2] and match[1] != "cuda"):
        raise UsageError(f"--device {wanted}: not a device; use auto, cpu, cuda, cuda:1 or mps")
    if match[1] == "cpu":
        return "cpu"
    import torch

    if match[1] == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        index = int(match[2] or 0)
        if index >= count:
            raise UsageError(f"--device {wanted}: {_gpus(count)}; use --device cpu, or auto")
        return f"cuda:{index}"
    if match[1] == "mps" and not torch.backends.mps.is_available():
        raise UsageError("--device mps: Apple's GPU is not available here; use --device cpu, or auto")
    return match[1]


def names_of(devices: Sequence[str]) -> str:
    """Devices in words for the results: `cuda:0 (NVIDIA H100), cuda:1 (NVIDIA H100)`, `cpu (2 threads)`.

    Without any, where nothing is computed, `no device`.
    """
    return ", ".join(map(_name, devices)) or "no device"


def make_repeatable(device: str) -> None:
    """Let this process compute the same step to the same numbers each time, where PyTorch has a way to.

    On a CPU it does so by itself; on a CUDA GPU by slower algorithms for what adds up in no fixed order.
    """
    if not device.startswith("cuda"):
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when cuBLAS is first used
    import torch

    torch.use_deterministic_algorithms(True, warn_only=True)
    # filling fresh memory costs time, and nothing here reads what it has not written
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def _name(device: str) -> str:
    import torch

    if device.startswith("cuda"):
        return f"{device} ({torch.cuda.get_device_name(device)})"
    return f"{device} ({torch.get_num_threads()} threads)" if device == "cpu" else device


def _gpus(count: int) -> str:
    """Which GPUs there are, and where there is none, why that may be."""
    import torch

    if count == 0 and torch.version.cuda is None:
        return "this PyTorch is built without CUDA (pytorch.org/get-started has the builds for GPUs)"
    if count == 0:
        return "PyTorch finds no CUDA GPU on this machine (nvidia-smi shows whether its driver does)"
    return (
        f"this machine has {'one CUDA GPU, cuda:0' if count == 1 else f'{count} CUDA GPUs, cuda:0 to cuda:{count - 1}'}"
    )
