"""What `verify` finds wrong with an artifact, and stores that cannot be written."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from compat_spec.errors import CompatError
from compat_spec.store import CorruptArtifactError, Store
from tests.store.artifacts import fill, keep, manifest_path, named

# ------------------------------------------------------------------------------------------------------ checksums


@pytest.fixture
def folder(store: Store) -> Path:
    keep(store, "one", {"a.txt": "one", "b.txt": "two", "step-3/a.txt": "half"})
    return store.path(named("one"))


def test_a_missing_file_is_found(store: Store, folder: Path) -> None:
    (folder / "step-3" / "a.txt").unlink()
    assert store.verify(named("one")) == [f"{folder}/step-3/a.txt: missing"]


def test_a_file_that_became_shorter_is_found(store: Store, folder: Path) -> None:
    (folder / "a.txt").write_text("o")
    assert store.verify(named("one")) == [f"{folder}/a.txt: 1 bytes instead of 3"]


def test_a_flipped_bit_is_found(store: Store, folder: Path) -> None:
    path = folder / "a.txt"
    before = path.stat()
    content = bytearray(path.read_bytes())
    content[1] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert store.verify(named("one")) == [f"{path}: its content has changed"]


def test_a_file_too_many_is_found(store: Store, folder: Path) -> None:
    fill(folder, {"notes.txt": "mine", "step-3/artifact.json": "{}"})
    assert store.verify(named("one")) == [
        f"{folder}/notes.txt: does not belong here",
        f"{folder}/step-3/artifact.json: does not belong here",
    ]


def test_everything_that_is_wrong_is_found_at_once(store: Store, folder: Path) -> None:
    (folder / "a.txt").unlink()
    (folder / "b.txt").write_text("too")
    (folder / "c.txt").write_text("new")
    assert [problem.rpartition(": ")[2] for problem in store.verify(named("one"))] == [
        "missing",
        "does not belong here",
        "its content has changed",
    ]


def test_others_are_not_to_blame(store: Store, folder: Path) -> None:
    keep(store, "two")
    (folder / "a.txt").unlink()
    assert store.verify(named("two")) == []


# ------------------------------------------------------------------------------------------------------ manifests

WHOLE = '"fingerprint": "x", "kind": "k", "label": "l", "created": 1, "seconds": 1, "host": "h"'


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b'{"fingerprint": "ab',
        b"\xff\xfe",
        b"{}",
        b"[]",
        b'{"files": {}}',
        b'{"files": {"a.txt": 3}, %s}' % WHOLE.encode(),
        b'{"files": {"a.txt": {"size": 3}}, %s}' % WHOLE.encode(),
        b'{"files": {}, "color": "red", %s}' % WHOLE.encode(),
        b"null",
        b'"artifact"',
        b'{"files": [], %s}' % WHOLE.encode(),
    ],
    ids=repr,
)
def test_a_manifest_that_cannot_be_read_is_an_error_with_its_path(store: Store, folder: Path, content: bytes) -> None:
    path = manifest_path(store, "one")
    path.write_bytes(content)
    with pytest.raises(CorruptArtifactError) as raised:
        store.manifest(named("one"))
    assert str(raised.value).startswith(f"the manifest {path} cannot be read: ")
    assert store.verify(named("one")) == [str(raised.value)]
    store.remove(named("one"))
    assert not store.has(named("one"))


# ------------------------------------------------------------------------------- stores that cannot be written

Writing = Callable[[Store], AbstractContextManager[object]]


def lock(store: Store) -> AbstractContextManager[object]:
    found = store.lock(named("one"))
    assert found is not None
    return found


WAYS: dict[str, Writing] = {
    "writing": lambda store: store.writing(named("one"), "train", "one"),
    "lock": lock,
    "in_use": lambda store: store.in_use(),
}


def refused(store: Store, way: Writing) -> str:
    with pytest.raises(CompatError) as raised, way(store):
        pass
    assert raised.value.exit_status == 1
    return str(raised.value)


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())
def test_a_file_in_place_of_the_folder(tmp_path: Path, way: Writing) -> None:
    (tmp_path / "store").write_text("a file")
    message = refused(Store(tmp_path / "store"), way)
    assert message.startswith(f"the store {tmp_path}/store cannot be written: Not a directory")
    assert "choose another folder with --store" in message
    assert (tmp_path / "store").read_text() == "a file"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())
def test_a_folder_that_is_read_only(store: Store, way: Writing) -> None:
    store.root.mkdir()
    store.root.chmod(0o500)
    try:
        assert "cannot be written: Permission denied" in refused(store, way)
    finally:
        store.root.chmod(0o700)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_an_artifact_that_must_not_be_removed(store: Store) -> None:
    keep(store, "one")
    folder = store.path(named("one"))
    folder.chmod(0o500)
    try:
        with pytest.raises(CompatError, match="cannot be written: Permission denied"):
            store.remove(named("one"))
    finally:
        folder.chmod(0o700)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_the_lock_of_a_user_that_must_not_be_opened(store: Store) -> None:
    with store.in_use():
        (users,) = store.root.glob("users/*.lock")
        users.chmod(0o400)
        with pytest.raises(CompatError, match="Permission denied"):
            store.needed_by_users()


def test_a_full_disk(store: Store) -> None:
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    message = "cannot be written: No space left on device .*; free space or choose another folder"
    with pytest.raises(CompatError, match=message), store.writing(named("one"), "train", "one"):
        raise full
    assert list(store) == []


def test_a_folder_that_vanishes_while_it_is_written(store: Store) -> None:
    with pytest.raises(CompatError, match="is gone"), store.writing(named("one"), "train", "one") as folder:
        folder.rmdir()
    assert not store.has(named("one"))


def test_files_elsewhere_are_not_the_store(store: Store, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), store.writing(named("one"), "train", "one"):
        (tmp_path / "questions.jsonl").read_text()


def test_files_beside_the_store_are_not_the_store(store: Store) -> None:
    with pytest.raises(FileNotFoundError), store.writing(named("one"), "train", "one"):
        Path(f"{store.root}-data", "questions.jsonl").read_text()


def test_an_input_that_is_gone_is_not_a_full_disk(store: Store) -> None:
    base = store.path(keep(store, "base"))
    with pytest.raises((CompatError, FileNotFoundError)) as raised, store.writing(named("one"), "train", "one"):
        (base / "model.json").read_text()
    assert "model.json" in str(raised.value)
    assert "cannot be written" not in str(raised.value)
