"""Packs of which much is dead: what lives moves to new ones (SPEC.md, 20.4)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from typing import Final

from p2uformat.digest import digest
from p2uformat.errors import CorruptData, NotFound, P2UError
from p2uformat.store.keys import PackId, record_key
from p2uformat.store.lease import Lease
from p2uformat.store.lookup import Found, read_record
from p2uformat.store.marking import Marks
from p2uformat.store.objects import Objects
from p2uformat.store.packs import PackBuilder
from p2uformat.store.records import Extent, Placed, Record, joined
from p2uformat.store.trailers import read_trailer

__all__ = ["repack", "worn"]

_DEAD_PERCENT: Final = 30
_OVERHEAD: Final = 1 << 12  # a small pack is not worn because of its trailer
Tell = Callable[[str, int, int], None]
Moves = dict[tuple[PackId, int], tuple[PackId, int, int]]
"""From a chunk's pack and offset to the new ones, with its length."""


def worn(marks: Marks, sizes: Mapping[PackId, int]) -> list[PackId]:
    """Return the live packs of which at least 30 % is dead."""
    found = []
    for pack, size in sizes.items():
        if pack.key in marks.keys and pack.writer not in marks.pinned.writers:
            live = marks.live_bytes(pack)
            dead = size - live - min(_OVERHEAD, size // 64)
            if live and dead * 100 >= size * _DEAD_PERCENT:
                found.append(pack)
    return sorted(found)


def repack(objects: Objects, marks: Marks, packs: Sequence[PackId], tell: Tell) -> int:
    """Move what lives of packs to new ones, and say so in new records.

    The old ones are condemned by a later collection, when nobody needs them any more.

    Returns
    -------
    int
        Packs that were moved.
    """
    records = list(_affected(objects, marks, frozenset(packs)))
    lease = Lease.begin(
        objects,
        packs=sorted({pack for found in records for pack in found.record.packs}),
        bundles=sorted({bundle for found in records for bundle in found.record.bundles}),
        records=[(found.root, found.generation) for found in records],
    )
    try:
        if lease.refused or not records:
            return 0  # another collector is at it
        moves, done = _move(objects, marks, packs, lease, tell)
        lease.commit((records[0].root, records[0].generation + 1))
        for found in records:
            _replace(objects, found, moves, lease.writer)
        return done
    finally:
        with suppress(P2UError):
            lease.abandon()


def _affected(objects: Objects, marks: Marks, packs: frozenset[PackId]) -> Iterator[Found]:
    for root, generation in marks.newest.items():
        with suppress(NotFound):  # replaced meanwhile
            found = read_record(objects, root, generation)
            if packs.intersection(found.record.packs):
                yield found


def _move(
    objects: Objects, marks: Marks, packs: Sequence[PackId], lease: Lease, tell: Tell
) -> tuple[Moves, int]:
    """Write the live chunks of packs to new ones, tier by tier; return where each went."""
    moves: Moves = {}
    out = _Out(objects, lease.writer)
    done = 0
    for number, pack in enumerate(packs):
        lease.keep()
        try:
            for tier, name, offset, data in _live_chunks(objects, marks, pack):
                moves[pack, offset] = *out.add(tier, name, data), len(data)
            done += 1
        except (CorruptData, NotFound):
            # Damaged: it stays where it is, for `repair`.
            moves = {key: move for key, move in moves.items() if key[0] != pack}
        tell("repack", number + 1, len(packs))
    out.finish()
    return moves, done


class _Out:
    """New packs, one open for each tier."""

    def __init__(self, objects: Objects, writer: bytes) -> None:
        self._objects = objects
        self._writer = writer
        self._open: dict[int, tuple[PackId, PackBuilder]] = {}
        self._next = 0

    def add(self, tier: int, name: bytes, data: bytes) -> tuple[PackId, int]:
        pack, builder = self._open.get(tier) or self._new(tier)
        if not builder.fits(len(data)):
            self._send(tier)
            pack, builder = self._new(tier)
        return pack, builder.add(name, data)

    def finish(self) -> None:
        for tier in list(self._open):
            self._send(tier)

    def _new(self, tier: int) -> tuple[PackId, PackBuilder]:
        self._open[tier] = PackId(self._writer, self._next), PackBuilder(tier)
        self._next += 1
        return self._open[tier]

    def _send(self, tier: int) -> None:
        pack, builder = self._open.pop(tier)
        if builder.size:
            self._objects.create(pack.key, builder.finish())


def _live_chunks(
    objects: Objects, marks: Marks, pack: PackId
) -> Iterator[tuple[int, bytes, int, bytes]]:
    """Yield tier, id, offset and bytes of the chunks of a pack that records need, checked."""
    live = marks.live(pack)
    with closing(objects.reader(pack.key)) as reader:
        trailer = read_trailer(objects, pack.key, reader.size)
        for chunk in trailer.placed():
            starts = live[:, 0] < chunk.offset + chunk.length
            if not chunk.length or not (starts & (live[:, 1] > chunk.offset)).any():
                continue
            data = reader.read(chunk.offset, chunk.length)
            if digest(data) != chunk.id:
                raise CorruptData(f"{pack.key}: a chunk at {chunk.offset} is damaged")
            yield trailer.tier, chunk.id, chunk.offset, data


def _replace(objects: Objects, found: Found, moves: Moves, writer: bytes) -> None:
    """Write the next generation of a record, with what was moved at its new places."""
    packs: dict[PackId, int] = {}
    artifacts = tuple(
        _moved(placed, found.record.packs, packs, moves) for placed in found.record.artifacts
    )
    record = Record(writer, artifacts, found.record.bundles, tuple(packs))
    # If somebody else was faster, the next collection looks again.
    objects.create(record_key(found.root, found.generation + 1), record.encode())


def _moved(placed: Placed, old: Sequence[PackId], packs: dict[PackId, int], moves: Moves) -> Placed:
    extents = [
        Extent(packs.setdefault(pack, len(packs)), offset, length)
        for extent in placed.extents
        for pack, offset, length in _pieces(old[extent.pack], extent, moves)
    ]
    return Placed(placed.header, placed.blobs, joined(extents))


def _pieces(pack: PackId, extent: Extent, moves: Moves) -> Iterator[tuple[PackId, int, int]]:
    """Yield where the chunks of an extent lie now."""
    at, stop = extent.offset, extent.offset + extent.length
    while at < stop:
        move = moves.get((pack, at))
        if move is None or move[2] > stop - at:
            yield pack, at, stop - at
            return
        yield move
        at += move[2]
