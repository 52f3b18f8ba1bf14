import io
import struct

import pytest

from p2uformat.container import (
    Container,
    Header,
    check_chunks,
    place,
    stored_chunks,
    write_artifact,
)
from p2uformat.digest import digest
from p2uformat.errors import (
    DestinationExists,
    DigestMismatch,
    Incomplete,
    LimitExceeded,
    Malformed,
    NotAnArtifact,
    UnsupportedFormat,
)
from p2uformat.manifest import (
    ChunkEntry,
    Codec,
    ContentPage,
    EncodingPage,
    OpaqueParameters,
    TensorRecord,
    TierSpec,
    assemble,
)

HEADER = Header(b"c" * 32, b"e" * 32, 10, 20, 300, 400, 3)
TIERS = (TierSpec("q4", 0), TierSpec("exact", None))


def test_a_header_returns():
    assert len(HEADER.encode()) == 128
    assert Header.parse(HEADER.encode()) == HEADER


def resealed(offset, data):
    fields = bytearray(HEADER.encode()[:112])
    fields[offset : offset + len(data)] = data
    return bytes(fields) + digest(bytes(fields))[:16]


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", NotAnArtifact),
        (HEADER.encode()[:7], NotAnArtifact),
        (b"P" + HEADER.encode()[1:], NotAnArtifact),
        (HEADER.encode()[:127], Incomplete),
        (HEADER.encode()[:-1] + b"x", DigestMismatch),
        (HEADER.encode()[:8] + b"\2" + HEADER.encode()[9:], UnsupportedFormat),
        (resealed(8, b"\2"), UnsupportedFormat),
        (resealed(8, b"\0"), UnsupportedFormat),
        (resealed(12, b"\2"), UnsupportedFormat),
        (resealed(80, struct.pack("<I", (1 << 18) + 1)), LimitExceeded),
        (resealed(96, b"\xff" * 8), LimitExceeded),
        (resealed(88, struct.pack("<Q", 401)), Malformed),
        (resealed(88, struct.pack("<Q", 128 + 29)), Malformed),
        (resealed(104, b"\xff" * 8), Malformed),
    ],
)
def test_other_headers_are_refused(data, error):
    with pytest.raises(error):
        Header.parse(data)


def test_a_newer_minor_version_is_read():
    assert Header.parse(resealed(10, b"\7")).minor == 7


def page(*chunks):
    return EncodingPage(tuple(ChunkEntry(t, 1, n, digest(i)) for t, n, i in chunks), ())


def test_chunks_lie_tier_by_tier_and_once_in_each():
    pages = [
        page((0, 5, b"a"), (0, 7, b"b"), (1, 2, b"c")),
        page((0, 7, b"b"), (1, 5, b"a"), (1, 1, b"d")),
    ]
    layout = place(pages, 100, 3)
    assert layout.offsets == ((100, 105, 112), (105, 114, 119))
    assert layout.tier_bytes == (12, 8, 0)
    assert layout.end == 120


def test_a_chunk_has_one_length():
    with pytest.raises(Malformed):
        place([page((0, 5, b"a"), (0, 6, b"a"))], 0, 1)


def artifact(count=5, size=700_000):
    """Return a manifest and a spool of `count` chunks of about `size` bytes."""
    data = [bytes([i]) * (size + i) for i in range(count)]
    records = tuple(
        TensorRecord(f"t{i}", 0, "X", (), "opaque", OpaqueParameters(0, len(d)), blocks(d))
        for i, d in enumerate(data)
    )
    parts = [[d[i : i + (1 << 19)] for i in range(0, len(d), 1 << 19)] for d in data]
    chunks = [part for record in parts for part in record]
    numbers = iter(range(len(chunks)))
    layers = tuple((tuple((next(numbers), 0) for _ in record),) for record in parts)
    entries = tuple(ChunkEntry(0, Codec.RAW, len(c), digest(c)) for c in chunks)
    manifest = assemble(TIERS, [(ContentPage(records), EncodingPage(entries, layers))])
    spool = b"".join(dict.fromkeys(chunks))
    return manifest, [(io.BytesIO(spool), len(spool)), (io.BytesIO(), 0)], chunks


def blocks(data):
    return b"".join(digest(data[i : i + (1 << 19)]) for i in range(0, len(data), 1 << 19))


def test_what_is_written_is_read(tmp_path):
    manifest, spools, chunks = artifact()
    seen = []
    path = tmp_path / "a.p2u"
    write_artifact(path, manifest=manifest, tier_spools=spools, progress=lambda *a: seen.append(a))
    assert seen[-1][0] == seen[-1][1] == path.stat().st_size
    container = Container.open(path)
    assert [container.chunk(0, i) for i in range(len(chunks))] == chunks
    assert container.layout is not None
    assert not container.table_faults
    stored = stored_chunks(container, 1)
    assert sum(done for done, _ in check_chunks(container.file, stored, 2)) == spools[0][1]
    container.close()
    with pytest.raises(DestinationExists):
        write_artifact(path, manifest=manifest, tier_spools=spools)


def test_a_writer_that_errs_publishes_nothing(tmp_path):
    manifest, spools, _ = artifact(1, 1000)
    with pytest.raises(AssertionError):
        write_artifact(tmp_path / "a.p2u", manifest=manifest, tier_spools=spools[:1] * 2)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("size", [1, 1000, 1 << 19])
def test_a_bad_chunk_is_found_wherever_it_lies(tmp_path, size):
    manifest, spools, _ = artifact(7, size)
    path = tmp_path / "a.p2u"
    write_artifact(path, manifest=manifest, tier_spools=spools)
    data = bytearray(path.read_bytes())
    container = Container.open(path)
    stored = stored_chunks(container, 1)
    for wanted in stored:
        data[wanted.offset + wanted.length - 1] ^= 1
        path.write_bytes(data)
        bad = [b for _, found in check_chunks(container.file, stored, 1) for b in found]
        assert [b.chunk.offset for b in bad] == [wanted.offset]
        data[wanted.offset + wanted.length - 1] ^= 1
    container.close()
