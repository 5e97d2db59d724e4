"""A store at a URL, for several machines: what fsspec can reach is the place of truth, a local folder is its cache.

URL/objects/ab/ab12…/artifact.json   the manifest of an artifact; written last: what has none is not there
URL/objects/ab/ab12…/SHA256          its files, each under its checksum
URL/work/ab12…/work.json, SHA256     what an unfinished step needs to go on, in the same way
URL/used/ab12…                       written anew whenever a run uses the artifact
URL/users/…                          what a run needs; written anew every minute by each run that uses the store
URL/broken/ab12…-…/                  artifacts whose files were found changed

The cache is laid out like a store of its own. A lock is one of this machine: two machines that compute the same step at
once both do the work, and the first that is done is kept.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import sys
import threading
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from filelock import FileLock

from compat_spec.errors import CompatError
from compat_spec.store.checksums import FileFacts, describe_files
from compat_spec.store.remote import MissingFileError, Remote
from compat_spec.store.store import (
    MANIFEST,
    ArtifactRef,
    CorruptArtifactError,
    Manifest,
    Store,
    bytes_below,
    read_manifest,
)

WORK_LIST = "work.json"

BEAT = 60.0
"""Seconds between two signs of life of a run."""

DEAD_AFTER = 300.0
"""Seconds without a sign of life after which a run is taken for dead."""


def open_store(where: str | Path, cache: Path | None = None) -> Store:
    """The store in a folder, or at a URL of fsspec.

    Args:
        cache: where the artifacts of a URL are kept on this machine, see `cache_folder`.

    Raises:
        CompatError: the URL needs a package that is not installed.
    """
    if isinstance(where, Path) or "://" not in where:
        return Store(Path(where))
    return SharedStore(where, cache)


def cache_folder(url: str) -> Path:
    """`$COMPAT_CACHE/stores/…`, or `compat/stores/…` among the user's caches; the last part is a hash of the URL."""
    given = os.environ.get("COMPAT_CACHE")
    caches = Path(given).expanduser() if given else _user_caches() / "compat"
    return caches.absolute() / "stores" / hashlib.sha256(url.rstrip("/").encode()).hexdigest()[:16]


def _user_caches() -> Path:
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")


