"""Results for a browser: Datasette on the database, read-only, on this machine only. `serve` is `compat serve`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from compat_spec.lazy import lazily

if TYPE_CHECKING:
    from compat_spec.serve.server import serve

__all__ = ["serve"]

__getattr__ = lazily(__name__, {"serve": "server"})
