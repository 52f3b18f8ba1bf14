"""Reading chunks (SPEC.md, section 7)."""

from __future__ import annotations

import struct
from abc import ABC, abstractmethod
from collections.abc import Sequence
from itertools import accumulate
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from p2uformat.chunk.codec import DIFFERENCES, FIRST_CLASS, MEMBER, Codec
from p2uformat.codec.frame import Frame, parse_frame
from p2uformat.errors import LimitExceeded, Malformed, UnsupportedFormat
from p2uformat.floats import FloatFormat
from p2uformat.kernels import kernels
from p2uformat.limits import MAX_BLOCK_ELEMENTS
from p2uformat.quant.layers import BaseLayer

__all__ = ["ChunkView", "open_chunk"]

Buffer = bytes | memoryview
U8 = NDArray[np.uint8]
_MAX_WIDTH = 16
_ROW = struct.Struct("<IIIIBBH")  # of MEMBER


class ChunkView(Protocol):
    """A checked chunk whose layers can be taken out."""

    @property
    def members(self) -> int:
        """Number of layers."""

    def payload(self, slot: int) -> Buffer:
        """Return the canonical payload of one layer."""

    def parts(self, slot: int) -> Sequence[Buffer]:
        """Return the pieces of one layer's payload, or the sections of its difference."""

    def base(self, slot: int, fmt: FloatFormat, weights: int, segments: int) -> BaseLayer:
        """Return one base layer; its values are checked by who uses them.

        Raises
        ------
        Malformed
            If it is none of so many weights and segments.
        """


def open_chunk(codec: int, data: Buffer) -> ChunkView:
    """Open a chunk whose id has been checked.

    Parameters
    ----------
    codec : int
        From the manifest.
    data : bytes-like
        Its bytes; they must stay as they are for as long as the view and what it returned.

    Raises
    ------
    UnsupportedFormat
        If the codec is unknown.
    Malformed, LimitExceeded
        If the chunk breaks a rule.
    """
    if codec == Codec.RAW:
        return _Raw(data)
    views: dict[int, type[_Sections | _Planes | _Classes]] = {
        Codec.SECTIONS: _Sections,
        Codec.PLANES: _Planes,
        Codec.CLASSES: _Classes,
        **dict.fromkeys(DIFFERENCES, _Sections),
    }
    if codec not in views:
        raise UnsupportedFormat(
            f"unknown chunk codec {codec}", hint="a newer version of p2uformat may read it"
        )
    return views[codec](parse_frame(codec, data))


def _slot(slot: int, members: int) -> int:
    if not 0 <= slot < members:
        raise Malformed(f"a chunk of {members} layers has no slot {slot}")
    return slot


class _Plain(ABC):
    """What holds payloads, whatever they are of."""

    def payload(self, slot: int) -> Buffer:
        parts = self.parts(slot)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    @abstractmethod
    def parts(self, slot: int) -> Sequence[Buffer]: ...

    def base(self, slot: int, fmt: FloatFormat, weights: int, segments: int) -> BaseLayer:
        return BaseLayer.parse(fmt, weights, segments, self.payload(slot))


class _Raw(_Plain):
    def __init__(self, data: Buffer) -> None:
        self.members = 1
        self._data = data

    def parts(self, slot: int) -> Sequence[Buffer]:
        _slot(slot, 1)
        return (self._data,)


class _Sections(_Plain):
    def __init__(self, frame: Frame) -> None:
        self.members = frame.members
        count = len(frame.rows) - 1
        if frame.raw_length(0) != 4 * count * self.members:
            raise Malformed("a chunk's section lengths do not fit its members")
        lengths = struct.unpack(f"<{count * self.members}I", frame.stream(0))
        # Where each member's part of a section ends, section by section.
        self._ends = [list(accumulate(lengths[i::count], initial=0)) for i in range(count)]
        totals = [ends[-1] for ends in self._ends]
        if totals != [frame.raw_length(1 + i) for i in range(count)]:
            raise Malformed("a chunk's sections do not fill their streams")
        self._streams = [memoryview(frame.stream(1 + i)) for i in range(count)]

    def parts(self, slot: int) -> Sequence[Buffer]:
        row = _slot(slot, self.members)
        return [
            stream[ends[row] : ends[row + 1]]
            for stream, ends in zip(self._streams, self._ends, strict=True)
        ]


