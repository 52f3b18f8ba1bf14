"""Objects in a folder of this machine, or of one that it has mounted."""

from __future__ import annotations

import errno
import os
import secrets
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from p2uformat.errors import (
    DestinationExists,
    LimitExceeded,
    NotFound,
    StoreUnavailable,
    from_os_error,
)
from p2uformat.files import FileReader, path_text
from p2uformat.publishing import publish, sync_folder
from p2uformat.store.keys import PACKS, check_key, is_key
from p2uformat.store.objects import Probe, Stat

__all__ = ["LocalObjects"]

_TRIES: Final = 8
# Where nothing can be written nothing can be deleted either, and the time does not matter.
_READ_ONLY: Final = frozenset({errno.ENOENT, errno.EACCES, errno.EPERM, errno.EROFS})


class LocalObjects:
    """Objects in a folder, each a file.

    Parameters
    ----------
    path : str or os.PathLike
        The folder; it is made when something is written.

    Attributes
    ----------
    name : str
        The folder.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.name = path_text(path)
        self._root = Path(self.name)

    def get(self, key: str, *, most: int) -> bytes:
        """Return an object; see `Objects`."""
        with self.reader(key) as reader:
            if reader.size > most:
                raise LimitExceeded(f"{key}: expected at most {most} bytes, got {reader.size}")
            return reader.read(0, reader.size)

    def create(self, key: str, data: bytes) -> bool:
        """Write an object if its key is free; see `Objects`."""
        try:
            self._write(key, data, overwrite=False)
        except DestinationExists:
            return self._holds(key, data)
        return True

    def put(self, key: str, data: bytes) -> None:
        """Write an object; see `Objects`."""
        self._write(key, data, overwrite=True)

    def delete(self, keys: Sequence[str]) -> None:
        """Delete objects; see `Objects`."""
        for key in keys:
            path = self._path(key)
            try:
                path.unlink(missing_ok=True)
            except NotADirectoryError:
                continue
            except OSError as error:
                raise from_os_error(error, "delete", path) from error
            if key.startswith(PACKS):  # of a writer that will not come again
                with suppress(OSError):
                    path.parent.rmdir()

    def scan(self, prefix: str) -> list[Stat]:
        """Return all objects below a prefix; see `Objects`."""
        folder = self._path(prefix.rstrip("/")) if prefix else self._root
        try:
            return sorted(self._below(folder), key=lambda stat: stat.key)
        except OSError as error:
            raise from_os_error(error, "list", folder) from error

    def now(self) -> float:
        """Return the time by the folder's clock, which may be another machine's."""
        try:
            # Some file systems show it for a moment: a name that no listing takes for a key.
            with tempfile.TemporaryFile(dir=self._root, prefix=".p2u-", suffix=".tmp") as file:
                return os.fstat(file.fileno()).st_mtime
        except OSError as error:
            if error.errno in _READ_ONLY:
                return time.time()
            raise from_os_error(error, "write", self._root) from error

    def reader(self, key: str) -> FileReader:
        """Return an object to be read by ranges; see `Objects`."""
        return FileReader(self._path(key))

    def probe(self, key: str, data: bytes) -> Probe:
        """Find out whether the file system has hard links, by which names are taken for sure."""
        del data  # it need not be written again
        source = self._path(key)
        other = source.with_name(f".p2u-{secrets.token_hex(8)}.tmp")
        try:
            os.link(source, other)
        except PermissionError as error:
            if error.errno != errno.EPERM:
                raise from_os_error(error, "write", self._root) from error
            return Probe(conditions=False, ranges=True)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EIO):
                raise from_os_error(error, "write", self._root) from error
            return Probe(conditions=False, ranges=True)
        with suppress(OSError):
            other.unlink()
        return Probe(conditions=True, ranges=True)

    def _path(self, key: str) -> Path:
        return self._root / check_key(key)

    def _write(self, key: str, data: bytes, *, overwrite: bool) -> None:
        path = self._path(key)
        for _ in range(_TRIES):
            self._make_folder(path.parent)
            try:
                with publish(path, overwrite=overwrite) as output:
                    output.write(data)
            except NotFound:
                continue  # whoever deletes takes empty folders away
            return
        raise StoreUnavailable(f"cannot write {key!r}: its folder vanishes", path=self.name)

    def _make_folder(self, folder: Path) -> None:
        """Make a folder that lasts: its own name is synced too."""
        if folder.is_dir():
            return
        try:
            if folder != self._root:
                self._make_folder(folder.parent)
            folder.mkdir(exist_ok=True, parents=folder == self._root)
            sync_folder(folder.parent)
        except FileNotFoundError:
            return  # it vanished again; the write will tell
        except OSError as error:
            raise from_os_error(error, "make", folder) from error

    def _holds(self, key: str, data: bytes) -> bool:
        try:
            with self.reader(key) as reader:
                return reader.size == len(data) and reader.read(0, reader.size) == data
        except NotFound:
            return False

    def _below(self, folder: Path) -> Iterator[Stat]:
        try:
            entries = list(os.scandir(folder))
        except (FileNotFoundError, NotADirectoryError):
            return
        for entry in entries:
            if entry.name.startswith("."):
                continue  # what is being written
            if entry.is_dir(follow_symlinks=False):
                yield from self._below(Path(entry.path))
                continue
            with suppress(FileNotFoundError):
                status = entry.stat()
                key = Path(entry.path).relative_to(self._root).as_posix()
                if is_key(key):
                    yield Stat(key, status.st_size, status.st_mtime)
