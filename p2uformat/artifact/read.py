"""From chunks to the values of a block (SPEC.md, section 10)."""

from __future__ import annotations

import struct
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Final

import numpy as np
from numpy.typing import NDArray

from p2uformat.artifact.catalog import Catalog, Place, StoredFile, StoredTensor
from p2uformat.chunk import ChunkView, open_chunk
from p2uformat.container import Container
from p2uformat.errors import CorruptData, Incomplete, Malformed, StoreUnavailable
from p2uformat.floats import FORMATS, FloatFormat
from p2uformat.kernels import kernels
from p2uformat.manifest import BitplaneParameters
from p2uformat.quant.bitplane import BlockDecoder, BlockSpec
from p2uformat.quant.layers import BaseLayer
from p2uformat.quant.rounding import cast_words

__all__ = ["BlockReader", "stored_tiers"]

Stored = StoredTensor | StoredFile
_CACHED_CHUNKS: Final = 12
_CACHED_BYTES: Final = 1 << 25
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
        self._digits = tuple(
            tier.digits for tier in container.content.tiers if tier.digits is not None
        )

    @property
    def exact(self) -> int:
        """Number of the exact tier."""
        return len(self._digits)

    def payload(self, stored: Stored, layer: int, block: int) -> bytes:
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

    def raw(self, stored: Stored, block: int) -> bytes:
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
        payload = self.payload(stored, 0, block)
        with self.located(stored, 0, block):
            return BaseLayer.parse(spec.format, spec.weights, spec.segments, payload)

    def digits(self, stored: StoredTensor, block: int, tier: int) -> list[bytes]:
        """Return the refinement layers of a block up to a tier."""
        last = min(tier, self.exact - 1)
        return [self.payload(stored, layer, block) for layer in range(1, last + 1)]

    def spec(self, stored: StoredTensor, block: int) -> BlockSpec:
        """Return what is known of a block of a bitplane tensor."""
        parameters = stored.record.parameters
        assert isinstance(parameters, BitplaneParameters)
        start, stop = stored.geometry.block_range(block)
        return BlockSpec(
            FORMATS[stored.record.dtype],
            stop - start,
            parameters.segment,
            parameters.planes,
            self._digits,
            tuple((tier.delta0, tier.delta1) for tier in parameters.tiers),
        )

    def words(self, stored: StoredTensor, block: int) -> NDArray[np.unsignedinteger]:
        """Return the original bit patterns of a block of a bitplane tensor."""
        spec = self.spec(stored, block)
        base = self.base(stored, block)
        digits = self.digits(stored, block, self.exact)
        rest = self.payload(stored, self.exact, block)
        out = np.empty(spec.weights, spec.format.word)
        try:
            kernels().exact(spec, base, digits, [rest], out)
        except Malformed as error:
            decoder = self._decoder(stored, block, base, digits)
            with self.located(stored, self.exact, block):
                decoder.exact(rest)
                raise error from None
        return out

    def _tier(
        self, stored: StoredTensor, block: int, tier: int, target: FloatFormat
    ) -> NDArray[np.unsignedinteger]:
        """Return the bit patterns of a block of a bitplane tensor at a lossy tier."""
        spec = self.spec(stored, block)
        base = self.base(stored, block)
        digits = self.digits(stored, block, tier)
        out = np.empty(spec.weights, target.word)
        try:
            kernels().values(spec, base, digits, target, out)
        except Malformed as error:
            self._decoder(stored, block, base, digits)
            with self.located(stored, tier, block):
                raise error from None
        return out

    def _decoder(
        self, stored: StoredTensor, block: int, base: BaseLayer, digits: Sequence[bytes]
    ) -> BlockDecoder:
        """Walk the layers one by one, to find out in which of them the damage is."""
        with self.located(stored, 0, block):
            decoder = BlockDecoder(self.spec(stored, block), base)
        for layer, payload in enumerate(digits, 1):
            with self.located(stored, layer, block):
                decoder.refine(payload)
        return decoder

    def values(
        self, stored: StoredTensor, block: int, tier: int, target: FloatFormat | None
    ) -> NDArray[np.generic]:
        """Return a block as its dtype, or as `target`; as bytes, where numpy has no such dtype.

        Returns
        -------
        ndarray
            One-dimensional; read-only where it could be had without a copy.
        """
        source = FORMATS.get(stored.record.dtype)
        if stored.record.quantizer == "bitplane":
            assert source is not None
            wanted = target or source
            if tier < self.exact:
                return self._tier(stored, block, tier, wanted).view(wanted.numpy)
            return cast_words(source, self.words(stored, block), wanted).view(wanted.numpy)
        data = np.frombuffer(self.raw(stored, block), np.uint8)
        if source is not None and target is not None:
            return cast_words(source, data.view(source.word), target).view(target.numpy)
        return data

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
