"""Checks of executor."""

from __future__ import annotations

from compat_spec.testing.checks import Checks

check = Checks()
