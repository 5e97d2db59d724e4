"""The version of a database: telling ours from others, and bringing ours up to date."""

from __future__ import annotations

import threading

from sqlalchemy import Connection, inspect

from compat_spec.results import views
from compat_spec.results.errors import ResultsError
from compat_spec.results.tables import Base

VERSIONS = ("0001", "0002", "0003", "0004")
"""Every version that there has been, oldest first: the revisions of `migrations/versions`."""

VERSION_TABLE = "compat_schema"

_one_at_a_time = threading.Lock()
"""Alembic keeps the migration that is going on in global variables."""


def version_of(connection: Connection, name: str) -> str | None:
    """The version of the schema, or None when the database is empty.

    Raises:
        ResultsError: the database `name` holds something else, is of a newer version, or lacks parts.
    """
    inspector = inspect(connection)
    tables = set(inspector.get_table_names())
    if not tables:
        return None
    if VERSION_TABLE not in tables:
        some = ", ".join(sorted(tables)[:3])
        raise ResultsError(f"{name} holds something else than results (tables {some}); name another with --results")
    found = connection.exec_driver_sql(f"SELECT version_num FROM {VERSION_TABLE}").scalars().all()
    if len(found) != 1:
        raise ResultsError(f"{name} is damaged: it does not say which version it is of; use another with --results")
    if found[0] not in VERSIONS:
        raise ResultsError(
            f"{name} was made by a newer compat (its schema is {found[0]}, this one knows up to {VERSIONS[-1]}); "
            "install that version, or use another file with --results"
        )
    if found[0] == VERSIONS[-1]:
        for table in Base.metadata.sorted_tables:
            present = (
                {column["name"] for column in inspector.get_columns(table.name)} if table.name in tables else set()
            )
            lacking = [column.name for column in table.columns if column.name not in present]
            if lacking:
                what = f"{table.name}.{lacking[0]}" if present else f"the table {table.name}"
                raise ResultsError(f"{name} is damaged: it lacks {what}; use another file with --results")
    return str(found[0])


def check_readable(version: str | None, name: str) -> None:
    """Raises `ResultsError` for a database that is empty, or older than what is read here."""
    if version is None:
        raise ResultsError(f"{name} is empty; compat run fills it")
    if version != VERSIONS[-1]:
        raise ResultsError(
            f"{name} was made by an older compat (its schema is {version}); the next compat run that writes to it "
            "brings it up to date"
        )


def bring_up_to_date(connection: Connection, name: str) -> None:
    """Make or migrate the tables inside the transaction of `connection`, and make the views.

    Raises:
        ResultsError: as `version_of`.
    """
    views.wait_for_others(connection)
    if version_of(connection, name) != VERSIONS[-1]:
        from alembic import command
        from alembic.config import Config

        config = Config()
        config.set_main_option("script_location", "compat_spec.results:migrations")
        config.attributes["connection"] = connection
        with _one_at_a_time:
            command.upgrade(config, "head")
        views.refresh(connection)
