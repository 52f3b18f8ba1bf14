"""Our decoder of zstd frames against the library."""

from __future__ import annotations

from importlib import import_module

import numpy as np
import pytest

from p2uformat.chunk import Codec
from p2uformat.codec.frame import parse_frame
from tests.chunk_cases import chunks_of
from tests.kernel_cases import LEVELS
from tests.kernel_damage import random_block, spoiled
from tests.zstd_cases import (
    block_kinds,
    by_library,
    contents,
    frames,
    in_blocks,
    is_covered,
    resized,
)

pytestmark = pytest.mark.skipif(not LEVELS, reason="nothing is compiled here")
CONTENTS = contents(np.random.default_rng(0))


@pytest.fixture(params=LEVELS)
def decode(request):
    native = import_module("p2uformat._native")
    native.set_level(request.param)
    yield native.zstd_frame
    native.set_level(LEVELS[-1])


@pytest.mark.parametrize("kind", list(CONTENTS))
def test_frames_of_the_library(kind, decode):
    data = CONTENTS[kind]
    covered = 0
    for frame in frames(data):
        found = decode(frame, len(data))
        assert found == (data if is_covered(frame) else None)
        covered += found is not None
        assert decode(frame, len(data) + 1) is None
        assert decode(frame + b"\0", len(data)) is None
        assert decode(frame[:-1], len(data)) is None
    assert covered > 15 or kind == "empty"


def test_the_frames_above_have_every_kind_of_block():
    kinds = set()
    for data in CONTENTS.values():
        for frame in frames(data):
            kinds |= block_kinds(frame)
    assert kinds == {
        "raw", "rle", "compressed", "raw literals", "rle literals", "tree literals",
        "treeless literals",
    }  # fmt: skip


def test_streams_of_chunks(decode):
    rng = np.random.default_rng(2)
    tried = 0
    for name in ("F32", "BF16", "F16") * 3:
        for codec, chunk in chunks_of(random_block(rng, name, 60_000), 300):
            if codec == Codec.RAW:
                continue
            frame = parse_frame(codec, chunk)
            for number, (start, stored, raw, packed) in enumerate(frame.rows):
                if packed:
                    piece = chunk[start : start + stored]
                    assert decode(piece, raw) == frame.stream(number)
                    tried += 1
    assert tried > 20


def test_lengths_one_by_one(decode):
    bell, text = CONTENTS["bell"], CONTENTS["text"]
    for size in [*range(1, 600), 1023, 1024, 1025, 65_535, 65_792, 131_071, 131_072, 131_073]:
        for data in (bell[:size], text[:size]):
            for frame in (in_blocks(data, 3, 1 << 17), in_blocks(data, 1, max(size // 2, 1))):
                assert decode(frame, size) == data


def _short(rng):
    for data in CONTENTS.values():
        part = data[:2000]
        for frame in frames(part):
            yield frame, len(part)
        yield in_blocks(data[:3000], int(rng.integers(1, 12)), 300), len(data[:3000])


def test_damaged_frames_are_accepted_only_where_the_library_accepts_them(decode):
    rng = np.random.default_rng(1)
    accepted = tried = 0
    for frame, raw in _short(rng):
        for _ in range(12):
            bad = spoiled(rng, frame) if rng.random() < 0.6 else resized(rng, frame)
            if rng.random() < 0.2:
                bad = spoiled(rng, bad)
            size = raw if rng.random() < 0.95 else int(rng.integers(4000))
            found = decode(bad, size)
            tried += 1
            if found is not None:
                assert found == by_library(bad, size), bad.hex()
                accepted += 1
    assert tried > 4000
    assert tried // 50 < accepted < tried // 2
