"""What Datasette asks of the site: the home page's runs, canned queries, reports and links.

Hooks are asked for every instance of Datasette in the process; they answer for a `Site` only.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from datasette import Response, hookimpl
from markupsafe import Markup

from compat_spec.errors import CompatError
from compat_spec.report import html_report
from compat_spec.report.figures import theme
from compat_spec.report.page.page import embedded, vega
from compat_spec.serve import home
from compat_spec.serve.mistakes import told

if TYPE_CHECKING:
    from compat_spec.serve.site import Site

NAME = "compat"

LOCAL = frozenset(("localhost", "127.0.0.1", "[::1]"))
"""The names under which a browser here asks; a page elsewhere whose name was made to lead here has another."""

READING = ("GET", "HEAD", "OPTIONS")
"""The methods of requests that change nothing."""

App = Callable[[Any, Any, Any], Awaitable[None]]


def _is_ours(datasette: Any) -> bool:
    from compat_spec.serve.site import Site

    return isinstance(datasette, Site)


@hookimpl  # type: ignore[untyped-decorator]
def canned_queries(datasette: Site, database: str) -> Any:
    if not _is_ours(datasette):
        return None

    async def found() -> dict[str, Any]:
        return {question.name: question.canned() for question in await _in_thread(datasette, datasette.questions)}

    return found


@hookimpl  # type: ignore[untyped-decorator]
def extra_template_vars(datasette: Site, template: str) -> Any:
    if not _is_ours(datasette):
        return {}

    async def found() -> dict[str, Any]:
        questions = await _in_thread(datasette, datasette.questions)
        charts = {question.name: question.chart for question in questions if question.chart}
        known: dict[str, Any] = {
            "questions": questions,
            "charts": {name: Markup(embedded({"spec": spec, "config": theme.LIGHT})) for name, spec in charts.items()},
        }
        if template == "index.html":
            known["file"] = datasette.results.name
            known["views"] = datasette.views
            known["runs"] = await _in_thread(datasette, home.runs, datasette.results)
        return known

    return found


@hookimpl  # type: ignore[untyped-decorator]
def register_routes(datasette: Site) -> Any:
    return [(r"^/-/report/(?P<run>[^/]+)$", _report), (r"^/-/vega\.js$", _vega)] if _is_ours(datasette) else []


@hookimpl  # type: ignore[untyped-decorator]
def extra_css_urls(datasette: Site) -> Any:
    return ["/look/results.css"] if _is_ours(datasette) else []


@hookimpl  # type: ignore[untyped-decorator]
def render_cell(datasette: Site, value: Any, column: str) -> Any:
    if not _is_ours(datasette) or column != "run" or not isinstance(value, str):
        return None
    return Markup('<a href="{}" title="The report of this run">{}</a>').format(f"/-/report/{value}", value)


@hookimpl  # type: ignore[untyped-decorator]
def asgi_wrapper(datasette: Site) -> Callable[[App], App]:
    def wrap(app: App) -> App:
        async def answer(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] == "http" and not _asks_locally(dict(scope["headers"]).get(b"host", b"")):
                await Response.text("this is for the machine that it runs on only", status=403).asgi_send(send)
                return
            if scope["type"] == "http" and scope["method"] not in READING:
                refusal = Response.text("results are only read here", status=405, headers={"allow": ", ".join(READING)})
                await refusal.asgi_send(send)
                return
            await app(scope, receive, send)

        return answer if _is_ours(datasette) else app

    return wrap


def _asks_locally(host: bytes) -> bool:
    given = host.decode("latin-1").lower()
    name, colon, port = given.rpartition(":")
    return (name if colon and port.isdecimal() else given) in LOCAL


async def _report(datasette: Site, request: Any) -> Response:
    return Response.html(await _in_thread(datasette, html_report, datasette.results, request.url_vars["run"]))


async def _vega(datasette: Site) -> Response:
    script = await _in_thread(datasette, vega)
    return Response(script, content_type="text/javascript; charset=utf-8", headers={"cache-control": "max-age=86400"})


async def _in_thread(datasette: Site, ask: Callable[..., Any], *arguments: Any) -> Any:
    """What `ask` gives; a mistake of the user, or results that are gone, become a page."""
    try:
        return await asyncio.get_running_loop().run_in_executor(datasette.executor, ask, *arguments)
    except CompatError as error:
        raise told(error) from None
