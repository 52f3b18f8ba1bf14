"""What a store's small objects say: round trips, and what somebody else may have put there."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2uformat import CorruptData, UnsupportedFormat
from p2uformat.store.index import encode_index, parse_index
from p2uformat.store.keys import (
    MOST_GENERATIONS,
    MOST_PACKS,
    MOST_VERSIONS,
    PackId,
    bundle_key,
    bundle_writer,
    end_key,
    is_key,
    pin_key,
    record_key,
    record_of,
    ref_key,
    ref_of,
    writer_in,
)
from p2uformat.store.packs import PackBuilder, Trailer
from p2uformat.store.pins import Condemned, End, Outcome, Pin
from p2uformat.store.records import Blob, Extent, Placed, Record, joined
from p2uformat.store.refs import Ref, is_gone, with_gone
from p2uformat.wire import decode, encode

IDS = st.binary(min_size=16, max_size=16)
ROOTS = st.binary(min_size=32, max_size=32)
PACKS = st.builds(PackId, IDS, st.integers(0, MOST_PACKS))
RECORD_IDS = st.tuples(ROOTS, st.integers(0, MOST_GENERATIONS))
COUNTS = st.integers(0, 2**63 - 1)
GONE = st.lists(st.integers(1, 40), max_size=10).map(lambda seqs: with_gone((), seqs))
NAMES = st.from_regex(
    r"[A-Za-z][A-Za-z0-9._-]{0,9}(/[A-Za-z][A-Za-z0-9._-]{0,9}){0,7}", fullmatch=True
)


@st.composite
def records(draw):
    bundles = tuple(draw(st.lists(IDS, min_size=1, max_size=3)))
    packs = tuple(draw(st.lists(PACKS, min_size=1, max_size=3)))

    def place(kind, count):
        return st.builds(
            kind, st.integers(0, count - 1), st.integers(0, 1 << 20), st.integers(0, 1 << 20)
        )

    artifact = st.builds(
        Placed,
        st.binary(min_size=128, max_size=128),
        st.lists(place(Blob, len(bundles)), min_size=2, max_size=4).map(tuple),
        st.lists(place(Extent, len(packs)), max_size=6).map(joined),
    )
    return Record(
        draw(IDS), tuple(draw(st.lists(artifact, min_size=1, max_size=3))), bundles, packs
    )


@st.composite
def refs(draw):
    """Return a number and a ref of it: a version, or a removal."""
    seq = draw(st.integers(1, 50))
    gone = tuple(run for run in draw(GONE) if run[1] <= seq)
    previous = None if seq == 1 else draw(ROOTS)
    writer, time = draw(IDS), draw(COUNTS)
    if draw(st.booleans()):
        return seq, Ref(writer, time, previous, with_gone(gone, [seq]))
    root, generation = draw(RECORD_IDS)
    sizes = draw(COUNTS), draw(COUNTS)
    return seq, Ref(writer, time, previous, gone, root, draw(ROOTS), generation, *sizes)


PINS = st.builds(
    Pin,
    st.integers(1, 30 * 86400),
    st.lists(PACKS, max_size=3).map(tuple),
    st.lists(IDS, max_size=3).map(tuple),
    st.lists(RECORD_IDS, max_size=3).map(tuple),
)
ENDS = st.one_of(
    st.builds(End, st.just(Outcome.COMMIT), RECORD_IDS),
    st.builds(End, st.sampled_from([Outcome.EXPIRED, Outcome.ABANDONED])),
)
CONDEMNED = st.lists(
    st.one_of(
        PACKS.map(lambda pack: pack.key),
        IDS.map(bundle_key),
        RECORD_IDS.map(lambda record: record_key(*record)),
    ),
    max_size=5,
    unique=True,
).map(lambda keys: Condemned(tuple(sorted(keys))))
SKETCHES = st.lists(st.binary(min_size=8, max_size=8), max_size=9).map(b"".join)
INDEXES = st.dictionaries(ROOTS, SKETCHES, max_size=5)

VALUES = st.one_of(
    records().map(lambda value: (value.encode(), Record.parse, value)),
    refs().map(lambda pair: (pair[1].encode(), lambda data: Ref.parse(data, pair[0]), pair[1])),
    PINS.map(lambda value: (value.encode(), Pin.parse, value)),
    ENDS.map(lambda value: (value.encode(), End.parse, value)),
    CONDEMNED.map(lambda value: (value.encode(), Condemned.parse, value)),
    INDEXES.map(lambda value: (encode_index(value), parse_index, value)),
)


@given(VALUES)
def test_what_is_written_is_read(case):
    data, parse, value = case
    assert parse(data) == value


def written(value):
    return encode_index(value) if isinstance(value, dict) else value.encode()


@given(VALUES, st.data())
def test_what_is_changed_is_refused_or_means_something_else(case, data):
    """One byte of another value: an error of ours, or a value whose bytes these are."""
    encoded, parse, _ = case
    at = data.draw(st.integers(0, len(encoded) - 1))
    flip = data.draw(st.integers(1, 255))
    damaged = encoded[:at] + bytes([encoded[at] ^ flip]) + encoded[at + 1 :]
    try:
        value = parse(damaged)
    except (CorruptData, UnsupportedFormat):
        return
    # Of an index the last entry of a root counts.
    assert isinstance(value, dict) or written(value) == damaged


@given(VALUES, st.data())
def test_what_is_cut_short_or_goes_on_is_refused(case, data):
    encoded, parse, _ = case
    for wrong in (encoded[: data.draw(st.integers(0, len(encoded) - 1))], encoded + b"\xc0"):
        with pytest.raises(CorruptData):
            parse(wrong)


ANYTHING = st.recursive(
    st.none() | st.integers(0, 2**64 - 1) | st.binary(max_size=40) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(VALUES, ANYTHING, st.data())
def test_any_value_in_any_place_is_refused_or_read(case, other, data):
    """Whatever stands where something else belongs: an error of ours, never another one."""
    encoded, parse, _ = case
    value = decode(encoded)
    key = data.draw(st.sampled_from(sorted(value)))
    value[key] = other
    try:
        parse(encode(value))
    except (CorruptData, UnsupportedFormat):
        return


@pytest.mark.parametrize("version", [0, 2, 99])
@given(VALUES)
def test_another_version_says_what_to_install(version, case):
    encoded, parse, _ = case
    value = decode(encoded)
    value["version"] = version
    with pytest.raises(UnsupportedFormat, match="install a newer p2uformat"):
        parse(encode(value))


@given(st.integers(0, 5), st.lists(st.tuples(ROOTS, st.binary(max_size=50)), max_size=8), st.data())
def test_a_pack_says_what_is_in_it(tier, chunks, data):
    builder = PackBuilder(tier)
    offsets = [builder.add(name, chunk) for name, chunk in chunks]
    pack = builder.finish()
    body = len(pack) - sum(len(chunk) for _, chunk in chunks)
    trailer = Trailer.parse(pack[-body:], len(pack))
    placed = list(trailer.placed())
    assert [chunk.offset for chunk in placed] == offsets
    assert [(one.id, pack[one.offset : one.offset + one.length]) for one in placed] == chunks
    # Its digest covers the trailer, and its length the chunks.
    at = data.draw(st.integers(len(pack) - body, len(pack) - 1))
    damaged = pack[:at] + bytes([pack[at] ^ data.draw(st.integers(1, 255))]) + pack[at + 1 :]
    with pytest.raises(CorruptData):
        Trailer.parse(damaged[-body:], len(pack))
    with pytest.raises(CorruptData):
        Trailer.parse(pack[-body:], len(pack) + 1)


def record_value():
    record = Record(b"w" * 16, (Placed(b"h" * 128, (Blob(0, 0, 1),) * 2, ()),), (b"b" * 16,), ())
    return decode(record.encode())


def changed_record(change):
    value = record_value()
    change(value)
    return encode(value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda value: value.update(artifacts=[]), "expected one, got none"),
        (lambda value: value["artifacts"][0][1].pop(), "expected two roots, got 1"),
        (lambda value: value["artifacts"][0][1].__setitem__(0, [1, 0, 1]), "no place 1 among 1"),
        (lambda value: value["artifacts"][0].__setitem__(2, [[0, 0, 1]]), "no place 0 among 0"),
        (
            lambda value: value.update(
                packs=[[b"p" * 16, 0]],
                artifacts=[[b"h" * 128, [[0, 0, 1]] * 2, [[0, 0, 1], [0, 1, 1]]]],
            ),
            "neighbours that are one",
        ),
        (
            lambda value: value["artifacts"][0][1].__setitem__(0, [0, 1 << 40, 1]),
            "blob offset",
        ),
        (lambda value: value.update(writer=b"short"), "writer"),
        (lambda value: value.update(more=1), "more"),
    ],
)
def test_records_that_break_a_rule(change, message):
    with pytest.raises(CorruptData, match=message):
        Record.parse(changed_record(change))


def ref_of_seq_three(**other):
    ref = Ref(b"w" * 16, 0, b"p" * 32, (), b"c" * 32, b"e" * 32, 0)
    return encode({**decode(ref.encode()), **other})


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"content": None}, "neither a version nor a removal"),
        ({"gone": [[3, 4]]}, "neither a version nor a removal"),
        ({"gone": [[3, 5]]}, "numbers above 3"),
        ({"gone": [[1, 2], [2, 3]]}, "ascend"),
        ({"gone": [[2, 2]]}, "gone"),
        ({"gone": [[0, 1]]}, "gone"),
        ({"previous": None}, "exactly the first"),
        ({"generation": MOST_GENERATIONS + 1}, "generation"),
    ],
)
def test_refs_that_break_a_rule(other, message):
    assert Ref.parse(ref_of_seq_three(), 3).content == b"c" * 32
    with pytest.raises(CorruptData, match=message):
        Ref.parse(ref_of_seq_three(**other), 3)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (["packs/b", "packs/a"], "ascend"),
        (["packs/a", "packs/a"], "ascend"),
        (["refs/m/0000000000000001"], "only packs"),
        (["p2u.json"], "only packs"),
    ],
)
def test_lists_that_break_a_rule(keys, message):
    """Nothing but what a collector may delete is ever condemned."""
    with pytest.raises(CorruptData, match=message):
        Condemned.parse(Condemned(tuple(keys)).encode())


def test_an_end_has_a_record_exactly_after_a_commit():
    for end in (End(Outcome.COMMIT), End(Outcome.EXPIRED, (b"c" * 32, 0))):
        with pytest.raises(CorruptData, match="exactly a commit"):
            End.parse(end.encode())


@given(PACKS, IDS, RECORD_IDS, NAMES, st.integers(1, MOST_VERSIONS), st.integers(0, 9999))
def test_keys_say_whose_they_are(pack, writer, record, name, seq, number):
    keys = {
        pack.key: PackId.from_key,
        bundle_key(writer): bundle_writer,
        record_key(*record): record_of,
        ref_key(name, seq): ref_of,
        pin_key(writer, number): writer_in,
    }
    assert [parse(key) for key, parse in keys.items()] == [
        pack,
        writer,
        record,
        (name, seq),
        writer,
    ]
    assert writer_in(end_key(writer)) == writer
    for key, parse in keys.items():
        assert is_key(key)
        others = [other for other in keys.values() if other is not parse]
        assert [other(key) for other in others] == [None] * 4


@given(st.text(max_size=40))
def test_no_text_is_a_key_of_another_place(text):
    if is_key(text):
        assert not text.startswith("/")
        assert all(part and not part.startswith(".") for part in text.split("/"))


@given(GONE, st.lists(st.integers(1, 40), max_size=10))
def test_runs_hold_what_they_were_given(gone, more):
    after = with_gone(gone, more)
    assert {seq for seq in range(45) if is_gone(after, seq)} == set(more) | {
        seq for seq in range(45) if is_gone(gone, seq)
    }
