"""The second read of a source: blocks to layers, layers to chunks, records, pages."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

import numpy as np

from p2uformat.artifact.blobs import FilePlan
from p2uformat.artifact.bodies import (
    Body,
    Bucket,
    EncodedBlock,
    OwnChunk,
    Shared,
    fresh_bodies,
    is_alone,
    ladder_digests,
    opaque_body,
    placed_block,
    whole_block,
)
from p2uformat.artifact.options import PackOptions
from p2uformat.artifact.parent import Parent
from p2uformat.artifact.plan import GROUP, BlockPlan, TensorPlan
from p2uformat.artifact.quantized import encode_quantized
from p2uformat.artifact.records import tensor_records
from p2uformat.artifact.spool import Spools
from p2uformat.artifact.statistics import TensorSums
from p2uformat.digest import DIGEST_BYTES, digest
from p2uformat.errors import StoreUnavailable
from p2uformat.kernels import kernels
from p2uformat.limits import MAX_RECORD_BLOCKS
from p2uformat.manifest import (
    PAGE_TARGET,
    ChunkEntry,
    ContentPage,
    EncodingPage,
    Record,
    page_bytes,
    starts_page,
)
from p2uformat.parallel import ordered_map
from p2uformat.quant.bitplane import BlockSpec
from p2uformat.quant.fit import Distances
from p2uformat.quant.ladder import Ladder
from p2uformat.wire import encode as encode_value

__all__ = ["Encoder"]

Place = tuple[ChunkEntry, int] | Shared
Places = list[Place | None]
_SHARED: Final = Shared()
_OPAQUE_GROUP = 1 << 18
_GROUP_MEMBERS = 1024
_RECORD_SLACK = 4096  # bytes of a record beside its digests, name and shape; far above any


@dataclass(slots=True)
class _Waiting:
    """Layers that share a chunk once there are enough, and where their places go."""

    owners: list[tuple[Places, int]] = field(default_factory=list)
    data: list[object] = field(default_factory=list)


@dataclass(slots=True)
class _Room:
    """How much waits of one kind: all of it is stored before it is too much."""

    size: int = 0
    members: int = 0


@dataclass(slots=True)
class _Page:
    records: list[Record] = field(default_factory=list)
    places: list[list[Places]] = field(default_factory=list)  # per record, block, layer
    size: int = 0


class Encoder:
    """Turns planned tensors, in key order, into chunks, records and pages.

    Parameters
    ----------
    policy : PackOptions
        The ladder.
    spools : Spools
        Where chunks go.
    threads : int
        Workers that encode blocks.
    parent : Parent, optional
        What layers may be shared with, or stored as differences from.
    """

    def __init__(
        self, policy: PackOptions, spools: Spools, threads: int, parent: Parent | None = None
    ) -> None:
        self.pages: list[tuple[ContentPage, EncodingPage]] = []
        self.lengths: list[int] = []  # of all records, encoded
        self._policy = policy
        self._spools = spools
        self._threads = threads
        self._parent = parent
        self._page = _Page()
        self._rooms: dict[tuple[object, ...], _Room] = {}
        self._waiting: dict[Bucket, _Waiting] = {}
        # Where layers that share chunks lie, by their digests: equal ones are stored once.
        self._known: dict[bytes, Places] = {}
        self.needs_parent = False

    def tensors(
        self, plans: Sequence[TensorPlan], read: Callable[[TensorPlan, BlockPlan], bytes]
    ) -> Iterator[int]:
        """Encode tensors, in key order; yield the bytes of each block once it is done.

        Parameters
        ----------
        plans : sequence of TensorPlan
            What was planned.
        read : callable
            Returns the bytes of a block of a tensor; called on several threads.
        """

        def work(item: tuple[TensorPlan, int]) -> EncodedBlock:
            plan, number = item
            data = read(plan, plan.blocks[number])
            if digest(data) != plan.blocks[number].digest:
                raise StoreUnavailable(
                    f"tensor {plan.name!r} changed while it was read",
                    hint="pack again when nothing writes to the source",
                )
            return self._encode(plan, number, data)

        items = (
            (plan, number)
            for plan in plans
            if not plan.inherited
            for number in range(len(plan.blocks))
        )
        results = ordered_map(work, items, self._threads)
        for plan in plans:
            if plan.inherited:
                yield self._inherit(plan)
            else:
                yield from self._tensor(plan, results)

    def _tensor(self, plan: TensorPlan, results: Iterator[EncodedBlock]) -> Iterator[int]:
        self._before(plan.name.encode(), len(plan.blocks))
        places: list[Places] = []
        digests = []
        sums = TensorSums(len(self._policy.digits))
        blocks = [block.digest for block in plan.blocks]
        away = Distances()
        for block, done in zip(plan.blocks, islice(results, len(plan.blocks)), strict=True):
            if done.rebuilt is not None:
                blocks[len(places)] = done.rebuilt
            if done.distances is not None:
                away.add(done.distances)
            places.append(self._place(done, plan.kind))
            digests.append(done.digests)
            if done.sums is not None:
                sums.add(done.sums)
            yield block.weights * plan.geometry.element_size
        for record, first in tensor_records(plan, blocks, digests, sums, away, self._policy):
            self._add(record, places[first : first + record.block_count])

    def _inherit(self, plan: TensorPlan) -> int:
        """Add the records of a tensor that the parent has too, and return its bytes."""
        self._before(plan.name.encode(), len(plan.blocks))
        self.needs_parent = True
        for record in plan.inherited:
            places: list[Places] = [[_SHARED] * record.layers for _ in range(record.block_count)]
            self._add(record, places)
        return plan.geometry.elements * plan.geometry.element_size

    def stored(
        self, records: Sequence[tuple[Record, tuple[object, ...]]], blocks: Iterator[EncodedBlock]
    ) -> Iterator[int]:
        """Encode a page of records that there are already; yield the weight of each block.

        Parameters
        ----------
        records : sequence of (Record, tuple)
            Each with its kind; blocks of one kind may share places and chunks.
        blocks : iterator of EncodedBlock
            Those of all of them, in order.
        """
        for record, kind in records:
            places = []
            for done in islice(blocks, record.block_count):
                places.append(self._place(done, kind))
                yield done.weight
            self._page.records.append(record)
            self._page.places.append(places)
        self._end_page()

    def files(self, plans: Sequence[FilePlan], *, text: bool) -> Iterator[int]:
        """Encode files, in the order of their paths; yield the bytes of each block once it is done.

        Parameters
        ----------
        plans : sequence of FilePlan
            What was planned.
        text : bool
            Whether to look for repeats in blobs, as weights have none.
        """

        def work(item: tuple[FilePlan, int]) -> EncodedBlock:
            plan, block = item
            data = plan.read(block)
            if digest(data) != plan.blocks[block]:
                raise StoreUnavailable(
                    f"file {plan.member.path!r} changed while it was read",
                    hint="pack again when nothing writes to the source",
                )
            alone = len(plan.blocks) > MAX_RECORD_BLOCKS
            body: Body | Shared = opaque_body(data, 1, plan.tier, text=text)
            if self._parent is not None and self._parent.known(plan.tier, plan.blocks[block]):
                body = _SHARED
            return whole_block(data, plan.blocks[block], body, alone=alone)

        items = ((plan, block) for plan in plans for block in range(len(plan.blocks)))
        results = ordered_map(work, items, self._threads)
        for plan in plans:
            self._before(plan.member.path.encode(), len(plan.blocks))
            places = []
            for done in islice(results, len(plan.blocks)):
                places.append(self._place(done, ("file", plan.tier, text)))
                start, stop = plan.geometry.block_range(len(places) - 1)
                yield stop - start
            for record, first in plan.records():
                self._add(record, places[first : first + record.block_count])

    def finish(self) -> list[tuple[ContentPage, EncodingPage]]:
        """Close the last page and return all of them."""
        self._end_page()
        return self.pages

    def _encode(self, plan: TensorPlan, number: int, data: bytes) -> EncodedBlock:
        block = plan.blocks[number]
        # The blocks of a tensor with several records cannot wait: its pages may end between them.
        alone = len(plan.blocks) > MAX_RECORD_BLOCKS
        if plan.fit is not None:
            tiers = len(self._policy.tiers)
            return encode_quantized(plan, block, data, tiers, self._parent, alone=alone)
        if plan.fmt is None:
            body = opaque_body(data, plan.geometry.element_size, 0)
            alone = alone or is_alone(data)
            chosen: Body | OwnChunk | Shared = body
            if self._parent is not None:
                chosen = self._parent.whole(plan, number, data, body, alone=alone)
            return whole_block(data, block.digest, chosen, alone=alone)
        alone = alone or plan.alone(block)
        spec = block_spec(plan, block.weights, self._policy.digits)
        assert block.steps is not None
        words = np.frombuffer(data, plan.fmt.word)
        layers = kernels().encode_block(spec, words, block.steps, sparse=block.sparse)
        sums = TensorSums.of_block(layers, block.steps)
        digests = ladder_digests(layers)
        fresh = fresh_bodies(layers, plan.row, plan.planes)
        bodies: Sequence[Body | OwnChunk | Shared] = fresh
        if self._parent is not None:
            child = Ladder(spec, layers.base, layers.refinements, words)
            bodies = self._parent.ladder(plan, number, child, digests, fresh, alone=alone)
        return placed_block(digests, bodies, sums, block.weights, alone=alone)

    def _place(self, done: EncodedBlock, kind: tuple[object, ...]) -> Places:
        """Store a block's chunks, and let layers without one wait for a group."""
        places: Places = [None] * len(done.bodies)
        if done.grouped and done.fresh:
            # Equal layers of tensors that are rebuilt alike: one place serves them all.
            name = digest(repr(kind).encode() + b"".join(done.digests))
            known = self._known.setdefault(name, places)
            if known is not places:
                return known
        if done.grouped:
            self._make_room(kind, done)
        for layer, body in enumerate(done.bodies):
            if isinstance(body, OwnChunk):
                places[layer] = self._spools.add(body.tier, body.codec, body.data, body.id), 0
            elif isinstance(body, Body):
                waiting = self._waiting.setdefault(body.bucket, _Waiting())
                waiting.owners.append((places, layer))
                waiting.data.append(body.data)
            else:
                places[layer] = body
        self.needs_parent |= not done.fresh
        return places

    def _make_room(self, kind: tuple[object, ...], done: EncodedBlock) -> None:
        ladder = len(done.bodies) > 1
        limit = GROUP if ladder else _OPAQUE_GROUP
        # Tensors of one number of planes share chunks, whatever their format.
        room = self._rooms.setdefault(kind[1:] if ladder else kind, _Room())
        if room.members and (room.size + done.weight > limit or room.members >= _GROUP_MEMBERS):
            self._flush()
            room = self._rooms.setdefault(kind[1:] if ladder else kind, _Room())
        room.size += done.weight
        room.members += 1

    def _flush(self) -> None:
        """Store what waits, as chunks that are shared."""
        for bucket in sorted(self._waiting, key=lambda bucket: bucket.order):
            waiting = self._waiting[bucket]
            codec, data = bucket.encode(waiting.data)
            entry = self._spools.add(bucket.tier, codec, data, digest(data))
            for slot, (places, layer) in enumerate(waiting.owners):
                places[layer] = entry, slot
        self._waiting = {}
        self._rooms = {}

    def _before(self, name: bytes, blocks: int) -> None:
        """Make room for a record: pages end before it, and groups do not reach across."""
        tiers = len(self._policy.tiers)
        bound = _RECORD_SLACK + 9 * len(name) + blocks * DIGEST_BYTES * (tiers + 1)
        if self._page.records and starts_page(name, self._page.size):
            self._end_page()
        elif self._page.size + bound > PAGE_TARGET:
            self._flush()

    def _add(self, record: Record, places: list[Places]) -> None:
        length = len(encode_value(record.to_value()))
        page = self._page
        full = page_bytes(len(page.records) + 1, page.size + length) > PAGE_TARGET
        again = record.key[2] > 0 and starts_page(record.key[1], page.size)
        if page.records and (full or again):
            self._end_page()
            page = self._page
        self.lengths.append(length)
        page.records.append(record)
        page.places.append(places)
        page.size += length

    def _end_page(self) -> None:
        self._flush()
        page, self._page = self._page, _Page()
        if page.records:
            content = ContentPage(tuple(page.records))
            self.pages.append((content, _encoding_page(page, self._spools.order)))


