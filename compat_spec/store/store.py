"""The store: folders of files under fingerprints, written aside and renamed when whole.

ROOT/artifacts/ab/ab12…/     an artifact: its files and `artifact.json`, the manifest with their checksums
ROOT/work/ab12…/             what an unfinished step needs to go on (training state)
ROOT/broken/ab12…-…/         artifacts whose files were found changed
ROOT/aside/…                 folders being written; leftovers of killed processes are harmless
ROOT/locks/ab12….lock        held by the process that computes a fingerprint
ROOT/users/PID….lock         held by each process that uses the store; PID….needs lists the artifacts that it needs
ROOT/clearing.lock           held while artifacts are cleared away: nobody starts to use the store meanwhile
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import socket
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Set
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from compat_spec.errors import CompatError
from compat_spec.store.checksums import FileFacts, describe_files, differences

MANIFEST = "artifact.json"

NO_SPACE = f"(os error {errno.ENOSPC})"
"""What programs written in Rust say of a full disk."""


class CorruptArtifactError(CompatError):
    """An artifact whose files are not what its manifest says."""


@dataclass(frozen=True, slots=True)
class ArtifactRef:
    """An artifact, or a folder inside one (a checkpoint: `step-100`)."""

    fingerprint: str
    part: str = ""

    def __str__(self) -> str:
        return f"{self.fingerprint}/{self.part}" if self.part else self.fingerprint


@dataclass(frozen=True, slots=True)
class Manifest:
    """What an artifact is, where it was made, and the checksum of each of its files.

    `content` is what the fingerprint is the hash of. Among the `facts`, `refers` lists the fingerprints of other
    artifacts that this one is of no use without.
    """

    fingerprint: str
    kind: str
    label: str
    created: float
    seconds: float
    host: str
    files: Mapping[str, FileFacts]
    facts: Mapping[str, Any] = field(default_factory=dict)
    content: Mapping[str, Any] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(facts.size for facts in self.files.values())


@dataclass(frozen=True, slots=True)
class Artifact:
    """A finished artifact on disk."""

    path: Path
    manifest: Manifest


def read_manifest(content: bytes) -> Manifest:
    """A manifest as it is written. Raises one of several errors when it is not one."""
    data = json.loads(content.decode("utf-8"))
    files = {name: FileFacts(**facts) for name, facts in data.pop("files").items()}
    return Manifest(files=files, **data)


class Store:
    """Artifacts by fingerprint, shared by every run that is given the same folder."""

    anywhere = False
    """Whether other machines can open it, too."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def __reduce__(self) -> tuple[Any, ...]:
        """What opens it again in another process, whatever folder that works in."""
        return Store, (self.root.absolute(),)

    def __str__(self) -> str:
        """Where it is, for messages."""
        return str(self.root)

    # ------------------------------------------------------------------------------------------------- reading

    def has(self, fingerprint: str) -> bool:
        return (self._folder(fingerprint) / MANIFEST).exists()

    def path(self, ref: ArtifactRef | str) -> Path:
        """The folder of an artifact or of its part.

        Raises:
            CorruptArtifactError: it is not there.
        """
        ref = ArtifactRef(ref) if isinstance(ref, str) else ref
        folder = self._folder(ref.fingerprint) / ref.part
        if not folder.is_dir():
            raise CorruptArtifactError(f"the store has no artifact {ref}: {folder} is missing")
        return folder

    def manifest(self, fingerprint: str) -> Manifest:
        path = self._folder(fingerprint) / MANIFEST
        try:
            return read_manifest(path.read_bytes())
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise CorruptArtifactError(f"the manifest {path} cannot be read: {error}") from error

    def manifests(self) -> dict[str, Manifest | None]:
        """The manifest of every finished artifact, by fingerprint; None where it cannot be read."""
        found: dict[str, Manifest | None] = {}
        for fingerprint in self:
            try:
                found[fingerprint] = self.manifest(fingerprint)
            except CorruptArtifactError:
                found[fingerprint] = None
        return found

    def __iter__(self) -> Iterator[str]:
        """The fingerprints of all finished artifacts, sorted."""
        for manifest in sorted((self.root / "artifacts").glob(f"*/*/{MANIFEST}")):
            yield manifest.parent.name

    def refers(self, fingerprint: str) -> list[str]:
        """The artifacts that this one is of no use without: those that its manifest names, and theirs in turn."""
        found: list[str] = []
        wanted = [fingerprint]
        while wanted:
            for other in self.manifest(wanted.pop()).facts.get("refers", ()):
                if other not in found:
                    found.append(other)
                    wanted += [other] if self.has(other) else []
        return found

    def check(self, fingerprint: str) -> None:
        """Raises `CorruptArtifactError` when an artifact is not there, or not what was written."""
        problems = self.verify(fingerprint)
        if problems:
            raise CorruptArtifactError(problems[0])

    def touch(self, fingerprint: str) -> None:
        """Note that an artifact was used, for `cache gc --older-than`."""
        with suppress(OSError):
            os.utime(self._folder(fingerprint) / MANIFEST)

    def last_used(self, fingerprint: str) -> float:
        """Seconds since the epoch."""
        return (self._folder(fingerprint) / MANIFEST).stat().st_mtime

    def verify(self, fingerprint: str) -> list[str]:
        """What is wrong with an artifact's files: nothing, or a line for each."""
        try:
            manifest = self.manifest(fingerprint)
        except CorruptArtifactError as error:
            return [str(error)]
        return differences(self._folder(fingerprint), manifest.files, ignore={MANIFEST})

    # ------------------------------------------------------------------------------------------------- writing

    @contextmanager
    def writing(
        self,
        fingerprint: str,
        kind: str,
        label: str,
        facts: dict[str, Any] | None = None,
        content: Mapping[str, Any] | None = None,
    ) -> Iterator[Path]:
        """An empty folder that becomes the artifact when the block ends well, and vanishes when it does not.

        `facts` is read at the end of the block: the block may fill it.
        """
        started = time.monotonic()
        with self._aside(fingerprint) as aside:
            yield aside
            manifest = Manifest(
                fingerprint=fingerprint,
                kind=kind,
                label=label,
                created=time.time(),
                seconds=round(time.monotonic() - started, 4),
                host=socket.gethostname(),
                files=describe_files(aside),
                facts=facts or {},
                content=content or {},
            )
            (aside / MANIFEST).write_text(json.dumps(asdict(manifest), indent=1), "utf-8")
            self._publish(aside, fingerprint)
        self.forget_work(fingerprint)

    @contextmanager
    def _aside(self, fingerprint: str) -> Iterator[Path]:
        """An empty folder that nobody takes for an artifact, gone at the end if it is still there."""
        aside = self.root / "aside" / f"{fingerprint[:16]}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        try:
            with self._disk_errors():
                aside.mkdir(parents=True)
                yield aside
        finally:
            shutil.rmtree(aside, ignore_errors=True)

    def _publish(self, aside: Path, fingerprint: str) -> None:
        folder = self._folder(fingerprint)
        folder.parent.mkdir(parents=True, exist_ok=True)
        try:
            aside.rename(folder)
        except OSError:
            if not self.has(fingerprint):  # a half-deleted folder in the way, not another process's finished work
                shutil.rmtree(folder, ignore_errors=True)
                aside.rename(folder)

    def work_folder(self, fingerprint: str) -> Path:
        """Where an unfinished step keeps what it needs to go on; removed when its artifact is finished."""
        return self.root / "work" / fingerprint

    def fetch_work(self, fingerprint: str) -> None:
        """Called before an unfinished step goes on: its work folder becomes what was saved last, on any machine."""

    def save_work(self, fingerprint: str) -> None:
        """Called when the work folder holds what a step needs to go on, so that it can do so on another machine."""

    def forget_work(self, fingerprint: str) -> None:
        shutil.rmtree(self.work_folder(fingerprint), ignore_errors=True)

    def space(self) -> dict[str, int]:
        """Bytes on disk, by what they are for."""
        parts = {
            "artifacts": "artifacts",
            "unfinished trainings": "work",
            "found broken": "broken",
            "half-written": "aside",
        }
        return {what: bytes_below(self.root / folder) for what, folder in parts.items()}

    def unused_since(self, moment: float, keep: Set[str] = frozenset()) -> list[str]:
        """The artifacts that no run has used since, and that neither `keep` nor an artifact in use refers to."""
        manifests = self.manifests()
        recent = [one for one in manifests if one in keep or self.last_used(one) > moment]
        kept = set(recent)
        while recent:
            manifest = manifests.get(recent.pop())
            refers = manifest.facts.get("refers", ()) if manifest else ()
            found = [fingerprint for fingerprint in refers if fingerprint not in kept]
            kept.update(found)
            recent += found
        return [fingerprint for fingerprint in manifests if fingerprint not in kept]

    def clear_leftovers(self, moment: float) -> None:
        """Remove half-written and broken folders, locks, and training states that are older than `moment`.

        The state of a step that is done goes, too: a process may be killed before it has cleared it away.
        Only while nobody uses the store.
        """
        for folder in ("aside", "broken", "locks"):
            shutil.rmtree(self.root / folder, ignore_errors=True)
        for work in (self.root / "work").glob("*"):
            if self.has(work.name) or work.stat().st_mtime < moment:
                shutil.rmtree(work, ignore_errors=True)

    def set_aside(self, fingerprint: str) -> None:
        """Take an artifact that is broken out of the way, to be made again; it is kept in `broken` to be looked at."""
        folder = self._folder(fingerprint)
        with self._disk_errors():
            (self.root / "broken").mkdir(parents=True, exist_ok=True)
            with suppress(FileNotFoundError):
                folder.rename(self.root / "broken" / f"{fingerprint}-{uuid.uuid4().hex[:8]}")

    def remove(self, fingerprint: str) -> None:
        folder = self._folder(fingerprint)
        with self._disk_errors():
            (folder / MANIFEST).unlink(missing_ok=True)
        shutil.rmtree(folder, ignore_errors=True)

    # --------------------------------------------------------------------------------------------------- locks

    def lock(self, fingerprint: str) -> FileLock | None:
        """The lock of a fingerprint, acquired; None when another process holds it. Release it when done.

        The operating system lets go of the locks of a process that dies.
        """
        with self._disk_errors():
            folder = self.root / "locks"
            folder.mkdir(parents=True, exist_ok=True)
            lock = FileLock(folder / f"{fingerprint}.lock", is_singleton=False)
            try:
                lock.acquire(timeout=0)
            except Timeout:
                return None
            return lock

    @contextmanager
    def in_use(self, needs: Iterable[str] = ()) -> Iterator[None]:
        """Inside, `needed_by_users` names these artifacts, so that nobody clears them away under our feet.

        Waits for somebody who is clearing the store.
        """
        with self._disk_errors():
            users = self.root / "users"
            users.mkdir(parents=True, exist_ok=True)
            path = users / f"{os.getpid()}-{uuid.uuid4().hex[:8]}.lock"
            lock = FileLock(path, is_singleton=False)
            with FileLock(self.root / "clearing.lock", is_singleton=False):
                path.with_suffix(".needs").write_text("\n".join(needs), "utf-8")
                lock.acquire()
        try:
            yield
        finally:
            path.with_suffix(".needs").unlink(missing_ok=True)
            lock.release()
            path.unlink(missing_ok=True)

    @contextmanager
    def clearing(self) -> Iterator[None]:
        """Inside, nobody starts to use the store."""
        if not self.root.exists():
            yield
            return
        with self._disk_errors():
            lock = FileLock(self.root / "clearing.lock", is_singleton=False)
            lock.acquire()
        try:
            yield
        finally:
            lock.release()

    def needed_by_users(self) -> set[str] | None:
        """What the living processes need that use the store; None when there are none. Forgets the dead ones."""
        found: set[str] | None = None
        for path in (self.root / "users").glob("*.lock"):
            lock = FileLock(path, is_singleton=False)
            with self._disk_errors():
                try:
                    lock.acquire(timeout=0)
                except Timeout:
                    with suppress(FileNotFoundError):  # it ends just now
                        found = (found or set()).union(path.with_suffix(".needs").read_text("utf-8").split())
                    continue
                path.with_suffix(".needs").unlink(missing_ok=True)
                lock.release()
                path.unlink(missing_ok=True)
        return found

    # ------------------------------------------------------------------------------------------------- helpers

    def _folder(self, fingerprint: str) -> Path:
        return self.root.joinpath("artifacts", fingerprint[:2], fingerprint)

    @contextmanager
    def _disk_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            ours = isinstance(error.filename, str | Path) and Path(error.filename).is_relative_to(self.root)
            if ours and error.errno == errno.ENOENT and self.root.is_dir():
                raise CorruptArtifactError(f"{error.filename} is gone: was the store cleared meanwhile?") from error
            if not ours and error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
                raise
            where = error.filename or "while writing"
            raise self._cannot_be_written(f"{error.strerror or error} ({where})") from error
        except CompatError:
            raise
        except Exception as error:
            if NO_SPACE not in str(error):  # safetensors has an exception of its own for it
                raise
            raise self._cannot_be_written(f"{os.strerror(errno.ENOSPC)} (while writing)") from error

    def _cannot_be_written(self, why: str) -> CompatError:
        return CompatError(
            f"the store {self.root} cannot be written: {why}; free space or choose another folder with --store"
        )


def bytes_below(folder: Path) -> int:
    """Of all files in a folder and its folders."""
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file())
