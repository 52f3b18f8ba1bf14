from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2uformat.chunk import Codec
from p2uformat.digest import digest
from p2uformat.errors import (
    CorruptData,
    LimitExceeded,
    Malformed,
    NonCanonical,
    P2UError,
    UnsupportedFormat,
)
from p2uformat.limits import MAX_PAGE_BYTES
from p2uformat.manifest import (
    BitplaneParameters,
    BitplaneTier,
    ChunkEntry,
    ContentPage,
    ContentRoot,
    EncodingPage,
    EncodingRoot,
    FileRecord,
    OpaqueParameters,
    TensorRecord,
    TierSpec,
    assemble,
    check_sequence,
    paginate,
)
from p2uformat.wire import decode, encode

TIERS = (TierSpec("q4", 0), TierSpec("q8", 4), TierSpec("exact", None))
TIER = BitplaneTier(100, 128, -3, (1, -9))


def ids(count, seed=0):
    return b"".join(digest(b"%d %d" % (seed, i)) for i in range(count))


def ladder(name="w", shape=(100, 100), first=0, blocks=1):
    parameters = BitplaneParameters(1000, 1, (TIER, TIER), (3, 4))
    layers = tuple(ids(blocks, i + 1) for i in range(3))
    return TensorRecord(name, first, "F32", shape, "bitplane", parameters, ids(blocks), layers)


def opaque(name="i", shape=(10,), dtype="I64", nbytes=80, first=0, blocks=1):
    parameters = OpaqueParameters(0, nbytes)
    digests = ids(blocks, 9)
    return TensorRecord(name, first, dtype, shape, "opaque", parameters, digests)


def file(path="m.safetensors", blob=50, size=100, layout="safetensors"):
    return FileRecord(path, 0, layout, size, digest(b"x"), 0, blob, ids(1 if blob else 0, 8))


def parse(*records):
    return ContentPage.parse(encode([r.to_value() for r in records]), tiers=3)


@pytest.mark.parametrize(
    "record",
    [
        ladder(),
        ladder(shape=(2, 600_000), blocks=4),
        opaque(),
        opaque(shape=(), nbytes=8),
        opaque(shape=(0, 4), nbytes=0, blocks=0),
        opaque(dtype="F4", shape=(3, 3), nbytes=5),
        replace(opaque(), ext={"note": "kept"}),
        file(),
        file(blob=0, size=0, layout="plain"),
    ],
)
def test_a_record_returns(record):
    page = ContentPage((record,))
    assert ContentPage.parse(page.encode(), tiers=3) == page


@pytest.mark.parametrize(
    ("record", "error"),
    [
        (ladder(shape=(600_000, 2)), Malformed),
        (ladder(blocks=2), Malformed),
        (ladder(first=1), Malformed),
        (ladder(first=1024), Malformed),
        (replace(ladder(), dtype="I32"), Malformed),
        (replace(ladder(), quantizer="affine"), UnsupportedFormat),
        (replace(ladder(), quantizer="opaque"), Malformed),
        (replace(ladder(), layer_digests=(ids(1),) * 2), Malformed),
        (replace(ladder(), layer_digests=(ids(1), ids(1), ids(2))), Malformed),
        (replace(ladder(), shape=(1,) * 65), LimitExceeded),
        (replace(ladder(), shape=(1 << 40, 1 << 40)), LimitExceeded),
        (replace(ladder(), name="n" * 4097), LimitExceeded),
        (opaque(nbytes=81), Malformed),
        (replace(opaque(), parameters=OpaqueParameters(3, 80)), Malformed),
        (opaque(dtype="F4", nbytes=1 << 52), LimitExceeded),
        (file(path="/m"), Malformed),
        (file(path="a/../m"), Malformed),
        (file(path="a\\m"), Malformed),
        (file(path="a\0m"), Malformed),
        (file(path=""), Malformed),
        (file(blob=101), Malformed),
        (file(layout="plain"), Malformed),
        (file(layout="zip"), Malformed),
    ],
)
def test_a_record_that_breaks_a_rule_is_refused(record, error):
    with pytest.raises(error):
        parse(record)


@pytest.mark.parametrize(
    ("parameters", "error"),
    [
        ({"segment": 0}, Malformed),
        ({"segment": (1 << 19) + 1}, Malformed),
        ({"planes": 3}, Malformed),
        ({"planes": 0}, Malformed),
        ({"tiers": (TIER,)}, Malformed),
        ({"tiers": (TIER, replace(TIER, delta0=256))}, Malformed),
        ({"tiers": (TIER, replace(TIER, bound=9999))}, Malformed),
        ({"tiers": (TIER, replace(TIER, error=(2, 0)))}, NonCanonical),
        ({"energy": (0, 1)}, NonCanonical),
        ({"energy": (1 << 32, 0)}, Malformed),
        ({"energy": (1, 1 << 40)}, Malformed),
    ],
)
def test_parameters_that_break_a_rule_are_refused(parameters, error):
    record = ladder()
    with pytest.raises(error):
        parse(replace(record, parameters=replace(record.parameters, **parameters)))


