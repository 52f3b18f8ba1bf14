"""From chunks to the values of a block (SPEC.md, section 10)."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, NoReturn

import numpy as np
from numpy.typing import NDArray

from p2uformat.artifact.cache import ChunkCache
from p2uformat.artifact.catalog import (
    SHARED,
    Catalog,
    Place,
    StoredFile,
    StoredTensor,
    parent_required,
)
from p2uformat.artifact.lineage import Lineage
from p2uformat.artifact.quantized import fill_quantized, is_quantized
from p2uformat.artifact.undo import block_layers, joined
from p2uformat.chunk import DIFFERENCES
from p2uformat.container import Container
from p2uformat.errors import CorruptData, Incomplete, Malformed, StoreUnavailable
from p2uformat.floats import FORMATS, FloatFormat
from p2uformat.kernels import Buffer, kernels
from p2uformat.manifest import BitplaneParameters, ChunkEntry
from p2uformat.memory import Shelf
from p2uformat.quant.bitplane import BlockDecoder, BlockSpec
from p2uformat.quant.layers import BaseLayer
from p2uformat.quant.rounding import cast_words

__all__ = ["BlockReader", "stored_tiers"]

Stored = StoredTensor | StoredFile
Words = NDArray[np.unsignedinteger]
# Blocks of so many weights have chunks of their own as a rule (a writer may do otherwise).
_OWN_CHUNKS: Final = 1 << 17
_shelf: Final = Shelf(24)  # chunks of the blocks that several threads have at hand
# Whatever a decoder lets slip on hostile bytes still means that they break a rule.
_FOREIGN: Final = (ValueError, IndexError, KeyError, OverflowError, TypeError, struct.error)


@dataclass(frozen=True, slots=True)
class Owner:
    """A layer, and the reader of the artifact that has it itself.

    Parameters
    ----------
    reader : BlockReader
        The reader.
    stored, number, block
        The layer there.
    """

    reader: BlockReader
    stored: Stored
    number: int
    block: int

    @property
    def layer(self) -> tuple[Stored, int, int]:
        """What its methods take."""
        return self.stored, self.number, self.block


class BlockReader:
    """Reads blocks of a container's tensors and files.

    Parameters
    ----------
    container : Container
        What to read from.
    catalog : Catalog
        Its tensors and files.
    parent : BlockReader, optional
        Reads those of the parent that it needs.
    """

    def __init__(
        self, container: Container, catalog: Catalog, parent: BlockReader | None = None
    ) -> None:
        self._container = container
        self._catalog = catalog
        self._parent = parent
        self.lineage = None if parent is None else Lineage(parent._catalog)  # noqa: SLF001 - its own kind
        self._cache = ChunkCache(container)
        self._specs: dict[tuple[int, int], BlockSpec] = {}
        self._digits = tuple(
            tier.digits for tier in container.content.tiers if tier.digits is not None
        )

    @property
    def exact(self) -> int:
        """Number of the last tier: the exact one, save in a lossy artifact."""
        return len(self._container.content.tiers) - 1

    def owner(self, stored: Stored, layer: int, block: int) -> Owner:
        """Return where a layer really is: here, or where the artifact that shares it has it.

        Raises
        ------
        CorruptData
            If a page that would say so is damaged, or the parent does not have it.
        ParentRequired
            If the parent is not at hand.
        """
        if stored.place(layer, block) is not SHARED:
            return Owner(self, stored, layer, block)
        if self._parent is None or self.lineage is None:
            raise parent_required(self._container)
        with self._blamed(stored, layer, block):
            found = self.lineage.shared(stored, layer, block)
        return self._parent.owner(*found)

    def is_difference(self, stored: Stored, layer: int, block: int) -> bool:
        """Return whether a layer that this artifact has itself is a difference."""
        place = stored.place(layer, block)
        if place is None:
            return False
        return self._container.entry(place.page, place.chunk).codec in DIFFERENCES

    def entry(self, stored: Stored, layer: int, block: int) -> ChunkEntry:
        """Return what the manifest says of the chunk of a layer that this artifact has itself."""
        with self.located(stored, layer, block) as place:
            return self._container.entry(place.page, place.chunk)

    def before(self, stored: Stored, layer: int, block: int) -> tuple[BlockReader, Stored]:
        """Return what a difference is from: a reader, and the tensor or file it belongs to."""
        if self._parent is None or self.lineage is None:
            raise parent_required(self._container)
        with self._blamed(stored, layer, block):
            return self._parent, self.lineage.same_block(stored, block)

    @property
    def container(self) -> Container:
        """What it reads from."""
        return self._container

    @property
    def parent(self) -> BlockReader | None:
        """The reader of the parent, where that is at hand."""
        return self._parent

    def sections(self, stored: Stored, layer: int, block: int) -> Sequence[Buffer]:
        """Return what this artifact's own chunk has of a layer: its parts, or its difference's."""
        with self.located(stored, layer, block) as place:
            return self._cache.view(place.page, place.chunk).parts(place.slot)

    def parts(self, stored: Stored, layer: int, block: int) -> Sequence[Buffer]:
        """Return the pieces of a layer's canonical payload.

        They come from a chunk whose id was checked; a layer that was stored as a difference is
        compared with its digest as well.

        Raises
        ------
        CorruptData
            With the tensor, the tier, the element range and the chunk.
        Incomplete
            If the file ends before.
        """
        own = self.owner(stored, layer, block)
        if own.reader.is_difference(*own.layer):
            return block_layers(self, stored, block, layer)[layer]
        return own.reader.sections(*own.layer)

    def payload(self, stored: Stored, layer: int, block: int) -> Buffer:
        """Return the canonical payload of a layer; see `parts`."""
        own = self.owner(stored, layer, block)
        if own.reader.is_difference(*own.layer):
            return joined(block_layers(self, stored, block, layer)[layer])
        return own.reader.own_payload(*own.layer)

    def own_payload(self, stored: Stored, layer: int, block: int) -> Buffer:
        """Return the payload of a layer that this artifact has itself, and not as a difference."""
        with self.located(stored, layer, block) as place:
            return self._cache.view(place.page, place.chunk).payload(place.slot)

    def raw(self, stored: Stored, block: int) -> Buffer:
        """Return the original bytes of a block of an opaque tensor or a file."""
        data = self.payload(stored, 0, block)
        start, stop = stored.geometry.block_range(block)
        expected = (stop - start) * stored.geometry.element_size
        if len(data) != expected:
            with self.located(stored, 0, block):
                raise Malformed(f"expected a block of {expected} bytes, got {len(data)}")
        return data

    def base(self, stored: StoredTensor, block: int) -> BaseLayer:
        """Return the base layer of a block of a bitplane tensor, its values not yet checked."""
        spec = self.spec(stored, block)
        own = self.owner(stored, 0, block)
        if own.reader.is_difference(*own.layer):
            with self._blamed(stored, 0, block):
                return BaseLayer.parse(
                    spec.format, spec.weights, spec.segments, self.payload(stored, 0, block)
                )
        return own.reader.own_base(spec, *own.layer)

    def own_base(self, spec: BlockSpec, stored: Stored, layer: int, block: int) -> BaseLayer:
        """Return a base layer that this artifact has itself, as one of a block of `spec`."""
        with self.located(stored, layer, block) as place:
            view = self._cache.view(place.page, place.chunk)
            return view.base(place.slot, spec.format, spec.weights, spec.segments)

    def digits(self, stored: StoredTensor, block: int, tier: int) -> list[Buffer]:
        """Return the refinement layers of a block up to a tier."""
        last = min(tier, self.exact - 1)
        return [self.payload(stored, layer, block) for layer in range(1, last + 1)]

    def spec(self, stored: StoredTensor, block: int) -> BlockSpec:
        """Return what is known of a block of a bitplane tensor."""
        start, stop = stored.geometry.block_range(block)
        # A tensor's blocks have one or two sizes; the record lives as long as its catalog.
        key = id(stored.record), stop - start
        known = self._specs.get(key)
        if known is None:
            known = self._specs[key] = self._spec(stored, stop - start)
        return known

    def _spec(self, stored: StoredTensor, weights: int) -> BlockSpec:
        parameters = stored.record.parameters
        assert isinstance(parameters, BitplaneParameters)
        return BlockSpec(
            FORMATS[stored.record.dtype],
            weights,
            parameters.segment,
            parameters.planes,
            self._digits,
            tuple((tier.delta0, tier.delta1) for tier in parameters.tiers),
        )

    def fill(
        self,
        stored: StoredTensor,
        block: int,
        tier: int,
        target: FloatFormat | None,
        out: NDArray[np.uint8],
        *,
        warm: bool = False,
    ) -> None:
        """Write a block's values at a tier, straight from its chunks, into an array.

        Parameters
        ----------
        stored : StoredTensor
            The tensor.
        block : int
            Its block.
        tier : int
            Number of the tier.
        target : FloatFormat, optional
            Format to round to, once; the source's by default.
        out : ndarray of uint8
            Receives the values' bytes, exactly as many as the block has.
        warm : bool
            Whether `out` is memory that was used before, though not lately.
        """
        source = FORMATS.get(stored.record.dtype)
        if is_quantized(stored):
            fill_quantized(self, stored, block, tier, target, out)
            return
        if stored.record.quantizer == "bitplane":
            assert source is not None
            self._fill_ladder(stored, block, tier, source, target or source, out, warm=warm)
            return
        data = np.frombuffer(self.raw(stored, block), np.uint8)
        if source is None or target is None or target is source:
            out[:] = data
        else:
            out.view(target.word)[:] = cast_words(source, data.view(source.word), target)

    def _fill_ladder(
        self,
        stored: StoredTensor,
        block: int,
        tier: int,
        source: FloatFormat,
        target: FloatFormat,
        out: NDArray[np.uint8],
        *,
        warm: bool,
    ) -> None:
        if tier < self.exact:
            self._fill_tier(stored, block, tier, target, out.view(target.word), warm=warm)
        elif target is source:
            self._fill_exact(stored, block, out.view(source.word), warm=warm)
        else:
            words = np.empty(self.spec(stored, block).weights, source.word)
            self._fill_exact(stored, block, words, warm=False)
            out.view(target.word)[:] = cast_words(source, words, target)

    def _fill_at_once(
        self,
        stored: StoredTensor,
        block: int,
        tier: int,
        target: FloatFormat | None,
        out: Words,
        *,
        warm: bool,
    ) -> bool:
        """Rebuild a block whose chunks hold nothing else; False if there is no such short way."""
        spec = self.spec(stored, block)
        if spec.weights < _OWN_CHUNKS or not kernels().takes_chunks:
            return False
        rooms: list[NDArray[np.uint8]] = []

        def room(size: int) -> memoryview:
            rooms.append(_shelf.take(size))
            return rooms[-1][:size].data

        layers: list[tuple[int, Buffer]] = []
        try:
            for layer in range(tier + 1):
                own = self.owner(stored, layer, block)
                layers.append(own.reader.own_chunk(*own.layer, room))
                if layers[-1][0] in DIFFERENCES:
                    return False
            return kernels().block(spec, layers, target, out, warm=warm)
        finally:
            for piece in rooms:
                _shelf.give(piece)

    def own_chunk(
        self, stored: Stored, layer: int, block: int, room: Callable[[int], memoryview]
    ) -> tuple[int, Buffer]:
        """Return the codec of the chunk that holds a layer here, and its bytes."""
        with self.located(stored, layer, block) as place:
            codec = self._container.entry(place.page, place.chunk).codec
            if codec in DIFFERENCES:
                return codec, b""
            return codec, self._container.chunk(place.page, place.chunk, room)

    def _fill_exact(self, stored: StoredTensor, block: int, out: Words, *, warm: bool) -> None:
        if self._fill_at_once(stored, block, self.exact, None, out, warm=warm):
            return
        spec = self.spec(stored, block)
        base, digits, rest = self._lossy_and_rest(stored, block, self.exact)
        try:
            kernels().exact(spec, base, digits, rest, out)
        except Malformed as error:
            self.blame(stored, block, base, digits, [rest], error)

    def _lossy_and_rest(
        self, stored: StoredTensor, block: int, tier: int
    ) -> tuple[BaseLayer, list[Buffer], Sequence[Buffer]]:
        """Return a block's base layer, its refinements, and the parts of its exact layer if any."""
        spec = self.spec(stored, block)
        owners = (self.owner(stored, layer, block) for layer in range(tier + 1))
        if not any(own.reader.is_difference(*own.layer) for own in owners):
            rest = self.parts(stored, tier, block) if tier == self.exact else ()
            return self.base(stored, block), self.digits(stored, block, tier), rest
        layers = block_layers(self, stored, block, tier)
        with self._blamed(stored, 0, block):
            base = BaseLayer.parse(spec.format, spec.weights, spec.segments, joined(layers[0]))
        digits = [joined(parts) for parts in layers[1 : self.exact]]
        return base, digits, layers[self.exact] if tier == self.exact else ()

    def _fill_tier(
        self,
        stored: StoredTensor,
        block: int,
        tier: int,
        target: FloatFormat,
        out: Words,
        *,
        warm: bool,
    ) -> None:
        if self._fill_at_once(stored, block, tier, target, out, warm=warm):
            return
        spec = self.spec(stored, block)
        base, digits, _ = self._lossy_and_rest(stored, block, tier)
        try:
            kernels().values(spec, base, digits, target, out)
        except Malformed as error:
            self.blame(stored, block, base, digits, [], error)

    def blame(
        self,
        stored: StoredTensor,
        block: int,
        base: BaseLayer,
        digits: Sequence[Buffer],
        rest: Sequence[Sequence[Buffer]],
        error: Malformed,
    ) -> NoReturn:
        """Walk the layers of a block that does not decode, and say in which of them the damage is.

        Parameters
        ----------
        stored, block
            The block.
        base, digits
            Its lossy layers.
        rest : sequence
            Its exact layer in parts, as the only item; empty if it was not decoded.
        error : Malformed
            What is raised if nothing is found so: it belongs to the last layer.
        """
        with self.located(stored, 0, block):
            decoder = BlockDecoder(self.spec(stored, block), base)
        for layer, payload in enumerate(digits, 1):
            with self.located(stored, layer, block):
                decoder.refine(payload)
        with self.located(stored, len(digits) + len(rest), block):
            for parts in rest:
                decoder.exact(b"".join(parts))
            raise error from None
        raise AssertionError

    @contextmanager
    def located(self, stored: Stored, layer: int, block: int) -> Iterator[Place]:
        """Add to damage where it is, and map what a decoder lets slip."""
        place = stored.place(layer, block)
        if place is None:
            self._catalog.damaged_part(stored, block)
        if place is SHARED:
            # What the parent's own bytes lead to is not this artifact's: no chunk here is to blame.
            with self._blamed(stored, layer, block):
                yield place
            return
        try:
            try:
                yield place
            except _FOREIGN as error:
                raise Malformed(f"a layer does not decode: {str(error).lower()}") from error
        except CorruptData as error:
            raise error.locate(
                artifact=self._container.file.path,
                tensor=stored.name,
                tier=self._container.tiers[stored.record.layer_tier(layer)],
                elements=stored.geometry.block_range(block),
                region="chunk",
                offset=self._container.offsets[place.page][place.chunk],
            ) from error.__cause__
        except Incomplete as error:
            error.tier = self._container.tiers[stored.record.layer_tier(layer)]
            raise
        except MemoryError as error:
            raise StoreUnavailable("not enough memory", hint="read fewer rows") from error

    @contextmanager
    def _blamed(self, stored: Stored, layer: int, block: int) -> Iterator[None]:
        """Add to damage which layer it hits, where no chunk of this artifact holds it."""
        try:
            yield
        except CorruptData as error:
            raise error.locate(
                artifact=self._container.file.path,
                tensor=stored.name,
                tier=self._container.tiers[stored.record.layer_tier(layer)],
                elements=stored.geometry.block_range(block),
            ) from error.__cause__


def stored_tiers(stored: Stored, last_tier: int) -> list[int]:
    """Return the layers needed to rebuild at a tier; what travels whole has just one."""
    if isinstance(stored, StoredTensor) and stored.record.layer_digests:
        return [n for n in range(stored.record.layers) if stored.record.layer_tier(n) <= last_tier]
    return [0]
