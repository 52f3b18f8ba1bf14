"""Where a server finds its objects: a mapping, or a folder."""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Protocol

from p2uformat.errors import InvalidArgument, from_os_error
from p2uformat.testing.source import Entity, FileSource, MemorySource

__all__ = ["Files", "FolderFiles", "MemoryFiles", "files_of"]

_A_DAY: Final = 86400
# Windows would turn line ends.
_BINARY: Final[int] = getattr(os, "O_BINARY", 0)


class Files(Protocol):
    """Objects by name."""

    def find(self, name: str) -> Entity | None:
        """Return the object as it is now; the caller closes its source."""

    def replace(self, name: str, data: bytes) -> None:
        """Let the object be `data` from now on. Answers under way go on with the old one."""


class MemoryFiles:
    """Objects in memory. Their ETag follows from their bytes.

    Examples
    --------
    >>> files = MemoryFiles({"a": b"1"})
    >>> before = files.find("a").etag
    >>> files.replace("a", b"2")
    >>> files.find("a").etag == before
    False
    """

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self._lock = threading.Lock()
        # A day ago: each replacement is a second newer, and still none is of the future.
        self._modified = float(int(time.time()) - _A_DAY)
        self._files = {name: self._entity(data) for name, data in files.items()}

    def find(self, name: str) -> Entity | None:
        """Return the object as it is now."""
        return self._files.get(name)

    def replace(self, name: str, data: bytes) -> None:
        """Let the object be `data` from now on."""
        with self._lock:
            self._modified += 1
            self._files[name] = self._entity(data)

    def _entity(self, data: bytes) -> Entity:
        etag = hashlib.blake2b(data, digest_size=16).hexdigest()
        return Entity(MemorySource(data), f'"{etag}"', self._modified)


class FolderFiles:
    """Files of a folder, links within it followed. Their ETag follows from size, time and inode.

    To digest files of many gigabytes would cost more than to serve them.
    """

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise InvalidArgument(f"files: no such folder: {os.fspath(folder)!r}")
        self._folder = folder.resolve()

    def find(self, name: str) -> Entity | None:
        """Return the file as it is now, opened."""
        try:
            descriptor = os.open(self._path(name), os.O_RDONLY | _BINARY)
        except (InvalidArgument, OSError, ValueError):
            return None
        facts = os.fstat(descriptor)
        if not stat.S_ISREG(facts.st_mode):
            os.close(descriptor)
            return None
        etag = f'"{facts.st_size:x}-{facts.st_mtime_ns:x}-{facts.st_ino:x}"'
        return Entity(FileSource(descriptor, facts.st_size), etag, facts.st_mtime)

    def replace(self, name: str, data: bytes) -> None:
        """Put another file in the place of this one."""
        path = self._path(name)
        try:
            descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".replace-")
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
            Path(temporary).replace(path)
        except OSError as error:
            raise from_os_error(error, "replace", path) from error

    def _path(self, name: str) -> Path:
        path = (self._folder / name).resolve()
        if not path.is_relative_to(self._folder):
            raise InvalidArgument(f"name: not within the folder: {name!r}")
        return path


def files_of(files: Mapping[str, bytes] | str | os.PathLike[str]) -> Files:
    """Return the objects of a mapping or a folder.

    Examples
    --------
    >>> files_of({}).find("a") is None
    True
    """
    if isinstance(files, Mapping):
        return MemoryFiles(files)
    return FolderFiles(Path(files))