def test_records_ascend():
    assert parse(ladder("a"), ladder("b"), file())
    for records in ([ladder("b"), ladder("a")], [ladder("a")] * 2, [file(), ladder()], []):
        with pytest.raises(Malformed):
            parse(*records)


def test_values_of_other_types_are_refused():
    value = ladder().to_value()
    for place in range(len(value)):
        for odd in (None, -1, "x", b"x", [], {}):
            if type(odd) is type(value[place]):
                continue
            changed = [*value[:place], odd, *value[place + 1 :]]
            with pytest.raises(CorruptData):
                ContentPage.parse(encode([changed]), tiers=3)


def page_of(*records, chunks=None, layers=None):
    content = ContentPage(records)
    entries, rows = [], []
    for record in records:
        for number in range(record.layers):
            tier = record.layer_tier(number)
            entries.append(ChunkEntry(tier, Codec.RAW, 10, record.layer_digest(number, 0)))
            rows.append(tier)
    entries.sort(key=lambda entry: entry.tier)
    index = {(e.tier, e.id): i for i, e in enumerate(entries)}
    made = tuple(
        tuple(((index[r.layer_tier(n), r.layer_digest(n, 0)], 0),) for n in range(r.layers))
        for r in records
    )
    return content, EncodingPage(chunks or tuple(entries), layers or made)


def test_an_encoding_page_returns():
    content, encoding = page_of(ladder(), opaque(), file())
    assert EncodingPage.parse(encoding.encode(), content, tiers=3) == encoding


def test_an_encoding_page_that_breaks_a_rule_is_refused():
    content, page = page_of(ladder(), opaque(), file())
    whole = decode(page.encode())

    def refused(error, change):
        value = decode(page.encode())
        change(value)
        with pytest.raises(error):
            EncodingPage.parse(encode(value), content, tiers=3)

    assert whole == decode(page.encode())
    refused(Malformed, lambda v: v.pop())
    refused(Malformed, lambda v: v[0].append([2, 0, 5, None]))
    refused(Malformed, lambda v: v[0].reverse())
    refused(Malformed, lambda v: v[0][0].append(1))
    refused(Malformed, lambda v: v[0][0].__setitem__(0, 3))
    refused(UnsupportedFormat, lambda v: v[0][0].__setitem__(1, 4))
    refused(LimitExceeded, lambda v: v[0][0].__setitem__(2, (1 << 26) + 1))
    refused(Malformed, lambda v: v[0][0].__setitem__(3, bytes(32)))
    refused(Malformed, lambda v: v[0].__setitem__(0, [0, 1, 10, None]))
    refused(Malformed, lambda v: v[0].__setitem__(0, [0, 2, 10, bytes(32)]))
    refused(Malformed, lambda v: v[1].pop())
    refused(Malformed, lambda v: v[1][0].append([0, 0]))
    refused(Malformed, lambda v: v[1][0].__setitem__(0, [99, 0]))
    refused(Malformed, lambda v: v[1][0].__setitem__(0, [-1, 0]))
    refused(Malformed, lambda v: v[1][0].__setitem__(0, [0, 1]))
    refused(Malformed, lambda v: v[1][0].__setitem__(0, [0]))
    refused(Malformed, lambda v: v[1][0].__setitem__(0, [3, 0]))
    refused(Malformed, lambda v: v[1][0].__setitem__(0, [1, 0]))


def test_roots_return():
    manifest = assemble(TIERS, [page_of(ladder(), opaque(), file())])
    content = ContentRoot.parse(manifest.content_root)
    assert content.encode() == manifest.content_root
    assert (content.totals.parameters, content.totals.quantized) == (10_010, 10_000)
    assert content.totals.source_bytes == 100
    encoding = EncodingRoot.parse(manifest.encoding_root)
    assert encoding.encode() == manifest.encoding_root
    assert encoding.content == digest(manifest.content_root)


def test_an_artifact_may_hold_nothing():
    manifest = assemble(TIERS, [])
    assert ContentRoot.parse(manifest.content_root).pages == ()


