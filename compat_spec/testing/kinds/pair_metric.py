"""Checks of pair_metric."""

from __future__ import annotations

from compat_spec.testing.checks import Checks

check = Checks()
