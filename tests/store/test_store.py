"""Artifacts: they are there when whole and not before, and are found again under their fingerprints."""

from __future__ import annotations

import json
import socket
import time
from pathlib import Path
from typing import Any

import pytest

from compat_spec.errors import InterruptedRun
from compat_spec.store import ArtifactRef, CorruptArtifactError, Store
from tests.store.artifacts import everything_below, fill, keep, manifest_path, named, say_last_used

# -------------------------------------------------------------------------------------------------------- writing


def test_what_a_block_writes_becomes_the_artifact(store: Store) -> None:
    keep(store, "one", {"model.json": "{}", "step-3/model.json": "half"})
    folder = store.path(named("one"))
    assert everything_below(folder) == ["artifact.json", "model.json", "step-3", "step-3/model.json"]
    assert (folder / "step-3/model.json").read_text() == "half"
    assert store.verify(named("one")) == []


def test_nobody_sees_an_artifact_before_it_is_whole(store: Store) -> None:
    with store.writing(named("one"), "train", "train one") as folder:
        assert list(folder.iterdir()) == []
        fill(folder, {"data.txt": "half"})
        assert not store.has(named("one"))
        assert list(store) == []
        with pytest.raises(CorruptArtifactError):
            store.path(named("one"))
    assert store.has(named("one"))
    assert list(store) == [named("one")]


@pytest.mark.parametrize("error", [ValueError("wrong"), InterruptedRun("stopped"), KeyboardInterrupt()], ids=repr)
def test_a_block_that_raises_leaves_nothing(store: Store, error: BaseException) -> None:
    def write_half(folder: Path) -> None:
        fill(folder, {"data.txt": "half", "step-3/data.txt": "half"})
        raise error

    with pytest.raises(type(error)) as raised, store.writing(named("one"), "train", "train one") as folder:
        write_half(folder)
    assert raised.value is error
    assert not store.has(named("one"))
    assert everything_below(store.root) == ["aside"]


def test_two_writers_of_one_artifact_do_not_meet(store: Store) -> None:
    with store.writing(named("one"), "train", "one") as first, store.writing(named("one"), "train", "two") as second:
        assert first != second
        fill(first, {"a.txt": "first"})
        fill(second, {"b.txt": "second"})
        assert everything_below(first) == ["a.txt"]


def test_who_finishes_first_stays_and_the_other_leaves_nothing(store: Store) -> None:
    with store.writing(named("one"), "train", "slow") as folder:
        fill(folder, {"data.txt": "slow", "more.txt": "slow"})
        keep(store, "one", {"data.txt": "fast"})
    assert (store.path(named("one")) / "data.txt").read_text() == "fast"
    assert store.verify(named("one")) == []
    assert everything_below(store.root / "aside") == []


def test_a_half_deleted_folder_is_replaced(store: Store) -> None:
    keep(store, "one", {"data.txt": "old", "more.txt": "old"})
    manifest_path(store, "one").unlink()  # the first thing that goes
    assert not store.has(named("one"))
    keep(store, "one", {"data.txt": "new"})
    assert everything_below(store.path(named("one"))) == ["artifact.json", "data.txt"]
    assert store.verify(named("one")) == []


def test_training_state_is_kept_until_the_artifact_is_finished(store: Store) -> None:
    work = store.work_folder(named("one"))
    fill(work, {"state": "step 5"})
    with pytest.raises(InterruptedRun), store.writing(named("one"), "train", "train one"):
        raise InterruptedRun("stopped")
    assert (work / "state").read_text() == "step 5"
    fill(store.work_folder(named("two")), {"state": "step 7"})
    keep(store, "one")
    assert not work.exists()
    assert store.work_folder(named("two")).exists()


# ------------------------------------------------------------------------------------------------------- manifests


def test_a_manifest_says_what_an_artifact_is_and_where_it_was_made(store: Store) -> None:
    before = time.time()
    keep(store, "one", {"a.txt": "four", "step-3/b.txt": "seven!!"}, kind="merge", refers=[named("two")])
    manifest = store.manifest(named("one"))
    assert (manifest.fingerprint, manifest.kind, manifest.label) == (named("one"), "merge", "merge one")
    assert before <= manifest.created <= time.time()
    assert 0 <= manifest.seconds < 60
    assert manifest.host == socket.gethostname()
    assert {name: facts.size for name, facts in manifest.files.items()} == {"a.txt": 4, "step-3/b.txt": 7}
    assert manifest.size == 11
    assert manifest.facts == {"refers": [named("two")]}


def test_a_manifest_has_the_facts_that_the_block_adds(store: Store) -> None:
    facts: dict[str, Any] = {"host": "here"}
    with store.writing(named("one"), "train", "train one", facts):
        facts["tokens_per_second"] = 12.5
    assert store.manifest(named("one")).facts == {"host": "here", "tokens_per_second": 12.5}


def test_checksums_are_those_of_sha256sum(store: Store) -> None:
    keep(store, "one", {"data.txt": "one"})
    assert store.manifest(named("one")).files["data.txt"].sha256 == named("one")


# --------------------------------------------------------------------------------------------------------- reading


def test_a_checkpoint_is_a_part_of_its_artifact(store: Store) -> None:
    fingerprint = keep(store, "one", {"model.json": "whole", "step-3/model.json": "half"})
    assert (store.path(ArtifactRef(fingerprint)) / "model.json").read_text() == "whole"
    assert (store.path(ArtifactRef(fingerprint, "step-3")) / "model.json").read_text() == "half"
    assert str(ArtifactRef(fingerprint)) == fingerprint
    assert str(ArtifactRef(fingerprint, "step-3")) == f"{fingerprint}/step-3"


def test_a_part_that_is_not_there_is_named(store: Store) -> None:
    fingerprint = keep(store, "one", {"model.json": "whole", "step-3/model.json": "half"})
    with pytest.raises(CorruptArtifactError, match=f"no artifact {fingerprint}/step-4"):
        store.path(ArtifactRef(fingerprint, "step-4"))
    with pytest.raises(CorruptArtifactError, match=f"no artifact {named('two')}"):
        store.path(named("two"))


def test_a_new_store_is_empty_and_looking_at_it_makes_nothing(store: Store) -> None:
    assert list(store) == []
    assert not store.has(named("one"))
    assert store.needed_by_users() is None
    assert store.unused_since(time.time()) == []
    store.touch(named("one"))
    store.remove(named("one"))
    store.clear_leftovers(time.time())
    assert not store.root.exists()


def test_all_artifacts_come_in_order(store: Store) -> None:
    words = ["one", "two", "three", "four"]
    for word in words:
        keep(store, word)
    assert list(store) == sorted(map(named, words))


def test_whoever_opens_the_same_folder_finds_them(store: Store) -> None:
    keep(store, "one", {"data.txt": "text"}, speed=2)
    other = Store(store.root)
    assert other.has(named("one"))
    assert other.manifest(named("one")) == store.manifest(named("one"))


def test_a_manifest_is_readable_json(store: Store) -> None:
    keep(store, "one")
    assert json.loads(manifest_path(store, "one").read_text("utf-8"))["label"] == "train one"


def test_an_artifact_that_is_used_says_so(store: Store) -> None:
    fingerprint = keep(store, "one")
    now = time.time() - 1  # file systems round
    assert store.last_used(fingerprint) > now
    say_last_used(store, "one", 1000)
    assert store.last_used(fingerprint) == 1000
    store.touch(fingerprint)
    assert store.last_used(fingerprint) > now
    assert store.verify(fingerprint) == []
