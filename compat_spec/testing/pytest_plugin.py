"""What pytest has of the kit wherever compat-spec is installed: a fixture of tiny networks.

Every run of pytest loads this, so it imports nothing before the fixture is asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from compat_spec.nn.network import Network


@pytest.fixture
def tiny_networks() -> tuple[Network, Network]:
    """Two networks of one shape and tokenizer (GPT-2, 3 blocks, width 16, one token per byte), with other weights."""
    from compat_spec.testing import tiny_network

    return tiny_network(seed=0), tiny_network(seed=1)
