"""`compat cache ls|du|verify|gc`: what they print, what they remove, and their exit statuses."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from compat_spec.cli import cache
from compat_spec.errors import CompatError, UsageError
from compat_spec.results import StepRow, open_results
from compat_spec.store import Store
from tests.results.made_up import info
from tests.store.artifacts import everything_below, fill, keep, manifest_path, named, say_last_used

DAY = 86_400


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def filled(store: Store) -> Store:
    """Two trainings and a merge of them: 1.2 kB, 3 B, 4 B."""
    keep(store, "one", {"a.txt": "x" * 1_200})
    keep(store, "two")
    keep(store, "both", kind="merge", refers=[named("one"), named("two")])
    return store


def cache_(store: Store, *arguments: str) -> Result:
    command, *options = arguments
    where = [command, "--store", str(store.root), *options]
    return CliRunner().invoke(cache.app, where, env={"COLUMNS": "160"}, catch_exceptions=False)


def printed(store: Store, *arguments: str) -> list[str]:
    """The lines of a command that ends well, with single spaces."""
    result = cache_(store, *arguments)
    assert result.exit_code == 0, result.stdout
    return [" ".join(line.split()) for line in result.stdout.splitlines()]


# ------------------------------------------------------------------------------------------------------------- ls


def test_ls_adds_up_each_kind(filled: Store) -> None:
    header, *lines = printed(filled, "ls")
    assert header == "kind artifacts size took"
    assert [line.rsplit(" ", 2)[0] for line in lines] == ["merge 1 4 B", "train 2 1.2 kB", "all 3 1.2 kB"]


def test_ls_steps_lists_every_artifact_the_oldest_first(filled: Store) -> None:
    say_last_used(filled, "two", time.time() - 3 * DAY)
    header, *lines = printed(filled, "ls", "--steps")
    assert header == "artifact kind what size took last used"
    assert [line.partition(" ")[0] for line in lines] == [named(word)[:12] for word in ("one", "two", "both")]
    assert re.fullmatch(rf"{named('one')[:12]} train train one 1\.2 kB \d+\.\d s \d+\.\d s ago", lines[0])
    assert re.fullmatch(rf"{named('two')[:12]} train train two 3 B \d+\.\d s 3 days ago", lines[1])


def test_ls_of_a_store_that_is_not_there_makes_none(store: Store) -> None:
    assert printed(store, "ls") == ["kind artifacts size took", "all 0 0 B 0.0 s"]
    assert printed(store, "ls", "--steps") == ["artifact kind what size took last used"]
    assert not store.root.exists()


def test_ls_finds_the_store_in_the_environment(filled: Store) -> None:
    result = CliRunner().invoke(cache.app, ["ls"], env={"COMPAT_STORE": str(filled.root)}, catch_exceptions=False)
    assert "merge" in result.stdout


# --------------------------------------------------------------------------------------------------------- verify


def test_verify_of_what_is_whole(filled: Store) -> None:
    assert printed(filled, "verify") == ["3 artifacts, none broken"]


def damage(store: Store) -> str:
    """Change one file and lose another, of one artifact; the path of its folder."""
    keep(store, "broken", {"a.txt": "one", "b.txt": "two"})
    folder = store.path(named("broken"))
    (folder / "a.txt").write_text("eno")
    (folder / "b.txt").unlink()
    return str(folder)


def test_verify_prints_a_line_for_each_file_and_says_what_to_do(filled: Store) -> None:
    folder = damage(filled)
    result = cache_(filled, "verify")
    assert result.exit_code == 1
    assert result.stdout.splitlines() == [
        f"{folder}/b.txt: missing",
        f"{folder}/a.txt: its content has changed",
        "4 artifacts, 1 broken",
        "compat cache verify --remove takes them away; the next run makes them again",
    ]
    assert filled.has(named("broken"))


def test_verify_remove_takes_away_what_is_broken_and_nothing_else(filled: Store) -> None:
    damage(filled)
    assert printed(filled, "verify", "--remove")[-1] == "4 artifacts, 1 broken and removed"
    assert not filled.has(named("broken"))
    assert printed(filled, "verify") == ["3 artifacts, none broken"]


def test_verify_remove_takes_away_an_artifact_whose_manifest_is_cut_off(filled: Store) -> None:
    path = manifest_path(filled, "two")
    path.write_text(path.read_text()[:40])
    first, last = printed(filled, "verify", "--remove")
    assert first.startswith(f"the manifest {path} cannot be read: ")
    assert last == "3 artifacts, 1 broken and removed"
    assert list(filled) == sorted([named("one"), named("both")])


@pytest.mark.parametrize("command", [["ls"], ["ls", "--steps"], ["gc", "--older-than", "0d"]], ids=" ".join)
def test_a_broken_manifest_does_not_hide_the_others(filled: Store, command: list[str]) -> None:
    manifest_path(filled, "two").write_text("")
    result = cache_(filled, *command)
    assert ("removed" if command[0] == "gc" else "merge") in result.stdout


# ------------------------------------------------------------------------------------------------------------- gc


def test_gc_removes_what_was_not_used_for_long_and_what_it_alone_refers_to(filled: Store) -> None:
    keep(filled, "old", {"a.txt": "x" * 1_000})
    for word in ("one", "two", "old"):
        say_last_used(filled, word, time.time() - 31 * DAY)
    assert printed(filled, "gc") == ["removed 1 artifact, 1.0 kB"]
    assert list(filled) == sorted(map(named, ("one", "two", "both"))), "the merge was used, and needs its models"


@pytest.mark.parametrize(
    ("older_than", "removed"),
    [("0d", "five"), ("30m", "four"), ("1.5h", "three"), ("3d", "two"), ("2w", "one"), ("3w", "none")],
)
def test_gc_knows_minutes_hours_days_and_weeks(store: Store, older_than: str, removed: str) -> None:
    words = ["one", "two", "three", "four", "five"]
    for word, age in zip(words, (15 * DAY, 4 * DAY, 2 * 3_600, 3_600, 60), strict=True):
        keep(store, word)
        say_last_used(store, word, time.time() - age)
    printed(store, "gc", "--older-than", older_than)
    gone = words[: words.index(removed) + 1] if removed in words else []
    assert list(store) == sorted(named(word) for word in words if word not in gone)


def test_gc_dry_run_removes_nothing(filled: Store) -> None:
    fill(filled.root / "aside" / "half-written", {"data.txt": "half"})
    before = everything_below(filled.root)
    assert printed(filled, "gc", "--older-than", "0d", "--dry-run") == ["would remove 3 artifacts, 1.2 kB"]
    assert everything_below(filled.root) == before
    assert printed(filled, "gc", "--older-than", "0d") == ["removed 3 artifacts, 1.2 kB"]
    assert list(filled) == []


def test_gc_clears_what_killed_runs_left(filled: Store) -> None:
    fill(filled.root / "aside" / "half-written", {"data.txt": "half"})
    for word, age in {"old": 31 * DAY, "new": DAY}.items():
        fill(filled.work_folder(named(word)), {"state": word})
        os.utime(filled.work_folder(named(word)), (time.time() - age,) * 2)
    assert printed(filled, "gc") == ["removed 0 artifacts, 0 B"]
    assert not (filled.root / "aside").exists()
    assert [path.name for path in (filled.root / "work").iterdir()] == [named("new")]
    assert len(list(filled)) == 3


def test_gc_keeps_what_a_run_under_way_needs_and_leaves_its_leftovers_alone(filled: Store) -> None:
    fill(filled.root / "aside" / "being-written", {"data.txt": "half"})
    with filled.in_use([named("both"), named("to come")]):
        lines = printed(filled, "gc", "--older-than", "0d")
        assert lines[0] == "removed 0 artifacts, 0 B", "the merge refers to both models"
        assert lines[1].startswith("a run is under way: what it needs is kept")
        assert (filled.root / "aside").exists()
    with filled.in_use([named("one")]):
        assert printed(filled, "gc", "--older-than", "0d")[0] == "removed 2 artifacts, 7 B"
    assert list(filled) == [named("one")]
    assert printed(filled, "gc", "--older-than", "0d") == ["removed 1 artifact, 1.2 kB"]
    assert not (filled.root / "aside").exists()


@pytest.fixture
def recorded(filled: Store) -> tuple[Store, str, list[str]]:
    """A store, its results, and the ids of two runs: one that needs the models, one that needs the merge."""
    path = str(filled.root.parent / "results.db")
    results = open_results(path, create=True)
    runs = []
    for name, words in {"first": ("one", "two"), "second": ("two", "both")}.items():
        writer = results.start_run(info(name))
        writer.steps([StepRow(fingerprint=named(word), kind="train", label=word, status="reused") for word in words])
        writer.finish("finished")
        runs.append(writer.id)
    return filled, path, runs


def test_gc_keeps_what_a_run_is_made_of_however_old(recorded: tuple[Store, str, list[str]]) -> None:
    store, path, (first, _) = recorded
    keep(store, "other")
    removed = printed(store, "gc", "--older-than", "0d", "--results", path, "--keep-run", first)
    assert removed == ["removed 2 artifacts, 9 B"]
    assert list(store) == sorted([named("one"), named("two")])


def test_gc_keeps_several_runs_and_knows_them_by_experiment(recorded: tuple[Store, str, list[str]]) -> None:
    store, path, _ = recorded
    keeping = ("--keep-run", "first", "--keep-run", "last")
    assert printed(store, "gc", "--older-than", "0d", "--results", path, *keeping) == ["removed 0 artifacts, 0 B"]


def test_gc_removes_nothing_when_the_run_to_keep_is_not_known(recorded: tuple[Store, str, list[str]]) -> None:
    store, path, _ = recorded
    with pytest.raises(CompatError, match="no run 'third'; see compat runs"):
        cache_(store, "gc", "--older-than", "0d", "--results", path, "--keep-run", "third")
    with pytest.raises(CompatError, match=r"there is no .*nothing\.db"):
        cache_(store, "gc", "--older-than", "0d", "--results", "nothing.db", "--keep-run", "last")
    assert len(list(store)) == 3


# ------------------------------------------------------------------------------------------------------------- du


def test_du_shows_the_parts_of_the_store_and_what_each_run_has_in_it(recorded: tuple[Store, str, list[str]]) -> None:
    store, path, (first, second) = recorded
    keep(store, "other", {"a.txt": "x" * 2_000})
    fill(store.work_folder(named("more")), {"state": "x" * 500})
    lines = printed(store, "du", "--results", path)
    assert lines[0] == "what size"
    assert lines[2:5] == ["unfinished trainings 500 B", "found broken 0 B", "half-written 0 B"]
    assert lines[1].startswith("artifacts ")
    assert lines[5].startswith("all ")
    assert lines[7] == "run experiment ago artifacts size its own"
    newest, oldest, none = (re.sub(r" \d+\.\d s", "", line) for line in lines[8:])
    assert newest == f"{second} second 2 7 B 4 B"
    assert oldest == f"{first} first 2 1.2 kB 1.2 kB"
    assert none == "none 1 2.0 kB 2.0 kB"


def test_du_without_results_shows_the_store_alone(filled: Store) -> None:
    assert len(printed(filled, "du", "--results", str(filled.root.parent / "nothing.db"))) == 6


@pytest.mark.parametrize("older_than", ["30", "d", "30 days", "-1d", "1y", "1e3d", ""])
def test_gc_says_how_a_time_is_written(filled: Store, older_than: str) -> None:
    with pytest.raises(UsageError, match="not a time; write 12h, 30d or 4w") as raised:
        cache_(filled, "gc", "--older-than", older_than)
    assert raised.value.exit_status == 2
    assert len(list(filled)) == 3


def test_gc_of_a_store_that_is_not_there_makes_none(store: Store) -> None:
    assert printed(store, "gc") == ["removed 0 artifacts, 0 B"]
    assert not store.root.exists()


# ----------------------------------------------------------------------------------------------------------- help


@pytest.mark.parametrize("command", ["ls", "du", "verify", "gc"])
def test_every_command_has_an_example(command: str) -> None:
    result = CliRunner().invoke(cache.app, [command, "--help"], env={"COLUMNS": "160"})
    assert f"Example: compat cache {command}" in result.stdout
