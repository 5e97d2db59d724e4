"""`compat serve`: where it serves, how it ends, and what it says when it cannot."""

from __future__ import annotations

import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from compat_spec.cli import serve
from compat_spec.errors import CompatError
from compat_spec.serve.server import bind, site_of
from tests.installed import COMPAT

app = typer.Typer()
app.command()(serve.serve)


def test_it_answers_on_this_machine_until_ctrl_c(file: Path) -> None:
    process = subprocess.Popen(
        [COMPAT, "serve", "--port", "0", "--results", file], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    address = line.split()[0]
    assert line == f"{address} shows {file}, for reading only. Ctrl-C ends it.\n"
    assert address.startswith("http://127.0.0.1:")
    with urllib.request.urlopen(address) as response:
        assert b"Which merge is best?" in response.read()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (0, "", "")


def refused(*arguments: str) -> str:
    with pytest.raises(CompatError) as raised:
        CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    return str(raised.value)


def test_a_port_that_is_taken_is_an_error_that_says_what_to_do(file: Path) -> None:
    with bind(0) as other:
        port = other.getsockname()[1]
        message = refused("--results", str(file), "--port", str(port))
    assert message == f"port {port} is taken, perhaps by another compat serve; --port 0 finds a free one"


def test_without_results_it_says_what_to_do(tmp_path: Path) -> None:
    assert "compat run makes it" in refused("--results", str(tmp_path / "none.db"))
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "other.db").write_text("not a database, but a text that is long enough to be read as one" * 9)
    assert "is not an SQLite database" in refused("--results", str(tmp_path / "other.db"))


def test_results_on_a_server_are_an_error_that_says_what_else_there_is() -> None:
    message = refused("--results", "postgresql+psycopg://me:secret@server/results")
    assert message.startswith("compat serve shows a file of SQLite, not postgresql+psycopg://me:***@server/results; ")
    assert "compat export" in message


def test_a_file_may_be_named_by_its_url(file: Path) -> None:
    assert site_of(f"sqlite:///{file}").results.runs()


def test_without_datasette_it_says_what_to_install(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in [name for name in sys.modules if name.startswith("compat_spec.serve.")]:
        if module != "compat_spec.serve.server":
            monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "datasette.app", None)
    assert refused("--results", str(file)) == 'compat serve needs datasette: pip install "compat-spec[serve]"'
