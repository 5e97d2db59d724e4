"""Several processes on one store: who computes, who waits, and what happens to those that die."""

from __future__ import annotations

import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from compat_spec.store import Store
from tests.store.artifacts import everything_below, keep, named

WITH_A_STORE = """
import sys
from pathlib import Path
from compat_spec.store import Store

store, one = Store(Path(sys.argv[1])), sys.argv[2]

def wait(word="here"):
    print(word, flush=True)
    sys.stdin.readline()
"""
HOLD_THE_LOCK = "lock = store.lock(one); wait(); lock.release(); wait('released')"
USE_IT = "with store.in_use([one]): wait()"
WRITE = "with store.writing(one, 'train', 'one') as folder: (folder / 'data.txt').write_text('theirs'); wait()"


class Other:
    """Another process that uses the store."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def says(self) -> str:
        """What it prints next, as soon as it does."""
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def has_spoken(self, within: float) -> bool:
        """Whether it prints something in so many seconds."""
        return bool(select.select([self._process.stdout], [], [], within)[0])

    def go_on(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()

    def end(self) -> int:
        """Its exit status, at its end."""
        self._process.communicate(timeout=60)
        return self._process.returncode

    def kill(self) -> None:
        self._process.send_signal(signal.SIGKILL)
        assert self._process.wait(timeout=60) == -signal.SIGKILL


@contextmanager
def another_process(store: Store, code: str) -> Iterator[Other]:
    process = subprocess.Popen(
        [sys.executable, "-c", WITH_A_STORE + code, str(store.root), named("one")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield Other(process)
    finally:
        process.kill()
        process.communicate(timeout=60)


def is_free(store: Store, word: str) -> bool:
    lock = store.lock(named(word))
    if lock is not None:
        lock.release()
    return lock is not None


# ----------------------------------------------------------------------------------------------------------- locks


def test_a_lock_belongs_to_one_process_until_it_lets_go(store: Store) -> None:
    with another_process(store, HOLD_THE_LOCK) as other:
        assert other.says() == "here"
        assert not is_free(store, "one")
        assert is_free(store, "two")
        other.go_on()
        assert other.says() == "released"
        assert is_free(store, "one")


def test_the_lock_of_a_killed_process_is_free(store: Store) -> None:
    with another_process(store, HOLD_THE_LOCK) as other:
        assert other.says() == "here"
        assert not is_free(store, "one")
        other.kill()
        assert is_free(store, "one")


def test_one_of_many_gets_the_lock(store: Store) -> None:
    try_it = "lock = store.lock(one); wait('mine' if lock else 'not mine')"
    with ExitStack() as stack:
        others = [stack.enter_context(another_process(store, try_it)) for _ in range(3)]
        assert sorted(other.says() for other in others) == ["mine", "not mine", "not mine"]


def test_two_holders_in_one_process_are_two(store: Store) -> None:
    first = store.lock(named("one"))
    assert first is not None
    assert store.lock(named("one")) is None
    first.release()
    assert is_free(store, "one")


# -------------------------------------------------------------------------------------------------------- writing


def test_another_process_that_finishes_first_stays(store: Store) -> None:
    with another_process(store, WRITE) as other:
        assert other.says() == "here"
        with store.writing(named("one"), "train", "one") as folder:
            (folder / "data.txt").write_text("ours")
            assert not store.has(named("one"))
            other.go_on()
            assert other.end() == 0
            assert store.has(named("one"))
    assert (store.path(named("one")) / "data.txt").read_text() == "theirs"
    assert store.verify(named("one")) == []
    assert everything_below(store.root / "aside") == []


def test_what_a_killed_process_was_writing_is_no_artifact_and_in_nobodys_way(store: Store) -> None:
    with another_process(store, WRITE) as other:
        assert other.says() == "here"
        other.kill()
    assert not store.has(named("one"))
    assert len(everything_below(store.root / "aside")) == 2, "its folder and the file in it"
    keep(store, "one", {"data.txt": "ours"})
    assert store.verify(named("one")) == []
    store.clear_leftovers(time.time())
    assert list(store) == [named("one")]
    assert not (store.root / "aside").exists()


# ------------------------------------------------------------------------------------------------------------ use


def test_a_store_is_in_use_while_another_process_is_in_the_block(store: Store) -> None:
    with another_process(store, USE_IT) as other:
        assert other.says() == "here"
        assert store.needed_by_users() is not None
        assert store.needed_by_users() == {named("one")}, "asking forgets no living process"
        other.go_on()
        assert other.end() == 0
    assert store.needed_by_users() is None
    assert everything_below(store.root / "users") == []


def test_two_users_are_two(store: Store) -> None:
    with another_process(store, USE_IT) as first, another_process(store, USE_IT) as second:
        assert (first.says(), second.says()) == ("here", "here")
        first.go_on()
        assert first.end() == 0
        assert store.needed_by_users() is not None
        second.go_on()
        assert second.end() == 0
        assert store.needed_by_users() is None


def test_a_killed_user_is_forgotten(store: Store) -> None:
    with another_process(store, USE_IT) as other:
        assert other.says() == "here"
        other.kill()
    assert len(everything_below(store.root / "users")) == 2, "its lock, and what it needed"
    assert store.needed_by_users() is None
    assert everything_below(store.root / "users") == []


def test_a_block_that_raises_uses_the_store_no_longer(store: Store) -> None:
    with pytest.raises(ValueError, match="wrong"), store.in_use():
        raise ValueError("wrong")
    assert store.needed_by_users() is None
    assert everything_below(store.root) == ["clearing.lock", "users"]


def test_nobody_starts_to_use_a_store_that_is_being_cleared(store: Store) -> None:
    store.root.mkdir()
    with ExitStack() as stack:
        with store.clearing():
            other = stack.enter_context(another_process(store, "wait('ready')\n" + USE_IT))
            assert other.says() == "ready"
            other.go_on()
            assert not other.has_spoken(within=0.5)
            assert store.needed_by_users() is None
        assert other.says() == "here"
        assert store.needed_by_users() == {named("one")}
        other.go_on()
        assert other.end() == 0


def test_another_store_is_not_in_use(store: Store, tmp_path: Path) -> None:
    with store.in_use():
        assert Store(tmp_path / "another").needed_by_users() is None