class _Planes(_Plain):
    def __init__(self, frame: Frame) -> None:
        self.members = frame.members
        if frame.raw_length(0) != 4 + 4 * self.members:
            raise Malformed("a chunk's lengths do not fit its members")
        width, *lengths = np.frombuffer(frame.stream(0), "<u4").tolist()
        if not 1 <= width <= _MAX_WIDTH or len(frame.rows) != width + 1:
            raise Malformed(f"a chunk of {len(frame.rows)} streams has no planes of {width} bytes")
        total = sum(lengths)
        wanted = {frame.raw_length(1 + j) * width for j in range(width)}
        if wanted != {total}:
            raise Malformed("a chunk's planes do not hold its payloads")
        data = np.empty((total // width, width), np.uint8)
        for j in range(width):
            data[:, j] = np.frombuffer(frame.stream(1 + j), np.uint8)
        self._data = data.reshape(-1).data
        self._ends = list(accumulate(lengths, initial=0))

    def parts(self, slot: int) -> Sequence[Buffer]:
        row = _slot(slot, self.members)
        return (self._data[self._ends[row] : self._ends[row + 1]],)


class _Classes:
    """Base layers, their symbols back in C order."""

    def __init__(self, frame: Frame) -> None:
        self.members = frame.members
        if frame.raw_length(0) != MEMBER.itemsize * self.members:
            raise Malformed("a chunk's table does not fit its members")
        if len(frame.rows) < FIRST_CLASS:
            raise Malformed(f"a chunk of base layers has {len(frame.rows)} streams")
        table = bytes(frame.stream(0))
        self._rows = list(_ROW.iter_unpack(table))
        self._check(frame)
        self._symbols = np.empty(sum(row[0] for row in self._rows), np.uint8)
        streams = tuple(frame.stream(FIRST_CLASS + c) for c in range(len(frame.rows) - FIRST_CLASS))
        kernels().join(streams, frame.stream(2), table, self._symbols)
        self._steps = _undelta16(np.frombuffer(frame.stream(1), np.uint8))
        self._gaps = _unplane32(np.frombuffer(frame.stream(3), np.uint8))
        self._values = memoryview(frame.stream(4))
        # Of each member: where its weights, segments, outliers and their values begin.
        self._starts = list(accumulate(self._rows, _after, initial=(0, 0, 0, 0)))

    def _check(self, frame: Frame) -> None:
        segments = outliers = values = units = 0
        for weights, steps, count, unit, _, size, axis in self._rows:
            if weights > MAX_BLOCK_ELEMENTS:
                raise LimitExceeded(f"a chunk's member is larger than {MAX_BLOCK_ELEMENTS} weights")
            if unit == 0:
                raise Malformed("a chunk's member is cut into units of nothing")
            if axis > 1:
                raise Malformed("a chunk's member has an unknown axis")
            if axis == 1 and weights % unit:
                raise Malformed("a chunk's member cannot be read by columns")
            segments += steps
            outliers += count
            values += count * size
            units += -(-weights // unit)
        for number, size in ((1, 2 * segments), (3, 4 * outliers), (4, values)):
            if frame.raw_length(number) != size:
                raise Malformed("a chunk's streams do not fit its members")
        if units != frame.raw_length(2):
            raise Malformed("a chunk's class numbers do not fit its units")
        classes = range(FIRST_CLASS, len(frame.rows))
        if sum(row[0] for row in self._rows) != sum(map(frame.raw_length, classes)):
            raise Malformed("a chunk's class streams do not hold its symbols")

    def _parts(
        self, slot: int
    ) -> tuple[int, int, NDArray[np.int16], U8, NDArray[np.uint32], Buffer]:
        row = self._rows[_slot(slot, self.members)]
        (weight, step, outlier, value), ends = self._starts[slot], self._starts[slot + 1]
        return (
            row[4],
            row[5],
            self._steps[step : ends[1]],
            self._symbols[weight : ends[0]],
            np.cumsum(self._gaps[outlier : ends[2]], dtype="<u4"),
            self._values[value : ends[3]],
        )

    def payload(self, slot: int) -> Buffer:
        flags, _, steps, symbols, index, values = self._parts(slot)
        count = len(index).to_bytes(4, "little")
        return b"".join((bytes((flags,)), steps.data, symbols.data, count, index.data, values))

    def parts(self, slot: int) -> Sequence[Buffer]:
        return (self.payload(slot),)

    def base(self, slot: int, fmt: FloatFormat, weights: int, segments: int) -> BaseLayer:
        flags, size, steps, symbols, index, values = self._parts(slot)
        usual = len(symbols) == weights and len(steps) == segments
        if not usual or (len(index) and size != fmt.itemsize):
            # Another cut of the same bytes may still be the payload.
            return BaseLayer.parse(fmt, weights, segments, self.payload(slot))
        return BaseLayer(flags, steps, symbols, index, np.frombuffer(values, fmt.word))


def _after(start: tuple[int, int, int, int], row: tuple[int, ...]) -> tuple[int, int, int, int]:
    weights, steps, outliers, _, _, size, _ = row
    weight, step, outlier, value = start
    return weight + weights, step + steps, outlier + outliers, value + outliers * size


def _undelta16(planes: U8) -> NDArray[np.int16]:
    half = len(planes) // 2
    joined = planes[:half].astype(np.uint16) | (planes[half:].astype(np.uint16) << np.uint16(8))
    return np.cumsum(joined, dtype="<u2").view("<i2")


def _unplane32(planes: U8) -> NDArray[np.uint32]:
    rows = planes.reshape(4, -1).astype(np.uint32)
    joined: NDArray[np.uint32] = rows[0] | rows[1] << 8 | rows[2] << 16 | rows[3] << 24
    return joined
