"""Serves the site on a port of this machine until Ctrl-C."""

from __future__ import annotations

import errno
import socket
import webbrowser
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from compat_spec.errors import CompatError, UsageError
from compat_spec.results import open_results, without_password

if TYPE_CHECKING:
    from compat_spec.serve.site import Site

HOST = "127.0.0.1"
"""Results are for their owner: there is no way to serve them to others but a tunnel of one's own (`ssh -L`)."""


def serve(results: str, port: int, *, ready: Callable[[str], None], open_browser: bool = False) -> None:
    """Serve until Ctrl-C or SIGTERM.

    Args:
        results: a file of SQLite.
        port: 0 takes one that is free.
        ready: is told the address when it answers.

    Raises:
        CompatError: no results there, results on a server, the port is taken, or an extra is missing.
    """
    import asyncio

    site = site_of(results)
    listening = bind(port)
    address = f"http://{HOST}:{listening.getsockname()[1]}/"

    def answers() -> None:
        ready(address)
        if open_browser:
            webbrowser.open(address)

    try:
        asyncio.run(_serve(site, listening, answers))
    except KeyboardInterrupt:
        pass
    finally:
        listening.close()


def site_of(results: str) -> Site:
    """The site of a file of results, given as a path or as `sqlite:///PATH`."""
    file = _file_of(results)
    opened = open_results(results, create=False)
    try:
        from compat_spec.serve.site import make_site
    except ImportError as error:
        missing = (error.name or "datasette").partition(".")[0]
        raise CompatError(f'compat serve needs {missing}: pip install "compat-spec[serve]"') from error
    return make_site(file, opened)


def bind(port: int) -> socket.socket:
    """A socket that listens on a port of this machine."""
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((HOST, port))
        listening.listen()
    except OSError as error:
        listening.close()
        if error.errno == errno.EADDRINUSE:
            raise UsageError(
                f"port {port} is taken, perhaps by another compat serve; --port 0 finds a free one"
            ) from None
        raise UsageError(f"cannot serve on port {port}: {error.strerror}; --port 0 finds a free one") from None
    return listening


async def _serve(site: Site, listening: socket.socket, answers: Callable[[], None]) -> None:
    import uvicorn

    await site.invoke_startup()
    # whoever still reads when it ends is not waited for long
    config = uvicorn.Config(site.app(), log_level="error", lifespan="on", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    startup = server.startup

    async def started(sockets: list[socket.socket] | None = None) -> None:
        await startup(sockets)
        if server.started:
            answers()

    server.startup = started  # type: ignore[method-assign]
    await server.serve(sockets=[listening])


def _file_of(results: str) -> Path:
    scheme, separator, rest = results.partition("://")
    if not separator:
        return Path(results).absolute()
    if scheme.partition("+")[0] != "sqlite":
        raise UsageError(
            f"compat serve shows a file of SQLite, not {without_password(results)}; compat report makes a page of a "
            "run on a server, compat query asks it, and compat export copies its numbers to files"
        )
    return Path(rest.removeprefix("/")).absolute()
