"""A tensor on its way through a quantizer, block by block, twice: to fit, and to encode."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from p2uformat.codec.dense import check_dense, pack_dense, unpack_dense
from p2uformat.errors import InvalidArgument
from p2uformat.floats import FloatFormat
from p2uformat.quant import affine, levelcoding, levels, minifloat
from p2uformat.quant.affine import Affine, Grid
from p2uformat.quant.binary64 import LARGEST, SourceValues, add_up, as_scaled, source_values
from p2uformat.quant.cuts import Cut
from p2uformat.quant.levels import Levels
from p2uformat.quant.leveltables import BINS
from p2uformat.quant.leveltally import LevelTally
from p2uformat.quant.minifloat import Minifloat
from p2uformat.quant.quantizer import Quantizer
from p2uformat.quant.transform import FitSums, Transform, fit_sums

__all__ = ["BlockScan", "CodedBlock", "Distances", "TensorFit", "layer_sections", "rebuild"]

Buffer = bytes | memoryview
Words = NDArray[np.unsignedinteger]
F64 = NDArray[np.float64]
Scaled = tuple[int, int]


@dataclass(slots=True)
class Distances:
    """How far blocks are from their sources: sums, and the largest distance.

    Parameters
    ----------
    largest : float
        No finite weight is further off.
    errors, energies : list of float
        Of each block, the sums of squares of the differences and of the weights.
    """

    largest: float = 0.0
    errors: list[float] = field(default_factory=list)
    energies: list[float] = field(default_factory=list)

    @classmethod
    def of(cls, source: SourceValues, near: F64) -> Distances:
        """Return the distances of one block."""
        values = source.values
        if source.finite is not None:
            values, near = values[source.finite], near[source.finite]
        with np.errstate(over="ignore", under="ignore"):
            away = np.abs(values - near)
            squares = away * away, values * values
        largest = min(float(away.max(initial=0.0)), LARGEST)
        return cls(largest, [add_up(squares[0])], [add_up(squares[1])])

    def add(self, other: Distances) -> None:
        """Add those of the next block."""
        self.largest = max(self.largest, other.largest)
        self.errors += other.errors
        self.energies += other.energies

    def figures(self) -> tuple[Scaled, Scaled, Scaled]:
        """Return bound, error and energy as the manifest has them (SPEC.md, 8.2)."""
        sums = (add_up(np.array(blocks, np.float64)) for blocks in (self.errors, self.energies))
        error, energy = (as_scaled(total, up=False) for total in sums)
        return as_scaled(self.largest, up=True), error, energy


@dataclass(frozen=True, slots=True, eq=False)
class BlockScan:
    """What the first look at a block says.

    Parameters
    ----------
    first : int
        Which of the tensor's scales is the block's first.
    low, high : ndarray of float64, or None
        Extremes for each of the block's scales, where blocks share some.
    sums : FitSums or None
        What a transform is fitted to.
    counts : ndarray of int64, or None
        What a table of levels is fitted to.
    holds : bool
        Whether the quantizer can hold its weights.
    """

    first: int = 0
    low: F64 | None = None
    high: F64 | None = None
    sums: FitSums | None = None
    counts: NDArray[np.int64] | None = None
    holds: bool = True


@dataclass(frozen=True, slots=True, eq=False)
class CodedBlock:
    """A block that is encoded.

    Parameters
    ----------
    sections : list of bytes
        Its layer, in parts.
    near : ndarray of unsigned integers
        What it is rebuilt as, in the format of the source.
    distances : Distances
        How far that is off.
    tally : LevelTally or None
        Of levels, what the figures of an update are made of.
    """

    sections: list[bytes]
    near: Words
    distances: Distances
    tally: LevelTally | None = None


class TensorFit:
    """One tensor and its quantizer.

    Parameters
    ----------
    quantizer : Affine, Minifloat or Levels
        The quantizer.
    fmt : FloatFormat
        Format of the tensor.
    shape : tuple of int
        Its shape.
    name : str
        Its name, which stochastic rounding draws from.

    Attributes
    ----------
    quantizer : Affine, Minifloat or Levels
        Once `finish` has run, levels have their table.
    transform : Transform or None
        Once `finish` has run: what a minifloat's values are scaled and moved by.

    Raises
    ------
    InvalidArgument
        If the tensor has no such axis.
    """

    def __init__(
        self, quantizer: Quantizer, fmt: FloatFormat, shape: tuple[int, ...], name: str = ""
    ) -> None:
        if isinstance(quantizer, Affine) and (quantizer.axis or 0) >= max(len(shape), 1):
            raise InvalidArgument(
                f"a tensor of {len(shape)} dimensions has no axis {quantizer.axis}",
                hint="choose its tensors with a policy, or another axis",
            )
        self.quantizer = quantizer
        self.fmt = fmt
        self.shape = shape
        self.name = name
        self.transform: Transform | None = None
        self._grid: Grid | None = None

    def scan(self, start: int, stop: int, words: Words) -> BlockScan:
        """Look at a block, an element range with elements; may run on several threads."""
        source = SourceValues(self.fmt, words)
        if isinstance(self.quantizer, Minifloat):
            return self._scan_minifloat(self.quantizer, source)
        if source.finite is not None:
            return BlockScan(holds=False)
        if isinstance(self.quantizer, Levels):
            held, counts = levelcoding.scan_block(self.quantizer, source.values)
            return BlockScan(counts=counts, holds=held)
        if not self.quantizer.spans_blocks:
            return BlockScan()
        cut = self.quantizer.cut(self.shape, start, stop)
        return BlockScan(cut.first, *cut.extremes(source.values))

    def _scan_minifloat(self, form: Minifloat, source: SourceValues) -> BlockScan:
        codes = minifloat.encode(form, self.fmt, source.words)
        holds = minifloat.holds(form, self.fmt, source.words, codes)
        if not (holds and form.fit and source.finite is None):
            return BlockScan(holds=holds)
        return BlockScan(sums=fit_sums(source.values, minifloat.values_of(form, codes)))

    def finish(self, scans: Sequence[BlockScan], count: int) -> bool:
        """Fit what all blocks share; return whether the quantizer can hold all `count` weights."""
        if not all(scan.holds for scan in scans):
            return False
        if isinstance(self.quantizer, Affine):
            if self.quantizer.spans_blocks:
                self._grid = self._fit_grid(self.quantizer, scans)
        elif isinstance(self.quantizer, Levels):
            found = [scan.counts for scan in scans if scan.counts is not None]
            if self.quantizer.entries is None:
                total = sum(found, np.zeros(BINS, np.int64))
                self.quantizer = levelcoding.fitted_to(self.quantizer, total)
        elif self.quantizer.fit:
            self.transform = _fit_transform(scans, count)
        return True

    def _fit_grid(self, form: Affine, scans: Sequence[BlockScan]) -> Grid:
        count = form.scales_of(self.shape)
        low, high = np.full(count, np.inf), np.full(count, -np.inf)
        for scan in scans:
            assert scan.low is not None
            assert scan.high is not None
            places = (scan.first + np.arange(len(scan.low))) % count
            low[places] = np.minimum(low[places], scan.low)
            high[places] = np.maximum(high[places], scan.high)
        return affine.fit_grid(form, low, high)

    def encode(self, start: int, stop: int, words: Words) -> CodedBlock:
        """Encode a block; may run on several threads."""
        source = SourceValues(self.fmt, words)
        tally = None
        if isinstance(self.quantizer, Minifloat):
            codes = minifloat.encode(self.quantizer, self.fmt, words)
            sections = [pack_dense(codes, self.quantizer.width)]
            near = minifloat.words_of(self.quantizer, self.transform, self.fmt, self.fmt, codes)
        elif isinstance(self.quantizer, Levels):
            sections, near, tally = levelcoding.encode_block(
                self.quantizer, self.name, start, source.values, self.fmt
            )
        else:
            sections, near = self._encode_affine(self.quantizer, start, stop, source)
        distances = Distances.of(source, source_values(self.fmt, near))
        return CodedBlock(sections, near, distances, tally)

    def _encode_affine(
        self, form: Affine, start: int, stop: int, source: SourceValues
    ) -> tuple[list[bytes], Words]:
        cut = form.cut(self.shape, start, stop)
        if self._grid is None:
            grid = affine.fit_grid(form, *cut.extremes(source.values))
        else:
            grid = self._grid.part(cut.first, cut.count)
        codes = affine.encode(form, cut, grid, source.values)
        near = affine.decode(form, cut, grid, codes, self.fmt, self.fmt)
        return affine.sections(form, grid, codes), near


def _fit_transform(scans: Sequence[BlockScan], count: int) -> Transform | None:
    sums = [scan.sums for scan in scans]
    known = [item for item in sums if item is not None]
    if len(known) < len(sums):
        return None
    columns = zip(*((item.v, item.q, item.vq, item.qq) for item in known), strict=True)
    return FitSums(*(add_up(np.array(column)) for column in columns)).solve(count)


def layer_sections(
    form: Quantizer, shape: tuple[int, ...], start: int, stop: int, payload: Buffer
) -> list[bytes]:
    """Return the parts of a layer that was put together."""
    if isinstance(form, Minifloat):
        return [bytes(payload)]
    if isinstance(form, Levels):
        size = form.cut(stop - start).count * form.scale_format.itemsize
        return [bytes(payload[:size]), bytes(payload[size:])]
    first, zeros, _ = affine.section_bytes(form, form.cut(shape, start, stop))
    view = memoryview(payload)
    second = first + zeros
    return [bytes(part) for part in (view[:first], view[first:second], view[second:])]


def rebuild(
    form: Quantizer,
    transform: Transform | None,
    shape: tuple[int, ...],
    start: int,
    stop: int,
    payload: Buffer,
    source: FloatFormat,
    target: FloatFormat,
) -> Words:
    """Return a block's words from its layer.

    Parameters
    ----------
    form, transform
        How the tensor is quantized.
    shape : tuple of int
        Its shape.
    start, stop : int
        Element range of the block.
    payload : bytes-like
        The layer.
    source, target : FloatFormat
        The format of the tensor, and the one to round to.

    Raises
    ------
    Malformed
        If the layer breaks a rule.
    """
    count = stop - start
    if isinstance(form, Minifloat):
        check_dense(payload, count, form.width, "codes")
        codes = unpack_dense(payload, count, form.width)
        return minifloat.words_of(form, transform, source, target, codes)
    if isinstance(form, Levels):
        buckets = form.cut(count)
        norms, found = levels.parse_layer(form, buckets, payload)
        return levels.decode(form, buckets, norms, found, source, target)
    cut: Cut = form.cut(shape, start, stop)
    return affine.decode(form, cut, *affine.parse_layer(form, cut, payload), source, target)
