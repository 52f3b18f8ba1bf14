"""Layers of one block (SPEC.md, 4 and 6): decoded by all kernels, and encoded again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, pairwise
from typing import Any

import msgpack
import numpy as np

from p2uformat.chunk import open_chunk
from p2uformat.errors import LimitExceeded, Malformed
from p2uformat.floats import FORMATS, FloatFormat
from p2uformat.kernels import available_kernels
from p2uformat.kernels.compiled import CompiledKernels
from p2uformat.kernels.reference import NumpyKernels
from p2uformat.limits import MAX_DIGITS, MAX_TIERS
from p2uformat.native import native_module
from p2uformat.quant.bitplane import BlockSpec
from p2uformat.quant.layers import BaseLayer
from tests.fuzz.driver import CORPUS
from tests.fuzz.parsers.harness import Form, Harness, expect
from tests.fuzz.parsers.sources import packed, unpacked

NUMPY = NumpyKernels()
REFUSED = (Malformed, LimitExceeded)
FORMAT_LIST = list(FORMATS.values())
_MOST_WEIGHTS = 1024


def fastest() -> Any:
    """Return the kernels that most people use; numpy where nothing is compiled."""
    native = native_module()
    return NUMPY if native is None else CompiledKernels(native, available_kernels()[-1])


FASTEST = fastest()
TARGETS = [FORMATS[name] for name in ("F32", "F16", "BF16")]


@dataclass(frozen=True, slots=True)
class Block:
    """What a manifest says of a block, and its layers' payloads as they came."""

    spec: BlockSpec
    base: bytes
    digits: tuple[bytes, ...]
    exact: bytes


def parsed(value: Any) -> Block | None:
    """Return the block that a value describes; None where no manifest could say so."""
    try:
        number, weights, segment, planes, digits, deltas, base, refinements, exact = value
        fmt = FORMAT_LIST[number]
        lossy = len(digits)
        pairs = tuple((one, two) for one, two in deltas)
        numbers = (number, weights, segment, planes, *digits, *chain.from_iterable(pairs))
        fine = (
            all(type(item) is int for item in numbers)
            and 1 <= weights <= _MOST_WEIGHTS
            and 1 <= segment <= 1 << 19
            and 0 <= 8 * planes <= fmt.mantissa <= 8 * planes + 16
            and 1 <= lossy < MAX_TIERS
            and digits[0] == 0
            and digits[-1] <= MAX_DIGITS
            and all(a < b for a, b in pairwise(digits))
            and all(0 <= delta <= 255 for pair in pairs for delta in pair)
            and len(pairs) == lossy == len(refinements) + 1
        )
        layers = (base, *refinements, exact)
    except (TypeError, ValueError, LookupError):
        return None
    if not fine or any(type(layer) is not bytes for layer in layers):
        return None
    spec = BlockSpec(fmt, weights, segment, planes, tuple(digits), pairs)
    return Block(spec, base, tuple(refinements), exact)


def decoded(data: bytes) -> Any:
    """Return the value in msgpack bytes; None if there is none."""
    try:
        return unpacked(data)
    except (ValueError, TypeError, msgpack.UnpackException):
        return None


def outcome(function: Any, *arguments: Any, out: Any) -> Any:
    """Return what a kernel made, or the code of its refusal."""
    try:
        function(*arguments, out)
    except REFUSED as error:
        return error.code
    return out


def same(one: Any, two: Any) -> bool:
    """Tell whether two outcomes are equal."""
    if isinstance(one, str) or isinstance(two, str):
        return isinstance(one, str) and isinstance(two, str) and one == two
    return bool(np.array_equal(one, two))


def _run(data: bytes) -> bool:
    block = parsed(decoded(data))
    if block is None:
        return False
    spec = block.spec
    try:
        base = BaseLayer.parse(spec.format, spec.weights, spec.segments, block.base)
    except REFUSED:
        return False
    expect(base.payload() == block.base, "a base layer encodes to the same bytes")
    accepted = _check_tiers(block, base)
    return _check_exact(block, base, sound=accepted) and accepted


def _check_tiers(block: Block, base: BaseLayer) -> bool:
    """Every kernel gives the same values, in every format, at every tier."""
    spec, sound = block.spec, True
    for tier in range(len(spec.digits)):
        target: FloatFormat
        for target in {spec.format, TARGETS[tier % 3]}:
            made = [
                outcome(kernels.values, spec, base, block.digits[:tier], target,
                        out=np.empty(spec.weights, target.word))
                for kernels in (NUMPY, FASTEST)
            ]  # fmt: skip
            expect(same(*made), f"all kernels rebuild tier {tier} in {target.name} alike")
            sound = sound and not isinstance(made[0], str)
    return sound


