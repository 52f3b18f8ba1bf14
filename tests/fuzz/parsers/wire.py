"""Canonical msgpack (SPEC.md, 3): by the library alone, and beside the independent reader."""

from __future__ import annotations

from collections.abc import Iterator

from p2uformat import wire
from p2uformat.errors import CorruptData
from tests.fuzz.parsers.files import manifest_parts
from tests.fuzz.parsers.harness import Form, Harness, expect
from tests.fuzz.parsers.sources import packed, reference, unpacked, vectors

_FORM = Form(unpacked, packed)
# Each is in another form than its one, or claims more than there is.
_BY_HAND = (
    "00 7f cc80 ccff cd0100 cdffff ce00010000 ceffffffff cf0000000100000000 cfffffffffffffffff ff"
    " e0 d0df d080 d1ff7f d2ffff7fff d3ffffffff7fffffff d38000000000000000 c0 c2 c3 a0 a161 d92061"
    " bfc0 90 9fc0 80 81a16100 81c0c0 82a16100a16100 82a16200a16100 c400 c40161 c5000161 dc0001c0"
    " dd00000001c0 ddffffffff dfffffffff c6ffffffff dbffffffff c9ffffffff00 c70000 d40000"
    " ca00000000 cb0000000000000000 cc7f cd00ff d07f a1ff a3eda080"
    " 91919191919191919191919191919190 9191919191919191919191919191919190 c1"
    " dd7fffffff dcffff91"
)


def _seeds() -> Iterator[bytes]:
    yield from map(bytes.fromhex, _BY_HAND.split())
    for data in vectors().values():
        yield from manifest_parts(data)


def _decode(data: bytes) -> bool:
    try:
        value = wire.decode(data)
    except CorruptData:
        return False
    expect(wire.encode(value) == data, "what decodes encodes to the same bytes")
    return True


def _decode_twice(data: bytes) -> bool:
    """Compare with the independent reader, which walks bytes where the library asks a package."""
    try:
        value = wire.decode(data)
    except CorruptData:
        value = None
        accepted = False
    else:
        accepted = True
    cursor = reference.Cursor(data, "value", "non-canonical")
    try:
        other = reference.unpack(cursor)
        cursor.done()
    except reference.RefError:
        expect(not accepted, "the independent reader refuses what the library decodes")
        return False
    expect(accepted, "the library refuses what the independent reader decodes")
    expect(value == other, "both decode to the same value")
    return True


HARNESSES = (
    Harness("msgpack", _decode, _seeds, 120, _FORM, 1024),
    Harness("msgpack-reference", _decode_twice, _seeds, 20, _FORM, 1024),
)
