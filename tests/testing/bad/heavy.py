"""A module that imports at its top what takes time."""

from __future__ import annotations

import tokenizers  # noqa: F401

from compat_spec.components import Task


class Heavy(Task):
    """Examples that are tokens already."""
