"""Many ranges of one object at once: asked for, checked, handed on, asked for again."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Final

from p2uformat.digest import digest_of
from p2uformat.reading import Piece
from p2uformat.transport.attempts import Attempts
from p2uformat.transport.fault import Fault, changed
from p2uformat.transport.pieces import Span
from p2uformat.transport.policy import Policy
from p2uformat.transport.source import Source

__all__ = ["Sink", "Transfer", "Transferred", "Views", "joined"]

Views = Sequence[memoryview]
Sink = Callable[[Piece, Views], None]
"""Takes the checked bytes of a piece, as they came one after the other, on some thread."""

# What is at least so long is kept as it came. Less is put together: a server may send single bytes.
_KEPT_BYTES: Final = 1 << 14
_GAIN_BYTES: Final = 1 << 14  # what a try must at least bring to count as progress
_REVIEW_SECONDS: Final = 1.0
_GAIN: Final = 1.05
_MISMATCHES: Final = 3
_NOTHING: Final = memoryview(b"")


@dataclass(slots=True)
class Transferred:
    """What a transfer did so far; only ever more.

    Parameters
    ----------
    verified : int
        Bytes of pieces that were checked and handed on.
    underway : int
        Bytes of pieces that are not complete.
    retries : int
        Requests that had to be sent again.
    damaged : list of (Piece, bytes)
        Those that came with other digests however often they were asked for, and one of these.
    """

    verified: int = 0
    underway: int = 0
    retries: int = 0
    damaged: list[tuple[Piece, bytes]] = field(default_factory=list)


def joined(views: Views) -> memoryview:
    """Return views as one, in memory of its own: a view keeps all that came with it."""
    return memoryview(b"".join(views))


class _Mismatch(Exception):  # noqa: N818 - goes from one function to its caller
    def __init__(self, got: bytes) -> None:
        super().__init__()
        self.got = got


class _Part:
    """Spans' pieces that are left, and as much of the first as came."""

    __slots__ = ("_held", "filled", "pieces", "ready")

    def __init__(self, pieces: Iterable[Piece]) -> None:
        self.pieces = deque(pieces)
        self.filled = 0
        self.ready: list[tuple[Piece, Views]] = []
        self._held: list[memoryview | bytearray] = []

    @property
    def start(self) -> int:
        return self.pieces[0].offset + self.filled

    @property
    def stop(self) -> int:
        return self.pieces[-1].stop

    def take(self, view: memoryview) -> int:
        """Keep what belongs to the first piece, and return how much that was."""
        count = min(len(view), self.pieces[0].length - self.filled)
        self._keep(view[:count])
        self.filled += count
        if self.filled == self.pieces[0].length:
            self.ready.append((self.pieces.popleft(), self.drop()))
        return count

    def _keep(self, view: memoryview) -> None:
        if len(view) >= _KEPT_BYTES:
            self._held.append(view)
            return
        last = self._held[-1] if self._held else None
        if isinstance(last, bytearray):
            last += view
        else:
            self._held.append(bytearray(view))

    def put_back(self, pieces: Iterable[Piece]) -> None:
        """Ask again for pieces that were ready, and for what came after them."""
        self.drop()
        self.pieces.extendleft(reversed(list(pieces)))

    def drop(self) -> Views:
        """Return what came of the first piece and forget it."""
        held, self._held, self.filled = self._held, [], 0
        return [memoryview(view) for view in held]


