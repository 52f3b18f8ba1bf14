"""Repair: what is damaged is taken from a sound copy, and nothing else is moved."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from typing import Final

from p2uformat.artifact.contents import Contents, Path, placed
from p2uformat.artifact.damage import chunk_damage
from p2uformat.artifact.open import Parents, candidates
from p2uformat.artifact.types import Progress
from p2uformat.container import BadChunk, Container, StoredChunk, check_chunks, stored_chunks
from p2uformat.container.header import HEADER_BYTES, Header
from p2uformat.download.seeds import Seeds
from p2uformat.errors import CorruptData, InvalidArgument, P2UError, from_os_error
from p2uformat.files import FileReader, path_text
from p2uformat.repository.types import RepairResult
from p2uformat.transport import Address, Policy, StorageOptions

__all__ = ["repair_file"]

_FLAGS: Final = os.O_RDWR | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)


def repair_file(
    path: str | os.PathLike[str],
    good: Parents,
    *,
    threads: int,
    options: StorageOptions | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> RepairResult:
    """Make a file sound again at its place; parameters are those of `repair`.

    Only damaged pieces are written. What a crash leaves half-written was damaged before.
    """
    file = path_text(path)
    with ExitStack() as stack:
        known, reason = _manifest(file)
        sound = [
            stack.enter_context(_opened(place, known, options)) for place in _places(good, options)
        ]
        same = next((one for one in sound if _same(one, file, known)), None)
        moved = 0
        if not known:
            if same is None:
                raise InvalidArgument(
                    f"{file!r} cannot be read ({reason}), and none of the others is the same file",
                    hint="give --from a file with the same encoding root",
                )
            moved = _restore_manifest(file, same)
        contents = stack.enter_context(Contents.open(file))
        job = _Repair(file, contents, same, progress)
        bad = job.find(threads)
        with Seeds(sound, ()) as seeds:
            left = job.mend(bad, seeds)
        return RepairResult(
            address=file,
            checked_chunks=job.chunks,
            checked_bytes=job.bytes,
            damaged=len(bad) + (moved > 0),
            repaired=len(bad) - len(left) + (moved > 0),
            moved=job.moved + moved,
            left=tuple(damage for chunk in left for damage in chunk_damage(contents, chunk)),
        )


def _places(good: Parents, options: StorageOptions | None) -> list[Path | Contents]:
    found = candidates(good, options)
    if not found:
        raise InvalidArgument("repair needs a sound copy to take from")
    return found


def _manifest(file: str) -> tuple[bytes, str]:
    """Return the manifest of a file if it is sound, else what is wrong with it."""
    try:
        with Container.open(file) as container:
            for page in container.pages:
                for damage in page.damage:
                    return b"", damage.message
            if container.table_faults:
                return b"", "its location table is damaged"
            return container.file.read(0, container.header.manifest_length), ""
    except CorruptData as error:
        return b"", error.message


def _opened(place: Path | Contents, known: bytes, options: StorageOptions | None) -> Contents:
    """Open a sound copy; of a remote one that is the same file the manifest is not read again."""
    if isinstance(place, Contents):
        return place
    found = placed(place, options)
    if not isinstance(found, Address):
        return Contents.open(found)
    from p2uformat.transport.remote import RemoteReader  # noqa: PLC0415 - has an event loop

    reader = RemoteReader(found, Policy(), known)
    try:
        return Contents.of(Container(reader))
    except BaseException:
        reader.close()
        raise


def _same(good: Contents, file: str, known: bytes) -> bool:
    """Return whether an artifact is stored as the file is, or was before it was damaged."""
    header = good.container.header
    if known:
        return Header.parse(known[:HEADER_BYTES]).encoding_root == header.encoding_root
    with FileReader(file) as reader:
        # Of a damaged header the length of the file is left, and what lies behind it is checked.
        with suppress(P2UError):
            return Header.parse(reader.read(0, HEADER_BYTES)).encoding_root == header.encoding_root
        return reader.size <= header.file_length


def _restore_manifest(file: str, good: Contents) -> int:
    """Write the manifest anew, and return its length."""
    header = good.container.header
    manifest = good.container.file.read(0, header.manifest_length)
    _write(file, [(0, memoryview(manifest))])
    return header.manifest_length


class _Repair:
    """One run over the chunks of a file."""

    def __init__(
        self,
        file: str,
        contents: Contents,
        same: Contents | None,
        progress: Callable[[Progress], None] | None,
    ) -> None:
        self.chunks = 0
        self.bytes = 0
        self.moved = 0
        self._file = file
        self._contents = contents
        self._same = same
        self._progress = progress

    def find(self, threads: int) -> list[BadChunk]:
        """Return the chunks that are damaged; of a partial file those that it says it holds."""
        container = self._contents.container
        last = self._contents.reader.exact
        chunks = [chunk for chunk in stored_chunks(container, last) if self._is_here(chunk)]
        total = sum(chunk.length for chunk in chunks)
        self.chunks = len(chunks)
        found: list[BadChunk] = []
        for count, bad in check_chunks(container.file, chunks, threads):
            found.extend(bad)
            self.bytes += count
            if self._progress is not None:
                self._progress(Progress("verify", self.bytes, total))
        return found

    def _is_here(self, chunk: StoredChunk) -> bool:
        container = self._contents.container
        return container.presence is None or container.held(*chunk.uses[0])

    def mend(self, bad: Sequence[BadChunk], seeds: Seeds) -> list[BadChunk]:
        """Write what is sound elsewhere; return what is not."""
        pieces = dict(self._sound(bad, seeds))
        _write(self._file, [(at, memoryview(data)) for at, data in pieces.items()])
        self.moved = sum(map(len, pieces.values()))
        return [chunk for chunk in bad if chunk.chunk.offset not in pieces]

    def _sound(
        self, bad: Sequence[BadChunk], seeds: Seeds
    ) -> Iterator[tuple[int, bytes | memoryview]]:
        for one in bad:
            data = self._taken(one.chunk, seeds)
            if data is not None:
                yield one.chunk.offset, data

    def _taken(self, chunk: StoredChunk, seeds: Seeds) -> bytes | memoryview | None:
        if self._same is not None:
            with suppress(P2UError):
                return self._same.container.chunk(*chunk.uses[0])
        if seeds.has(chunk):
            return seeds.copy(chunk)
        return seeds.rebuild(self._contents, chunk)


def _write(file: str, pieces: Sequence[tuple[int, memoryview]]) -> None:
    """Write pieces to their places in a file, and see that they last."""
    if not pieces:
        return
    try:
        with open(os.open(file, _FLAGS), "r+b", buffering=0) as target:  # noqa: PTH123
            for offset, data in pieces:
                target.seek(offset)
                while data:
                    data = data[target.write(data) or 0 :]
            os.fsync(target.fileno())
    except OSError as error:
        raise from_os_error(error, "write", file) from error
