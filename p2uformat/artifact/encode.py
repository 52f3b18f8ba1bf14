"""The second read of a source: blocks to layers, layers to chunks, records, pages."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

import numpy as np

from p2uformat.artifact.blobs import FilePlan, encode_text
from p2uformat.artifact.options import Policy
from p2uformat.artifact.plan import ALONE, GROUP, BlockPlan, TensorPlan
from p2uformat.artifact.records import tensor_records
from p2uformat.artifact.spool import Spools
from p2uformat.artifact.statistics import TensorSums
from p2uformat.chunk import (
    Codec,
    encode_classes,
    encode_planes,
    encode_raw_or_sections,
    encode_sections,
)
from p2uformat.digest import DIGEST_BYTES, digest, digest_of
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
from p2uformat.quant.bitplane import BlockLayers, BlockSpec
from p2uformat.wire import encode as encode_value

__all__ = ["Encoder"]

Encoded = tuple[int, bytes]
Place = tuple[ChunkEntry, int]
_OPAQUE_ALONE = 1 << 17  # bytes
_OPAQUE_GROUP = 1 << 18
_GROUP_MEMBERS = 1024
_RECORD_SLACK = 4096  # bytes of a record beside its digests, name and shape; far above any


@dataclass(frozen=True, slots=True)
class EncodedBlock:
    """One block, ready to be placed: chunks of its own, or layers that will share some."""

    digests: tuple[bytes, ...]
    chunks: tuple[tuple[int, bytes, bytes], ...]  # codec, bytes, id
    layers: BlockLayers | None
    sums: TensorSums | None
    payload: bytes


@dataclass(frozen=True, slots=True)
class _Kind:
    """What blocks that travel as they are have in common if they share chunks."""

    tier: int
    width: int  # of an element
    text: bool = False  # with repeats that are worth finding


@dataclass(slots=True)
class _Pending:
    """Layers that wait for others to share chunks with."""

    places: list[list[Place | None]] = field(default_factory=list)
    layers: list[BlockLayers] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)
    payloads: list[bytes] = field(default_factory=list)
    size: int = 0


@dataclass(slots=True)
class _Page:
    records: list[Record] = field(default_factory=list)
    places: list[list[list[Place | None]]] = field(default_factory=list)  # per record, block, layer
    size: int = 0


class Encoder:
    """Turns planned tensors, in key order, into chunks, records and pages.

    Parameters
    ----------
    policy : Policy
        The ladder.
    spools : Spools
        Where chunks go.
    threads : int
        Workers that encode blocks.
    """

    def __init__(self, policy: Policy, spools: Spools, threads: int) -> None:
        self.pages: list[tuple[ContentPage, EncodingPage]] = []
        self.lengths: list[int] = []  # of all records, encoded
        self._policy = policy
        self._spools = spools
        self._threads = threads
        self._page = _Page()
        self._ladders: dict[int, _Pending] = {}  # by number of planes
        self._whole: dict[_Kind, _Pending] = {}
        # Where layers that share chunks lie, by their digests: equal ones are stored once.
        self._known: dict[bytes, list[Place | None]] = {}

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

        def work(item: tuple[TensorPlan, BlockPlan]) -> EncodedBlock:
            plan, block = item
            data = read(plan, block)
            if digest(data) != block.digest:
                raise StoreUnavailable(
                    f"tensor {plan.name!r} changed while it was read",
                    hint="pack again when nothing writes to the source",
                )
            return self._encode(plan, block, data)

        items = ((plan, block) for plan in plans for block in plan.blocks)
        results = ordered_map(work, items, self._threads)
        for plan in plans:
            yield from self._tensor(plan, results)

    def _tensor(self, plan: TensorPlan, results: Iterator[EncodedBlock]) -> Iterator[int]:
        self._before(plan.name.encode(), len(plan.blocks))
        places = []
        digests = []
        sums = TensorSums(len(self._policy.digits))
        for block, done in zip(plan.blocks, islice(results, len(plan.blocks)), strict=True):
            places.append(self._place(done, plan))
            digests.append(done.digests)
            if done.sums is not None:
                sums.add(done.sums)
            yield block.weights * plan.geometry.element_size
        blocks = [block.digest for block in plan.blocks]
        for record, first in tensor_records(plan, blocks, digests, sums, self._policy):
            self._add(record, places[first : first + record.block_count])

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
            return _encode_opaque(data, 1, alone=alone, text=text)

        items = ((plan, block) for plan in plans for block in range(len(plan.blocks)))
        results = ordered_map(work, items, self._threads)
        for plan in plans:
            self._before(plan.member.path.encode(), len(plan.blocks))
            places = []
            for done in islice(results, len(plan.blocks)):
                places.append(self._place_whole(done, _Kind(plan.tier, 1, text=text)))
                start, stop = plan.geometry.block_range(len(places) - 1)
                yield stop - start
            for record, first in plan.records():
                self._add(record, places[first : first + record.block_count])

    def finish(self) -> list[tuple[ContentPage, EncodingPage]]:
        """Close the last page and return all of them."""
        self._end_page()
        return self.pages

    def _encode(self, plan: TensorPlan, block: BlockPlan, data: bytes) -> EncodedBlock:
        # The blocks of a tensor with several records cannot wait: its pages may end between them.
        alone = len(plan.blocks) > MAX_RECORD_BLOCKS
        if plan.fmt is None:
            return _encode_opaque(data, plan.geometry.element_size, alone=alone)
        spec = block_spec(plan, block.weights, self._policy.digits)
        assert block.steps is not None
        words = np.frombuffer(data, plan.fmt.word)
        layers = kernels().encode_block(spec, words, block.steps, sparse=block.sparse)
        sums = TensorSums.of_block(layers, block.steps)
        digests = (
            digest_of(layers.base.sections()),
            *map(digest, layers.refinements),
            digest_of(layers.exact.sections()),
        )
        if not alone and block.weights < ALONE:
            return EncodedBlock(digests, (), layers, sums, b"")
        chunks = tuple(
            _named(codec, data, name)
            for (codec, data), name in zip(
                _ladder_chunks([layers], [plan.row]), digests, strict=True
            )
        )
        return EncodedBlock(digests, chunks, None, sums, b"")

    def _place(self, done: EncodedBlock, plan: TensorPlan) -> list[Place | None]:
        """Store a block's chunks, or let its layers wait for a group."""
        if done.layers is None and plan.fmt is None:
            return self._place_whole(done, _Kind(0, plan.geometry.element_size))
        if done.layers is None:
            return [
                (self._spools.add(tier, codec, data, name), 0)
                for tier, (codec, data, name) in enumerate(done.chunks)
            ]
        assert plan.fmt is not None
        # Equal layers of tensors that are rebuilt alike: one place serves them all.
        known = self._places((plan.fmt.name, plan.planes), done.digests)
        if not known:
            group = self._ladders.setdefault(plan.planes, _Pending())
            self._room(group, len(done.layers.base.symbols), GROUP)
            group.layers.append(done.layers)
            group.rows.append(plan.row)
            group.places.append(known)
            known.extend([None] * len(done.digests))
        return known

    def _place_whole(self, done: EncodedBlock, kind: _Kind) -> list[Place | None]:
        """Store the chunk of a block that travels as it is, or let the block wait for others."""
        if done.chunks:
            ((codec, data, name),) = done.chunks
            return [(self._spools.add(kind.tier, codec, data, name), 0)]
        known = self._places(kind, done.digests)
        if not known:
            group = self._whole.setdefault(kind, _Pending())
            self._room(group, len(done.payload), _OPAQUE_GROUP)
            group.payloads.append(done.payload)
            group.places.append(known)
            known.append(None)
        return known

    def _places(self, kind: object, digests: tuple[bytes, ...]) -> list[Place | None]:
        """Return where equal layers lie, an empty list to be filled if these are the first."""
        return self._known.setdefault(digest(repr(kind).encode() + b"".join(digests)), [])

    def _room(self, group: _Pending, size: int, limit: int) -> None:
        if group.places and (group.size + size > limit or len(group.places) >= _GROUP_MEMBERS):
            self._flush()
        group.size += size

    def _flush(self) -> None:
        """Store what waits, as chunks that are shared."""
        for group in self._ladders.values():
            if group.layers:
                chunks = _ladder_chunks(group.layers, group.rows)
                for tier, (codec, data) in enumerate(chunks):
                    entry = self._spools.add(tier, codec, data, digest(data))
                    for slot, places in enumerate(group.places):
                        places[tier] = (entry, slot)
            _clear(group)
        for kind, group in self._whole.items():
            if group.payloads:
                codec, data = _whole_chunk(kind.width, group.payloads, text=kind.text)
                entry = self._spools.add(kind.tier, codec, data, digest(data))
                for slot, places in enumerate(group.places):
                    places[0] = (entry, slot)
            _clear(group)

    def _before(self, name: bytes, blocks: int) -> None:
        """Make room for a record: pages end before it, and groups do not reach across."""
        tiers = len(self._policy.tiers)
        bound = _RECORD_SLACK + 9 * len(name) + blocks * DIGEST_BYTES * (tiers + 1)
        if self._page.records and starts_page(name, self._page.size):
            self._end_page()
        elif self._page.size + bound > PAGE_TARGET:
            self._flush()

    def _add(self, record: Record, places: list[list[Place | None]]) -> None:
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


