"""Blocks in chunks of their own, rebuilt at once and layer by layer; and damage to chunks."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

from p2uformat.chunk import (
    Codec,
    encode_classes,
    encode_raw_or_sections,
    encode_sections,
    open_chunk,
)
from p2uformat.chunk.codec import MEMBER
from p2uformat.codec.frame import build_frame, parse_frame
from p2uformat.errors import P2UError
from p2uformat.floats import FloatFormat
from p2uformat.kernels.compiled import CompiledKernels
from p2uformat.quant.bitplane import BlockSpec
from tests.kernel_cases import LEVELS, NUMPY, Block, Watched, room, untouched
from tests.kernel_damage import Rng, spoiled

Layers = list[tuple[int, bytes]]


def chunks_of(block: Block, row: int) -> Layers:
    """Encode each layer into a chunk of its own."""
    layers: Layers = [(int(Codec.CLASSES), encode_classes([block.base], [row]))]
    layers += [(int(codec), chunk) for codec, chunk in map(_opaque, block.digits)]
    return [*layers, (int(Codec.SECTIONS), encode_sections([block.rest]))]


def _opaque(payload: bytes) -> tuple[Codec, bytes]:
    return encode_raw_or_sections([payload])


def by_layers(spec: BlockSpec, layers: Layers, target: FloatFormat | None, out: Any) -> Any:
    """Rebuild a block the long way, by numpy; returns `out`, or the error's class."""
    try:
        views = [open_chunk(codec, data) for codec, data in layers]
        base = views[0].base(0, spec.format, spec.weights, spec.segments)
        digits = [view.payload(0) for view in views[1 : len(views) - (target is None)]]
        if target is None:
            NUMPY.exact(spec, base, digits, views[-1].parts(0), out)
        else:
            NUMPY.values(spec, base, digits, target, out)
    except P2UError as error:
        return type(error)
    return out


def check_chunks(block: Block, layers: Layers, target: FloatFormat | None) -> int:
    """Rebuild a block at once at every level, sound or not; returns how many levels did it."""
    done = 0
    expected = None
    for level in LEVELS:
        out, around = room(block, target)
        if CompiledKernels(Watched(), level).block(block.spec, layers, target, out):
            if expected is None:
                expected = by_layers(block.spec, layers, target, room(block, target)[0])
            assert not isinstance(expected, type), (level, expected)
            assert np.array_equal(out, expected), level
            done += 1
        assert untouched(around), level
    return done


def damaged_chunks(rng: Rng, layers: Layers) -> Layers:
    """Return chunks with something wrong in one of them."""
    at = int(rng.integers(len(layers)))
    codec, chunk = layers[at]
    kind = int(rng.integers(8))
    if kind == 0:
        codec = int(rng.choice([0, 1, 2, 3, 4, 9, 255]))
    elif kind < 3 or codec == Codec.RAW:
        chunk = spoiled(rng, chunk)
    elif kind == 3:
        chunk = _head(rng, chunk)
    elif kind < 6:
        chunk = _table(rng, chunk)
    else:
        chunk = _stream(rng, codec, chunk)
    return [*layers[:at], (codec, chunk), *layers[at + 1 :]]


def _head(rng: Rng, chunk: bytes) -> bytes:
    head = list(struct.unpack_from("<BBHHH", chunk))
    head[rng.integers(5)] = int(rng.choice([0, 1, 2, 3, 255]))
    return struct.pack("<BBHHH", *head) + chunk[8:]


def _table(rng: Rng, chunk: bytes) -> bytes:
    """Change a length in the stream table, or whether a stream is compressed."""
    (count,) = struct.unpack_from("<H", chunk, 4)
    place = 8 + 4 * int(rng.integers(2 * count))
    (word,) = struct.unpack_from("<I", chunk, place)
    changed = int(
        rng.choice([word ^ 1 << 31, word + 1, word - 1, 0, word ^ 1 << 16, 0xFFFFFFFF, 1 << 26])
    )
    return chunk[:place] + struct.pack("<I", changed & 0xFFFFFFFF) + chunk[place + 4 :]


def _stream(rng: Rng, codec: int, chunk: bytes) -> bytes:
    """Change what a stream holds, and store it as an encoder would."""
    frame = parse_frame(codec, chunk)
    streams = [bytes(frame.stream(i)) for i in range(len(frame.rows))]
    at = int(rng.integers(len(streams)))
    if codec == Codec.CLASSES and rng.random() < 0.5:
        streams[0] = _member(rng, streams[0])
    elif codec == Codec.CLASSES and rng.random() < 0.3:
        # Class numbers: some that exist, and some that do not.
        classes = bytearray(streams[2])
        classes[rng.integers(len(classes))] = int(rng.choice([0, 1, 2, len(streams) - 5, 255]))
        streams[2] = bytes(classes)
    else:
        streams[at] = spoiled(rng, streams[at])
    return build_frame(codec, frame.members, streams)


def _member(rng: Rng, table: bytes) -> bytes:
    row = np.frombuffer(table, MEMBER).copy()
    field = str(rng.choice(MEMBER.names))
    old = int(row[field][0])
    most = (1 << (8 * row[field].itemsize)) - 1
    new = int(rng.choice([0, 1, 2, old + 1, old - 1, old * 2, old // 2, most, 256]))
    row[field] = new & most
    return row.tobytes()
