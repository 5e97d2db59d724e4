"""What may go: artifacts that nobody has used for a while, and what killed runs left behind."""

from __future__ import annotations

import os
import time

import pytest

from compat_spec.store import CorruptArtifactError, Store
from tests.store.artifacts import everything_below, fill, keep, manifest_path, named, say_last_used

LONG_AGO, THEN, NOW = 1_000.0, 2_000.0, 3_000.0
"""Moments: before, at and after the one since which an artifact must have been used to stay."""


def unused(store: Store, *words: str) -> list[str]:
    """Which of the words stand for artifacts that were not used since then."""
    found = store.unused_since(THEN)
    known = {named(word): word for word in words}
    return sorted(known[fingerprint] for fingerprint in found)


def test_what_was_not_used_since_then_may_go(store: Store) -> None:
    for word, moment in {"old": LONG_AGO, "just": THEN, "new": NOW}.items():
        keep(store, word)
        say_last_used(store, word, moment)
    assert unused(store, "old", "just", "new") == ["just", "old"]
    assert len(list(store)) == 3, "asking removes nothing"


def test_what_an_artifact_in_use_refers_to_stays(store: Store) -> None:
    keep(store, "deeper")
    keep(store, "expert", refers=[named("deeper")])
    keep(store, "stranger")
    keep(store, "merge", kind="merge", refers=[named("expert"), named("gone")])
    for word in ("deeper", "expert", "stranger"):
        say_last_used(store, word, LONG_AGO)
    say_last_used(store, "merge", NOW)
    assert unused(store, "stranger", "merge") == ["stranger"]


def test_what_only_old_artifacts_refer_to_may_go_with_them(store: Store) -> None:
    keep(store, "expert")
    keep(store, "merge", kind="merge", refers=[named("expert")])
    for word in ("expert", "merge"):
        say_last_used(store, word, LONG_AGO)
    assert unused(store, "expert", "merge") == ["expert", "merge"]


def test_artifacts_that_refer_to_each_other_are_counted_once(store: Store) -> None:
    keep(store, "one", refers=[named("two")])
    keep(store, "two", refers=[named("one")])
    say_last_used(store, "one", LONG_AGO)
    say_last_used(store, "two", NOW)
    assert store.unused_since(THEN) == []


def test_a_removed_artifact_is_gone_and_the_others_are_not(store: Store) -> None:
    for word in ("one", "two"):
        keep(store, word, {"data.txt": word, "step-3/data.txt": word})
    folder = store.path(named("one"))
    store.remove(named("one"))
    assert not folder.exists()
    assert list(store) == [named("two")]
    assert store.verify(named("two")) == []
    with pytest.raises(CorruptArtifactError):
        store.manifest(named("one"))
    store.remove(named("one"))  # once more is no mistake


def test_an_artifact_without_a_manifest_is_removed_too(store: Store) -> None:
    keep(store, "one")
    folder = store.path(named("one"))
    manifest_path(store, "one").unlink()
    store.remove(named("one"))
    assert not folder.exists()


def test_leftovers_go_and_artifacts_stay(store: Store) -> None:
    keep(store, "one")
    lock = store.lock(named("two"))
    assert lock is not None
    lock.release()
    fill(store.root / "aside" / "half-written", {"data.txt": "half"})
    for word, moment in {"old": LONG_AGO, "new": NOW}.items():
        work = store.work_folder(named(word))
        fill(work, {"state": word})
        os.utime(work, (moment, moment))
    store.clear_leftovers(THEN)
    assert sorted(path.name for path in store.root.iterdir()) == ["artifacts", "work"]
    assert everything_below(store.root / "work") == [named("new"), f"{named('new')}/state"]
    assert store.verify(named("one")) == []


def test_a_lock_can_be_had_after_clearing(store: Store) -> None:
    lock = store.lock(named("one"))
    assert lock is not None
    lock.release()
    store.clear_leftovers(time.time())
    again = store.lock(named("one"))
    assert again is not None
    again.release()


def test_the_training_state_of_a_step_that_is_done_goes_however_new_it_is(store: Store) -> None:
    keep(store, "done")
    for word in ("done", "under way"):  # a process was killed after it had published, before it had cleared up
        folder = store.work_folder(named(word))
        folder.mkdir(parents=True)
        (folder / "state.safetensors").write_bytes(b"state")
    store.clear_leftovers(LONG_AGO)
    assert not store.work_folder(named("done")).exists()
    assert store.work_folder(named("under way")).exists()