def _clear(group: _Pending) -> None:
    group.places, group.layers, group.rows, group.payloads, group.size = [], [], [], [], 0


def block_spec(plan: TensorPlan, weights: int, digits: tuple[int, ...]) -> BlockSpec:
    """Return what the quantizer has to know of a block that is to be encoded."""
    assert plan.fmt is not None
    deltas = ((0, 0),) * len(digits)
    return BlockSpec(plan.fmt, weights, plan.segment, plan.planes, digits, deltas)


def _encode_opaque(data: bytes, size: int, *, alone: bool, text: bool = False) -> EncodedBlock:
    name = digest(data)
    if alone or len(data) >= _OPAQUE_ALONE:
        chunk = _named(*_whole_chunk(size, [data], text=text), name)
        return EncodedBlock((name,), (chunk,), None, None, b"")
    return EncodedBlock((name,), (), None, None, data)


def _whole_chunk(width: int, payloads: list[bytes], *, text: bool) -> Encoded:
    return encode_text(payloads) if text else encode_planes(width, payloads)


def _named(codec: int, data: bytes, payload: bytes) -> tuple[int, bytes, bytes]:
    """Return a layer's own chunk with its id, which for a raw one is the layer's digest."""
    return codec, data, payload if codec == Codec.RAW else digest(data)


