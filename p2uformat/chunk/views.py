"""Reading chunks (SPEC.md, section 7)."""

from __future__ import annotations

from itertools import accumulate
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from p2uformat.chunk.codec import FIRST_CLASS, MEMBER, Codec
from p2uformat.codec import classes as scale_classes
from p2uformat.codec.frame import Frame, parse_frame
from p2uformat.errors import LimitExceeded, Malformed, UnsupportedFormat
from p2uformat.limits import MAX_BLOCK_ELEMENTS

__all__ = ["ChunkView", "open_chunk"]

U8 = NDArray[np.uint8]
_MAX_WIDTH = 16


class ChunkView(Protocol):
    """A checked chunk whose layers can be taken out."""

    @property
    def members(self) -> int:
        """Number of layers."""

    def payload(self, slot: int) -> bytes:
        """Return the canonical payload of one layer."""


def open_chunk(codec: int, data: bytes | memoryview) -> ChunkView:
    """Open a chunk whose id has been checked.

    Raises
    ------
    UnsupportedFormat
        If the codec is unknown.
    Malformed, LimitExceeded
        If the chunk breaks a rule.
    """
    if codec == Codec.RAW:
        return _Raw(bytes(data))
    views: dict[int, type[_Sections | _Planes | _Classes]] = {
        Codec.SECTIONS: _Sections,
        Codec.PLANES: _Planes,
        Codec.CLASSES: _Classes,
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


class _Raw:
    def __init__(self, data: bytes) -> None:
        self.members = 1
        self._data = data

    def payload(self, slot: int) -> bytes:
        _slot(slot, 1)
        return self._data


class _Sections:
    def __init__(self, frame: Frame) -> None:
        self.members = frame.members
        count = len(frame.rows) - 1
        if frame.raw_length(0) != 4 * count * self.members:
            raise Malformed("a chunk's section lengths do not fit its members")
        meta = np.frombuffer(frame.stream(0), "<u4").reshape(self.members, count).astype(np.int64)
        totals = meta.sum(0).tolist()
        if totals != [frame.raw_length(1 + i) for i in range(count)]:
            raise Malformed("a chunk's sections do not fill their streams")
        self._ends = np.cumsum(meta, axis=0)
        self._lengths = meta
        self._streams = [frame.stream(1 + i) for i in range(count)]

    def payload(self, slot: int) -> bytes:
        row = _slot(slot, self.members)
        ends = self._ends[row].tolist()
        lengths = self._lengths[row].tolist()
        return b"".join(
            stream[end - length : end]
            for stream, end, length in zip(self._streams, ends, lengths, strict=True)
        )


class _Planes:
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
        self._data = data.tobytes()
        self._ends = list(accumulate(lengths))
        self._lengths = lengths

    def payload(self, slot: int) -> bytes:
        end = self._ends[_slot(slot, self.members)]
        return self._data[end - self._lengths[slot] : end]


class _Classes:
    def __init__(self, frame: Frame) -> None:
        self.members = frame.members
        if frame.raw_length(0) != MEMBER.itemsize * self.members:
            raise Malformed("a chunk's table does not fit its members")
        if len(frame.rows) < FIRST_CLASS:
            raise Malformed(f"a chunk of base layers has {len(frame.rows)} streams")
        self._table = np.frombuffer(frame.stream(0), MEMBER)
        self._frame = frame
        self._check_table()
        self._payloads = self._decode()

    def _check_table(self) -> None:
        table = self._table
        if (table["weights"] > MAX_BLOCK_ELEMENTS).any():
            raise LimitExceeded(f"a chunk's member is larger than {MAX_BLOCK_ELEMENTS} weights")
        if (table["unit"] == 0).any():
            raise Malformed("a chunk's member is cut into units of nothing")
        if (table["axis"] > 1).any() or (table["weights"][table["axis"] == 1] == 0).any():
            raise Malformed("a chunk's member has an unknown axis")
        uneven = table["weights"].astype(np.int64) % np.maximum(table["unit"], 1)
        if ((table["axis"] == 1) & (uneven != 0)).any():
            raise Malformed("a chunk's member cannot be read by columns")
        sums = {
            1: 2 * int(table["segments"].sum(dtype=np.int64)),
            3: 4 * int(table["outliers"].sum(dtype=np.int64)),
            4: int((table["outliers"].astype(np.int64) * table["size"]).sum()),
        }
        if any(self._frame.raw_length(number) != size for number, size in sums.items()):
            raise Malformed("a chunk's streams do not fit its members")

    def _decode(self) -> list[bytes]:
        frame = self._frame
        steps = _undelta16(np.frombuffer(frame.stream(1), np.uint8))
        class_map = np.frombuffer(frame.stream(2), np.uint8)
        gaps = _unplane32(np.frombuffer(frame.stream(3), np.uint8))
        values = frame.stream(4)
        table = self._table
        units = -(-table["weights"].astype(np.int64) // table["unit"])
        if int(units.sum()) != len(class_map):
            raise Malformed("a chunk's class numbers do not fit its units")
        streams = _Streams(frame, class_map)
        places = dict.fromkeys(("step", "unit", "gap", "value"), 0)
        payloads = []
        for row, count in zip(table.tolist(), units.tolist(), strict=True):
            weights, segments, outliers, unit, flags, size, axis = row
            cut = class_map[places["unit"] : places["unit"] + count]
            symbols = scale_classes.join(unit, weights, cut, streams.take, transposed=bool(axis))
            index = np.cumsum(gaps[places["gap"] : places["gap"] + outliers], dtype=np.uint32)
            payloads.append(
                b"".join(
                    (
                        bytes((flags,)),
                        steps[places["step"] : places["step"] + segments].tobytes(),
                        symbols.tobytes(),
                        outliers.to_bytes(4, "little"),
                        index.astype("<u4").tobytes(),
                        values[places["value"] : places["value"] + outliers * size],
                    )
                )
            )
            places["step"] += segments
            places["unit"] += count
            places["gap"] += outliers
            places["value"] += outliers * size
        streams.finish()
        return payloads

    def payload(self, slot: int) -> bytes:
        return self._payloads[_slot(slot, self.members)]


class _Streams:
    """The class streams of a chunk, each used up exactly."""

    def __init__(self, frame: Frame, class_map: U8) -> None:
        count = len(frame.rows) - FIRST_CLASS
        if len(class_map) and int(class_map.max()) >= count:
            raise Malformed(f"class {int(class_map.max())} of a chunk with {count} classes")
        self._left = [np.frombuffer(frame.stream(FIRST_CLASS + c), np.uint8) for c in range(count)]

    def take(self, name: int, count: int) -> U8:
        left = self._left[name]
        if len(left) < count:
            raise Malformed("a class stream is too short")
        self._left[name] = left[count:]
        return left[:count]

    def finish(self) -> None:
        if any(len(left) for left in self._left):
            raise Malformed("a class stream is too long")


def _undelta16(planes: U8) -> NDArray[np.uint16]:
    half = len(planes) // 2
    joined = planes[:half].astype(np.uint16) | (planes[half:].astype(np.uint16) << np.uint16(8))
    return np.cumsum(joined, dtype=np.uint16).astype("<u2")


def _unplane32(planes: U8) -> NDArray[np.uint32]:
    rows = planes.reshape(4, -1).astype(np.uint32)
    joined: NDArray[np.uint32] = rows[0] | rows[1] << 8 | rows[2] << 16 | rows[3] << 24
    return joined
