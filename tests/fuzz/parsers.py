"""Every parser as a function of bytes: what a fuzzer calls, and what the tests call without one.

Nothing but errors of this library may leave, and what parses has to encode to the very same bytes.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from copy import deepcopy
from functools import cache
from pathlib import Path

import numpy as np

import p2uformat
from p2uformat.artifact.plan import planes_of
from p2uformat.chunk import Codec, open_chunk
from p2uformat.codec import zstd
from p2uformat.container import Container, Header
from p2uformat.container.presence import Presence
from p2uformat.digest import digest
from p2uformat.errors import P2UError
from p2uformat.floats import FORMATS
from p2uformat.ingest.directory import FolderFile, check_indexes
from p2uformat.ingest.head import parse_head
from p2uformat.kernels import kernels
from p2uformat.kernels.reference import NumpyKernels
from p2uformat.manifest import ContentPage, ContentRoot, EncodingPage, EncodingRoot
from p2uformat.quant.bitplane import BlockSpec
from p2uformat.quant.difference import from_opaque_difference
from p2uformat.quant.ladder import Ladder
from p2uformat.quant.layers import BaseLayer
from p2uformat.wire import decode, encode
from tests.sealing import Parts, replace_chunk, seal, take_apart

__all__ = ["MOST_BYTES", "PARSERS", "VECTORS", "call"]

MOST_BYTES = 1 << 16
VECTORS = Path(__file__).resolve().parents[2] / "spec" / "vectors"
NUMPY = NumpyKernels()
FORMAT_NAMES = list(FORMATS)
DIGITS = (0, 4)
WEIGHTS = 24


def call(name: str, data: bytes) -> bool:
    """Run one parser; return whether it took the bytes.

    Raises
    ------
    AssertionError
        If what it took does not encode to the same bytes.
    """
    try:
        PARSERS[name](data[:MOST_BYTES])
    except P2UError:
        return False
    return True


def msgpack(data: bytes) -> None:
    assert encode(decode(data)) == data


def header(data: bytes) -> None:
    """The digest is put right first: without, nothing but itself would ever be looked at."""
    body = data[:112].ljust(112, b"\0")
    sealed = body + digest(body)[:16]
    for candidate in (data[:128], sealed):
        assert Header.parse(candidate).encode() == candidate


def content_root(data: bytes) -> None:
    assert ContentRoot.parse(data).encode() == data


def content_page(data: bytes) -> None:
    tiers = 1 + data[0] % 5 if data else 3
    assert ContentPage.parse(data[1:], tiers=tiers).encode() == data[1:]


def encoding_root(data: bytes) -> None:
    assert EncodingRoot.parse(data).encode() == data


@cache
def _pages() -> list[tuple[ContentPage, int]]:
    found = []
    for name in ("two-pages", "sparse", "version-2", "codec-classes-transposed"):
        with Container.open(VECTORS / f"{name}.p2u") as container:
            tiers = len(container.tiers)
            found += [(page.content, tiers) for page in container.pages if page.content]
    return found


def encoding_page(data: bytes) -> None:
    number = data[0] if data else 0
    content, tiers = _pages()[number % len(_pages())]
    parent = bool(number & 128)
    parsed = EncodingPage.parse(data[1:], content, tiers=tiers, parent=parent)
    assert parsed.encode() == data[1:]


def chunk(data: bytes) -> None:
    codec = int(list(Codec)[data[0] % len(Codec)]) if data else 0
    view = open_chunk(codec, data[1:])
    fmt = FORMATS["BF16"]
    for slot in range(min(view.members, 8)):
        if codec < Codec.BASE_DIFFERENCE:
            assert view.payload(slot) == b"".join(view.parts(slot))
            try:
                base = view.base(slot, fmt, WEIGHTS, 3)
            except P2UError:
                continue
            assert base.payload() == view.payload(slot)
        else:
            view.parts(slot)


def zstd_stream(data: bytes) -> None:
    size = int.from_bytes(data[:3], "little")
    assert len(zstd.decompress(memoryview(data)[3:], size)) == size


def presence(data: bytes) -> None:
    entries = data[0] if data else 0
    held = Presence.parse(data[1 : 1 + (entries + 7) // 8], entries)
    assert held.whole() == all(held.holds(i) for i in range(entries))


def safetensors_head(data: bytes) -> None:
    size = int.from_bytes(data[:4], "little")
    parse_head(data[4:], size)


def index_json(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.safetensors.index.json")
        path.write_bytes(data)
        found = FolderFile("model.safetensors.index.json", path, len(data))
        check_indexes([found])


def _spec(number: int) -> BlockSpec:
    fmt = FORMATS[FORMAT_NAMES[number % len(FORMAT_NAMES)]]
    return BlockSpec(fmt, WEIGHTS, 8, planes_of(fmt, 8), DIGITS, ((100, 120),) * 2)


def layers(data: bytes) -> None:
    """A block of three layers: what numpy rebuilds it encodes again, and C says the same."""
    spec = _spec(data[0] if data else 0)
    base_size = 1 + 2 * spec.segments + WEIGHTS + 4
    cut = data[1] if len(data) > 1 else 0
    body = data[2:]
    at = base_size + (cut % 4) * (4 + spec.format.itemsize)
    pieces = body[:at], body[at : at + WEIGHTS // 2], body[at + WEIGHTS // 2 :]
    words = np.empty(WEIGHTS, spec.format.word)
    again = np.empty(WEIGHTS, spec.format.word)
    base = BaseLayer.parse(spec.format, WEIGHTS, spec.segments, pieces[0])
    kernels().exact(spec, base, [pieces[1]], [pieces[2]], again)
    NUMPY.exact(spec, base, [pieces[1]], [pieces[2]], words)
    assert words.tobytes() == again.tobytes()
    made = NUMPY.encode_block(spec, words, base.steps, sparse=base.sparse, sums=False)
    # Another form of the same weights is what deep verification finds by this very comparison.
    if (made.base.payload(), made.refinements[0]) == pieces[:2]:
        assert made.exact.payload() == pieces[2]


@cache
def _parent(number: int) -> Ladder:
    spec = _spec(number)
    rng = np.random.default_rng(number)
    words = (rng.standard_normal(WEIGHTS) * 0.05).astype(spec.format.numpy).view(spec.format.word)
    steps = np.array([-7, -6, -8], np.int16)
    made = NUMPY.encode_block(spec, words, steps, sparse=False, sums=False)
    return Ladder(spec, made.base, made.refinements, words)


def old_bytes(parent: Ladder) -> bytes:
    """Return whole elements of any size."""
    payload = parent.base.payload()
    return payload[: len(payload) // 8 * 8]


def _sections(data: bytes, count: int) -> list[bytes]:
    lengths, body = data[:count].ljust(count, b"\0"), data[count:]
    parts, at = [], 0
    for length in lengths[:-1]:
        parts.append(body[at : at + length])
        at += length
    return [*parts, body[at:]]


def difference(data: bytes) -> None:
    """Sections of every codec from 16 on, against a fixed parent."""
    number, which = (data[0], data[1] % 4) if len(data) > 1 else (0, 0)
    parent = _parent(number % len(FORMAT_NAMES))
    spec, body = parent.spec, data[2:]
    if which == 0:
        base = NUMPY.from_base_difference(parent.base, _sections(body, 13), spec.format.word)
        assert len(base.symbols) == WEIGHTS
    elif which == 1:
        below = Ladder(spec, parent.base)
        made = kernels().from_digits_difference(parent, below, 1, _sections(body, 16))
        assert len(made) == WEIGHTS // 2
    elif which == 2:
        below = Ladder(spec, parent.base, parent.digits)
        kernels().from_exact_difference(parent, below, _sections(body, 18))
    else:
        old = old_bytes(parent)
        size = 1 << number % 4
        assert len(from_opaque_difference(old, _sections(body, 3), size)) == len(old)


@cache
def _models() -> list[tuple[Parts, list[bytes]]]:
    found = []
    for name in ("bf16", "sparse", "two-pages", "codec-classes-transposed", "version-2"):
        parents = [(VECTORS / "version-1.p2u").read_bytes()] if name == "version-2" else []
        found.append((take_apart(VECTORS / f"{name}.p2u"), parents))
    return found


def artifact(data: bytes) -> None:
    """A whole file that agrees with itself, some bytes of its chunks or pages changed."""
    if len(data) < 2:
        return
    parts, parents = _models()[data[0] % len(_models())]
    changed = deepcopy(parts)
    for at in range(1, len(data) - 3, 4):
        page, index, place, value = data[at : at + 4]
        chunks = changed.chunks[page % len(changed.chunks)]
        target = bytearray(chunks[index % len(chunks)])
        if target:
            target[place % len(target)] = value
            number = page % len(changed.chunks)
            replace_chunk(changed, number, index % len(chunks), bytes(target))
    read(seal(changed), parents)


def file(data: bytes) -> None:
    """A file as it comes."""
    read(data, [])


def read(data: bytes, parents: list[bytes]) -> None:
    with p2uformat.open(data, parents=parents, threads=1) as opened:
        for tier in opened.tiers:
            for name in opened.keys():  # noqa: SIM118
                try:
                    opened.get(name, tier=tier)
                except P2UError:
                    continue
    p2uformat.verify(data, deep=True, parents=parents, threads=1)


PARSERS: dict[str, Callable[[bytes], None]] = {
    function.__name__: function
    for function in (
        msgpack,
        header,
        content_root,
        content_page,
        encoding_root,
        encoding_page,
        chunk,
        zstd_stream,
        presence,
        safetensors_head,
        index_json,
        layers,
        difference,
        artifact,
        file,
    )
}
