"""For all tests: one thread per process, as several run at once with tiny networks, and the same examples each time."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from tests.postgresql import Server

os.environ["OMP_NUM_THREADS"] = "1"  # read when torch is imported; processes that tests start inherit it
os.environ["HF_HUB_OFFLINE"] = "1"

settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """A server of PostgreSQL."""
    from tests.postgresql import Server

    server = Server()
    yield server
    server.remove()


@pytest.fixture
def server_url(server: Server) -> Iterator[str]:
    """The URL of a fresh database of the server."""
    url = server.new_database()
    yield url
    server.drop(url)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Headless Chromium. Give its tests `@pytest.mark.xdist_group("browser")`, so that one process starts it."""
    from tests.browser import chromium

    with chromium() as browser:
        yield browser
