"""Blocks straight from their chunks, by compiled kernels, against the long way by numpy."""

from __future__ import annotations

import hashlib
from importlib import import_module

import numpy as np
import pytest

import p2uformat
from p2uformat.chunk import Codec, encode_classes, open_chunk
from p2uformat.codec.frame import build_frame, parse_frame
from p2uformat.errors import Malformed
from p2uformat.floats import FORMATS
from p2uformat.kernels import use_kernels
from tests.chunk_cases import check_chunks, chunks_of, damaged_chunks
from tests.kernel_cases import LEVELS, PLANES, TARGETS, Block, covered, numpy_in_use, room
from tests.kernel_damage import damaged, random_block

pytestmark = pytest.mark.skipif(not LEVELS, reason="nothing is compiled here")


@pytest.fixture(autouse=True)
def _by_numpy():
    with numpy_in_use():
        yield


def _matrix(fmt, rows, columns, *, by_column=False, seed=0):
    """Return words of a matrix whose rows, or columns, differ in scale."""
    rng = np.random.default_rng(seed)
    scale = 2.0 ** rng.uniform(-8, -3, (1, columns) if by_column else (rows, 1))
    values = rng.standard_normal((rows, columns)) * scale
    return values.astype(fmt.numpy).view(fmt.word).reshape(-1)


def _whole(block, row):
    """Rebuild a sound block from its chunks in every way; every level has to do so itself."""
    layers = chunks_of(block, row)
    assert check_chunks(block, layers, None) == len(LEVELS)
    for tier in range(len(block.digits) + 1):
        for target in TARGETS:
            wanted = len(LEVELS) if covered(block, tier, target) else 0
            assert check_chunks(block, layers[: tier + 1], target) == wanted
    return layers


