"""For all tests: one thread per process, as several run at once with tiny networks, and the same examples each time."""

from __future__ import annotations

import os

from hypothesis import settings

os.environ["OMP_NUM_THREADS"] = "1"  # read when torch is imported; processes that tests start inherit it
os.environ["HF_HUB_OFFLINE"] = "1"

settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")
