"""Quantizer `affine`: integers with a scale and a zero point (SPEC.md, section 19.1).

A weight is rebuilt as ``scale * (code - zero)``: one binary64 product, rounded once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from p2uformat.codec.dense import check_dense, dense_bytes, pack_dense, unpack_dense
from p2uformat.errors import InvalidArgument, Malformed
from p2uformat.floats import FORMATS, FloatFormat
from p2uformat.limits import MAX_BLOCK_ELEMENTS, MAX_RANK
from p2uformat.quant.binary64 import clamped, rounded, source_values
from p2uformat.quant.cuts import Cut, channel_cut, group_cut, tensor_cut

__all__ = ["SCALES", "Affine", "Grid", "decode", "encode", "fit_grid", "parse_layer", "sections"]

Buffer = bytes | memoryview
Words = NDArray[np.unsignedinteger]
F64 = NDArray[np.float64]
SCALES: Final = ("F64", "F32", "F16", "BF16")
_BITS: Final = (2, 8)


@dataclass(frozen=True, slots=True)
class Affine:
    """Integer codes, each group of weights with its own scale and, if asked for, zero point.

    Parameters
    ----------
    bits : int
        Bits of a code, 2 to 8.
    group : int, optional
        So many consecutive weights along the last axis share a scale.
    axis : int, optional
        Weights with the same coordinate along this axis share a scale: channels. Without `group`
        and `axis`, all weights of a tensor do.
    symmetric : bool
        Whether zero is the middle code; otherwise each scale has a zero point of its own.
    scale : str, optional
        Dtype that scales are stored in: ``F64``, ``F32``, ``F16`` or ``BF16``. By default ``BF16``
        for groups, which has the range of fp32 at two bytes, and ``F32`` for the rest.

    Raises
    ------
    InvalidArgument
        If a number is out of range, or both `group` and `axis` are given.

    Examples
    --------
    >>> Affine(bits=4, group=32).tier
    'affine4'
    """

    bits: int
    group: int | None = None
    axis: int | None = None
    symmetric: bool = True
    scale: str | None = None

    def __post_init__(self) -> None:
        if self.scale is None:
            object.__setattr__(self, "scale", "F32" if self.group is None else "BF16")
        if not _BITS[0] <= self.bits <= _BITS[1]:
            raise InvalidArgument(
                f"affine codes of {self.bits} bits", hint=f"give {_BITS[0]} to {_BITS[1]}"
            )
        if self.group is not None and self.axis is not None:
            raise InvalidArgument("scales per group and per channel", hint="give one of the two")
        if self.group is not None and not 1 <= self.group <= MAX_BLOCK_ELEMENTS:
            raise InvalidArgument(
                f"groups of {self.group} weights", hint=f"give 1 to {MAX_BLOCK_ELEMENTS}"
            )
        if self.axis is not None and not 0 <= self.axis < MAX_RANK:
            raise InvalidArgument(f"axis {self.axis}", hint=f"give 0 to {MAX_RANK - 1}")
        if self.scale not in SCALES:
            raise InvalidArgument(
                f"scales stored as {str(self.scale)[:40]!r}", hint=f"use {', '.join(SCALES)}"
            )

    @property
    def tier(self) -> str:
        """What a tier of it is called."""
        return f"affine{self.bits}"

    @property
    def width(self) -> int:
        """Bits of a code."""
        return self.bits

    @property
    def middle(self) -> int:
        """The zero point of symmetric codes."""
        return 1 << (self.bits - 1)

    @property
    def scale_format(self) -> FloatFormat:
        """Format of the scales."""
        assert self.scale is not None
        return FORMATS[self.scale]

    @property
    def spans_blocks(self) -> bool:
        """Whether weights of several blocks share a scale."""
        return self.group is None

    def scales_of(self, shape: tuple[int, ...]) -> int:
        """Return how many scales a tensor has for all of its blocks together."""
        return 1 if self.axis is None else shape[self.axis]

    def cut(self, shape: tuple[int, ...], start: int, stop: int) -> Cut:
        """Return which weights of a block, an element range with elements, share a scale."""
        if self.axis is not None:
            return channel_cut(shape, self.axis, start, stop)
        if self.group is not None:
            row = shape[-1] if len(shape) > 1 else stop
            return group_cut(row, self.group, stop - start)
        return tensor_cut(stop - start)


@dataclass(frozen=True, slots=True, eq=False)
class Grid:
    """Scales and zero points, one for each slot.

    Parameters
    ----------
    scales : ndarray of unsigned integers
        Bit patterns of the scales' dtype.
    zeros : ndarray of uint8
        Zero points.
    """

    scales: Words
    zeros: NDArray[np.uint8]

    def part(self, first: int, count: int) -> Grid:
        """Return those of one block; slots of channels go on from the beginning."""
        places = (first + np.arange(count)) % len(self.scales)
        return Grid(self.scales[places], self.zeros[places])


def fit_grid(form: Affine, low: F64, high: F64) -> Grid:
    """Return the scales for weights between two extremes each (SPEC.md, 11).

    Parameters
    ----------
    form : Affine
        The quantizer.
    low, high : ndarray of float64
        Least and largest weight of each slot, finite.

    Examples
    --------
    >>> grid = fit_grid(Affine(4), np.array([-7.0]), np.array([3.0]))
    >>> grid.scales.view(np.float32), grid.zeros
    (array([1.], dtype=float32), array([8], dtype=uint8))
    """
    fmt = form.scale_format
    steps = (1 << form.bits) - 1
    if form.symmetric:
        exact = np.maximum(-low, high) / float(form.middle - 1)
    else:
        low, high = np.minimum(low, 0.0), np.maximum(high, 0.0)
        exact = high / steps - low / steps
    exact = np.maximum(exact, 0.0) + 0.0  # no minus zero
    scales = np.minimum(rounded(exact, fmt), fmt.word.type(fmt.max_word))
    scales = np.maximum(scales, (exact > 0).astype(fmt.word))  # the least number, not none
    if form.symmetric:
        return Grid(scales, np.full(len(scales), form.middle, np.uint8))
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        zeros = np.rint(-low / source_values(fmt, scales))
    zeros = np.where(scales == 0, 0.0, np.clip(zeros, 0, steps))
    return Grid(scales, zeros.astype(np.uint8))


def encode(form: Affine, cut: Cut, grid: Grid, values: F64) -> NDArray[np.uint8]:
    """Return the codes of finite numbers: the nearest ones, ties to even."""
    scale = source_values(form.scale_format, grid.scales)
    zero = grid.zeros.astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        codes = np.rint(values / cut.spread(scale))
    codes += cut.spread(zero)
    if not scale.all():
        codes = np.where(cut.spread(scale) == 0, cut.spread(zero), codes)
    limited: NDArray[np.uint8] = np.clip(codes, 0, (1 << form.bits) - 1).astype(np.uint8)
    return limited


def decode(
    form: Affine,
    cut: Cut,
    grid: Grid,
    codes: NDArray[np.unsignedinteger],
    source: FloatFormat,
    target: FloatFormat,
) -> Words:
    """Rebuild weights of a format from codes, rounded once to `target`."""
    scale = source_values(form.scale_format, grid.scales)
    steps = np.arange(1 << form.bits) - grid.zeros.astype(np.int64)[:, None]
    if cut.count << form.bits <= cut.weights:
        # Fewer products than weights: each is made and rounded once, and looked up.
        table = _products(scale[:, None], steps, source, target)
        first = np.arange(cut.count, dtype=np.int32) << form.bits
        words: Words = table[codes] if cut.count == 1 else table[cut.spread(first) + codes]
        return words
    zeros: NDArray[np.int64] = cut.spread(grid.zeros.astype(np.int64))
    wide = np.subtract(codes, zeros, dtype=np.int64)
    return _products(cut.spread(scale), wide, source, target)


def _products(
    scale: F64,
    steps: NDArray[np.signedinteger],
    source: FloatFormat,
    target: FloatFormat,
) -> Words:
    with np.errstate(over="ignore", under="ignore"):
        products: F64 = (scale * steps.astype(np.float64)).reshape(-1)
    return rounded(clamped(source, products), target)


def sections(form: Affine, grid: Grid, codes: NDArray[np.uint8]) -> list[bytes]:
    """Return the parts of a layer: scales, zero points, codes."""
    zeros = b"" if form.symmetric else pack_dense(grid.zeros, form.bits)
    return [grid.scales.tobytes(), zeros, pack_dense(codes, form.bits)]


def section_bytes(form: Affine, cut: Cut) -> tuple[int, int, int]:
    """Return the lengths of the parts of a layer."""
    zeros = 0 if form.symmetric else dense_bytes(cut.count, form.bits)
    size = cut.count * form.scale_format.itemsize
    return size, zeros, dense_bytes(cut.weights, form.bits)


def parse_layer(
    form: Affine, cut: Cut, payload: Buffer
) -> tuple[Grid, NDArray[np.unsignedinteger]]:
    """Return the scales and codes of a layer.

    Raises
    ------
    Malformed
        If its length is wrong, a scale is negative or not finite, or padding is not zero.
    """
    sizes = section_bytes(form, cut)
    if len(payload) != sum(sizes):
        raise Malformed(f"affine layer: expected {sum(sizes)} bytes, got {len(payload)}")
    first, second = sizes[0], sizes[0] + sizes[1]
    fmt = form.scale_format
    scales = np.frombuffer(payload, fmt.word, cut.count)
    if (scales > fmt.word.type(fmt.max_word)).any():
        raise Malformed("affine layer: a scale that is negative or not finite")
    view = memoryview(payload)
    zeros = np.full(cut.count, form.middle, np.uint8)
    if not form.symmetric:
        check_dense(view[first:second], cut.count, form.bits, "zero points")
        zeros = unpack_dense(view[first:second], cut.count, form.bits).astype(np.uint8)
    check_dense(view[second:], cut.weights, form.bits, "codes")
    return Grid(scales, zeros), unpack_dense(view[second:], cut.weights, form.bits)
