"""Checking all chunks of a file against their ids, at the speed of the digest."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from p2uformat.container.reader import Container
from p2uformat.digest import Hasher, digest
from p2uformat.files import FileReader
from p2uformat.parallel import ordered_map
from p2uformat.reading import Piece, Reader

__all__ = ["BadChunk", "StoredChunk", "check_chunks", "stored_chunks"]

# Large enough that calls cost nothing beside the digest, small enough to stay in a core's cache.
_BUFFER_BYTES: Final = 1 << 20
_JOB_BYTES: Final = 1 << 22


@dataclass(frozen=True, slots=True)
class StoredChunk:
    """A chunk where it lies, however many pages list it.

    Parameters
    ----------
    offset, length : int
        Its place.
    id : bytes
        Its digest.
    uses : list of tuple of int
        Page and number in the page, for each listing.
    """

    offset: int
    length: int
    id: bytes
    uses: list[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class BadChunk:
    """A chunk whose bytes differ from its id.

    Parameters
    ----------
    chunk : StoredChunk
        The chunk.
    got : bytes
        The digest of the bytes that are there.
    """

    chunk: StoredChunk
    got: bytes


def stored_chunks(container: Container, last_tier: int) -> list[StoredChunk]:
    """Return the chunks of all tiers up to `last_tier`, in file order, each once."""
    found: dict[tuple[int, int, bytes], StoredChunk] = {}
    for page in container.pages:
        if page.encoding is None:
            continue
        offsets = container.offsets[page.number]
        for index, entry in enumerate(page.encoding.chunks):
            if entry.tier > last_tier:
                break
            # An empty chunk and its neighbour share an offset, and a liar may give both one id.
            key = offsets[index], entry.length, entry.id
            chunk = found.get(key)
            if chunk is None:
                chunk = found[key] = StoredChunk(offsets[index], entry.length, entry.id, [])
            chunk.uses.append((page.number, index))
    return sorted(found.values(), key=lambda chunk: chunk.offset)


def check_chunks(
    file: Reader, chunks: Sequence[StoredChunk], threads: int
) -> Iterator[tuple[int, list[BadChunk]]]:
    """Check chunks, and yield for each piece of work its bytes and its bad chunks."""
    scanner = _Scanner(file)
    with file.expecting(Piece(chunk.offset, chunk.length, chunk.id) for chunk in chunks):
        yield from ordered_map(scanner.check, _jobs(chunks, _JOB_BYTES), threads)


def _jobs(chunks: Sequence[StoredChunk], most: int) -> Iterator[list[StoredChunk]]:
    """Cut neighbours into runs of about `most` bytes."""
    job: list[StoredChunk] = []
    size = 0
    for chunk in chunks:
        if job and size + chunk.length > most:
            yield job
            job, size = [], 0
        job.append(chunk)
        size += chunk.length
    if job:
        yield job


class _Scanner:
    """Looks at mapped windows where that can be done, which spares a copy.

    Elsewhere it reads through one buffer per thread. Either way memory does not grow with the file.
    """

    def __init__(self, file: Reader) -> None:
        self._file = file
        self._local = threading.local()

    def _buffer(self) -> memoryview:
        if not hasattr(self._local, "buffer"):
            self._local.buffer = memoryview(bytearray(_BUFFER_BYTES))
        view: memoryview = self._local.buffer
        return view

    def check(self, job: list[StoredChunk]) -> tuple[int, list[BadChunk]]:
        start = min(chunk.offset for chunk in job)
        end = max(chunk.offset + chunk.length for chunk in job)
        if not isinstance(self._file, FileReader):
            return self._check_view(job)
        window = self._file.window(start, end - start) if end - start <= 2 * _JOB_BYTES else None
        if window is None:
            return self._check_read(job)
        bad = []
        with window:
            for chunk in job:
                at = chunk.offset - start
                with window.data[at : at + chunk.length] as part:
                    got = digest(part)
                if got != chunk.id:
                    bad.append(BadChunk(chunk, got))
        return sum(chunk.length for chunk in job), bad

    def _readinto(self, offset: int, view: memoryview) -> int:
        assert isinstance(self._file, FileReader)
        return self._file.readinto(offset, view)

    def _check_view(self, job: list[StoredChunk]) -> tuple[int, list[BadChunk]]:
        view = self._file.view
        found = [(chunk, digest(view(chunk.offset, chunk.length))) for chunk in job]
        bad = [BadChunk(chunk, got) for chunk, got in found if got != chunk.id]
        return sum(chunk.length for chunk in job), bad

    def _check_read(self, job: list[StoredChunk]) -> tuple[int, list[BadChunk]]:
        bad: list[BadChunk] = []
        group: list[StoredChunk] = []
        for chunk in job:
            if chunk.length > _BUFFER_BYTES:
                bad += self._check_large(chunk)
                continue
            if group and not 0 <= chunk.offset + chunk.length - group[0].offset <= _BUFFER_BYTES:
                bad += self._check_group(group)
                group = []
            group.append(chunk)
        bad += self._check_group(group)
        return sum(chunk.length for chunk in job), bad

    def _check_group(self, group: list[StoredChunk]) -> list[BadChunk]:
        """Check chunks that lie within one buffer's length, with one read."""
        if not group:
            return []
        start = group[0].offset
        end = max(chunk.offset + chunk.length for chunk in group)
        buffer = self._buffer()[: end - start]
        there = buffer[: self._readinto(start, buffer)]
        bad = []
        for chunk in group:
            at = chunk.offset - start
            got = digest(there[at : at + chunk.length])
            if got != chunk.id:
                bad.append(BadChunk(chunk, got))
        return bad

    def _check_large(self, chunk: StoredChunk) -> list[BadChunk]:
        hasher = Hasher()
        buffer = self._buffer()
        for at in range(0, chunk.length, _BUFFER_BYTES):
            part = buffer[: min(_BUFFER_BYTES, chunk.length - at)]
            hasher.update(part[: self._readinto(chunk.offset + at, part)])
        got = hasher.digest()
        return [] if got == chunk.id else [BadChunk(chunk, got)]
