"""Where a run's numbers come from: versions of everything that decides them, and the commit of the spec's folder."""

from __future__ import annotations

import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from compat_spec import registry
from compat_spec.plan import Plan

LIBRARIES = ("compat-spec", "torch", "transformers", "tokenizers", "safetensors", "numpy")


def versions(plan: Plan) -> dict[str, str]:
    """The versions of Python, the libraries, and the distributions whose plugins the plan uses."""
    found = {"python": platform.python_version()}
    used = {
        (call.namespace, call.use)
        for step in plan.steps.values()
        for call in (step.component, step.trainer)
        if call is not None
    }
    plugins = [registry.plugin(namespace, use) for namespace, use in sorted(used)]
    found |= {plugin.distribution: plugin.distribution_version for plugin in plugins}
    for library in LIBRARIES:
        try:
            found[library] = version(library)
        except PackageNotFoundError:
            continue
    return dict(sorted(found.items()))


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
