"""The most memory that was in use at once, of this process and on its GPU, since it was last asked to start afresh."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path

PROCESS = Path("/proc/self")


def start_peaks(device: str) -> None:
    """Count the peaks from now on."""
    with suppress(OSError):  # not Linux, or an old one
        (PROCESS / "clear_refs").write_text("5")
    if device.startswith("cuda"):
        import torch

        torch.cuda.reset_peak_memory_stats(device)


def host_peak() -> int | None:
    """Bytes of this process; since it began, where the system cannot start afresh. None where it is unknown."""
    with suppress(OSError, ValueError, IndexError):
        status = (PROCESS / "status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024
    try:
        import resource
    except ImportError:  # Windows
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def gpu_peak(device: str) -> int | None:
    """Bytes that tensors took on a CUDA device; None on others."""
    if not device.startswith("cuda"):
        return None
    import torch

    return torch.cuda.max_memory_allocated(device)
