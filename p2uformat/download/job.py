"""One run of a fetch: look at what is here, take what is near, ask for the rest."""

from __future__ import annotations

import time
from bisect import bisect_right
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Final

from p2uformat.artifact.complete import complete_tiers
from p2uformat.artifact.contents import Contents
from p2uformat.artifact.damage import chunk_damage
from p2uformat.artifact.types import Progress
from p2uformat.container import BadChunk, Container, PartialFile, StoredChunk, check_chunks
from p2uformat.digest import digest, to_text
from p2uformat.download.plan import Plan, gaps, length, make_plan, piece, spans_of
from p2uformat.download.seeds import Seeds
from p2uformat.download.types import FetchPlan, FetchProgress, FetchResult
from p2uformat.errors import (
    DestinationExists,
    DigestMismatch,
    Incomplete,
    InvalidArgument,
    NotFound,
    RangesIgnored,
)
from p2uformat.files import FileReader, path_text
from p2uformat.parallel import for_each
from p2uformat.reading import Piece, Reader
from p2uformat.stored.address import StoreAddress
from p2uformat.transport import Address, Policy
from p2uformat.transport.pieces import SPAN_BYTES, Span
from p2uformat.transport.remote import RemoteReader
from p2uformat.transport.running import run
from p2uformat.transport.transfer import Sink, Transfer, Transferred, Views

__all__ = ["FetchJob"]

Callback = Callable[[Progress], None]

# A server without ranges is read from the start on if that is not much more than what is wanted.
_STREAM_FACTOR: Final = 4
_STREAM_BYTES: Final = 1 << 26


@dataclass(slots=True)
class _Counts:
    """Bytes of chunks by where they came from, so far."""

    total: int = 0
    present: int = 0
    reused: int = 0
    rebuilt: int = 0
    copied: int = 0  # from the source, without a transfer of their own

    @property
    def verified(self) -> int:
        return self.present + self.reused + self.rebuilt + self.copied


