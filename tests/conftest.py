"""For all tests: one thread per process, as several run at once and their networks are tiny."""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"  # read when torch is imported; processes that tests start inherit it
os.environ["HF_HUB_OFFLINE"] = "1"