@pytest.mark.parametrize(
    ("key", "value", "error"),
    [
        ("version", 2, UnsupportedFormat),
        ("kind", "gradient", UnsupportedFormat),
        ("kind", "update", Malformed),
        ("features", ["a"], UnsupportedFormat),
        ("features", ["b", "a"], Malformed),
        ("features", [1], Malformed),
        ("surprise", 1, Malformed),
        ("ext", [], Malformed),
        ("totals", [1, 2], Malformed),
        ("pages", [[0, "b", 0, 5, bytes(32)], [0, "a", 0, 5, bytes(32)]], Malformed),
        ("pages", [[0, "b", 0, (1 << 20) + 1, bytes(32)]], LimitExceeded),
        ("tiers", [], Malformed),
        ("tiers", [["q4", 0]], Malformed),
        ("tiers", [["q4", 0], ["q4", 4], ["exact", None]], Malformed),
        ("tiers", [["q4", 1], ["exact", None]], Malformed),
        ("tiers", [["q4", 0], ["q8", 0], ["exact", None]], Malformed),
        ("tiers", [["q4", 0], ["q8", 25], ["exact", None]], LimitExceeded),
        ("tiers", [["Q4", 0], ["exact", None]], Malformed),
        ("tiers", [["exact", 0], ["exact", None]], Malformed),
        ("tiers", [["q4", 0], ["last", None]], Malformed),
        ("tiers", [[f"t{i}", i] for i in range(16)] + [["exact", None]], LimitExceeded),
    ],
)
def test_a_root_that_breaks_a_rule_is_refused(key, value, error):
    changed = decode(assemble(TIERS, []).content_root) | {key: value}
    with pytest.raises(error):
        ContentRoot.parse(encode(changed))


def test_a_root_has_a_limit():
    changed = decode(assemble(TIERS, []).content_root) | {"ext": {"a": bytes(1 << 18)}}
    with pytest.raises(LimitExceeded):
        ContentRoot.parse(encode(changed))


@given(st.data())
@settings(max_examples=200)
def test_changed_manifests_are_read_or_refused(choice):
    content, encoding = page_of(ladder(), opaque(), file())
    manifest = assemble(TIERS, [(content, encoding)])
    pieces = [manifest.content_root, manifest.encoding_root, *manifest.pages[0]]
    which = choice.draw(st.integers(0, 3))
    piece = bytearray(pieces[which])
    for _ in range(choice.draw(st.integers(1, 3))):
        piece[choice.draw(st.integers(0, len(piece) - 1))] = choice.draw(st.integers(0, 255))
    data = bytes(piece)
    readers = [
        lambda: ContentRoot.parse(data).encode(),
        lambda: EncodingRoot.parse(data).encode(),
        lambda: ContentPage.parse(data, tiers=3).encode(),
        lambda: EncodingPage.parse(data, content, tiers=3).encode(),
    ]
    try:
        again = readers[which]()
    except P2UError:
        return
    assert again == data


def test_pages_are_cut_by_names_alone():
    records = [opaque(f"t{i:04}{'x' * 200}") for i in range(600)]
    pages = paginate(records)
    assert len(pages) > 3
    assert [record for page in pages for record in page] == records
    for page in pages[1:]:
        assert digest(page[0].name.encode())[0] < 32
    changed = [replace(r, parameters=OpaqueParameters(1, 80)) for r in records]
    assert [[r.name for r in page] for page in paginate(changed)] == [
        [r.name for r in page] for page in pages
    ]


def test_a_large_tensor_takes_several_records_and_pages():
    shape = (1 << 30,)
    records = [ladder("w", shape, first, 1024) for first in (0, 1024)]
    pages = [ContentPage(tuple(page)) for page in paginate(records)]
    root = ContentRoot.parse(
        assemble(TIERS, [(p, EncodingPage((), ())) for p in pages]).content_root
    )
    check_sequence(root, pages)
    for wrong in (
        [records[0]],
        [records[1]],
        [records[0], replace(records[1], dtype="F16")],
        [records[0], ladder("x")],
    ):
        made = [ContentPage((record,)) for record in wrong]
        other = assemble(TIERS, [(page, EncodingPage((), ())) for page in made])
        with pytest.raises(Malformed):
            check_sequence(ContentRoot.parse(other.content_root), made)


def test_the_largest_record_fits_a_page_and_so_do_its_chunks():
    tiers = (TIER,) * 15
    record = ladder("w", (1 << 29,), 0, 1024)
    parameters = replace(record.parameters, tiers=tiers)
    record = replace(record, parameters=parameters, layer_digests=(ids(1024),) * 16)
    assert len(paginate([record])) == 1
    chunks = [ChunkEntry(tier, Codec.SECTIONS, 1 << 25, ids(1)) for tier in range(16)] * 1024
    chunks.sort(key=lambda chunk: chunk.tier)
    layers = tuple(tuple((16 * n, 0) for n in range(1024)) for _ in range(16))
    assert len(EncodingPage(tuple(chunks), (layers,)).encode()) <= MAX_PAGE_BYTES


def test_a_name_cannot_make_a_record_fill_a_page():
    record = ladder("w" * (1 << 20), (1 << 19,), 0, 1)
    with pytest.raises(LimitExceeded):
        paginate([record])
