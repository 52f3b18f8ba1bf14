"""From chunks to the values of a block (SPEC.md, section 10)."""

from __future__ import annotations

import struct
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Final, NoReturn

import numpy as np
from numpy.typing import NDArray

from p2uformat.artifact.catalog import Catalog, Place, StoredFile, StoredTensor
from p2uformat.chunk import ChunkView, open_chunk
from p2uformat.container import Container
from p2uformat.errors import CorruptData, Incomplete, Malformed, StoreUnavailable
from p2uformat.floats import FORMATS, FloatFormat
from p2uformat.kernels import Buffer, kernels
from p2uformat.manifest import BitplaneParameters
from p2uformat.memory import Shelf
from p2uformat.quant.bitplane import BlockDecoder, BlockSpec
from p2uformat.quant.layers import BaseLayer
from p2uformat.quant.rounding import cast_words

__all__ = ["BlockReader", "stored_tiers"]

Stored = StoredTensor | StoredFile
Words = NDArray[np.unsignedinteger]
_CACHED_CHUNKS: Final = 12
_CACHED_BYTES: Final = 1 << 25
# Blocks of so many weights have chunks of their own as a rule (a writer may do otherwise).
_OWN_CHUNKS: Final = 1 << 17
_shelf: Final = Shelf(24)  # chunks of the blocks that several threads have at hand
# Whatever a decoder lets slip on hostile bytes still means that they break a rule.
_FOREIGN: Final = (ValueError, IndexError, KeyError, OverflowError, TypeError, struct.error)


class _ChunkCache:
    """The chunks with several members opened last: neighbours in a tensor share them.

    Two threads that want the same chunk wait for one decoding.
    """

    def __init__(self, container: Container) -> None:
        self._container = container
        self._lock = threading.Lock()
        self._views: OrderedDict[tuple[int, int], Future[ChunkView]] = OrderedDict()
        self._bytes = 0

    def view(self, page: int, index: int) -> ChunkView:
        key = page, index
        with self._lock:
            known = self._views.get(key)
            if known is not None:
                self._views.move_to_end(key)
            else:
                mine: Future[ChunkView] = Future()
                self._views[key] = mine
                self._bytes += self._container.entry(page, index).length
        if known is None:
            return self._load(key, mine)
        # An error belongs to who met it: each caller adds its own tensor to it.
        return known.result() if known.exception() is None else self._open(key)

    def _load(self, key: tuple[int, int], mine: Future[ChunkView]) -> ChunkView:
        try:
            view = self._open(key)
        except BaseException as error:
            self._drop(key)
            mine.set_exception(error)
            raise
        mine.set_result(view)
        if view.members == 1:
            self._drop(key)
        self._shrink()
        return view

    def _open(self, key: tuple[int, int]) -> ChunkView:
        entry = self._container.entry(*key)
        return open_chunk(entry.codec, self._container.chunk(*key))

    def _drop(self, key: tuple[int, int]) -> None:
        with self._lock:
            if self._views.pop(key, None) is not None:
                self._bytes -= self._container.entry(*key).length

    def _shrink(self) -> None:
        with self._lock:
            while len(self._views) > _CACHED_CHUNKS or (
                self._bytes > _CACHED_BYTES and len(self._views) > 1
            ):
                key, _ = self._views.popitem(last=False)
                self._bytes -= self._container.entry(*key).length


class BlockReader:
    """Reads blocks of a container's tensors and files.

    Parameters
    ----------
    container : Container
        What to read from.
    catalog : Catalog
        Its tensors and files.
    """

    def __init__(self, container: Container, catalog: Catalog) -> None:
        self._container = container
        self._catalog = catalog
        self._cache = _ChunkCache(container)
        self._specs: dict[tuple[int, int], BlockSpec] = {}
        self._digits = tuple(
            tier.digits for tier in container.content.tiers if tier.digits is not None
        )

    @property
    def exact(self) -> int:
        """Number of the exact tier."""
        return len(self._digits)

    def payload(self, stored: Stored, layer: int, block: int) -> Buffer:
        """Return the canonical payload of a layer, from a chunk whose id was checked.

        Raises
        ------
        CorruptData
            With the tensor, the tier, the element range and the chunk.
        Incomplete
            If the file ends before.
        """
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
        with self.located(stored, 0, block) as place:
            view = self._cache.view(place.page, place.chunk)
            return view.base(place.slot, spec.format, spec.weights, spec.segments)

    def parts(self, stored: StoredTensor, layer: int, block: int) -> Sequence[Buffer]:
        """Return the pieces of a layer's payload, from a chunk whose id was checked."""
        with self.located(stored, layer, block) as place:
            return self._cache.view(place.page, place.chunk).parts(place.slot)

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

        layers = []
        try:
            for layer in range(tier + 1):
                with self.located(stored, layer, block) as place:
                    entry = self._container.entry(place.page, place.chunk)
                    chunk = self._container.chunk(place.page, place.chunk, room)
                    layers.append((entry.codec, chunk))
            return kernels().block(spec, layers, target, out, warm=warm)
        finally:
            for piece in rooms:
                _shelf.give(piece)

    def _fill_exact(self, stored: StoredTensor, block: int, out: Words, *, warm: bool) -> None:
        if self._fill_at_once(stored, block, self.exact, None, out, warm=warm):
            return
        spec = self.spec(stored, block)
        base = self.base(stored, block)
        digits = self.digits(stored, block, self.exact)
        rest = self.parts(stored, self.exact, block)
        try:
            kernels().exact(spec, base, digits, rest, out)
        except Malformed as error:
            self.blame(stored, block, base, digits, [rest], error)

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
        base = self.base(stored, block)
        digits = self.digits(stored, block, tier)
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


def stored_tiers(stored: Stored, last_tier: int) -> list[int]:
    """Return the layers needed to rebuild at a tier; what travels whole has just one."""
    if isinstance(stored, StoredTensor) and stored.record.quantizer == "bitplane":
        return list(range(min(stored.record.layers, last_tier + 1)))
    return [0]