class FetchJob:
    """One run of a fetch.

    Parameters
    ----------
    contents : Contents
        The source, open.
    tier : int
        Number of the highest tier that is wanted.
    wanted : sequence of StoredChunk
        The chunks that are wanted, in file order.
    destination : str or os.PathLike
        The file.
    policy : Policy
        Of the transfer.
    threads : int
        For checking and rebuilding.
    progress : callable, optional
        Called now and then, on the calling thread or, for what is reused, on others.

    Raises
    ------
    InvalidArgument
        If the destination is not a path.
    """

    def __init__(
        self,
        contents: Contents,
        tier: int,
        wanted: Sequence[StoredChunk],
        destination: str,
        policy: Policy,
        threads: int,
        progress: Callback | None,
    ) -> None:
        self._contents = contents
        self._container = contents.container
        self._tier = contents.tiers[tier]
        self._destination = _local(destination)
        self._policy = policy
        self._threads = threads
        self._progress = progress
        self._counts = _Counts()
        self._state = Transferred()
        self._most_done = 0
        self._began = time.monotonic()
        self._empty = [chunk for chunk in wanted if not chunk.length]
        self._wanted = [chunk for chunk in wanted if chunk.length]

    @property
    def _remote(self) -> RemoteReader | None:
        file = self._container.file
        return file if isinstance(file, RemoteReader) else None

    def run(self, seeds: Seeds, *, authenticated: bool) -> FetchResult:
        """Fetch, and say what was done."""
        header = self._container.header
        manifest = self._container.file.read(0, header.manifest_length)
        with PartialFile(self._destination, header, manifest) as target:
            try:
                self._fill(target, seeds)
            finally:
                target.sync()
            whole = all(map(target.holds, range(header.entries)))
            if whole and not target.whole:
                target.finish()
        return self._result(whole=whole, authenticated=authenticated)

    def plan_only(self, seeds: Seeds) -> FetchPlan:
        """Look at what is here, and return what there would be to do."""
        plan = self._plan(self._held_by_file(), seeds)
        remote = self._remote
        spans = self._spans(plan.fetched, 0 if remote is None else len(remote.first))
        parent = self._container.encoding.parent
        return FetchPlan(
            source=self._container.file.path,
            destination=self._destination,
            root=to_text(self._container.header.content_root),
            tier=self._tier,
            total=plan.total,
            present=length(plan.present),
            reused=length(plan.reused),
            rebuilt=length(plan.rebuilt),
            fetched=length(plan.fetched),
            requests=len(spans),
            gaps=gaps(spans),
            parent=None if parent is None else to_text(parent.root),
        )

    def _plan(self, held: set[int], seeds: Seeds) -> Plan:
        return make_plan(
            self._wanted,
            lambda chunk: chunk.offset in held,
            seeds.has,
            lambda chunk: seeds.can_rebuild(self._contents, chunk),
        )

    def _spans(self, chunks: Sequence[StoredChunk], near: int = 0) -> list[Span]:
        remote = self._remote
        if remote is None:
            return []
        return spans_of(chunks, near, min(remote.source.span_bytes, SPAN_BYTES))

    # What is here.

    def _held_by(self, target: PartialFile) -> set[int]:
        """Return the offsets of the wanted chunks that are in the file, checked."""
        written = list(target.extents())
        starts = [start for start, _ in written]

        def is_there(chunk: StoredChunk) -> bool:
            # Bits are a hint: what a process wrote before it could note that counts as well.
            number = bisect_right(starts, chunk.offset) - 1
            return number >= 0 and chunk.offset + chunk.length <= written[number][1]

        reader = FileReader(self._destination, target.descriptor)
        return self._checked(reader, [chunk for chunk in self._wanted if is_there(chunk)])

    def _held_by_file(self) -> set[int]:
        """Return the same of a file that is not to be touched."""
        try:
            other = Container.open(self._destination)
        except (NotFound, Incomplete):
            return set()
        with other:
            if other.header.encoding_root != self._container.header.encoding_root:
                raise DestinationExists(
                    f"{self._destination!r} is another artifact,"
                    f" {to_text(other.header.content_root)}",
                    hint="choose another name, or move it out of the way",
                )
            return self._checked(other.file, [c for c in self._wanted if other.held(*c.uses[0])])

    def _checked(self, reader: Reader, chunks: Sequence[StoredChunk]) -> set[int]:
        """Return the offsets of the chunks whose bytes are right."""
        held = {chunk.offset for chunk in chunks}
        total, done = length(chunks), 0
        for count, bad in check_chunks(reader, chunks, self._threads):
            held.difference_update(found.chunk.offset for found in bad)
            done += count
            if self._progress is not None:
                self._progress(Progress("verify", done, total))
        return held

    def _entries(self, chunk: StoredChunk) -> list[int]:
        return [self._container.entry_number(page, index) for page, index in chunk.uses]

    # Filling the file.

    def _fill(self, target: PartialFile, seeds: Seeds) -> None:
        held = self._held_by(target)
        for chunk in [*self._empty, *(c for c in self._wanted if c.offset in held)]:
            target.note(self._entries(chunk))
        plan = self._plan(held, seeds)
        self._began = time.monotonic()
        self._counts.total = plan.total
        self._counts.present = length(plan.present)
        failed = self._reuse(target, plan, seeds)
        missing = sorted([*plan.fetched, *failed], key=lambda chunk: chunk.offset)
        there = [chunk for chunk in missing if self._container.held(*chunk.uses[0])]
        if self._remote is None:
            self._copy(target, there)
        else:
            self._transfer(target, self._remote, there)
        self._report()
        self._raise_damaged(there)
        if len(there) < len(missing):
            raise self._lacking(missing, there)

    def _reuse(self, target: PartialFile, plan: Plan, seeds: Seeds) -> list[StoredChunk]:
        """Take chunks from seeds; return those that have to be fetched after all."""
        failed: list[StoredChunk] = []

        def take(job: tuple[StoredChunk, bool]) -> None:
            chunk, as_it_is = job
            data = seeds.copy(chunk) if as_it_is else seeds.rebuild(self._contents, chunk)
            if data is None:
                failed.append(chunk)
                return
            target.write(chunk.offset, memoryview(data), self._entries(chunk))
            # Threads add one after the other to what only grows; a figure for people may lag.
            if as_it_is:
                self._counts.reused += chunk.length
            else:
                self._counts.rebuilt += chunk.length
            self._report()

        jobs = [(chunk, True) for chunk in plan.reused]
        for_each(take, [*jobs, *((chunk, False) for chunk in plan.rebuilt)], 1)
        return failed

    def _copy(self, target: PartialFile, chunks: Sequence[StoredChunk]) -> None:
        """Copy chunks from a source on this machine."""
        for chunk in chunks:
            try:
                data = self._container.chunk(*chunk.uses[0])
            except DigestMismatch as error:
                got = bytes.fromhex(error.got or "")
                self._state.damaged.append((piece(chunk), got))
                continue
            target.write(chunk.offset, memoryview(data), self._entries(chunk))
            self._counts.copied += chunk.length
            self._report()

    def _transfer(
        self, target: PartialFile, remote: RemoteReader, chunks: Sequence[StoredChunk]
    ) -> None:
        entries = {chunk.offset: self._entries(chunk) for chunk in chunks}

        def sink(part: Piece, views: Views) -> None:
            at = part.offset
            for view in views[:-1]:
                target.write(at, view, ())
                at += len(view)
            target.write(at, views[-1], entries[part.offset])

        left = self._take_near(remote, chunks, sink)
        spans = self._spans(left)  # what came near but damaged is asked for again
        if not spans:
            return
        near = remote.first if remote.ranges else memoryview(b"")
        transfer = Transfer(remote.source, spans, sink, self._policy, near=near)
        transfer.state.damaged = self._state.damaged
        self._state = transfer.state
        run(self._work(transfer, remote, left), self._report)

    def _take_near(
        self,
        remote: RemoteReader,
        chunks: Sequence[StoredChunk],
        sink: Sink,
    ) -> list[StoredChunk]:
        """Use what came with the manifest; return the others."""
        left = []
        for chunk in chunks:
            data = remote.first[chunk.offset : chunk.offset + chunk.length]
            if len(data) == chunk.length and digest(data) == chunk.id:
                sink(piece(chunk), [data])
                self._counts.copied += chunk.length
            else:
                left.append(chunk)
        return left

    def _work(
        self, transfer: Transfer, remote: RemoteReader, chunks: Sequence[StoredChunk]
    ) -> Coroutine[Any, Any, Transferred]:
        if remote.ranges:
            return transfer.run()
        end = chunks[-1].offset + chunks[-1].length
        if end > max(_STREAM_FACTOR * length(chunks), _STREAM_BYTES):
            raise RangesIgnored(
                f"the server of {remote.path!r} ignores ranges: {end} bytes would have to be read"
                f" for {length(chunks)}",
                hint="fetch the whole file, or serve it in another way",
                path=remote.path,
            )
        return transfer.stream()

    # What comes of it.

    def _report(self) -> None:
        if self._progress is None:
            return
        counts, state = self._counts, self._state
        verified = counts.verified + state.verified
        # What broke off is asked for again; a bar that goes back would help nobody.
        self._most_done = max(self._most_done, min(verified + state.underway, counts.total))
        remote = self._remote
        self._progress(
            FetchProgress(
                "fetch",
                self._most_done,
                counts.total,
                present=counts.present,
                reused=counts.reused,
                rebuilt=counts.rebuilt,
                fetched=counts.copied + state.verified,
                verified=verified,
                received=0 if remote is None else remote.source.received,
                requests=0 if remote is None else remote.source.requests,
                seconds=time.monotonic() - self._began,
            )
        )

    def _raise_damaged(self, chunks: Sequence[StoredChunk]) -> None:
        if not self._state.damaged:
            return
        by_offset = {chunk.offset: chunk for chunk in chunks}
        bad, got = self._state.damaged[0]
        first = chunk_damage(self._contents, BadChunk(by_offset[bad.offset], got))[0]
        count = len(self._state.damaged)
        raise DigestMismatch(
            f"expected digest {first.expected}, got {first.got}",
            hint=f"{count} of {len(chunks)} chunks are damaged at the source; the others are here",
            artifact=self._container.file.path,
            tensor=first.tensor,
            tier=first.tier,
            elements=first.elements,
            region="chunk",
            offset=bad.offset,
            expected=first.expected,
            got=first.got,
            file=first.file,
        )

    def _lacking(self, missing: Sequence[StoredChunk], there: Sequence[StoredChunk]) -> Incomplete:
        lacking = length(missing) - length(there)
        whole = ", ".join(self._contents.complete) or "no tier"
        return Incomplete(
            f"{self._container.file.path!r} lacks {lacking} bytes of what is wanted",
            hint=f"complete there: {whole}; what it holds was fetched",
            complete=self._contents.complete,
            tier=self._tier,
        )

    def _result(self, *, whole: bool, authenticated: bool) -> FetchResult:
        counts, state, remote = self._counts, self._state, self._remote
        header, parent = self._container.header, self._container.encoding.parent
        return FetchResult(
            source=self._container.file.path,
            path=self._destination,
            root=to_text(header.content_root),
            encoding_root=to_text(header.encoding_root),
            authenticated=authenticated,
            tier=self._tier,
            complete=self._complete(whole=whole),
            whole=whole,
            parent=None if parent is None else to_text(parent.root),
            total=counts.total,
            present=counts.present,
            reused=counts.reused,
            rebuilt=counts.rebuilt,
            fetched=counts.copied + state.verified,
            verified=counts.verified + state.verified,
            received=0 if remote is None else remote.source.received,
            requests=0 if remote is None else remote.source.requests,
            retries=state.retries,
            streamed=remote is not None and not remote.ranges,
            seconds=time.monotonic() - self._began,
        )

    def _complete(self, *, whole: bool) -> tuple[str, ...]:
        if whole:
            return self._contents.tiers  # without a look at what was just written
        with Container.open(self._destination) as container:
            if container.encoding.parent is None:
                return complete_tiers(container, None)
            # Apart from what its parent has to hold as well.
            return complete_tiers(container, container.tiers)


def _local(destination: str) -> str:
    place = Address.of(destination)
    if isinstance(place, Address) or StoreAddress.of(destination) is not None:
        raise InvalidArgument(
            f"cannot fetch to {destination!r}: not a path of this machine",
            hint="name a file; p2u copy and p2u push write to stores",
        )
    return path_text(place)
