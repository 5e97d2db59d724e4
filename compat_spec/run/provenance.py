"""Where numbers come from: the versions of everything that decides them, the commit of the spec, the cost of a step."""

from __future__ import annotations

import platform
import socket
import subprocess
import time
from collections.abc import Iterable
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from compat_spec import registry
from compat_spec.plan import Step
from compat_spec.run.memory import gpu_peak, host_peak, start_peaks

LIBRARIES = ("compat-spec", "torch", "transformers", "tokenizers", "safetensors", "numpy")


def versions(steps: Iterable[Step]) -> dict[str, str]:
    """The versions of Python, the libraries, and the distributions whose plugins the steps use."""
    calls = [call for step in steps for call in (step.component, step.trainer) if call is not None]
    used = sorted({(call.namespace, call.use) for call in calls})
    plugins = [registry.plugin(namespace, use) for namespace, use in used]
    found = {plugin.distribution: plugin.distribution_version for plugin in plugins}
    return dict(sorted((found | library_versions()).items()))


@cache
def library_versions() -> dict[str, str]:
    """The versions of Python and of what decides numbers, the plugins' distributions aside."""
    found = {"python": platform.python_version()}
    for library in LIBRARIES:
        try:
            found[library] = version(library)
        except PackageNotFoundError:
            continue
    return found


class Cost:
    """What a step costs, from now on."""

    def __init__(self, device: str) -> None:
        self._device = device
        self._started = time.monotonic()
        self._cpu_started = time.process_time()
        start_peaks(device)

    def seconds(self) -> float:
        """Of wall time."""
        return time.monotonic() - self._started

    def facts(self) -> dict[str, Any]:
        """Where it was computed, and what that took: `peak_bytes` of this process, `gpu_peak_bytes` of its GPU."""
        import torch

        return {
            "host": socket.gethostname(),
            "device": self._device,
            "threads": torch.get_num_threads(),
            "cpu_seconds": round(time.process_time() - self._cpu_started, 3),
            "peak_bytes": host_peak(),
            "gpu_peak_bytes": gpu_peak(self._device),
        }


def commit_of(path: Path) -> str | None:
    """The commit of the folder that holds a spec, with `+` when the folder has changes; None without git."""
    try:
        commit = _git(path.parent, "rev-parse", "HEAD")
        changed = _git(path.parent, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return None
    return commit + ("+" if changed else "")


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True, timeout=10
    )
    return done.stdout.strip()
