"""Write the corpus of `parsers.py`: ``python -m tests.fuzz.make_parser_corpus``."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import msgpack

from p2uformat.chunk import Codec
from p2uformat.container import Container
from p2uformat.errors import P2UError
from p2uformat.quant.difference import opaque_difference
from p2uformat.quant.ladder import Ladder
from tests.fuzz import parsers

CORPUS = Path(__file__).resolve().parent / "corpus" / "parsers.msgpack"
FINDS = Path(__file__).resolve().parent / "corpus" / "finds"
MOST = 24  # inputs of a parser
FILES = (
    *("bf16", "sparse", "two-pages", "codec-classes-transposed", "difference-f32", "version-2"),
    *("difference-sparse", "difference-opaque", "partial-q4", "folder", "several-members"),
)


def build() -> dict[str, list[bytes]]:
    """Return inputs by parser."""
    found: dict[str, list[bytes]] = {name: [] for name in parsers.PARSERS}
    for name in FILES:
        path = parsers.VECTORS / f"{name}.p2u"
        if path.is_file():
            _add(found, path)
    found["index_json"] += [
        json.dumps({"weight_map": {"w": "model-00001-of-00002.safetensors"}}).encode(),
        b'{"metadata": {"total_size": 1}, "weight_map": {"w": "x.bin"}}',
    ]
    head = b'{"w":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}'
    size = len(head) + 10
    found["safetensors_head"].append(
        size.to_bytes(4, "little") + struct.pack("<Q", len(head)) + head
    )
    found["presence"] += [b"\x05\x1f", b"\x09\xff\x01", b"\x00"]
    found["difference"] += [_difference(n, which) for n in range(6) for which in range(4)]
    found["artifact"] += [bytes([n, 0, n, 9, 1]) for n in range(5)]
    return {name: list(dict.fromkeys(items))[:MOST] for name, items in found.items()}


def _add(found: dict[str, list[bytes]], path: Path) -> None:
    data = path.read_bytes()
    found["file"].append(data)
    found["header"].append(data[:128])
    try:
        container = Container.open(path)
    except P2UError:
        return
    with container:
        at, header = 128, container.header
        found["content_root"].append(data[at : at + header.content_length])
        found["msgpack"].append(found["content_root"][-1])
        at += header.content_length
        found["encoding_root"].append(data[at : at + header.encoding_length])
        at += header.encoding_length
        tiers = len(container.tiers)
        for content, encoding in zip(
            container.content.pages, container.encoding.pages, strict=True
        ):
            if encoding is None:
                continue
            page = data[at : at + content.length]
            found["content_page"].append(bytes([tiers - 1]) + page)
            found["msgpack"].append(page)
            page = data[at + content.length : at + content.length + encoding.length]
            found["encoding_page"].append(bytes([128]) + page)
            at += content.length + encoding.length
        numbers = list(Codec)
        for page in container.pages:
            for index, entry in enumerate(page.encoding.chunks if page.encoding else ()):
                if container.held(page.number, index):
                    chunk = bytes(container.chunk(page.number, index))
                    place = numbers.index(Codec(entry.codec))
                    found["chunk"].append(bytes([place]) + chunk)
        found["layers"] += _layers()
        found["zstd_stream"].append(
            (9).to_bytes(3, "little") + b"\x28\xb5\x2f\xfd\x20\x09\x4b\x00\x00a"
        )


def _layers() -> list[bytes]:
    found = []
    for number in range(len(parsers.FORMAT_NAMES)):
        known = parsers._parent(number)
        base = known.base.payload()
        made = parsers.NUMPY.encode_block(
            known.spec, known.words, known.base.steps, sparse=False, sums=False
        )
        outliers = len(known.base.outlier_index)
        body = base + made.refinements[0] + made.exact.payload()
        found.append(bytes([number, outliers]) + body)
    return found


def _difference(number: int, which: int) -> bytes:
    """Return the sections of a layer's difference, as `parsers.difference` takes them apart."""
    parent = parsers._parent(number)
    words = parent.words ^ parent.words.dtype.type(1)
    spec, steps = parent.spec, parent.base.steps
    made = parsers.NUMPY.encode_block(spec, words, steps, sparse=False, sums=False)
    child = Ladder(spec, made.base, made.refinements, words)
    old = parsers.old_bytes(parent)
    parts = (
        lambda: parsers.NUMPY.base_difference(parent.base, made.base, 4),
        lambda: parsers.NUMPY.digits_difference(parent, child, 1, 4),
        lambda: parsers.NUMPY.exact_difference(parent, child, 4),
        lambda: opaque_difference(old, bytes(len(old)), 1 << number % 4),
    )[which]()
    return bytes([number, which, *map(len, parts)]) + b"".join(parts)


def load() -> dict[str, list[bytes]]:
    """Return the kept corpus."""
    kept: dict[str, list[bytes]] = msgpack.unpackb(CORPUS.read_bytes())
    return kept


if __name__ == "__main__":
    CORPUS.write_bytes(msgpack.packb(build()))
    print({name: len(items) for name, items in load().items()}, CORPUS.stat().st_size, "bytes")
