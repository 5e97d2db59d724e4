"""Runs that keep their results on a server: the rows are those of a file, and a server that goes away costs none."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import pytest

from compat_spec.cli.main import main
from compat_spec.results import Results, ResultsError, open_results
from compat_spec.run.events import Event, StepFinished
from tests.postgresql import Server, on_the_server
from tests.run.experiments import Workplace

pytestmark = on_the_server

EVERYTHING = (
    "SELECT experiment, merge, role, task, split, metric, quantity, seed, step, alpha, block, expert, value, n, "
    "fingerprint, status FROM all_scores",
    "SELECT experiment, metric, measure, task, a, b, step_a, step_b, layer_a, layer_b, value, n FROM all_similarities",
    "SELECT task, merge, step, alpha, loss, loss_se, accuracy, seeds, rank FROM leaderboard",
    "SELECT merge, seed, critical_step, best_loss, last_step, last_loss, regression FROM critical_steps",
)

Command: TypeAlias = Callable[..., tuple[int, str, str]]


@dataclass
class OnServer(Workplace):
    """A folder whose results are on a server."""

    url: str = ""

    @property
    def results(self) -> Results:
        return open_results(self.url, create=True)


@pytest.fixture
def served(tmp_path: Path, server_url: str) -> OnServer:
    return OnServer(tmp_path, url=server_url)


@pytest.fixture
def compat(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs `compat` in this process; answers with the exit status and what it prints."""

    def command(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["compat", *arguments])
        with pytest.raises(SystemExit) as end:
            main()
        assert isinstance(end.value.code, int)
        return end.value.code, *capsys.readouterr()

    return command


def test_two_runs_at_once_give_the_rows_of_a_file(served: OnServer, once: Workplace) -> None:
    arguments = ("run", "tiny.yaml", "--device", "cpu", "--executor", "inline", "--results", served.url)
    both = [served.start(*arguments, "--store", f"store-{number}") for number in range(2)]
    said = [process.communicate(timeout=300) for process in both]
    assert [(process.returncode, error) for process, (_, error) in zip(both, said, strict=True)] == [(0, "")] * 2
    assert not [text for text, _ in said if "geheim" in text]
    newest, other = served.results.runs()
    assert (newest.status, other.status) == ("finished", "finished")
    assert ":***@" in newest.command
    assert "geheim" not in newest.command
    for sql in EVERYTHING:
        found = served.rows(f"{sql} WHERE run = %s", newest.id) if "FROM all_" in sql else served.rows(sql)
        assert sorted(map(repr, found)) == sorted(map(repr, once.rows(sql)))


def test_the_commands_that_read_do_so_from_a_server(served: OnServer, compat: Command) -> None:
    summary = served.run()
    runs = compat("runs", "--results", served.url)
    assert runs[0] == 0
    assert f"{summary.run_id}  tiny        finished" in runs[1]
    status, shown, _ = compat("show", "last", "--steps", "--results", served.url)
    assert (status, "train one" in shown) == (0, True)
    assert compat("show", "--spec", "--results", served.url)[1] == served.spec.read_text("utf-8")
    sql = "SELECT merge, alpha FROM loss WHERE alpha > 0.5"
    status, asked, _ = compat("query", sql, "--format", "json", "--results", served.url)
    assert {(row["merge"], row["alpha"]) for row in json.loads(asked)} == {("blend", 0.75)}
    refused = compat("query", "DELETE FROM scores", "--results", served.url)
    assert refused == (2, "", "compat: queries only read: write a SELECT; nothing has been changed\n")


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_a_server_that_goes_away_ends_the_run_and_loses_nothing(
    mode: str, served: OnServer, server: Server, once: Workplace
) -> None:
    def listener(event: Event) -> None:
        if isinstance(event, StepFinished) and event.step.label == "train one":
            server.stop(mode)

    try:
        with pytest.raises(
            ResultsError, match=r"(cannot reach the server of|the connection to) .*compat:\*\*\*@"
        ) as lost:
            served.run(listener=listener)
    finally:
        server.start()
    assert "geheim" not in str(lost.value)
    assert lost.value.exit_status == 1
    assert sum(served.store.manifest(one).label == "train one" for one in served.store) == 1
    summary = served.run()
    assert summary.exit_status == 0
    assert summary.reused >= 3
    assert {event.step.label for event in served.events if isinstance(event, StepFinished)}.isdisjoint(
        {"train base", "train one"}
    )
    newest = served.results.runs()[0]
    assert newest.status == "finished"
    assert served.rows("SELECT count(*) FROM loss") == once.rows("SELECT count(*) FROM loss")
    for view in ("leaderboard", "critical_steps"):
        assert len(served.rows(f"SELECT * FROM {view}")) == len(once.rows(f"SELECT * FROM {view}"))


@pytest.mark.parametrize("command", [("run", "tiny.yaml"), ("runs",), ("show",), ("query", "SELECT 1")])
def test_a_server_that_is_not_there_is_named(
    command: tuple[str, ...], place: Workplace, server: Server, compat: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place.spec.parent)
    status, said, error = compat(*command, "--results", server.url("anything", port=1))
    assert (status, said) == (1, "")
    (line,) = error.splitlines()
    assert line.startswith("compat: cannot reach the server of postgresql+psycopg://compat:***@127.0.0.1:1/anything: ")
    assert not (place.folder / ".compat").exists()
