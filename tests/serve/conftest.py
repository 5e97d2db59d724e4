"""A file of results, the site that shows it, and what it answers."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import pytest
import uvicorn

from compat_spec.results import Results, open_results
from compat_spec.serve.server import bind, site_of
from compat_spec.serve.site import Site
from tests.results.made_up import score, similarity, start

T = TypeVar("T")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Two seeds of a sweep over alpha at two steps, with CKA, routers and a failure."""
    results = open_results(tmp_path / "results.db", create=True)
    fill(results)
    return tmp_path / "results.db"


def fill(results: Results, experiment: str = "routing") -> str:
    writer = start(results, experiment, parameters=["alpha", "layers.first"])
    for seed in (0, 1):
        writer.scores([score(model, 4.0 + seed / 10, seed=seed) for model in ("base", "math")])
        for step in (10, 20):
            writer.scores(
                [score("average", 3.5 + seed / 10 + step / 100, seed=seed, step=step)]
                + [score("blend", 3.0 + seed / 10 + alpha, seed=seed, step=step, alpha=alpha) for alpha in (0.0, 0.5)]
            )
            layers = [(0, 0, 1.0), (0, 1, 0.5), (1, 0, 0.25), (1, 1, 0.5)]
            writer.similarities([similarity(a, b, value, steps=(step, step), seed=seed) for a, b, value in layers])
        writer.scores([score("blend", 3.2, seed=seed, **{"layers.first": 1})])
        loads = [(block, expert) for block in (0, 1) for expert in (0, 1)]
        writer.scores(
            [score("blend", 0.5, quantity="load", seed=seed, block=block, expert=expert) for block, expert in loads]
        )
    writer.finish("failed", "train code: <b>no</b> memory")
    return writer.id


@pytest.fixture
def site(file: Path) -> Site:
    return site_of(str(file))


def ask(site: Site, path: str, method: str = "get", **options: Any) -> Any:
    """The response to a request, which crosses no network."""

    async def answer() -> Any:
        await site.invoke_startup()
        return await getattr(site.client, method)(path, **options)

    return result_of(answer())


def result_of(coroutine: Coroutine[Any, Any, T]) -> T:
    """In a thread of its own: the browser of other tests keeps a loop running in this one."""
    with ThreadPoolExecutor(max_workers=1) as thread:
        return thread.submit(asyncio.run, coroutine).result()


def rows(site: Site, sql: str) -> list[list[Any]]:
    response = ask(site, "/results.json", params={"sql": sql, "_shape": "arrays"})
    assert response.status_code == 200, response.text
    found: list[list[Any]] = response.json()["rows"]
    return found


@pytest.fixture
def address(site: Site) -> Iterator[str]:
    """Where the site answers, on a port of this machine."""
    result_of(site.invoke_startup())
    listening = bind(0)
    server = uvicorn.Server(uvicorn.Config(site.app(), log_level="error", lifespan="on", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    server.should_exit = True
    thread.join()
    listening.close()
