"""Connections to a server of PostgreSQL, and what its errors mean to the user."""

from __future__ import annotations

import re
from typing import Any

from sqlalchemy import URL, Engine, NullPool, create_engine, event

from compat_spec.results.errors import ResultsError
from compat_spec.results.passwords import without_password
from compat_spec.results.plain_json import dumps

DRIVERS = ("postgresql", "postgresql+psycopg")
"""What a URL may begin with. Without a driver it means the one that we have."""

CONNECT_SECONDS = 10
"""How long to wait for an answer of the server, unless the URL says otherwise (`?connect_timeout=60`)."""

LOCK_SECONDS = 30
"""How long to wait for whoever keeps the views or tables locked."""

CONNECTING = ("OperationalError", "ConnectionTimeout")
"""What psycopg raises when it gets no connection."""

SHUT_OUT = r"authentication failed|no password supplied|no pg_hba\.conf entry|role .* does not exist"
ABSENT = r"database .* does not exist"
NOT_READY = r"starting up|shutting down|too many clients|connection slots"


def shown(url: URL) -> str:
    """The URL without its password."""
    return without_password(url.render_as_string(hide_password=False))


def writing_engine(url: URL) -> Engine:
    """An engine that notices between two transactions that its connection was lost, and connects again."""
    return _engine(url, pool_pre_ping=True)


def reading_engine(url: URL) -> Engine:
    """An engine whose transactions cannot write, and whose connections serve one question each."""
    engine = _engine(url, poolclass=NullPool)

    @event.listens_for(engine, "connect")
    def connected(connection: Any, _: Any) -> None:
        connection.read_only = True

    return engine


def answer_plainly(connection: Any) -> None:
    """Let a connection of psycopg answer with the values that SQLite would give: no Decimal, and JSON as its text."""
    from psycopg.adapt import Buffer, Loader
    from psycopg.types.string import TextLoader

    class Number(Loader):
        def load(self, data: Buffer) -> int | float:
            text = bytes(data)
            return int(text) if text.lstrip(b"-").isdigit() else float(text)

    connection.adapters.register_loader("numeric", Number)
    for kind in ("json", "jsonb"):
        connection.adapters.register_loader(kind, TextLoader)


def state_of(error: BaseException | None) -> str:
    """The five characters by which PostgreSQL names an error; none for one of the connection."""
    return getattr(error, "sqlstate", None) or ""


def words_of(error: BaseException | None) -> str:
    """What the server says, on one line, without the statement."""
    if primary := getattr(getattr(error, "diag", None), "message_primary", None):
        return str(primary)
    reasons = re.findall(r"(?:failed|FATAL|ERROR): +(?!connection|FATAL|Multiple)(\S.*)", str(error))
    return str(reasons[-1]) if reasons else " ".join(str(error).split())


def explanation(name: str, error: BaseException | None, *, lost: bool = False) -> str:
    """What went wrong with the database `name`, and what to do.

    Args:
        lost: there was a connection, and now there is none.
    """
    state, words = state_of(error), words_of(error)
    if lost:
        return f"the connection to {name} was lost ({words}); try again when the server is there"
    if not state and type(error).__name__ in CONNECTING:
        return _no_connection(name, words)
    match state:
        case "25006":
            return f"cannot write {name}: the server lets us read only"
        case "42501":
            return f"cannot open {name}: {words}; its owner, or whoever runs the server, can grant that"
        case "53100":
            return f"cannot write {name}: the disk of the server is full"
        case "55P03" | "40P01":
            return f"{name} is locked: somebody has been using its tables for {LOCK_SECONDS} s; try again later"
        case "2BP01":  # views are dropped to be made again, and never more than ours
            detail = getattr(getattr(error, "diag", None), "message_detail", None)
            return f"cannot make the views of {name} again: {detail or words}; drop what was built on them"
    return f"{name}: {words}"


def _no_connection(name: str, words: str) -> str:
    if re.search(ABSENT, words):
        return f"cannot open {name}: the server has no such database; make it with createdb"
    if re.search(SHUT_OUT, words):
        return f"cannot open {name}: {words}; check the user and the password (of the URL, PGPASSWORD or ~/.pgpass)"
    if re.search(NOT_READY, words):
        return f"cannot open {name}: {words}; try again later"
    return f"cannot reach the server of {name}: {words}; is it running there?"


def _engine(url: URL, **options: Any) -> Engine:
    url = url.set(drivername=DRIVERS[-1])
    if "connect_timeout" not in url.query:
        url = url.update_query_dict({"connect_timeout": str(CONNECT_SECONDS)})
    try:
        return create_engine(url, json_serializer=dumps, **options)
    except ImportError:
        raise ResultsError(
            f'cannot open {shown(url)}: the driver is not installed: pip install "compat-spec[postgresql]"'
        ) from None
