"""A store at a URL: machines with a cache each see the same artifacts, whole or not at all."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import time
import uuid
from importlib.util import find_spec
from pathlib import Path

import fsspec
import pytest

from compat_spec.cli.main import app
from compat_spec.errors import CompatError, InterruptedRun, UsageError
from compat_spec.store import ArtifactRef, CorruptArtifactError, SharedStore, Store, open_store
from compat_spec.store.shared import cache_folder
from tests.store import filesystems
from tests.store.artifacts import everything_below, fill, keep, named

ROOT = Path(__file__).parents[2]

WITH_A_STORE = """
import sys
from pathlib import Path
from compat_spec.store import SharedStore
from tests.store import filesystems
from tests.store.artifacts import keep, named

filesystems.register()
store = SharedStore(sys.argv[1], Path(sys.argv[2]))
"""
WRITE = "keep(store, 'one', {'a.txt': 'one', 'b.txt': 'two'})"
READ = "print(flush=True); sys.stdin.readline(); print((store.path(named('one')) / 'b.txt').read_text())"


@pytest.fixture(params=["file", "memory"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return f"file://{tmp_path}/shared" if request.param == "file" else f"memory://{uuid.uuid4().hex}/shared"


@pytest.fixture
def here(url: str, tmp_path: Path) -> SharedStore:
    """The store as one machine sees it."""
    return SharedStore(url, tmp_path / "here")


@pytest.fixture
def there(url: str, tmp_path: Path) -> SharedStore:
    """The same store on another machine."""
    return SharedStore(url, tmp_path / "there")


def files_at(url: str) -> list[str]:
    filesystem, root = fsspec.core.url_to_fs(url)
    return sorted(path.removeprefix(root) for path in filesystem.find(root))


def change(url: str, name: str) -> None:
    """Flip a bit of a file at a URL."""
    filesystem, root = fsspec.core.url_to_fs(url)
    content = bytearray(filesystem.cat_file(f"{root}/{name}"))
    content[-1] ^= 1
    filesystem.pipe_file(f"{root}/{name}", bytes(content))


def folder_of(word: str) -> str:
    return f"objects/{named(word)[:2]}/{named(word)}"


# --------------------------------------------------------------------------------------------------------- opening


def test_a_folder_is_a_plain_store_and_a_url_is_a_shared_one(tmp_path: Path) -> None:
    assert type(open_store(tmp_path)) is type(open_store(str(tmp_path))) is Store
    store = open_store(f"file://{tmp_path}/shared")
    assert isinstance(store, SharedStore)
    assert store.anywhere
    assert str(store) == f"file://{tmp_path}/shared"


def test_another_process_opens_the_same_store(here: SharedStore, tmp_path: Path) -> None:
    keep(here, "one")
    again = pickle.loads(pickle.dumps(here))
    assert isinstance(again, SharedStore)
    assert (again.root, str(again)) == (here.root, str(here))
    assert again.has(named("one"))
    plain = pickle.loads(pickle.dumps(Store(Path(os.path.relpath(tmp_path)))))
    assert plain.root.resolve() == tmp_path.resolve()


def test_each_machine_has_a_cache_of_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("COMPAT_CACHE", str(tmp_path / "mine"))
    store = open_store("memory://bucket/folder/")
    assert store.root == cache_folder("memory://bucket/folder")
    assert store.root.parent == tmp_path / "mine" / "stores"
    assert store.root != cache_folder("memory://bucket/other")
    carried = pickle.dumps(store)
    monkeypatch.setenv("COMPAT_CACHE", str(tmp_path / "theirs"))
    assert pickle.loads(carried).root.parent == tmp_path / "theirs" / "stores"


@pytest.mark.parametrize(
    ("url", "package"), [("s3://bucket/x", "s3fs"), ("gs://bucket", "gcsfs"), ("az://container/x", "adlfs")]
)
def test_a_package_that_is_missing_is_named(url: str, package: str) -> None:
    if find_spec(package) is not None:
        pytest.skip(f"{package} is installed")
    with pytest.raises(CompatError, match=f"pip install {package}") as raised:
        open_store(url)
    assert raised.value.exit_status == 1


def test_a_url_that_nobody_knows_is_a_wrong_option() -> None:
    with pytest.raises(UsageError, match=r"Protocol not known: nope; use s3://"):
        open_store("nope://bucket")


def test_a_place_that_cannot_be_reached_is_said_in_one_line(tmp_path: Path) -> None:
    filesystems.register()
    store = SharedStore("lost:///nowhere", tmp_path / "cache")
    for ask in (lambda: store.has(named("one")), lambda: list(store), lambda: keep(store, "one")):
        with pytest.raises(CompatError) as raised:
            ask()
        assert str(raised.value) in (
            "the store lost:///nowhere cannot be read: connection refused",
            "the store lost:///nowhere cannot be written: connection refused",
        )
    assert everything_below(store.root / "aside") == []


def test_a_place_that_cannot_be_written_shows_when_a_run_begins(tmp_path: Path) -> None:
    (tmp_path / "shared").write_text("a file")
    store = SharedStore(f"file://{tmp_path}/shared", tmp_path / "cache")
    with pytest.raises(CompatError, match=r"the store file://.*/shared cannot be written"), store.in_use():
        pass


# ------------------------------------------------------------------------------------------------ whole, everywhere


def test_what_one_machine_writes_another_reads(here: SharedStore, there: SharedStore) -> None:
    assert not there.has(named("one"))
    keep(here, "one", {"model.json": "{}", "step-3/model.json": "half", "step-6/model.json": "{}"}, speed=3)
    assert there.has(named("one"))
    assert there.manifest(named("one")) == here.manifest(named("one"))
    assert everything_below(there.root) == [], "to look at a manifest fetches nothing"
    assert (there.path(ArtifactRef(named("one"), "step-3")) / "model.json").read_text() == "half"
    assert everything_below(there.path(named("one"))) == everything_below(here.path(named("one")))
    assert there.verify(named("one")) == []
    assert list(there) == list(here) == [named("one")]
    assert there.manifests() == here.manifests() == {named("one"): here.manifest(named("one"))}
    assert everything_below(there.root / "aside") == []


def test_files_that_are_alike_are_sent_once(here: SharedStore, url: str) -> None:
    keep(here, "one", {"step-3/tokenizer.json": "long", "step-6/tokenizer.json": "long", "tokenizer.json": "long"})
    assert len(files_at(url)) == 2


def test_what_a_block_that_raises_wrote_is_nowhere(here: SharedStore, url: str) -> None:
    def write_half(folder: Path) -> None:
        fill(folder, {"data.txt": "half"})
        raise InterruptedRun("stopped")

    with pytest.raises(InterruptedRun), here.writing(named("one"), "train", "one") as folder:
        write_half(folder)
    assert not here.has(named("one"))
    assert files_at(url) == []


@pytest.mark.parametrize("die_at", [1, 2, 3])
def test_an_upload_that_is_interrupted_leaves_no_artifact(tmp_path: Path, die_at: int) -> None:
    """The process is killed before the first file, before the second, and before the manifest."""
    command = [sys.executable, "-c", WITH_A_STORE + WRITE, f"deadly://{tmp_path}/shared", str(tmp_path / "here")]
    killed = subprocess.run(command, cwd=ROOT, env={**os.environ, "DIE_AT": str(die_at)}, check=False)
    assert killed.returncode == -9
    for cache in ("here", "there"):
        store = SharedStore(f"file://{tmp_path}/shared", tmp_path / cache)
        assert not store.has(named("one"))
        assert list(store) == []
        with pytest.raises(CorruptArtifactError, match="has no artifact"):
            store.path(named("one"))
    keep(store, "one", {"a.txt": "one", "b.txt": "two"})
    assert store.verify(named("one")) == []
    store.remove(named("one"))


def test_of_two_machines_the_first_that_is_done_is_kept(here: SharedStore, there: SharedStore) -> None:
    with here.writing(named("one"), "train", "slow") as folder:
        fill(folder, {"data.txt": "slow", "more.txt": "slow"})
        keep(there, "one", {"data.txt": "fast"})
    for store in (here, there):
        assert (store.path(named("one")) / "data.txt").read_text() == "fast"
        assert store.verify(named("one")) == []


def test_processes_that_want_the_same_artifact_fetch_it_once(tmp_path: Path) -> None:
    keep(SharedStore(f"file://{tmp_path}/shared", tmp_path / "here"), "one", {"a.txt": "one", "b.txt": "two"})
    command = [sys.executable, "-c", WITH_A_STORE + READ, f"counted://{tmp_path}/shared", str(tmp_path / "there")]
    environment = {**os.environ, "FETCHED": str(tmp_path / "fetched")}
    processes = [
        subprocess.Popen(command, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    for process in processes:
        assert process.stdout is not None
        process.stdout.readline()
    assert [process.communicate("\n", timeout=60)[0] for process in processes] == ["two\n"] * 3
    assert len((tmp_path / "fetched").read_text().splitlines()) == 2


# ---------------------------------------------------------------------------------------------------------- damage


def test_a_copy_that_has_changed_is_fetched_again(here: SharedStore, there: SharedStore) -> None:
    keep(here, "one", {"data.txt": "one"})
    (there.path(named("one")) / "data.txt").write_text("two")
    there.check(named("one"))
    assert (there.path(named("one")) / "data.txt").read_text() == "one"
    (there.path(named("one")) / "artifact.json").write_text("{")
    assert there.manifest(named("one")).label == "train one"
    there.check(named("one"))
    (there.path(named("one")) / "data.txt").unlink()
    assert there.verify(named("one")) == [], "what counts is whole"
    assert (there.path(named("one")) / "data.txt").read_text() == "one"


def test_a_file_that_has_changed_at_the_url_is_found(here: SharedStore, there: SharedStore, url: str) -> None:
    keep(here, "one", {"data.txt": "one"})
    change(url, f"{folder_of('one')}/{named('one')}")  # the checksum of its content
    problem = f"{url}/{folder_of('one')}: data.txt: its content has changed"
    assert there.verify(named("one")) == [problem]
    with pytest.raises(CorruptArtifactError) as raised:
        there.check(named("one"))
    assert str(raised.value) == problem
    there.set_aside(named("one"))
    assert not there.has(named("one"))
    assert len([name for name in files_at(url) if name.startswith("/broken/")]) == 2
    keep(there, "one", {"data.txt": "one"})
    assert there.verify(named("one")) == here.verify(named("one")) == []


def test_a_manifest_that_cannot_be_read_is_found(here: SharedStore, there: SharedStore, url: str) -> None:
    keep(here, "one")
    change(url, f"{folder_of('one')}/artifact.json")
    with pytest.raises(CorruptArtifactError, match=f"the manifest {url}/.*/artifact.json cannot be read"):
        there.manifest(named("one"))
    assert there.manifests() == {named("one"): None}
    assert len(there.verify(named("one"))) == 1


def test_a_manifest_cannot_name_files_elsewhere(here: SharedStore, there: SharedStore, url: str) -> None:
    keep(here, "one", {"data.txt": "one"})
    filesystem, root = fsspec.core.url_to_fs(url)
    manifest = f"{root}/{folder_of('one')}/artifact.json"
    filesystem.pipe_file(manifest, filesystem.cat_file(manifest).replace(b"data.txt", b"../../../evil.txt"))
    with pytest.raises(CorruptArtifactError, match="lies outside"):
        there.path(named("one"))
    assert not list(there.root.rglob("evil.txt"))


# ---------------------------------------------------------------------------------------------------------- clearing


def test_what_one_machine_removes_is_gone_for_all(here: SharedStore, there: SharedStore, url: str) -> None:
    keep(here, "one")
    there.path(named("one"))
    here.touch(named("one"))
    here.remove(named("one"))
    assert files_at(url) == []
    assert not SharedStore(url, there.root).has(named("one")), "a copy in the cache does not count"
    keep(there, "one", {"data.txt": "anew"})
    assert (there.path(named("one")) / "data.txt").read_text() == "anew"


def test_use_is_remembered_at_the_url(here: SharedStore, there: SharedStore) -> None:
    keep(here, "one")
    keep(here, "two")
    between = max(here.last_used(named(word)) for word in ("one", "two"))
    while time.time() <= between:
        pass
    there.touch(named("one"))
    assert here.last_used(named("one")) > between
    assert here.unused_since(between) == [named("two")]


def test_a_run_on_another_machine_is_noticed(here: SharedStore, there: SharedStore, url: str) -> None:
    assert there.needed_by_users() is None
    with here.in_use([named("one"), named("two")]):
        assert there.needed_by_users() == {named("one"), named("two")}
    assert there.needed_by_users() is None
    assert files_at(url) == []


def test_leftovers_go_and_artifacts_stay(here: SharedStore, there: SharedStore, url: str) -> None:
    keep(here, "one")
    keep(here, "two")
    there.path(named("two"))
    here.set_aside(named("two"))
    filesystem, root = fsspec.core.url_to_fs(url)
    filesystem.makedirs(f"{root}/{folder_of('three')}", exist_ok=True)
    filesystem.pipe_file(f"{root}/{folder_of('three')}/{named('half')}", b"half")
    fill(here.work_folder(named("four")), {"state": "step 7"})
    here.save_work(named("four"))
    before = time.time() - 60
    there.clear_leftovers(before)
    assert {name.split("/")[1] for name in files_at(url)} == {"objects", "work"}
    assert len(files_at(url)) == 4
    assert list(Store.__iter__(there)) == [], "the cache forgets what is no longer there"
    there.clear_leftovers(time.time() + 60)
    assert len(files_at(url)) == 2
    assert there.verify(named("one")) == []


def test_the_cache_commands_take_a_url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from typer.testing import CliRunner

    monkeypatch.setenv("COMPAT_CACHE", str(tmp_path / "cache"))
    url = f"file://{tmp_path}/shared"
    keep(open_store(url), "one", {"data.txt": "one"})

    def printed(*arguments: str) -> str:
        result = CliRunner().invoke(app, ["cache", *arguments, "--store", url], env={"COLUMNS": "160"})
        return f"{result.exit_code} {' '.join(result.stdout.split())}"

    assert "all 1 3 B" in printed("ls")
    assert printed("verify") == "0 1 artifact, none broken"
    change(url, f"{folder_of('one')}/{named('one')}")
    assert printed("verify").startswith(f"1 {url}/{folder_of('one')}: data.txt: its content has changed")
    assert printed("verify", "--remove").endswith("1 broken and removed")
    keep(open_store(url), "two")
    assert printed("gc", "--older-than", "0d") == "0 removed 1 artifact, 3 B"
    assert list(open_store(url)) == []


# ------------------------------------------------------------------------------------------------- training state


def test_training_state_travels(here: SharedStore, there: SharedStore, url: str) -> None:
    fill(here.work_folder(named("one")), {"state": "step 5", "step-3/model.json": "{}", "state.part": "ha"})
    here.save_work(named("one"))
    there.fetch_work(named("one"))
    assert everything_below(there.work_folder(named("one"))) == ["state", "step-3", "step-3/model.json"]
    fill(there.work_folder(named("one")), {"state": "step 9"})
    there.save_work(named("one"))
    here.fetch_work(named("one"))
    assert (here.work_folder(named("one")) / "state").read_text() == "step 9"
    assert len(files_at(url)) == 3, "older states are gone"
    keep(here, "one")
    assert not here.work_folder(named("one")).exists()
    assert not [name for name in files_at(url) if name.startswith("/work/")]


def test_a_state_that_is_not_whole_is_as_good_as_none(here: SharedStore, there: SharedStore, url: str) -> None:
    fill(here.work_folder(named("one")), {"state": "step 5"})
    here.save_work(named("one"))
    (state,) = (name for name in files_at(url) if not name.endswith(".json"))
    change(url, state.lstrip("/"))
    there.fetch_work(named("one"))
    assert not there.work_folder(named("one")).exists()
    assert (here.work_folder(named("one")) / "state").read_text() == "step 5"


def test_what_was_never_saved_leaves_the_folder_alone(here: SharedStore) -> None:
    fill(here.work_folder(named("one")), {"state": "step 5"})
    here.fetch_work(named("one"))
    assert (here.work_folder(named("one")) / "state").read_text() == "step 5"