class SharedStore(Store):
    """A store at a URL. What is read is fetched into the cache first; what is written is sent before it counts."""

    def __init__(self, url: str, cache: Path | None = None) -> None:
        super().__init__(cache or cache_folder(url))
        self._url = url
        self._cache = cache
        self._remote = Remote(url)
        self._known: set[str] = set()
        """Artifacts that were there when somebody asked: asking takes a round trip."""
        self.anywhere = self._remote.protocol != "memory"

    def __reduce__(self) -> tuple[Any, ...]:
        return SharedStore, (self._url, self._cache)

    def __str__(self) -> str:
        return self._url

    # ------------------------------------------------------------------------------------------------- reading

    def has(self, fingerprint: str) -> bool:
        """Whether it is at the URL: a copy that only the cache has is one that others removed."""
        if fingerprint not in self._known and self._remote.exists(_list_of(fingerprint)):
            self._known.add(fingerprint)
        return fingerprint in self._known

    def path(self, ref: ArtifactRef | str) -> Path:
        fingerprint = ref if isinstance(ref, str) else ref.fingerprint
        if super().has(fingerprint):
            super().touch(fingerprint)  # the cache forgets what was not read for long
        else:
            self._fetch(fingerprint)
        return super().path(ref)

    def manifest(self, fingerprint: str) -> Manifest:
        if super().has(fingerprint):
            with suppress(CorruptArtifactError):
                return super().manifest(fingerprint)
        return self._parse(fingerprint, self._remote.read(_list_of(fingerprint)))

    def manifests(self) -> dict[str, Manifest | None]:
        found: dict[str, Manifest | None] = {}
        fingerprints = list(self)
        contents = self._remote.read_all(map(_list_of, fingerprints))
        for fingerprint in fingerprints:
            try:
                found[fingerprint] = self._parse(fingerprint, contents.get(_list_of(fingerprint)))
            except CorruptArtifactError:
                found[fingerprint] = None
        return found

    def __iter__(self) -> Iterator[str]:
        lists = [name.split("/") for name in self._remote.names("objects") if name.endswith(f"/{MANIFEST}")]
        yield from sorted(parts[2] for parts in lists if len(parts) == 4)

    def check(self, fingerprint: str) -> None:
        """Fetch what we lack, or have a changed copy of. Raises `CorruptArtifactError` when that is in vain."""
        if super().has(fingerprint) and super().verify(fingerprint):
            super().remove(fingerprint)
        if not super().has(fingerprint):
            self._fetch(fingerprint)

    def verify(self, fingerprint: str) -> list[str]:
        """What is wrong at the URL. Our copy, when something is wrong with it, is dropped: it is no loss."""
        if super().has(fingerprint) and super().verify(fingerprint):
            super().remove(fingerprint)
        try:
            manifest = self._parse(fingerprint, self._remote.read(_list_of(fingerprint)))
        except CorruptArtifactError as error:
            return [str(error)]
        return self._remote.problems(_folder_of(fingerprint), manifest.files)

    def space(self) -> dict[str, int]:
        manifests = self.manifests().values()
        artifacts = sum(manifest.size for manifest in manifests if manifest is not None)
        return {"artifacts": artifacts, "the cache here": bytes_below(self.root)}

    def touch(self, fingerprint: str) -> None:
        super().touch(fingerprint)
        with suppress(CompatError):
            self._remote.write(f"used/{fingerprint}", b"")

    def last_used(self, fingerprint: str) -> float:
        times = [self._remote.modified(name) for name in (f"used/{fingerprint}", _list_of(fingerprint))]
        return max((moment for moment in times if moment is not None), default=time.time())

    def _parse(self, fingerprint: str, content: bytes | None) -> Manifest:
        if content is None:
            self._known.discard(fingerprint)
            raise CorruptArtifactError(f"the store {self} has no artifact {fingerprint}")
        try:
            return read_manifest(content)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            where = f"{self._remote.url}/{_list_of(fingerprint)}"
            raise CorruptArtifactError(f"the manifest {where} cannot be read: {error}") from error

    def _fetch(self, fingerprint: str) -> None:
        with self._alone(fingerprint), self._aside(fingerprint) as aside:
            if super().has(fingerprint):  # another process has fetched it meanwhile
                return
            content = self._remote.read(_list_of(fingerprint))
            try:
                self._remote.get_files(_folder_of(fingerprint), self._parse(fingerprint, content).files, aside)
            except MissingFileError as error:
                raise CorruptArtifactError(str(error)) from error
            assert content is not None
            (aside / MANIFEST).write_bytes(content)
            super()._publish(aside, fingerprint)

    @contextmanager
    def _alone(self, fingerprint: str) -> Iterator[None]:
        """One process of this machine at a time fetches an artifact."""
        with self._disk_errors():
            (self.root / "locks").mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.root / "locks" / f"{fingerprint}.fetch.lock", is_singleton=False)
            lock.acquire()
        try:
            yield
        finally:
            lock.release()

    # ------------------------------------------------------------------------------------------------- writing

    def _publish(self, aside: Path, fingerprint: str) -> None:
        """Send the files, then the manifest, and only then keep them here: a half that was sent is not there."""
        self._known.discard(fingerprint)
        if self.has(fingerprint):
            return  # another machine was done first, and others may have read that already
        content = (aside / MANIFEST).read_bytes()
        self._remote.put_files(aside, read_manifest(content).files, _folder_of(fingerprint))
        self._remote.write(_list_of(fingerprint), content)
        self._known.add(fingerprint)
        super().remove(fingerprint)  # a copy of what others have removed
        super()._publish(aside, fingerprint)

    def set_aside(self, fingerprint: str) -> None:
        to = f"broken/{fingerprint}-{uuid.uuid4().hex[:8]}"
        self._known.discard(fingerprint)
        self._remote.move(_list_of(fingerprint), f"{to}/{MANIFEST}")
        folder = _folder_of(fingerprint)
        for name in self._remote.names(folder):
            self._remote.move(name, to + name.removeprefix(folder))
        super().remove(fingerprint)

    def remove(self, fingerprint: str) -> None:
        self._known.discard(fingerprint)
        self._remote.remove(_list_of(fingerprint))
        self._remote.remove(_folder_of(fingerprint))
        self._remote.remove(f"used/{fingerprint}")
        super().remove(fingerprint)

    def clear_leftovers(self, moment: float) -> None:
        super().clear_leftovers(moment)
        self._remote.remove("broken")
        for folder, names in _by_folder(self._remote.names("work"), 2).items():
            newest = max((self._remote.modified(name) or time.time() for name in names), default=0.0)
            if newest < moment:
                self._remote.remove(folder)
        for folder, names in _by_folder(self._remote.names("objects"), 3).items():
            if f"{folder}/{MANIFEST}" not in names:
                self._remote.remove(folder)
        there = set(self)
        for fingerprint in list(super().__iter__()):
            if fingerprint not in there or super().last_used(fingerprint) < moment:
                super().remove(fingerprint)

    # ------------------------------------------------------------------------------------------ training state

    def fetch_work(self, fingerprint: str) -> None:
        files = self._work_files(fingerprint)
        work = self.work_folder(fingerprint)
        if not files or files == _work_of(work):
            return
        with self._aside(fingerprint) as aside, suppress(MissingFileError):  # half a state is as good as none
            self._remote.get_files(f"work/{fingerprint}", files, aside)
            shutil.rmtree(work, ignore_errors=True)
            work.parent.mkdir(parents=True, exist_ok=True)
            aside.rename(work)

    def save_work(self, fingerprint: str) -> None:
        folder = f"work/{fingerprint}"
        before = self._work_files(fingerprint)
        files = _work_of(self.work_folder(fingerprint))
        self._remote.put_files(self.work_folder(fingerprint), files, folder)
        listed = {name: asdict(facts) for name, facts in files.items()}
        self._remote.write(f"{folder}/{WORK_LIST}", json.dumps(listed).encode())
        for old in {facts.sha256 for facts in before.values()} - {facts.sha256 for facts in files.values()}:
            self._remote.remove(f"{folder}/{old}")

    def forget_work(self, fingerprint: str) -> None:
        super().forget_work(fingerprint)
        with suppress(CompatError):  # the artifact is whole: what is left over is for `cache gc`
            self._remote.remove(f"work/{fingerprint}")

    def _work_files(self, fingerprint: str) -> dict[str, FileFacts]:
        """The files that were saved for a step, by path; none when it has not been begun."""
        content = self._remote.read(f"work/{fingerprint}/{WORK_LIST}")
        try:
            return {name: FileFacts(**facts) for name, facts in json.loads(content or b"{}").items()}
        except (ValueError, TypeError, AttributeError):
            return {}

    # --------------------------------------------------------------------------------------------------- users

    @contextmanager
    def in_use(self, needs: Iterable[str] = ()) -> Iterator[None]:
        """Also says so at the URL, every minute: machines have no locks in common. Finds out whether it can write."""
        listed = list(needs)
        content = "\n".join(listed).encode()
        name = f"users/{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        over = threading.Event()

        def beat() -> None:
            while not over.wait(BEAT):
                with suppress(CompatError):
                    self._remote.write(name, content)

        with super().in_use(listed):
            self._remote.write(name, content)
            beating = threading.Thread(target=beat, daemon=True, name="says that the store is in use")
            beating.start()
            try:
                yield
            finally:
                over.set()
                beating.join()
                with suppress(CompatError):
                    self._remote.remove(name)

    def needed_by_users(self) -> set[str] | None:
        found = super().needed_by_users()
        for name in self._remote.names("users"):
            if time.time() - (self._remote.modified(name) or 0.0) < DEAD_AFTER:
                found = (found or set()).union((self._remote.read(name) or b"").decode().split())
            else:
                self._remote.remove(name)
        return found


def _folder_of(fingerprint: str) -> str:
    return f"objects/{fingerprint[:2]}/{fingerprint}"


def _list_of(fingerprint: str) -> str:
    return f"{_folder_of(fingerprint)}/{MANIFEST}"


def _work_of(folder: Path) -> dict[str, FileFacts]:
    """The files of a work folder, without those that are still being written."""
    files = describe_files(folder)
    return {name: facts for name, facts in files.items() if not any(p.endswith(".part") for p in name.split("/"))}


def _by_folder(names: list[str], depth: int) -> dict[str, set[str]]:
    """Names by their first so many parts."""
    found: dict[str, set[str]] = {}
    for name in names:
        found.setdefault("/".join(name.split("/")[:depth]), set()).add(name)
    return found