def block_spec(plan: TensorPlan, weights: int, digits: tuple[int, ...]) -> BlockSpec:
    """Return what the quantizer has to know of a block that is to be encoded."""
    assert plan.fmt is not None
    deltas = ((0, 0),) * len(digits)
    return BlockSpec(plan.fmt, weights, plan.segment, plan.planes, digits, deltas)


def _encoding_page(page: _Page, order: Callable[[ChunkEntry], tuple[int, int]]) -> EncodingPage:
    """Return a page whose chunks are numbered tier by tier, in the order they were stored."""
    entries: dict[tuple[int, bytes, int], ChunkEntry] = {}
    for place in (place for blocks in page.places for block in blocks for place in block):
        if not isinstance(place, Shared):
            assert place is not None
            entry = place[0]
            entries.setdefault((entry.tier, entry.id, entry.codec), entry)
    chunks = sorted(entries.values(), key=order)
    numbers = {(entry.tier, entry.id, entry.codec): number for number, entry in enumerate(chunks)}

    def pair(place: Place | None) -> tuple[int, int] | None:
        if place is None or isinstance(place, Shared):
            return None
        entry, slot = place
        return numbers[entry.tier, entry.id, entry.codec], slot

    layers = tuple(
        tuple(tuple(pair(block[layer]) for block in blocks) for layer in range(record.layers))
        for record, blocks in zip(page.records, page.places, strict=True)
    )
    return EncodingPage(tuple(chunks), layers)
