"""What comes along when modules are imported: asked of a fresh process, for this one has imported much already."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Collection, Sequence

HEAVY = ("torch", "transformers", "tokenizers", "datasets", "tensorflow", "jax")
"""What takes seconds to import."""

_CHEAP: set[str] = set()
"""Modules that are known to import nothing of it."""

_CODE = """
import json, sys
path, modules, heavy = json.loads(sys.argv[1])
sys.path[:] = path
for module in modules:
    __import__(module)
print(json.dumps([name for name in heavy if name in sys.modules]))
"""


class ImportFailed(Exception):  # noqa: N818
    """A module that cannot be imported alone; the message is what the process said."""


def heavy_imports(module: str) -> Sequence[str]:
    """What a module imports that takes seconds.

    Raises:
        ImportFailed: it cannot be imported.
    """
    return [] if module in _CHEAP else _imported([module])


def import_together(modules: Collection[str]) -> None:
    """Import modules in one process: if nothing heavy comes along, `heavy_imports` need not ask for each of them."""
    try:
        if not _imported(sorted(modules)):
            _CHEAP.update(modules)
    except ImportFailed:
        return  # which of them it is, they say one by one


def _imported(modules: Sequence[str]) -> list[str]:
    argument = json.dumps([sys.path, modules, HEAVY])
    done = subprocess.run([sys.executable, "-c", _CODE, argument], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ImportFailed(done.stderr.strip()[-2000:])
    found: list[str] = json.loads(done.stdout.splitlines()[-1])
    return found
