"""Results for a browser: Datasette on the database, read-only, on this machine only. `serve` is `compat serve`."""

from __future__ import annotations

from typing import Any

__all__ = ["serve"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from compat_spec.serve import server

    return getattr(server, name)
