"""A place that fsspec can reach, where folders are kept as files under their checksums and a list that is written last.

An object store cannot rename a folder, and two machines may write the same thing at once. A file that is called by its
checksum is never overwritten by other content, and what no list names is not there.
"""

from __future__ import annotations

import hashlib
import shutil
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from compat_spec.errors import CompatError, UsageError
from compat_spec.store.checksums import FileFacts, differences

PACKAGES = {
    "s3": "s3fs",
    "s3a": "s3fs",
    "gs": "gcsfs",
    "gcs": "gcsfs",
    "abfs": "adlfs",
    "abfss": "adlfs",
    "az": "adlfs",
    "adl": "adlfs",
    "oci": "ocifs",
    "hf": "huggingface_hub",
    "sftp": "paramiko",
    "ssh": "paramiko",
}
"""The package that fsspec needs for a kind of URL."""

WITHOUT_FOLDERS = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "oci", "memory"})
"""Kinds of URL whose files need no folder to be made first, and appear at once and whole."""

CHUNK = 1 << 22
"""Bytes that are read at a time."""


class MissingFileError(CompatError):
    """A file that ought to be there is not, or is not what was written."""


class Remote:
    """The files below a URL, by names with forward slashes."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self.protocol = url.partition("://")[0]
        self._files, root = self._open(url)
        self._root = root.rstrip("/")

    def _open(self, url: str) -> tuple[Any, str]:
        from fsspec.core import url_to_fs

        options = {"auto_mkdir": True} if self.protocol in ("file", "local") else {}
        try:
            files, root = url_to_fs(url, **options)
            return files, str(root)
        except ImportError as error:
            package = PACKAGES.get(self.protocol)
            advice = f"pip install {package}, on every machine that uses it" if package else str(error)
            raise CompatError(
                f"--store {url}: {self.protocol}:// needs a package that is not installed: {advice}"
            ) from error
        except ValueError as error:
            raise UsageError(f"--store {url}: {error}; use s3://…, gs://…, file:///… or a folder") from error
        except Exception as error:
            raise CompatError(f"--store {url}: it cannot be opened: {_words(error)}") from error

    # ------------------------------------------------------------------------------------------------ single files

    def exists(self, name: str) -> bool:
        return self._size(name) is not None

    def read(self, name: str) -> bytes | None:
        """What is in a file; None when it is not there."""
        with self._errors("read"), suppress(FileNotFoundError, NotADirectoryError):
            self._files.invalidate_cache()
            return bytes(self._files.cat_file(self._path(name)))
        return None

    def read_all(self, names: Iterable[str]) -> dict[str, bytes]:
        """What is in several files, at once where that is quicker; those that cannot be read are left out."""
        paths = {self._path(name): name for name in names}
        if not paths:
            return {}
        with self._errors("read"):
            found = self._files.cat(list(paths), on_error="omit")
        return {paths[path]: bytes(content) for path, content in found.items() if path in paths}

    def write(self, name: str, content: bytes) -> None:
        with self._errors("written"), self._appearing_whole(name) as path:
            self._files.pipe_file(path, content)

    def modified(self, name: str) -> float | None:
        """When a file was written, in seconds since the epoch; None when it is not there, or nobody knows."""
        with self._errors("read"), suppress(FileNotFoundError, NotImplementedError):
            self._files.invalidate_cache()
            return float(self._files.modified(self._path(name)).timestamp())
        return None

    # --------------------------------------------------------------------------------------------------- all files

    def names(self, folder: str) -> list[str]:
        """The files below a folder, sorted."""
        with self._errors("read"), suppress(FileNotFoundError):
            self._files.invalidate_cache()
            found = self._files.find(self._path(folder))
            return sorted(path[len(self._root) :].lstrip("/") for path in found)
        return []

    def remove(self, name: str) -> None:
        """Remove a file, or a folder with all below it, if it is there."""
        with self._errors("written"), suppress(FileNotFoundError):
            self._files.invalidate_cache()
            self._files.rm(self._path(name), recursive=True)

    def move(self, name: str, to: str) -> None:
        """Move a file, if it is there."""
        with self._errors("written"), suppress(FileNotFoundError), self._appearing_whole(to) as path:
            self._files.mv(self._path(name), path)

    # ------------------------------------------------------------------------------------------- files by checksum

    def put_files(self, source: Path, files: Mapping[str, FileFacts], folder: str) -> None:
        """Copy files of a folder of this machine; what is there already is not copied again."""
        for relative, facts in files.items():
            name = f"{folder}/{facts.sha256}"
            if self._size(name) != facts.size:
                with self._errors("written"), self._appearing_whole(name) as path:
                    self._files.put_file(str(source / relative), path)

    def get_files(self, folder: str, files: Mapping[str, FileFacts], target: Path) -> None:
        """Copy files to a folder of this machine. Raises `MissingFileError` when one is not what was written."""
        copied: dict[str, Path] = {}
        for relative, facts in files.items():
            to = target / relative
            if not to.resolve().is_relative_to(target.resolve()):
                raise MissingFileError(f"{self.url}/{folder}: {relative} lies outside of it")
            to.parent.mkdir(parents=True, exist_ok=True)
            if facts.sha256 in copied:
                shutil.copyfile(copied[facts.sha256], to)
                continue
            try:
                with self._errors("read"):
                    self._files.get_file(self._path(f"{folder}/{facts.sha256}"), str(to))
            except FileNotFoundError as error:
                raise MissingFileError(f"{self.url}/{folder}: {relative}: missing") from error
            copied[facts.sha256] = to
        if problems := differences(target, files):
            raise MissingFileError(f"{self.url}/{folder}: {problems[0].removeprefix(f'{target}/')}")

    def problems(self, folder: str, files: Mapping[str, FileFacts]) -> list[str]:
        """A line for each file that is missing or changed."""
        found = []
        for relative, facts in files.items():
            name = f"{folder}/{facts.sha256}"
            size = self._size(name)
            if size is None:
                found.append(f"{self.url}/{folder}: {relative}: missing")
            elif size != facts.size:
                found.append(f"{self.url}/{folder}: {relative}: {size} bytes instead of {facts.size}")
            elif self._sha256(name) != facts.sha256:
                found.append(f"{self.url}/{folder}: {relative}: its content has changed")
        return found

    # ----------------------------------------------------------------------------------------------------- helpers

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"

    def _size(self, name: str) -> int | None:
        # not `exists` of fsspec, to which a bucket that must not be read is one that is empty
        with self._errors("read"), suppress(FileNotFoundError, NotADirectoryError):
            self._files.invalidate_cache()
            return int(self._files.info(self._path(name))["size"])
        return None

    def _sha256(self, name: str) -> str:
        digest = hashlib.sha256()
        with self._errors("read"), self._files.open(self._path(name), "rb") as file:
            while chunk := file.read(CHUNK):
                digest.update(chunk)
        return digest.hexdigest()

    @contextmanager
    def _appearing_whole(self, name: str) -> Iterator[str]:
        """The path to write to, so that nobody sees half of the file: one beside it, where writing takes time."""
        path = self._path(name)
        if self.protocol in WITHOUT_FOLDERS:
            yield path
            return
        aside = f"{path}.{uuid.uuid4().hex[:8]}.part"
        try:
            self._files.makedirs(path.rpartition("/")[0], exist_ok=True)
            yield aside
            self._files.mv(aside, path)
        except BaseException:
            with suppress(Exception):
                self._files.rm(aside)
            raise

    @contextmanager
    def _errors(self, what: str) -> Iterator[None]:
        """Whatever a filesystem of fsspec raises, and each has errors of its own, as one of ours with advice.

        That a file to be read is not there is left as `FileNotFoundError`.
        """
        try:
            yield
        except CompatError:
            raise
        except FileNotFoundError as error:
            if what == "read":
                raise
            raise CompatError(f"the store {self.url} cannot be written: there is no such bucket or folder") from error
        except PermissionError as error:
            raise CompatError(f"the store {self.url} must not be {what}: {_words(error)}") from error
        except Exception as error:
            raise CompatError(f"the store {self.url} cannot be {what}: {_words(error)}") from error


def _words(error: Exception) -> str:
    """The first line of an error, with its kind where that says more."""
    line = (str(error).strip() or type(error).__name__).splitlines()[0]
    return line if isinstance(error, OSError) else f"{type(error).__name__}: {line}"