def _check_bins(block: Block, base: BaseLayer) -> None:
    """Values rebuilt from a sound block lie in their bins: cut again they have the same symbols."""
    spec = block.spec
    for tier in range(len(spec.digits)):
        words = np.empty(spec.weights, spec.format.word)
        NUMPY.values(spec, base, block.digits[:tier], spec.format, words)
        again = NUMPY.base_symbols(spec.format, words, base.steps, spec.segment, sparse=base.sparse)
        # What is rebuilt as zero has another symbol in a sparse block.
        zero = (words & spec.format.word.type((1 << spec.format.sign_bit) - 1)) == 0
        differ = (again != base.symbols) & ~(zero & base.sparse)
        expect(not differ.any(), f"values of tier {tier} lie in their bins")


def _check_exact(block: Block, base: BaseLayer, *, sound: bool) -> bool:
    """Both kernels agree, and what was decoded encodes to the same layers."""
    spec = block.spec
    parts = cut(block, base)
    made = [
        outcome(kernels.exact, spec, base, block.digits, pieces,
                out=np.empty(spec.weights, spec.format.word))
        for kernels, pieces in ((NUMPY, [block.exact]), (FASTEST, parts))
    ]  # fmt: skip
    expect(same(*made), "all kernels rebuild the original alike")
    if isinstance(made[0], str):
        return False
    expect(sound, "what is exact is sound at lower tiers too")
    _check_bins(block, base)
    for kernels in (NUMPY, FASTEST):
        again = kernels.encode_block(spec, made[0], base.steps, sparse=base.sparse, sums=False)
        expect(again.base.payload() == block.base, "the base layer is the one encoding")
        expect(again.refinements == block.digits, "refinements are the one encoding")
        expect(again.exact.payload() == block.exact, "the exact layer is the one encoding")
    return True


def cut(block: Block, base: BaseLayer) -> list[bytes]:
    """Cut an exact layer where its parts should meet, as chunks of sections have it."""
    spec = block.spec
    live = spec.weights
    if base.sparse:
        live = int(np.count_nonzero(base.symbols < 254))
    sizes = exact_sizes(block)
    if sizes is None:
        return [block.exact]
    ends = [0, sizes[0], *(sizes[0] + live * (i + 1) for i in range(spec.planes))]
    return [block.exact[a:b] for a, b in pairwise([*ends, len(block.exact)])]


