import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2uformat.errors import InvalidArgument, LimitExceeded, Malformed, NonCanonical, P2UError
from p2uformat.wire import as_array, as_bytes, as_int, as_map, as_text, decode, encode

scalars = st.one_of(
    st.none(), st.integers(-(2**63), 2**64 - 1), st.text(max_size=40), st.binary(max_size=300)
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=20), st.dictionaries(st.text(max_size=6), inner, max_size=20)
    ),
    max_leaves=30,
)


@given(values)
def test_a_value_returns_and_has_one_encoding(value):
    data = encode(value)
    assert decode(data) == value
    assert encode(decode(data)) == data


@given(st.binary(max_size=60))
def test_any_bytes_decode_canonically_or_are_refused(data):
    try:
        value = decode(data)
    except (NonCanonical, LimitExceeded):
        return
    assert encode(value) == data


@given(values, st.data())
def test_a_changed_encoding_is_another_value_or_refused(value, choice):
    data = bytearray(encode(value))
    data[choice.draw(st.integers(0, len(data) - 1))] ^= 1 << choice.draw(st.integers(0, 7))
    try:
        changed = decode(bytes(data))
    except P2UError:
        return
    assert encode(changed) == bytes(data)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\xc1", id="no such type"),
        pytest.param(b"\xc2", id="false"),
        pytest.param(b"\xca\0\0\0\0", id="float"),
        pytest.param(b"\xd4\x01\0", id="extension"),
        pytest.param(b"\xd6\xff\0\0\0\0", id="timestamp"),
        pytest.param(b"\xcc\x7f", id="long unsigned"),
        pytest.param(b"\xd0\x01", id="positive as signed"),
        pytest.param(b"\xd0\xff", id="long negative"),
        pytest.param(b"\xd9\x01a", id="long string"),
        pytest.param(b"\xc5\0\x01a", id="long binary"),
        pytest.param(b"\xdc\0\x01\xc0", id="long array"),
        pytest.param(b"\xde\0\0", id="long map"),
        pytest.param(b"\xa1\xff", id="not utf-8"),
        pytest.param(b"\xa3\xed\xa0\x80", id="surrogate"),
        pytest.param(b"\x82\xa1b\xc0\xa1a\xc0", id="keys out of order"),
        pytest.param(b"\x82\xa1a\xc0\xa1a\xc0", id="key twice"),
        pytest.param(b"\x81\x01\xc0", id="number as key"),
        pytest.param(b"\x81\xc4\x01a\xc0", id="bytes as key"),
        pytest.param(b"\x81\x90\xc0", id="array as key"),
        pytest.param(b"\xc0\xc0", id="bytes behind it"),
        pytest.param(b"\x92\xc0", id="cut off"),
        pytest.param(b"\xdd\xff\xff\xff\xff", id="four billion items"),
        pytest.param(b"\xdd\0\x0f\xff\xff" * 1000, id="nested millions"),
    ],
)
def test_other_bytes_are_refused(data):
    with pytest.raises(NonCanonical):
        decode(data)


def test_nesting_has_a_limit():
    assert decode(b"\x91" * 16 + b"\xc0")
    for depth in (17, 1000, 100_000):
        with pytest.raises(LimitExceeded):
            decode(b"\x91" * depth + b"\xc0")


@pytest.mark.parametrize("value", [1.5, True, 2**64, {1: 2}, "\ud800", {"a": {1}}])
def test_what_has_no_encoding_is_refused(value):
    with pytest.raises(InvalidArgument):
        encode(value)


def test_the_package_agrees():
    value = {"a": [1, -1, 300, b"x" * 300, "y" * 40, None], "b": {}}
    assert encode(value) == msgpack.packb(value)


@pytest.mark.parametrize(
    "call",
    [
        lambda: as_int("1", "x"),
        lambda: as_int(True, "x"),
        lambda: as_int(-1, "x"),
        lambda: as_int(2, "x", high=1),
        lambda: as_text(b"", "x"),
        lambda: as_bytes("", "x"),
        lambda: as_bytes(b"", "x", length=1),
        lambda: as_array({}, "x"),
        lambda: as_array([], "x", length=1),
        lambda: as_map([], "x"),
        lambda: as_map({"a": 1}, "x", keys=frozenset("b")),
    ],
)
def test_checks_refuse_other_types(call):
    with pytest.raises(Malformed, match="x: "):
        call()


def test_checks_know_limits():
    for call in (
        lambda: as_int(2, "x", limit=1),
        lambda: as_text("aé", "x", limit=2),
        lambda: as_array([1, 2], "x", limit=1),
    ):
        with pytest.raises(LimitExceeded):
            call()
