"""From an artifact back to a safetensors file, at any tier."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

import numpy as np
from numpy.typing import NDArray

from p2uformat.artifact.catalog import StoredTensor, parent_required
from p2uformat.artifact.complete import is_complete
from p2uformat.artifact.contents import Contents
from p2uformat.artifact.formats import converted, float_format
from p2uformat.artifact.open import Parents, candidates
from p2uformat.artifact.source import SourceFile, blob, matching_tensor, source_files
from p2uformat.artifact.types import Progress, UnpackResult
from p2uformat.container import Output, publish
from p2uformat.digest import Hasher
from p2uformat.errors import (
    DigestMismatch,
    TensorNotFound,
)
from p2uformat.floats import FloatFormat
from p2uformat.ingest import HeadTensor, build_head
from p2uformat.parallel import ordered_map, worker_count

__all__ = ["unpack"]

Callback = Callable[[Progress], None]
Buffer = bytes | memoryview


@dataclass(frozen=True, slots=True)
class _Job:
    """One block to decode."""

    stored: StoredTensor
    block: int
    target: FloatFormat | None


def unpack(
    source: str | os.PathLike[str] | bytes,
    destination: str | os.PathLike[str],
    *,
    tier: str | None = None,
    tensors: str | Sequence[str] | None = None,
    dtype: str | None = None,
    parents: Parents = (),
    overwrite: bool = False,
    threads: int | None = None,
    progress: Callback | None = None,
) -> UnpackResult:
    """Write a safetensors file from a ``.p2u`` file.

    The whole at the exact tier is the source file, bit for bit, and compared with its digest
    before it gets its name. Anything else is a new safetensors file, with the same names, order
    and metadata.

    Parameters
    ----------
    source : str, os.PathLike or bytes
        The ``.p2u`` file, or its bytes.
    destination : str or os.PathLike
        The file to write.
    tier : str, optional
        ``exact`` by default.
    tensors : str or sequence of str, optional
        Patterns as in a shell, case kept: only tensors that match one. All by default.
    dtype : str, optional
        Float dtype to round float tensors to. The source's by default.
    parents : path, Artifact, or sequence of them
        Where to find the artifact that this one needs, as in `open`.
    overwrite : bool
        Whether to replace a file of this name.
    threads : int, optional
        How many threads to decode on; the processor's by default, at most 8.
    progress : callable, optional
        Called now and then.

    Returns
    -------
    UnpackResult
        What was written.

    Raises
    ------
    Incomplete
        If the file ends before what was asked for.
    ParentMismatch, ParentRequired
        If it is stored as differences and the artifact that it needs is not among the parents.
    TensorNotFound, TierNotFound
        If a pattern matches nothing, or there is no such tier.
    CorruptData
        If something that is needed is damaged. Nothing is written then.
    DestinationExists, NotFound, StoreUnavailable
        If the destination cannot be written.
    """
    workers = worker_count(threads)
    target = None if dtype is None else float_format(dtype)
    patterns = _patterns(tensors)
    with Contents.open(source, candidates(parents)) as contents:
        if contents.orphaned:
            raise parent_required(contents.container)
        exact = contents.reader.exact
        number = exact if tier is None else contents.tier_number(tier)
        files = source_files(contents.reader, contents.catalog, number)
        whole = patterns is None and target is None and number == exact and len(files) == 1
        pool = _Pool(contents, number, workers, progress)
        with publish(destination, overwrite=overwrite) as output:
            if whole:
                return _rebuild(pool, files[0], output)
            return _convert(pool, files, output, patterns, target)


def _patterns(tensors: str | Sequence[str] | None) -> tuple[str, ...] | None:
    if tensors is None:
        return None
    return (tensors,) if isinstance(tensors, str) else tuple(tensors)


@dataclass(frozen=True, slots=True)
class _Pool:
    """Decodes blocks on several threads, in order."""

    contents: Contents
    tier: int
    threads: int
    progress: Callback | None
    # Memory that was written out and can be decoded into again: fresh pages are dear.
    spare: deque[NDArray[np.uint8]] = field(default_factory=deque)

    def decode(self, job: _Job) -> NDArray[np.uint8]:
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

    def write(
        self, output: Output, head: Iterable[Buffer], jobs: Iterable[_Job], total: int
    ) -> bytes:
        """Write a head and then blocks, and return the digest of it all."""
        hasher = Hasher()

        def append(data: Buffer) -> None:
            hasher.update(data)
            output.write(data)
            if self.progress is not None:
                self.progress(Progress("unpack", output.written, total))

        for piece in head:
            append(piece)
        for values in ordered_map(self.decode, jobs, self.threads):
            append(values.data)
            self._release(values)
        return hasher.digest()

    def need(self, tensors: Iterable[StoredTensor]) -> None:
        """Find out before any work whether all is here."""
        if self.contents.tiers[self.tier] in self.contents.complete:
            return
        for stored in tensors:
            if not is_complete(self.contents.reader, stored, self.tier):
                raise self.contents.incomplete(f"tensor {stored.name!r}", self.tier)


def _rebuild(pool: _Pool, file: SourceFile, output: Output) -> UnpackResult:
    """Write the source file."""
    contents, record = pool.contents, file.stored.record
    rows = file.head.tensors if file.head is not None else ()
    tensors = [matching_tensor(contents.catalog, row) for row in rows]
    pool.need(tensors)
    jobs = (_Job(stored, block, None) for stored in tensors for block in range(stored.blocks))
    got = pool.write(output, blob(contents.reader, file.stored), jobs, record.size)
    if got != record.digest:
        raise DigestMismatch(
            f"file {record.path!r}: expected digest {record.digest.hex()}, got {got.hex()}",
            artifact=contents.path,
            region="file",
            expected=record.digest.hex(),
            got=got.hex(),
        )
    name = output.destination
    return UnpackResult(name, output.written, contents.tiers[-1], len(tensors), identical=True)


def _convert(
    pool: _Pool,
    files: Sequence[SourceFile],
    output: Output,
    patterns: tuple[str, ...] | None,
    target: FloatFormat | None,
) -> UnpackResult:
    """Write a new safetensors file."""
    contents = pool.contents
    heads = [file.head for file in files if file.head is not None]
    order = [row.name for head in heads for row in head.tensors] or list(contents.catalog.tensors)
    names = [name for head in heads for name in head.names] or order
    here = {name: contents.catalog.tensor(name).record.layer_tier(0) for name in order}
    chosen = _choose([name for name in names if here[name] <= pool.tier], patterns)
    tensors = [contents.catalog.tensor(name) for name in order if name in chosen]
    pool.need(tensors)
    rows = [_row(stored, converted(stored, target)) for stored in tensors]
    metadata = heads[0].metadata if heads else {}
    head = build_head(rows, [name for name in names if name in chosen], metadata)
    jobs = (
        _Job(stored, block, converted(stored, target))
        for stored in tensors
        for block in range(stored.blocks)
    )
    pool.write(output, [head], jobs, len(head) + sum(row.nbytes for row in rows))
    tier = contents.tiers[pool.tier]
    return UnpackResult(output.destination, output.written, tier, len(rows), identical=False)


def _choose(names: Sequence[str], patterns: tuple[str, ...] | None) -> frozenset[str]:
    if patterns is None:
        return frozenset(names)
    chosen: set[str] = set()
    for pattern in patterns:
        found = [name for name in names if fnmatchcase(name, pattern)]
        if not found:
            raise TensorNotFound(
                f"no tensor matches {pattern!r}", hint="a pattern is as in a shell: *, ?, [abc]"
            )
        chosen.update(found)
    return frozenset(chosen)


def _row(stored: StoredTensor, target: FloatFormat | None) -> HeadTensor:
    cut, record = stored.geometry, stored.record
    size = cut.element_size if target is None else target.itemsize
    dtype = record.dtype if target is None else target.name
    return HeadTensor(record.name, dtype, record.shape, 0, cut.elements * size)