def _ladder_chunks(layers: Sequence[BlockLayers], rows: Sequence[int]) -> tuple[Encoded, ...]:
    """Encode each tier of one or several blocks as one chunk."""
    base = encode_classes([block.base for block in layers], rows)
    middle = [
        encode_raw_or_sections(payloads)
        for payloads in zip(*(block.refinements for block in layers), strict=True)
    ]
    exact = encode_sections([block.exact.sections() for block in layers])
    return ((Codec.CLASSES, base), *middle, (Codec.SECTIONS, exact))


def _encoding_page(page: _Page, order: Callable[[ChunkEntry], tuple[int, int]]) -> EncodingPage:
    """Return a page whose chunks are numbered tier by tier, in the order they were stored."""
    entries: dict[tuple[int, bytes, int], ChunkEntry] = {}
    for places in page.places:
        for block in places:
            for place in block:
                assert place is not None
                entry = place[0]
                entries.setdefault((entry.tier, entry.id, entry.codec), entry)
    chunks = sorted(entries.values(), key=order)
    numbers = {(entry.tier, entry.id, entry.codec): number for number, entry in enumerate(chunks)}
    layers = []
    for record, places in zip(page.records, page.places, strict=True):
        per_layer = []
        for layer in range(record.layers):
            pairs = []
            for block in places:
                place = block[layer]
                assert place is not None
                entry, slot = place
                pairs.append((numbers[entry.tier, entry.id, entry.codec], slot))
            per_layer.append(tuple(pairs))
        layers.append(tuple(per_layer))
    return EncodingPage(tuple(chunks), tuple(layers))
