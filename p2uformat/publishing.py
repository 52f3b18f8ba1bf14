"""A file appears under its name whole, or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from p2uformat.errors import DestinationExists, from_os_error
from p2uformat.files import FileReader, path_text

__all__ = ["Output", "publish", "refuse_taken", "sync_folder"]

_BINARY: Final = getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
_MODE: Final = 0o666  # less the caller's umask, as for any file that a program writes


class Output:
    """A file being written, front to back, that has no name yet.

    Attributes
    ----------
    destination : str
        The name it will get.
    written : int
        Bytes so far.
    """

    __slots__ = ("_descriptor", "destination", "written")

    def __init__(self, destination: str, descriptor: int) -> None:
        self.destination = destination
        self.written = 0
        self._descriptor = descriptor

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Append `data`.

        Raises
        ------
        StoreUnavailable
            If the system refuses, for example because the disk is full.
        """
        left = memoryview(data).cast("B")
        try:
            while left:
                count = os.write(self._descriptor, left)
                self.written += count
                left = left[count:]
        except OSError as error:
            raise from_os_error(error, "write", self.destination) from error

    def extend(self, tail: bytes, offset: int) -> None:
        """Write the end of the file; what lies before takes no space, where that is possible.

        Raises
        ------
        StoreUnavailable
            If the system refuses.
        """
        try:
            os.lseek(self._descriptor, offset, os.SEEK_SET)
            os.write(self._descriptor, tail)
        except OSError as error:
            raise from_os_error(error, "write", self.destination) from error

    def reader(self) -> FileReader:
        """Return a reader of what was written so far."""
        return FileReader(self.destination, self._descriptor)


@contextmanager
def publish(destination: str | os.PathLike[str], *, overwrite: bool = False) -> Iterator[Output]:
    """Write a file that appears under its name only when the block ends without an error.

    Data and folder are synced first, so that the name never stands for less than the whole.

    Parameters
    ----------
    destination : str or os.PathLike
        The final name.
    overwrite : bool
        Whether to replace a file of this name.

    Yields
    ------
    Output
        To write to.

    Raises
    ------
    DestinationExists
        If the name is taken and `overwrite` is false, or a folder has it.
    NotFound, StoreUnavailable
        If the folder is missing or may not be written, the disk is full, or the like.

    Examples
    --------
    >>> import tempfile
    >>> folder = tempfile.mkdtemp()
    >>> with publish(folder + "/greeting") as output:
    ...     output.write(b"hello")
    >>> Path(folder, "greeting").read_bytes()
    b'hello'
    """
    name = path_text(destination)
    refuse_taken(name, overwrite=overwrite)
    draft = _Draft(name)
    try:
        yield Output(name, draft.descriptor)
        draft.commit(overwrite=overwrite)
    finally:
        draft.close()


def sync_folder(folder: Path) -> None:
    """Bring the names in a folder to the disk, where the file system can.

    Raises
    ------
    OSError
        If it could, and does not.
    """
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY | _BINARY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EROFS):
            raise
    finally:
        os.close(descriptor)


def refuse_taken(name: str, *, overwrite: bool) -> None:
    """Raise `DestinationExists` if a name is taken: better before the work than after it."""
    path = Path(name)
    try:
        if path.is_dir():
            raise DestinationExists(f"{name!r} is a folder", hint="name a file in it")
        if not overwrite and os.path.lexists(name):
            raise _taken(name)
    except OSError as error:
        raise from_os_error(error, "write", name) from error


def _taken(name: str) -> DestinationExists:
    return DestinationExists(
        f"{name!r} exists already", hint="choose another name, or allow overwriting"
    )


class _Draft:
    """A file without a name, or, where the system has no such thing, with a temporary one."""

    def __init__(self, name: str) -> None:
        path = Path(name)
        self._name = name
        self._folder = path.parent
        self._temporary: Path | None = None
        try:
            self.descriptor = self._open_nameless()
            if self.descriptor < 0:
                self.descriptor = self._open_named()
        except OSError as error:
            raise from_os_error(error, "write", name) from error

    def _open_nameless(self) -> int:
        """Open a file that vanishes with the process, whatever ends it; -1 if there is no way."""
        flag = getattr(os, "O_TMPFILE", 0)
        if not flag or not Path("/proc/self/fd").is_dir():
            return -1
        try:
            return os.open(self._folder, flag | os.O_RDWR | _BINARY, _MODE)
        except OSError as error:
            if error.errno in (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL):
                return -1
            raise

    def _open_named(self) -> int:
        self._temporary = self._fresh_name()
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | _BINARY
        return os.open(self._temporary, flags, _MODE)

    def _fresh_name(self) -> Path:
        # Short, whatever the final name: a name at the system's limit must still be writable.
        return self._folder / f".p2u-{secrets.token_hex(8)}.tmp"

    def commit(self, *, overwrite: bool) -> None:
        """Give the file its name."""
        try:
            os.fsync(self.descriptor)
            if overwrite:
                self._replace()
            else:
                self._create()
            sync_folder(self._folder)
        except FileExistsError as error:
            raise _taken(self._name) from error
        except OSError as error:
            raise from_os_error(error, "write", self._name) from error

    def _create(self) -> None:
        """Take the name only if it is free: two writers cannot both succeed."""
        if self._temporary is None:
            self._link(Path(self._name))
            return
        try:
            os.link(self._temporary, self._name)
        except FileExistsError:
            raise
        except OSError:  # a file system without links
            if os.path.lexists(self._name):
                raise _taken(self._name) from None
            self._temporary.rename(self._name)
            self._temporary = None

    def _replace(self) -> None:
        if self._temporary is None:
            name = self._fresh_name()
            self._link(name)
            self._temporary = name
        self._temporary.replace(self._name)
        self._temporary = None

    def _link(self, name: Path) -> None:
        # Only with a folder's descriptor does Python use linkat(2), which can follow /proc's link.
        folder = os.open(self._folder, os.O_RDONLY | _BINARY)
        try:
            source = f"/proc/self/fd/{self.descriptor}"
            os.link(source, name.name, dst_dir_fd=folder, follow_symlinks=True)
        finally:
            os.close(folder)

    def close(self) -> None:
        """Close the file; what has no final name goes."""
        with contextlib.suppress(OSError):
            os.close(self.descriptor)
        if self._temporary is not None:
            with contextlib.suppress(OSError):
                self._temporary.unlink()
