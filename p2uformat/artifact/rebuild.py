"""Source files out of an artifact: what each consists of, and writing it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from p2uformat.artifact.ahead import expecting
from p2uformat.artifact.catalog import StoredTensor
from p2uformat.artifact.complete import is_complete
from p2uformat.artifact.contents import Contents
from p2uformat.artifact.formats import converted
from p2uformat.artifact.source import SourceFile, blob, matching_tensor
from p2uformat.artifact.types import Progress
from p2uformat.container import Output
from p2uformat.digest import Hasher
from p2uformat.errors import DigestMismatch
from p2uformat.floats import FloatFormat
from p2uformat.ingest import HeadTensor, build_head
from p2uformat.parallel import ordered_map

__all__ = ["Part", "Pool", "Row", "as_it_was", "at_tier", "rows_of"]

Callback = Callable[[Progress], None]
Buffer = bytes | memoryview


@dataclass(frozen=True, slots=True)
class Row:
    """A tensor of a file.

    Parameters
    ----------
    name : str
        What the file calls it.
    stored : StoredTensor
        The tensor.
    """

    name: str
    stored: StoredTensor


@dataclass(frozen=True, slots=True)
class Part:
    """A file to write.

    Parameters
    ----------
    path : str
        Its path.
    source : SourceFile or None
        What it is to be bit for bit; None for one that is made anew.
    head : bytes or None
        What it starts with; None for the blob of `source`.
    tensors : sequence of StoredTensor
        What follows, in order.
    target : FloatFormat or None
        Format to round float tensors to.
    size : int
        Its bytes.
    """

    path: str
    source: SourceFile | None
    head: bytes | None
    tensors: Sequence[StoredTensor]
    target: FloatFormat | None
    size: int


def rows_of(contents: Contents, file: SourceFile) -> list[Row]:
    """Return the tensors of a file, in the order of their bytes; none for a plain one.

    Raises
    ------
    CorruptData
        If a record is not what the head says, or a page is damaged.
    """
    path = file.stored.record.path
    tensors = file.head.tensors if file.head is not None else ()
    return [Row(row.name, matching_tensor(contents.catalog, path, row)) for row in tensors]


def as_it_was(file: SourceFile, rows: Sequence[Row]) -> Part:
    """Return a source file as something to write."""
    record = file.stored.record
    tensors = [row.stored for row in rows]
    return Part(record.path, file, None, tensors, None, record.size)


def at_tier(
    path: str,
    rows: Sequence[Row],
    names: Sequence[str],
    metadata: Mapping[str, str],
    target: FloatFormat | None,
) -> Part:
    """Return a new safetensors file as something to write.

    Parameters
    ----------
    path : str
        Its path.
    rows : sequence of Row
        Its tensors, in the order of their bytes.
    names : sequence of str
        Their names, in the order of the head.
    metadata : mapping of str
        Its free texts.
    target : FloatFormat or None
        Format to round float tensors to.
    """
    described = [_described(row, converted(row.stored, target)) for row in rows]
    head = build_head(described, names, metadata)
    size = len(head) + sum(row.nbytes for row in described)
    return Part(path, None, head, [row.stored for row in rows], target, size)


def _described(row: Row, target: FloatFormat | None) -> HeadTensor:
    cut, record = row.stored.geometry, row.stored.record
    size = cut.element_size if target is None else target.itemsize
    dtype = record.dtype if target is None else target.name
    return HeadTensor(row.name, dtype, record.shape, 0, cut.elements * size)


@dataclass(frozen=True, slots=True)
class _Job:
    """One block to decode."""

    stored: StoredTensor
    block: int
    target: FloatFormat | None


@dataclass(frozen=True, slots=True)
class Pool:
    """Decodes blocks on several threads, in order.

    Parameters
    ----------
    contents : Contents
        The open artifact.
    tier : int
        Number of the tier.
    threads : int
        How many threads.
    progress : callable, optional
        Called now and then.
    spare : deque of ndarray
        Memory that was written out and can be decoded into again: fresh pages are dear.
    """

    contents: Contents
    tier: int
    threads: int
    progress: Callback | None
    spare: deque[NDArray[np.uint8]] = field(default_factory=deque)

    def _decode(self, job: _Job) -> NDArray[np.uint8]:
        start, stop = job.stored.geometry.block_range(job.block)
        size = job.stored.geometry.element_size if job.target is None else job.target.itemsize
        out = self._room((stop - start) * size)
        self.contents.reader.fill(job.stored, job.block, self.tier, job.target, out)
        return out

    def _room(self, size: int) -> NDArray[np.uint8]:
        try:
            room = self.spare.popleft()
        except IndexError:
            room = np.empty(0, np.uint8)
        return room[:size] if len(room) >= size else np.empty(size, np.uint8)

    def _release(self, data: NDArray[np.uint8]) -> None:
        self.spare.append(data if data.base is None else data.base)

    def write(self, output: Output, part: Part, before: int, total: int) -> None:
        """Write a file.

        Parameters
        ----------
        output : Output
            Where to.
        part : Part
            The file.
        before, total : int
            Bytes of the files before it, and of all.

        Raises
        ------
        CorruptData
            If something is damaged, or the file is not what it was.
        """
        hasher = Hasher()

        def append(data: Buffer) -> None:
            hasher.update(data)
            output.write(data)
            if self.progress is not None:
                self.progress(Progress("unpack", before + output.written, total))

        for piece in self._start(part):
            append(piece)
        jobs = (
            _Job(stored, block, converted(stored, part.target))
            for stored, block, _ in self._blocks(part)
        )
        with expecting(self.contents.reader, self._blocks(part)):
            for values in ordered_map(self._decode, jobs, self.threads):
                append(values.data)
                self._release(values)
        if part.source is not None:
            self._compare(part.source, hasher.digest())

    def _blocks(self, part: Part) -> Iterator[tuple[StoredTensor, int, int]]:
        for stored in part.tensors:
            yield from ((stored, block, self.tier) for block in range(stored.blocks))

    def _start(self, part: Part) -> Iterable[Buffer]:
        if part.source is not None:
            return blob(self.contents.reader, part.source.stored)
        return [part.head or b""]

    def _compare(self, file: SourceFile, got: bytes) -> None:
        record = file.stored.record
        if got != record.digest:
            raise DigestMismatch(
                f"file {record.path!r}: expected digest {record.digest.hex()}, got {got.hex()}",
                artifact=self.contents.path,
                region="file",
                expected=record.digest.hex(),
                got=got.hex(),
                file=record.path,
            )

    def need(self, parts: Iterable[Part]) -> None:
        """Find out before any work whether all is here."""
        if self.contents.tiers[self.tier] in self.contents.complete:
            return
        reader = self.contents.reader
        for part in parts:
            source = part.source
            if source is not None and not is_complete(reader, source.stored, self.tier):
                raise self.contents.incomplete(f"file {part.path!r}", self.tier)
            for stored in part.tensors:
                if not is_complete(reader, stored, self.tier):
                    raise self.contents.incomplete(f"tensor {stored.name!r}", self.tier)