class Transfer:
    """Reads pieces of an object and hands each on once its digest was compared.

    A connection that breaks is opened again where it broke. The number of connections follows
    what the line gives.

    Parameters
    ----------
    source : Source
        The object.
    spans : iterable of Span
        What to ask for, in this order.
    sink : callable
        Takes the pieces; what it raises ends the transfer.
    policy : Policy
        How patient and greedy to be.
    admit : callable, optional
        Awaited before a span is asked for: whoever has no room for it waits there.
    near : memoryview
        Bytes at the object's start that are here already: of a piece that begins in them, only the
        rest is asked for, unless both together have another digest.
    """

    def __init__(
        self,
        source: Source,
        spans: Iterable[Span],
        sink: Sink,
        policy: Policy,
        admit: Callable[[Span], Awaitable[None]] | None = None,
        near: memoryview = _NOTHING,
    ) -> None:
        self._source = source
        self._near = near
        self._spans = deque(spans)
        self._sink = sink
        self._policy = policy
        self._admit = admit
        self._target = policy.connections
        self._step = 2
        self._rate = 0.0
        self._reviewed = (0.0, 0)
        self._resume = 0.0
        self._mismatches: Counter[int] = Counter()
        self.state = Transferred()

    async def run(self) -> Transferred:
        """Read all spans.

        Raises
        ------
        P2UError
            If the source fails for good, or the sink does. Pieces that were handed on stay so.
        """
        self._reviewed = time.monotonic(), self._source.received
        active: set[asyncio.Task[None]] = set()
        try:
            while self._spans or active:
                while self._spans and len(active) < self._target:
                    active.add(asyncio.create_task(self._span(self._spans.popleft())))
                done, active = await asyncio.wait(
                    active, timeout=_REVIEW_SECONDS, return_when=asyncio.FIRST_COMPLETED
                )
                # Each is asked, also those that failed beside the first.
                failed = [error for error in [task.exception() for task in done] if error]
                if failed:
                    raise failed[0]
                self._review()
        finally:
            for task in active:
                task.cancel()
            await asyncio.gather(*active, return_exceptions=True)
        return self.state

    async def stream(self) -> Transferred:
        """Read all spans by one request for the whole object, for servers that know no ranges."""
        pieces = sorted((p for span in self._spans for p in span.pieces), key=lambda p: p.offset)
        attempts = Attempts(self._source.name, self._policy)
        part = _Part(pieces)
        while part.pieces:
            try:
                async with aclosing(self._source.whole()) as stream:
                    await self._cut(part, stream, 0, attempts)
                if part.pieces:
                    raise Fault("the answer ended early")
            except Fault as fault:
                await self._again(fault, attempts)
            except _Mismatch as mismatch:
                await self._mismatched(part, mismatch.got)
            self.state.underway -= part.filled
            part.drop()
        return self.state

    def _review(self) -> None:
        """Change the number of connections, on if that helped, else back."""
        now, received = time.monotonic(), self._source.received
        before, count = self._reviewed
        if now - before < _REVIEW_SECONDS:
            return
        rate = (received - count) / (now - before)
        self._reviewed = now, received
        if rate < self._rate * _GAIN:
            self._step = -self._step
        self._rate = rate
        self._set_target(self._target + self._step)

    def _set_target(self, target: int) -> None:
        self._target = min(max(target, self._policy.fewest), self._policy.most)

    async def _span(self, span: Span) -> None:
        if self._admit is not None:
            await self._admit(span)
        part = _Part(span.pieces)
        if part.start < len(self._near) < span.pieces[0].stop:
            self.state.underway += part.take(self._near[part.start :])
        attempts = Attempts(self._source.name, self._policy)
        try:
            while part.pieces:
                await self._rest()
                await self._ask(part, attempts)
        finally:
            self.state.underway -= part.filled

    async def _ask(self, part: _Part, attempts: Attempts) -> None:
        start = part.start
        try:
            async with aclosing(self._source.stream(start, part.stop)) as stream:
                await self._cut(part, stream, start, attempts)
        except Fault as fault:
            await self._again(fault, attempts)
        except _Mismatch as mismatch:
            await self._mismatched(part, mismatch.got)

    async def _rest(self) -> None:
        """Wait while the server asked for it."""
        pause = self._resume - time.monotonic()
        if pause > 0:
            await asyncio.sleep(pause)

    async def _again(self, fault: Fault, attempts: Attempts) -> None:
        if fault.error is not None and fault.error.code == "transfer-failed":
            await self._refuse_changed()
        self.state.retries += 1
        if fault.busy:
            self._set_target(self._target // 2)
            self._step = -abs(self._step)
            # All connections heed it, not only the one that was told.
            self._resume = max(self._resume, time.monotonic() + min(fault.wait or 0.0, 5.0))
        await attempts.failed(fault)

    async def _cut(
        self, part: _Part, stream: AsyncGenerator[bytes, None], at: int, attempts: Attempts
    ) -> None:
        """Cut a stream of bytes, of which the first has the offset `at`, into pieces."""
        gained = 0
        async for data in stream:
            view = memoryview(data)
            while view and part.pieces:
                skip = min(max(part.start - at, 0), len(view))
                at, view = at + skip, view[skip:]
                count = part.take(view) if view else 0
                at, view = at + count, view[count:]
                self.state.underway += count
                gained += count
            if part.ready:
                await self._finish(part)
            if gained >= _GAIN_BYTES or not part.pieces:
                attempts.gained()
                gained = 0
            if not part.pieces:
                return

    async def _finish(self, part: _Part) -> None:
        """Check the pieces that are ready and hand them on, all by one visit to a thread."""
        ready, part.ready = part.ready, []
        loop = asyncio.get_running_loop()
        done, got = await loop.run_in_executor(None, self._deliver_all, ready)
        size = sum(piece.length for piece, _ in ready)
        verified = sum(piece.length for piece, _ in ready[:done])
        self.state.underway -= size
        self.state.verified += verified
        if done < len(ready):
            self.state.underway -= part.filled
            part.put_back(piece for piece, _ in ready[done:])
            raise _Mismatch(got)

    def _deliver_all(self, ready: Sequence[tuple[Piece, Views]]) -> tuple[int, bytes]:
        """Deliver pieces up to one with another digest; return how many were right, and that."""
        for number, (piece, views) in enumerate(ready):
            got = self._deliver(piece, views)
            if piece.id is not None and got != piece.id:
                return number, got
        return len(ready), b""

    def _deliver(self, piece: Piece, views: Views) -> bytes:
        """Hand a piece on if its digest is right, and return that."""
        got = b"" if piece.id is None else digest_of(views)
        if piece.id is None or got == piece.id:
            self._sink(piece, views)
        return got

    async def _mismatched(self, part: _Part, got: bytes) -> None:
        """Ask again for a piece that came with another digest, or leave it out."""
        piece = part.pieces[0]
        self._mismatches[piece.offset] += 1
        self.state.retries += 1
        if self._mismatches[piece.offset] > 1:
            await self._refuse_changed()
        if self._mismatches[piece.offset] >= _MISMATCHES:
            self.state.damaged.append((piece, got))
            part.pieces.popleft()

    async def _refuse_changed(self) -> None:
        try:
            same = await self._source.same()
        except Fault as fault:
            if fault.error is None or fault.error.code in ("transfer-failed", "ranges-ignored"):
                return
            raise fault.error from fault
        if not same:
            error = changed(self._source.name, "one artifact", "another one").error
            assert error is not None
            raise error
