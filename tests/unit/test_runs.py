"""Runs of resting codes: one encoding for any codes, and bytes that are near their entropy."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2uformat import Malformed
from p2uformat.codec.runs import RunAlphabet, pack_runs, unpack_runs

ALPHABETS = st.integers(2, 256).flatmap(
    lambda codes: st.builds(RunAlphabet, st.just(codes), st.integers(0, codes - 1))
)


def skewed(alphabet, count, share, seed):
    """Codes of which so large a share rests."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, alphabet.codes, count).astype(np.uint8)
    codes[rng.random(count) < share] = alphabet.rest
    return codes


def entropy(symbols):
    """Order-0 entropy in bits, of all symbols together."""
    counts = np.unique(symbols, return_counts=True)[1]
    return float((counts * np.log2(len(symbols) / counts)).sum())


def by_hand(codes, alphabet):
    """The bytes of SPEC.md, 19.5, one code after the other."""
    others = [code for code in range(alphabet.codes) if code != alphabet.rest]
    width = len(others)
    short = max(1, 240 // width)
    most = min(16, 256 - short * width)
    out, run = [], 0
    for code in [*codes, others[0]]:
        if code == alphabet.rest:
            run += 1
            continue
        while run >= short << (most - 1):
            out.append(short * width + most - 1)
            run -= short << (most - 1)
        for power in reversed(range(most - 1)):
            if run >= short << power:
                out.append(short * width + power)
                run -= short << power
        out.append(run * width + others.index(code))
        run = 0
    return bytes(out)


@settings(deadline=None)
@given(
    ALPHABETS,
    st.integers(0, 1000),
    st.sampled_from([0.0, 0.3, 0.9, 0.99, 0.999, 1.0]),
    st.integers(0, 2**32 - 1),
)
def test_codes_come_back(alphabet, count, share, seed):
    codes = skewed(alphabet, count, share, seed)
    packed = pack_runs(codes, alphabet)
    assert packed == by_hand(codes.tolist(), alphabet)
    assert 1 <= len(packed) <= count + 1
    assert unpack_runs(packed, count, alphabet).tobytes() == codes.tobytes()
    assert unpack_runs(memoryview(packed), count, alphabet).dtype == np.uint8


@pytest.mark.parametrize("codes", [2, 3, 5, 17, 129, 254, 255, 256])
def test_runs_of_every_length_about_each_long_byte(codes):
    alphabet = RunAlphabet(codes, codes // 2)
    edges = {0, 1}
    for power in range(alphabet.long):
        length = alphabet.short << power
        edges |= {length - 1, length, length + 1, 2 * length, 2 * length - 1}
    other = 0 if alphabet.rest else 1
    for run in sorted(edge for edge in edges if edge < 1 << 20):
        made = np.full(run + 1, alphabet.rest, np.uint8)
        made[-1] = other
        for part in (made, made[:-1]):
            packed = pack_runs(part, alphabet)
            assert unpack_runs(packed, len(part), alphabet).tobytes() == part.tobytes()


@settings(deadline=None)
@given(ALPHABETS, st.binary(max_size=40), st.integers(0, 300))
def test_other_bytes_are_refused_or_the_one_encoding(alphabet, data, count):
    try:
        codes = unpack_runs(data, count, alphabet)
    except Malformed:
        return
    assert len(codes) == count
    assert pack_runs(codes, alphabet) == data


@settings(deadline=None)
@given(ALPHABETS, st.integers(1, 400), st.integers(0, 2**32 - 1), st.data())
def test_a_changed_byte_is_refused_or_the_one_encoding_of_other_codes(alphabet, count, seed, data):
    codes = skewed(alphabet, count, 0.9, seed)
    packed = bytearray(pack_runs(codes, alphabet))
    at = data.draw(st.integers(0, len(packed) - 1))
    before = packed[at]
    packed[at] = data.draw(st.integers(0, 255).filter(lambda byte: byte != before))
    try:
        made = unpack_runs(bytes(packed), count, alphabet)
    except Malformed:
        return
    assert pack_runs(made, alphabet) == packed
    assert made.tobytes() != codes.tobytes()


@pytest.mark.parametrize("alphabet", [RunAlphabet(2, 0), RunAlphabet(3, 1), RunAlphabet(256, 255)])
def test_many_strings_of_two_bytes(alphabet):
    """Of each number of codes, those that are read are those that some codes have."""
    read = 0
    for pair in itertools.product(range(256), (0, 1, 2, 3, 60, 128, 239, 240, 254, 255)):
        data = bytes(pair)
        for count in (1, 2, 300):
            try:
                codes = unpack_runs(data, count, alphabet)
            except Malformed:
                continue
            read += 1
            assert pack_runs(codes, alphabet) == data
    assert read


@pytest.mark.parametrize(
    ("data", "count", "words"),
    [
        (b"", 0, "0 bytes"),
        (b"\0\0", 0, "2 bytes"),
        (b"\1", 0, "the last run"),
        (b"\xe6\xf0", 1000, "the last run"),
        (b"\xf0\xf0\0", 300, "long run"),
        (b"\xf0\xf1\0", 400, "long run"),
        (b"\xf0\0", 121, "expected 121, got 120"),
    ],
)
def test_what_is_refused_says_why(data, count, words):
    alphabet = RunAlphabet(3, 1)  # 120 short runs with 2 codes each, 16 long ones
    with pytest.raises(Malformed, match=words):
        unpack_runs(data, count, alphabet)


def test_some_bytes_stand_for_nothing():
    alphabet = RunAlphabet(8, 3)  # 34 short runs with 7 codes each, 16 long ones: 254 bytes
    assert unpack_runs(b"\xfd\0", 34 << 15, alphabet).tobytes() == bytes([3]) * (34 << 15)
    for byte in (254, 255):
        with pytest.raises(Malformed, match="stands for nothing"):
            unpack_runs(bytes([byte, 0]), 34 << 15, alphabet)


@pytest.mark.parametrize("codes", [3, 5, 17, 255])
@pytest.mark.parametrize("spread", [0.02, 0.1, 0.3, 1.0])
def test_bytes_have_hardly_more_entropy_than_the_codes(codes, spread):
    """With the Huffman coder behind it, that is the length: numbers that are independent."""
    rng = np.random.default_rng(codes)
    half = codes // 2
    wide = rng.laplace(0, spread * half, 400_000)
    drawn = np.clip(np.floor(wide + rng.random(len(wide))), -half, half).astype(np.int64)
    made = (drawn + half).astype(np.uint8)
    packed = np.frombuffer(pack_runs(made, RunAlphabet(codes, half)), np.uint8)
    assert entropy(packed) <= 1.01 * entropy(made) + 8 * 256