@pytest.mark.parametrize("digits", [(0,), (0, 4), (0, 2, 4), (0, 8)])
@pytest.mark.parametrize("name", list(FORMATS))
def test_sound_blocks(name, digits):
    fmt = FORMATS[name]
    kinds = set()
    for by_column in (False, True):
        for sparse in (False, True):
            words = _matrix(fmt, 128, 200, by_column=by_column)
            words[::11] = 0
            words[7::901] = FORMATS[name].word.type(1)
            if name != "F64":  # of which compiled kernels leave outliers to numpy
                words[3::1001] = np.array([7.0]).astype(fmt.numpy).view(fmt.word)[0]
            steps = np.full(-(-len(words) // 1000), -9, np.int16)
            steps[::3] = -10
            planes = PLANES[name][-1]
            block = Block.of(fmt, words, steps, 1000, digits, sparse=sparse, planes=planes)
            codec, chunk = _whole(block, 200)[0]
            frame = parse_frame(codec, chunk)
            kinds.add((bytes(frame.stream(0))[18], len(frame.rows) > 6))
    # Rows and columns, and more classes than one: otherwise this tests less than it says.
    assert {axis for axis, _ in kinds} == {0, 1}
    assert any(several for _, several in kinds)


@pytest.mark.parametrize(("name", "planes"), [("F64", 6), ("F32", 2), ("F16", 0)])
def test_what_compresses_in_all_its_parts_fits_the_scratch_memory(name, planes):
    fmt = FORMATS[name]
    coarse = np.random.default_rng(0).integers(1, 7, 1 << 18) / 64
    words = coarse.astype(fmt.numpy).view(fmt.word)
    words[::9] = 0
    for sparse in (False, True):
        block = Block.of(fmt, words, [-9], len(words), (0, 4), sparse=sparse, planes=planes)
        layers = chunks_of(block, 512)
        assert check_chunks(block, layers, None) == len(LEVELS)


@pytest.mark.parametrize("name", list(FORMATS))
def test_damaged_chunks_are_accepted_only_where_numpy_accepts_them(name):
    rng = np.random.default_rng(len(name))
    accepted = tried = 0
    for _ in range(30):
        block = random_block(rng, name, 3000)
        sound = chunks_of(block, int(rng.choice([1, 64, 100, 300])))
        for turn in range(40):
            target = None if turn % 2 else TARGETS[turn // 2 % 3]
            layers = damaged_chunks(rng, sound) if turn % 4 else chunks_of(damaged(rng, block), 64)
            if target is not None:
                layers = layers[:-1]
            accepted += check_chunks(block, layers, target)
            tried += len(LEVELS)
    assert tried // 100 < accepted < tried // 2


def _arguments(block, layers, target, scratch, out):
    spec = block.spec
    number = 3 if target is None else TARGETS.index(target)
    flat = tuple(item for layer in layers for item in layer)
    return [
        list(FORMATS).index(spec.format.name), spec.weights, spec.segment, spec.planes,
        spec.widths[: len(layers) - 1 - (target is None)], flat, number, 100, 120, scratch, out,
        True,
    ]  # fmt: skip


def test_scratch_memory_that_is_too_small():
    block = Block.of(
        FORMATS["BF16"], _matrix(FORMATS["BF16"], 100, 100), [-9], 10000, (0, 4), sparse=True
    )
    layers = chunks_of(block, 100)
    read_block = import_module("p2uformat._native").read_block
    answers = set()
    for size in [*range((1 << 17) + 64, (1 << 17) + 50_000, 331), 1 << 18]:
        out, _ = room(block, None)
        answers.add(read_block(*_arguments(block, layers, None, bytearray(size), out)))
    assert answers == {False, True}
    with pytest.raises(ValueError, match="scratch"):
        read_block(*_arguments(block, layers, None, bytearray(1000), out))


def _calls():
    native = import_module("p2uformat._native")
    block = random_block(np.random.default_rng(3), "F32")
    spec, base = block.spec, block.base
    layers = tuple(x for i, p in enumerate(block.digits) for x in (spec.widths[i], p))
    head = [1, spec.weights, spec.segment, spec.planes, base.sparse, base.symbols, base.steps,
            base.outlier_index, base.outlier_words, layers]  # fmt: skip
    words = room(block, None)[0]
    deltas = (0, 100, 120)
    small = np.empty(3, np.uint8)
    return {
        "merge": (native.merge, [*head, block.rest[0], block.rest[1:-1], block.rest[-1], words]),
        "values": (native.values, [*head, *deltas, words]),
        "read_block": (
            native.read_block,
            _arguments(block, chunks_of(block, 64), None, bytearray(1 << 19), words),
        ),
        "join": (native.join, [(b"abc",), b"\0", bytes(12) + b"\3" + bytes(7), small]),
        "zstd_frame": (native.zstd_frame, [b"abc", 3]),
    }


@pytest.mark.parametrize("name", ["merge", "values", "read_block", "join", "zstd_frame"])
def test_arguments_of_the_wrong_kind_or_size_are_refused(name):
    function, arguments = _calls()[name]
    function(*arguments)
    wrong = [None, -1, 1 << 70, 1.5, "text", b"", bytearray(1), (), (1,), (1, 2, 3), (None,) * 4]
    wrong += [np.empty(7, np.int16), memoryview(bytes(64))[::2], tuple(range(80)), [b""]]
    refused = 0
    for place in range(len(arguments)):
        for value in wrong:
            spoiled = [*arguments[:place], value, *arguments[place + 1 :]]
            try:
                assert function(*spoiled) in (True, False, None)
            except (TypeError, ValueError, BufferError):
                refused += 1
    assert refused > 5 * len(arguments)
    for count in (0, 1, len(arguments) - 1, len(arguments) + 1):
        with pytest.raises(TypeError):
            function(*(arguments * 2)[:count])


def test_more_class_streams_than_class_numbers_is_no_foreign_error():
    block = random_block(np.random.default_rng(8), "F16")
    chunk = encode_classes([block.base], [64])
    frame = parse_frame(Codec.CLASSES, chunk)
    streams = [bytes(frame.stream(i)) for i in range(len(frame.rows))]
    streams += [b""] * (300 - len(streams))
    wide = build_frame(Codec.CLASSES, 1, streams)
    spoiled = build_frame(Codec.CLASSES, 1, [*streams[:5], streams[5][1:], *streams[6:-1], b"x"])
    for kernels in ("numpy", *LEVELS):
        use_kernels(kernels)
        assert open_chunk(Codec.CLASSES, wide).payload(0) == block.base.payload()
        with pytest.raises(Malformed):
            open_chunk(Codec.CLASSES, spoiled)
    assert check_chunks(block, [(3, wide), *chunks_of(block, 64)[1:]], None) == 0


def test_whole_artifacts(artifact_path, tmp_path):
    tiers = p2uformat.open(artifact_path).tiers
    for tier in tiers:
        made = {}
        for kernels in p2uformat.available_kernels():
            use_kernels(kernels)
            path = tmp_path / f"{tier}-{kernels}.safetensors"
            p2uformat.unpack(artifact_path, path, tier=tier)
            made[kernels] = hashlib.sha256(path.read_bytes()).hexdigest()
        assert len(set(made.values())) == 1, made
    assert len(tiers) > 1
