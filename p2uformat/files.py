"""A file that is read by offset: the one place where input errors become ours."""

from __future__ import annotations

import errno
import mmap
import os
import stat
import threading
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from types import ModuleType
from typing import Final

from p2uformat.closing import Closing
from p2uformat.errors import InvalidArgument, StoreUnavailable, from_os_error
from p2uformat.native import native_module
from p2uformat.reading import Piece

__all__ = ["BytesReader", "FileReader", "Window", "path_text"]

_FLAGS: Final = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
# Opening a pipe would wait for its other end; whether it is a file can only be seen afterwards.
_NO_WAIT: Final = getattr(os, "O_NONBLOCK", 0)
# Linux reads at most 2 GiB at once.
_MOST: Final = 1 << 30


def path_text(path: str | os.PathLike[str]) -> str:
    """Return a path as text.

    Raises
    ------
    InvalidArgument
        If it is none.

    Examples
    --------
    >>> path_text("model.p2u")
    'model.p2u'
    """
    try:
        text = os.fsdecode(path)
    except TypeError as error:
        raise InvalidArgument(f"expected a path, got {type(path).__name__}") from error
    if not text or "\0" in text:
        raise InvalidArgument(f"not a path: {text!r}")
    return text


class FileReader(Closing):
    """A regular file, read by offset from any thread.

    Parameters
    ----------
    path : str or os.PathLike
        The file; symbolic links are followed.
    descriptor : int, optional
        A descriptor already open for reading. It stays open when the reader is closed.

    Attributes
    ----------
    path : str
        As given.
    size : int
        Bytes when it was opened.

    Raises
    ------
    NotFound
        If there is no such file.
    StoreUnavailable
        If it is a folder or a device, or may not be read.
    """

    __slots__ = ("_descriptor", "_lock", "_owned", "path", "size")

    def __init__(self, path: str | os.PathLike[str], descriptor: int | None = None) -> None:
        self.path = path_text(path)
        self._owned = descriptor is None
        self._lock = threading.Lock()
        self._descriptor = -1
        try:
            self._descriptor = (
                os.open(self.path, _FLAGS | _NO_WAIT) if descriptor is None else descriptor
            )
            status = os.fstat(self._descriptor)
        except OSError as error:
            raise from_os_error(error, "open", self.path) from error
        if not stat.S_ISREG(status.st_mode):
            self.close()
            raise _not_a_file(self.path, status.st_mode)
        self.size = status.st_size

    def close(self) -> None:
        """Close the file; closing twice is fine."""
        descriptor, self._descriptor = self._descriptor, -1
        if self._owned and descriptor >= 0:
            os.close(descriptor)

    def read(self, offset: int, length: int) -> bytes:
        """Return `length` bytes from `offset` on, fewer at the end of the file."""
        if length <= _MOST:
            data = self._pread(length, offset)
            if len(data) == length:
                return data
        buffer = bytearray(min(length, max(self.size - offset, 0)))
        return bytes(memoryview(buffer)[: self.readinto(offset, memoryview(buffer))])

    def view(self, offset: int, length: int) -> bytes:
        """Return the same: what may change on the disk is always a copy."""
        return self.read(offset, length)

    def ahead(self, limit: int) -> None:
        """Do nothing: the system reads ahead by itself."""

    def expecting(self, pieces: Iterable[Piece]) -> AbstractContextManager[None]:  # noqa: ARG002
        """Return a context that does nothing."""
        return nullcontext()

    def readinto(self, offset: int, view: memoryview) -> int:
        """Fill `view` from `offset` on, and return the number of bytes there were."""
        done = 0
        while done < len(view):
            count = self._preadv(view[done : done + _MOST], offset + done)
            if not count:
                break
            done += count
        return done

    def window(self, offset: int, length: int) -> Window | None:
        """Map a range to be looked at, not kept; None where it can only be read.

        What is mapped changes when the file does, so nothing may be released from it that was only
        checked in it.
        """
        if not self.size or length <= 0 or offset + length > self.size:
            return None
        start = offset - offset % mmap.ALLOCATIONGRANULARITY
        native = native_module()
        if native is None:
            return None
        try:
            mapped = mmap.mmap(
                self._open_descriptor(),
                offset + length - start,
                access=mmap.ACCESS_READ,
                offset=start,
            )
        except (OSError, ValueError):  # not every file system can
            return None
        slot = native.guard(mapped)
        if slot is None:
            mapped.close()
            return None
        return Window(mapped, offset - start, native, slot)

    def _pread(self, length: int, offset: int) -> bytes:
        descriptor = self._open_descriptor()
        try:
            if hasattr(os, "pread"):
                return os.pread(descriptor, length, offset)
            with self._lock:
                os.lseek(descriptor, offset, os.SEEK_SET)
                return os.read(descriptor, length)
        except OSError as error:
            raise from_os_error(error, "read", self.path) from error

    def _preadv(self, view: memoryview, offset: int) -> int:
        if not hasattr(os, "preadv"):
            data = self._pread(len(view), offset)
            view[: len(data)] = data
            return len(data)
        try:
            return os.preadv(self._open_descriptor(), [view], offset)
        except OSError as error:
            raise from_os_error(error, "read", self.path) from error

    def _open_descriptor(self) -> int:
        if self._descriptor < 0:
            raise InvalidArgument(f"{self.path!r} is closed")
        return self._descriptor


class BytesReader(Closing):
    """The bytes of a file, read like one. They cannot change, so nothing needs to be copied.

    Parameters
    ----------
    data : bytes
        All of it.

    Attributes
    ----------
    path : str
        What stands for a name in messages.
    size : int
        Their number.
    """

    __slots__ = ("_data", "path", "size")

    def __init__(self, data: bytes) -> None:
        self._data = memoryview(data)
        self.path = "<bytes>"
        self.size = len(data)

    def close(self) -> None:
        """Do nothing: the bytes are the caller's."""

    def view(self, offset: int, length: int) -> memoryview:
        """Return `length` bytes from `offset` on where they are, fewer at the end."""
        return self._data[offset : offset + length]

    def read(self, offset: int, length: int) -> bytes:
        """Return a copy of them."""
        return bytes(self.view(offset, length))

    def readinto(self, offset: int, view: memoryview) -> int:
        """Fill `view` from `offset` on, and return the number of bytes there were."""
        part = self.view(offset, len(view))
        view[: len(part)] = part
        return len(part)

    def ahead(self, limit: int) -> None:
        """Do nothing: all is here."""

    def expecting(self, pieces: Iterable[Piece]) -> AbstractContextManager[None]:  # noqa: ARG002
        """Return a context that does nothing."""
        return nullcontext()


class Window(Closing):
    """A mapped range of a file.

    Attributes
    ----------
    data : memoryview
        The bytes; zeros where the file got shorter meanwhile.
    """

    __slots__ = ("_mapped", "_native", "_slot", "data")

    def __init__(self, mapped: mmap.mmap, skip: int, native: ModuleType, slot: int) -> None:
        self._mapped = mapped
        self._native = native
        self._slot: int | None = slot
        self.data = memoryview(mapped)[skip:]

    def close(self) -> None:
        """Unmap it."""
        if self._slot is None:
            return
        self.data.release()
        self._native.unguard(self._slot)
        self._slot = None
        self._mapped.close()


def _not_a_file(path: str, mode: int) -> StoreUnavailable:
    if stat.S_ISDIR(mode):
        return StoreUnavailable(
            f"cannot read {path!r}: it is a folder", path=path, errno=errno.EISDIR
        )
    return StoreUnavailable(
        f"cannot read {path!r}: it is not a file", path=path, errno=errno.EINVAL
    )