def _fields(block: Block) -> Iterator[tuple[int, int, bool]]:
    """Yield index and step of the last lossy tier of each live weight, and if it is no outlier."""
    spec = block.spec
    steps = np.frombuffer(block.base, "<i2", spec.segments, 1).tolist()
    symbols = block.base[1 + 2 * spec.segments :][: spec.weights]
    live = [i for i, s in enumerate(symbols) if not (block.base[0] & 1 and s >= 254)]
    strings = [int.from_bytes(layer, "little") for layer in block.digits]
    for place, i in enumerate(live):
        n = symbols[i] & 127
        for string, width in zip(strings, spec.widths, strict=True):
            n = n << width | (string >> place * width) & ((1 << width) - 1)
        yield n, steps[i // spec.segment] - spec.digits[-1], symbols[i] != 127


def exact_sizes(block: Block) -> tuple[int, int] | None:
    """Return the bytes of the exponents, and of the whole exact layer (SPEC.md, 6.3)."""
    fmt, spec = block.spec.format, block.spec
    if len(block.base) < 1 + 2 * spec.segments + spec.weights:
        return None
    tiny = live = bits = 0
    for n, step, inside in _fields(block):
        live += 1
        if not inside:
            continue
        tiny += n == 0
        rest = min(fmt.mantissa - max(n.bit_length() - 1, 0), step - (fmt.emin - fmt.mantissa))
        bits += max(0, rest - 8 * spec.planes)
    head = tiny * fmt.exponent_bytes
    return head, head + spec.planes * live + (bits + 7) // 8


def mended(value: Any) -> Any:
    """Return a value whose layers have the lengths and outliers that their symbols ask for."""
    value = [*value[:6], *value[6:]]
    block = parsed(value)
    if block is None:
        raise ValueError
    spec, size = block.spec, block.spec.format.itemsize
    start = 1 + 2 * spec.segments
    head = block.base[: start + spec.weights].ljust(start + spec.weights, b"\0")
    where = [i for i, symbol in enumerate(head[start:]) if symbol == 127]
    words = block.base[start + spec.weights + 4 + 4 * len(where) :]
    nan = spec.format.max_word + 1
    words = words[: size * len(where)].ljust(0) + nan.to_bytes(size, "little") * len(where)
    index = np.array([len(where), *where], "<u4").tobytes()
    value[6] = head + index + words[: size * len(where)]
    live = sum(not (head[0] & 1 and symbol >= 254) for symbol in head[start:])
    value[7] = [
        _string(layer, live * width) for layer, width in zip(block.digits, spec.widths, strict=True)
    ]
    again = parsed(value)
    sizes = exact_sizes(again) if again is not None else None
    if sizes is not None:
        value[8] = block.exact[: sizes[1]].ljust(sizes[1], b"\0")
    return value


def _string(layer: bytes, bits: int) -> bytes:
    kept = int.from_bytes(layer, "little") & ((1 << bits) - 1)
    return kept.to_bytes((bits + 7) // 8, "little")


def values() -> Iterator[list[Any]]:
    """Yield sound blocks of every format, as harnesses write them."""
    for item in msgpack.unpackb((CORPUS / "blocks.msgpack").read_bytes()):
        if item["weights"] > _MOST_WEIGHTS // 2:
            continue
        layers = [bytes(open_chunk(codec, chunk).payload(0)) for codec, chunk in item["layers"]]
        yield [
            list(FORMATS).index(item["format"]), item["weights"], item["segment"], item["planes"],
            item["digits"], item["deltas"], layers[0], layers[1:-1], layers[-1],
        ]  # fmt: skip


def of_words(
    number: int, words: bytes, digits: list[int], steps: list[int], *, sparse: bool
) -> list[Any]:
    """Return a block of any words."""
    fmt = FORMAT_LIST[number]
    given = np.frombuffer(words, fmt.word)
    planes = max(0, -(-(fmt.mantissa - 16) // 8))
    segment = -(-len(given) // len(steps))
    spec = BlockSpec(fmt, len(given), segment, planes, tuple(digits), ((9, 200),) * len(digits))
    made = NUMPY.encode_block(
        spec, given, np.array(steps[: spec.segments], np.int16), sparse=sparse, sums=False
    )
    return [
        number, len(given), segment, planes, digits, [[9, 200]] * len(digits),
        made.base.payload(), list(made.refinements), made.exact.payload(),
    ]  # fmt: skip


def short_values() -> Iterator[list[Any]]:
    """Yield small blocks: most of what can be wrong can be wrong with few weights."""
    rng = np.random.default_rng(30)
    for number, fmt in enumerate(FORMAT_LIST):
        for digits in ([0], [0, 4], [0, 1, 3], [0, 24], [0, 8, 16]):
            for sparse in (False, True):
                words = (rng.standard_normal(12) * 0.1).astype(fmt.numpy).view(fmt.word)
                words[:3] = np.frombuffer(rng.bytes(24), fmt.word)[:3]
                words[3:5] = 0, 1 << fmt.sign_bit
                yield of_words(number, words.tobytes(), digits, [-8, -9], sparse=sparse)


def _seeds() -> Iterator[bytes]:
    yield from map(packed, short_values())
    yield from list(map(packed, values()))[::4]


def _ladder(data: bytes) -> bool:
    """Any words on any grid are encoded, and come back."""
    if len(data) < 6:
        return False
    number, first, step, flags, *_ = data[:6]
    fmt = FORMAT_LIST[number % len(FORMAT_LIST)]
    words = data[6 : 6 + (len(data) - 6) // fmt.itemsize * fmt.itemsize]
    if not words:
        return False
    digits = sorted({0, first % (MAX_DIGITS + 1), flags % (MAX_DIGITS + 1)})
    centre = fmt.emin + (step + 256 * data[4]) % (fmt.max_field + 40) - 20
    value = of_words(
        number % len(FORMAT_LIST), words, digits, [centre, centre - data[5] % 20],
        sparse=bool(flags & 128),
    )  # fmt: skip
    expect(_run(packed(value)), "what was encoded decodes, and encodes alike")
    block = parsed(value)
    assert block is not None
    base = BaseLayer.parse(fmt, block.spec.weights, block.spec.segments, block.base)
    out = np.empty(block.spec.weights, fmt.word)
    FASTEST.exact(block.spec, base, block.digits, cut(block, base), out)
    expect(out.tobytes() == words, "words come back bit for bit")
    return True


def _words() -> Iterator[bytes]:
    yield from (b"", bytes(6))
    rng = np.random.default_rng(31)
    for number, fmt in enumerate(FORMAT_LIST):
        values_ = (rng.standard_normal(16) * 0.1).astype(fmt.numpy).tobytes()
        step = 12 - fmt.emin  # a centre of -8, where such numbers are
        for flags in (0, 4, 129, 135):
            yield bytes((number, 4, step & 255, flags, step >> 8, 1)) + values_
            yield bytes((number, 0, 20, flags, 0, 3)) + bytes(range(64))


_FORM = Form(unpacked, packed, mend=mended)
HARNESSES = (
    Harness("block", _run, _seeds, 25, _FORM, 2048),
    Harness("ladder", _ladder, _words, 5, None, 128),
)
