"""A file that fills up at its place, chunk by chunk, and survives whatever ends the process.

It is a partial file of SPEC.md, section 9, from its first moment on, and the complete file in the
end. Chunks have fixed places and are written only once their id was compared, so several processes
may fill one file without locks: whatever they write is the same.
"""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Final

from p2uformat.closing import Closing
from p2uformat.container.header import HEADER_BYTES, MAGIC, Header
from p2uformat.errors import DestinationExists, P2UError, from_os_error
from p2uformat.files import path_text
from p2uformat.publishing import publish

__all__ = ["PartialFile"]

_BINARY: Final = getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
# What a power cut may take: so much, or what came in so many seconds.
_UNSYNCED_BYTES: Final = 1 << 26
_UNSYNCED_SECONDS: Final = 2.0


class PartialFile(Closing):
    """A ``.p2u`` file at its final place that is being filled.

    Parameters
    ----------
    destination : str or os.PathLike
        The file. If it is there it must be the same artifact: partial, cut off, or whole.
    header : Header
        Of the artifact.
    manifest : bytes
        All bytes before the first chunk, header included.

    Attributes
    ----------
    path : str
        The file.
    whole : bool
        Whether it was a complete file when it was opened.

    Raises
    ------
    DestinationExists
        If something else has the name.
    NotFound, StoreUnavailable
        If the file cannot be made or written.
    """

    def __init__(
        self, destination: str | os.PathLike[str], header: Header, manifest: bytes
    ) -> None:
        self.path = path_text(destination)
        self._final = replace(header, partial=False)
        self._header = replace(header, partial=True)
        self._manifest = self._header.encode() + manifest[HEADER_BYTES:]
        self._change = threading.Condition()
        self._writing = 0
        self._descriptor = -1
        self._pending: list[int] = []
        self._unsynced = 0
        self._synced_at = time.monotonic()
        self._syncing = threading.Lock()
        self._open()
        try:
            self.whole = self._adopt()
            self._bits = bytearray(0 if self.whole else self._stored_bits())
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the file, once nobody writes to it any more."""
        with self._change:
            descriptor, self._descriptor = self._descriptor, -1
            while self._writing:
                self._change.wait()
        if descriptor >= 0:
            os.close(descriptor)

    @property
    def descriptor(self) -> int:
        """For reading it back."""
        return self._descriptor

    def holds(self, entry: int) -> bool:
        """Return whether a chunk, by its entry of the location table, is said to be here."""
        if self.whole:
            return True
        place, bit = divmod(entry, 8)
        return bool(self._bits[place] >> bit & 1)

    def extents(self) -> Iterator[tuple[int, int]]:
        """Yield the ranges that were ever written; all of it where the system cannot say."""
        end = self._final.file_length
        if not hasattr(os, "SEEK_DATA"):
            yield 0, end
            return
        at = 0
        while at < end:
            try:
                start = os.lseek(self._descriptor, at, os.SEEK_DATA)
                at = os.lseek(self._descriptor, start, os.SEEK_HOLE)
            except OSError as error:
                if error.errno == errno.ENXIO:  # nothing behind
                    return
                if error.errno == errno.EINVAL:
                    yield at, end
                    return
                raise from_os_error(error, "read", self.path) from error
            yield start, min(at, end)

    def write(self, offset: int, data: memoryview, entries: Iterable[int]) -> None:
        """Write a chunk whose id was compared, and note the table entries that it is for.

        Raises
        ------
        StoreUnavailable
            If the system refuses, for example because the disk is full.
        """
        with self._change:
            if self._descriptor < 0:
                return  # the transfer was given up while this chunk was checked
            self._writing += 1
        try:
            self._write_at(offset, data)
        finally:
            with self._change:
                self._writing -= 1
                self._change.notify_all()
        with self._change:
            self._pending.extend(entries)
            self._unsynced += len(data)
        self._sync_now_and_then()

    def note(self, entries: Iterable[int]) -> None:
        """Note table entries whose chunks were found to be here."""
        with self._change:
            self._pending.extend(entries)

    def sync(self) -> None:
        """Bring what was written to the disk, and only then say that it is here."""
        with self._syncing:
            self._sync()

    def finish(self) -> None:
        """Make it the complete file; all chunks are here.

        Another process may still be about to write its bits behind the end: it looks at the flag
        after that, and cuts them off as well.
        """
        end = self._final.file_length
        try:
            os.fsync(self._descriptor)
            os.ftruncate(self._descriptor, end)
            self._write_at(0, memoryview(self._final.encode()))
            os.fsync(self._descriptor)
            if os.fstat(self._descriptor).st_size > end:
                os.ftruncate(self._descriptor, end)
        except OSError as error:
            raise from_os_error(error, "write", self.path) from error

    def _open(self) -> None:
        if not self._opened():
            self._create()
            if not self._opened():
                gone = FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
                raise from_os_error(gone, "write", self.path)

    def _opened(self) -> bool:
        """Open the file, if it is there."""
        try:
            self._descriptor = os.open(self.path, os.O_RDWR | _BINARY)
        except FileNotFoundError:
            return False
        except IsADirectoryError as error:
            raise DestinationExists(
                f"{self.path!r} is a folder", hint="name a file in it"
            ) from error
        except OSError as error:
            raise from_os_error(error, "write", self.path) from error
        return True

    def _create(self) -> None:
        """Make an empty partial file; whoever else does so meanwhile makes the same."""
        try:
            with publish(self.path) as output:
                output.write(self._manifest)
                output.extend(self._no_bits, self._header.file_length)
        except DestinationExists:
            pass

    @property
    def _end(self) -> int:
        """Length with the bitmap."""
        return self._header.file_length + self._header.bitmap_length

    @property
    def _no_bits(self) -> bytes:
        """The bitmap of a file that holds nothing: written, so that a full disk has room for it."""
        return bytes(self._header.bitmap_length)

    def _adopt(self) -> bool:
        """See what is at the place, make a partial file of what is cut off; True if it is whole."""
        size = os.fstat(self._descriptor).st_size
        final = self._final
        found = self._read(0, min(size, final.manifest_length))
        partial = self._recognised(found)
        if not partial and size > self._end:
            raise self._taken("a file with something else behind its end")
        if not partial and size > final.file_length:
            # Someone was ended between two steps of `finish`.
            os.ftruncate(self._descriptor, final.file_length)
            size = final.file_length
        if found[HEADER_BYTES:] != self._manifest[HEADER_BYTES:]:
            self._write_at(HEADER_BYTES, memoryview(self._manifest)[HEADER_BYTES:])
        if not partial and size == final.file_length:
            return True
        # In this order: a partial file may lack bits, a whole one may not have them.
        self._write_at(0, memoryview(self._header.encode()))
        if size < self._end:
            self._write_at(self._header.file_length, memoryview(self._no_bits))
        return False

    def _recognised(self, found: bytes) -> bool:
        """Return whether the file is partial, if it is of this artifact at all."""
        head = found[:HEADER_BYTES]
        if head and head == self._final.encode()[: len(head)]:
            return False
        if head == self._header.encode():
            return True
        if head[: len(MAGIC)] != MAGIC:
            raise self._taken("not a p2u file")
        try:
            other = Header.parse(head)
        except P2UError as error:
            raise self._taken(f"a p2u file with a damaged header: {error.message}") from error
        if other.content_root == self._final.content_root:
            raise self._taken("the same content, stored in another way")
        raise self._taken(f"another artifact, blake3:{other.content_root.hex()}")

    def _taken(self, what: str) -> DestinationExists:
        return DestinationExists(
            f"{self.path!r} is {what}", hint="choose another name, or move it out of the way"
        )

    def _stored_bits(self) -> bytes:
        length = self._header.bitmap_length
        bits = self._read(self._header.file_length, length)
        return bits + bytes(length - len(bits))

    def _sync_now_and_then(self) -> None:
        late = time.monotonic() - self._synced_at > _UNSYNCED_SECONDS
        if not late and self._unsynced < _UNSYNCED_BYTES:
            return
        # Others go on writing meanwhile; one who comes to the same conclusion does not wait.
        if self._syncing.acquire(blocking=False):
            try:
                self._sync()
            finally:
                self._syncing.release()

    def _sync(self) -> None:
        with self._change:
            if self._descriptor < 0:
                return
            pending, self._pending = self._pending, []
            self._unsynced = 0
            self._synced_at = time.monotonic()
            self._writing += 1
        try:
            getattr(os, "fdatasync", os.fsync)(self._descriptor)
            self._set_bits(pending)
        except OSError as error:
            raise from_os_error(error, "write", self.path) from error
        finally:
            with self._change:
                self._writing -= 1
                self._change.notify_all()

    def _set_bits(self, entries: list[int]) -> None:
        """Set bits, and keep those of other processes; a lost one costs a look at its chunk."""
        if self.whole or not entries or self._finished():
            return
        touched = sorted({entry >> 3 for entry in entries})
        for entry in entries:
            self._bits[entry >> 3] |= 1 << (entry & 7)
        start, stop = touched[0], touched[-1] + 1
        at = self._header.file_length + start
        there = self._read(at, stop - start)
        for place, byte in enumerate(there, start):
            self._bits[place] |= byte
        self._write_at(at, memoryview(self._bits)[start:stop])
        if self._finished():
            os.ftruncate(self._descriptor, self._header.file_length)

    def _finished(self) -> bool:
        """Return whether another process has completed the file."""
        return self._read(0, HEADER_BYTES) == self._final.encode()

    def _read(self, offset: int, length: int) -> bytes:
        data = bytearray()
        try:
            while len(data) < length:
                part = self._pread(length - len(data), offset + len(data))
                if not part:
                    break
                data += part
        except OSError as error:
            raise from_os_error(error, "read", self.path) from error
        return bytes(data)

    def _pread(self, length: int, offset: int) -> bytes:
        if hasattr(os, "pread"):
            return os.pread(self._descriptor, min(length, 1 << 30), offset)
        with self._change:
            os.lseek(self._descriptor, offset, os.SEEK_SET)
            return os.read(self._descriptor, length)

    def _write_at(self, offset: int, data: memoryview) -> None:
        try:
            while data:
                count = self._pwrite(data, offset)
                offset, data = offset + count, data[count:]
        except OSError as error:
            raise from_os_error(error, "write", self.path) from error

    def _pwrite(self, data: memoryview, offset: int) -> int:
        if hasattr(os, "pwrite"):
            return os.pwrite(self._descriptor, data, offset)
        with self._change:
            os.lseek(self._descriptor, offset, os.SEEK_SET)
            return os.write(self._descriptor, data)
