"""Writing chunks (SPEC.md, section 7)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from p2uformat.chunk.codec import MEMBER, Codec
from p2uformat.chunk.cut import choose_cut, sum_tables
from p2uformat.codec.classes import Member
from p2uformat.codec.frame import Buffer, build_frame
from p2uformat.kernels import kernels
from p2uformat.quant.layers import BaseLayer

__all__ = [
    "encode_classes",
    "encode_differences",
    "encode_planes",
    "encode_raw_or_sections",
    "encode_sections",
]

U8 = NDArray[np.uint8]


def encode_sections(members: Sequence[Sequence[bytes]]) -> bytes:
    """Encode layers that are cut into the same number of sections."""
    return _sections(Codec.SECTIONS, members)


def encode_differences(codec: Codec, members: Sequence[Sequence[bytes]]) -> bytes:
    """Encode differences of layers, each as the sections that `p2uformat.kernels` made of it."""
    return _sections(codec, members)


def _sections(codec: Codec, members: Sequence[Sequence[bytes]]) -> bytes:
    lengths = np.array([[len(part) for part in member] for member in members], "<u4")
    streams = [b"".join(parts) for parts in zip(*members, strict=True)]
    return build_frame(codec, len(members), [lengths.tobytes(), *streams])


def encode_raw_or_sections(payloads: Sequence[bytes]) -> tuple[Codec, bytes]:
    """Encode layers without structure: a single one raw unless compression saves bytes."""
    chunk = encode_sections([(payload,) for payload in payloads])
    if len(payloads) == 1 and len(payloads[0]) <= len(chunk):
        return Codec.RAW, payloads[0]
    return Codec.SECTIONS, chunk


def encode_planes(width: int, payloads: Sequence[bytes]) -> tuple[Codec, bytes]:
    """Encode opaque layers of elements of `width` bytes; a single one raw where that is smaller."""
    lengths = np.array([width, *(len(payload) for payload in payloads)], "<u4")
    data = np.frombuffer(b"".join(payloads), np.uint8).reshape(-1, width)
    streams = [np.ascontiguousarray(data[:, j]).tobytes() for j in range(width)]
    chunk = build_frame(Codec.PLANES, len(payloads), [lengths.tobytes(), *streams])
    if len(payloads) == 1 and len(payloads[0]) <= len(chunk):
        return Codec.RAW, payloads[0]
    return Codec.PLANES, chunk


def encode_classes(layers: Sequence[BaseLayer], rows: Sequence[int]) -> bytes:
    """Encode base layers, their symbols sorted by scale class.

    Parameters
    ----------
    layers : sequence of BaseLayer
        The members.
    rows : sequence of int
        For each, the length of its rows, along which scale is expected to be alike.
    """
    work = kernels()
    cuts = [
        choose_cut(layer.symbols, row, sparse=layer.sparse)
        for layer, row in zip(layers, rows, strict=True)
    ]
    names = work.merge(sum_tables([cut.pool for cut in cuts])).names
    class_map = names[np.concatenate([cut.pool.octaves for cut in cuts])]
    pieces: dict[int, list[U8]] = {}
    start = 0
    for cut in cuts:
        part = class_map[start : start + cut.member.units]
        found = work.sort_units(cut.member, part)
        present = np.flatnonzero(np.bincount(part)).tolist()
        for name, piece in zip(present, found, strict=True):
            pieces.setdefault(name, []).append(piece)
        start += cut.member.units
    streams = [_joined(pieces[name]) for name in sorted(pieces)]
    head = _class_streams(layers, [cut.member for cut in cuts], class_map)
    return build_frame(Codec.CLASSES, len(layers), head + streams)


def _joined(pieces: list[U8]) -> Buffer:
    return (pieces[0] if len(pieces) == 1 else np.concatenate(pieces)).data


def _class_streams(
    layers: Sequence[BaseLayer], cuts: Sequence[Member], class_map: U8
) -> list[Buffer]:
    rows = [
        (
            len(layer.symbols),
            len(layer.steps),
            len(layer.outlier_index),
            cut.unit,
            layer.flags,
            layer.outlier_words.dtype.itemsize,
            int(cut.transposed),
        )
        for layer, cut in zip(layers, cuts, strict=True)
    ]
    steps = np.concatenate([layer.steps for layer in layers]).astype("<i2").view("<u2")
    delta = np.diff(steps, prepend=np.uint16(0)).astype("<u2")
    return [
        np.array(rows, MEMBER).tobytes(),
        _planes(delta),
        class_map.tobytes(),
        _gaps(layers),
        b"".join(layer.outlier_words.tobytes() for layer in layers),
    ]


def _gaps(layers: Sequence[BaseLayer]) -> bytes:
    """Return the outliers' distances, in byte planes; few blocks have any."""
    found = [layer.outlier_index for layer in layers if len(layer.outlier_index)]
    if not found:
        return b""
    gaps = [np.diff(index, prepend=np.uint32(0)) for index in found]
    return _planes(np.concatenate(gaps).astype("<u4"))


def _planes(values: NDArray[np.unsignedinteger]) -> bytes:
    return np.ascontiguousarray(values.view(np.uint8).reshape(-1, values.itemsize).T).tobytes()
