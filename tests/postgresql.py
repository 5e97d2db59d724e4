"""A real server of PostgreSQL for the tests: started from the machine's binaries, with everything in one folder."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import URL

USER = "compat"
PASSWORD = "geheim@42/x"  # what a URL must escape

MISSING = "PostgreSQL's initdb and pg_ctl are neither on PATH nor in /usr/lib/postgresql/*/bin: apt install postgresql"

on_the_server = pytest.mark.xdist_group("postgresql")
"""For tests that use the server: one worker runs them all, so that there is one server."""


class Server:
    """A server on a free port of this machine. Databases are made as they are asked for."""

    def __init__(self) -> None:
        self._bin = _binaries()
        self._folder = Path(tempfile.mkdtemp(prefix="compat-postgresql-"))
        self._numbers = count()
        self.port = _free_port()
        secret = self._folder / "password"
        secret.write_text(PASSWORD)
        if account := _account():
            for path in (self._folder, secret):
                os.chown(path, account.pw_uid, account.pw_gid)
        options = ("--auth=scram-sha-256", f"--username={USER}", f"--pwfile={secret}", "--no-locale", "--encoding=UTF8")
        self._run("initdb", "--no-sync", *options)
        self.start()

    def start(self) -> None:
        """Start it, and wait until it lets people in."""
        settings = f"-h 127.0.0.1 -p {self.port} -k {self._folder} -c fsync=off -c full_page_writes=off"
        self._run("pg_ctl", "start", "--wait", f"--log={self._folder / 'log'}", f"--options={settings}")

    def stop(self, mode: str = "immediate") -> None:
        """Stop it, without a word to those who are connected unless the mode is `fast`."""
        self._run("pg_ctl", "stop", "--wait", f"--mode={mode}")

    def remove(self) -> None:
        """Stop it for good."""
        self.stop()
        shutil.rmtree(self._folder)

    def new_database(self) -> str:
        """The URL of a new, empty database."""
        name = f"test_{next(self._numbers)}"
        self.execute(self.url("postgres"), f"CREATE DATABASE {name}")
        return self.url(name)

    def drop(self, url: str) -> None:
        """Remove a database, whoever is connected to it."""
        self.execute(self.url("postgres"), f"DROP DATABASE {url.rpartition('/')[2]} WITH (FORCE)")

    def url(self, database: str, **others: Any) -> str:
        """The URL of a database, with its password."""
        known = {"username": USER, "password": PASSWORD, "host": "127.0.0.1", "port": self.port}
        url = URL.create("postgresql+psycopg", database=database, **{**known, **others})
        return url.render_as_string(hide_password=False)

    def execute(self, url: str, *statements: str) -> list[tuple[Any, ...]]:
        """What the last of these statements answers, as the administrator sees it."""
        with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as connection:
            for statement in statements:
                cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def _run(self, program: str, *arguments: str) -> None:
        account = _account()
        done = subprocess.run(
            [self._bin / program, f"--pgdata={self._folder / 'data'}", *arguments],
            cwd=self._folder,
            user=account and account.pw_uid,
            group=account and account.pw_gid,
            extra_groups=account and [],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,  # which the server inherits: nobody could read a pipe to its end
            stderr=subprocess.STDOUT,
        )
        log = self._folder / "log"
        assert done.returncode == 0, log.read_text() if log.exists() else f"{program} failed"


def _binaries() -> Path:
    on_path = [Path(found).parent for found in (shutil.which("pg_ctl"),) if found and shutil.which("initdb")]
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name))
    for folder in [*on_path, *reversed(installed)]:
        if (folder / "initdb").exists() and (folder / "pg_ctl").exists():
            return folder
    pytest.skip(MISSING)


def _account() -> pwd.struct_passwd | None:
    """Who runs the server: it refuses to be run by the administrator."""
    if os.geteuid() != 0:
        return None
    accounts = {account.pw_name: account for account in pwd.getpwall()}
    return accounts.get("postgres") or accounts["nobody"]


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    assert isinstance(port, int)
    return port
