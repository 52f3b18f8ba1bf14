"""Which ranges are asked for, and what answers mean: arithmetic on offsets and texts."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2uformat.errors import InvalidArgument, TransferFailed
from p2uformat.reading import Piece
from p2uformat.transport import Address, Policy
from p2uformat.transport.attempts import Attempts
from p2uformat.transport.fault import Fault
from p2uformat.transport.http import content_range, retry_after
from p2uformat.transport.pieces import MAX_GAP, merge
from p2uformat.transport.running import run


@st.composite
def files(draw):
    """Pieces in the order of a file, with gaps of all sizes between them."""
    sizes = draw(st.lists(st.integers(0, 1 << 22), max_size=30))
    gaps = draw(
        st.lists(
            st.one_of(st.just(0), st.integers(0, 4000), st.integers(0, 1 << 20)),
            min_size=len(sizes),
            max_size=len(sizes),
        )
    )
    pieces, at = [], 0
    for size, gap in zip(sizes, gaps, strict=True):
        at += gap
        pieces.append(Piece(at, size, None))
        at += size
    return pieces


@given(files(), st.integers(1 << 10, 1 << 23))
def test_spans_hold_each_piece_once_and_little_else(pieces, most):
    spans = merge(pieces, most=most)
    held = [piece for span in spans for piece in span.pieces]
    assert held == [piece for piece in pieces if piece.length]
    wanted = sum(piece.length for piece in held)
    asked = sum(span.stop - span.start for span in spans)
    assert asked - wanted <= wanted // 200
    for span in spans:
        assert len(span.pieces) == 1 or span.stop - span.start <= most
        for left, right in zip(span.pieces, span.pieces[1:], strict=False):
            assert 0 <= right.offset - left.stop <= MAX_GAP


def test_neighbours_come_together_and_others_do_not():
    near = [Piece(i * 1000, 1000, None) for i in range(100)]
    assert len(merge(near, most=1 << 20)) == 1
    assert len(merge(near, most=50_000)) == 2
    far = [Piece(i * (MAX_GAP + 2000), 1000, None) for i in range(100)]
    assert len(merge(far, most=1 << 30)) == 100
    # Pieces in another order than that of the file are not put together.
    assert len(merge(near[::-1], most=1 << 20)) == 100


@given(st.integers(0, 1 << 60), st.integers(1, 1 << 30), st.integers(0, 1 << 40))
def test_a_content_range_is_read_back(start, length, more):
    stop, total = start + length, start + length + more
    assert content_range(f"bytes {start}-{stop - 1}/{total}") == (start, stop, total)
    assert content_range(f"bytes {start}-{stop - 1}/*") == (start, stop, None)
    assert content_range(f"bytes {start}-{stop - 1}/{stop - 1}") is None


@given(st.text())
def test_any_text_is_a_content_range_or_none(text):
    content_range(text)
    waited = retry_after(text)
    assert waited is None or 0 <= waited <= 3600


@pytest.mark.parametrize("text", ["bytes 5-3/9", "bytes -5/9", "items 0-1/2", "bytes 0-1", ""])
def test_what_is_no_content_range(text):
    assert content_range(text) is None


ADDRESSES = {
    "m.p2u": None,
    "models/m.p2u": None,
    "C:\\models\\m.p2u": None,
    "C:/models/m.p2u": None,
    "a:b": None,
    "https://host/m.p2u": "https",
    "S3://bucket/key": "s3",
    "zip://m.p2u::s3://bucket/models.zip": "zip",
    "simplecache::s3://bucket/key": "simplecache",
}


@pytest.mark.parametrize(("text", "protocol"), ADDRESSES.items())
def test_a_url_is_told_from_a_path(text, protocol):
    found = Address.of(text)
    assert (found.protocol if isinstance(found, Address) else None) == protocol


def test_a_file_url_is_a_path_of_this_machine():
    assert Address.of("file:///a%20b/m.p2u") == "/a b/m.p2u"
    assert Address.of("file://localhost/m.p2u") == "/m.p2u"
    with pytest.raises(InvalidArgument, match="this machine"):
        Address.of("file://elsewhere/m.p2u")


def test_secrets_are_not_part_of_a_name():
    url = "https://me:word@host:80/m.p2u?X-Amz-Signature=abc#part"
    assert Address.of(url).name == "https://host:80/m.p2u?..."


def tries(policy, faults, *, opening=False):
    """Return how many of the faults are lived through, and the error that ends it, if one does."""

    async def work():
        attempts = Attempts("x", policy, opening=opening)
        for count, fault in enumerate(faults):
            try:
                await attempts.failed(fault)
            except TransferFailed as error:
                return count, error
        return len(faults), None

    return run(work())


QUICK = Policy(pause=0.001, longest_pause=0.002, patience=0.05)


def test_patience_ends():
    count, error = tries(QUICK, [Fault("broken")] * 1000)
    assert 5 < count < 1000
    assert "in a row" in str(error)


def test_answers_that_break_rules_get_few_tries():
    count, error = tries(QUICK, [Fault("odd", strict=True)] * 10)
    assert count == QUICK.strict_tries - 1
    assert "protocol" in error.hint


def test_what_was_never_there_gets_few_tries_unless_it_is_busy():
    assert tries(QUICK, [Fault("refused")] * 10, opening=True)[0] == QUICK.opening_tries - 1
    assert tries(QUICK, [Fault("busy", busy=True)] * 6, opening=True) == (6, None)


def test_a_pause_that_is_longer_than_patience_is_not_waited_for():
    count, error = tries(QUICK, [Fault("busy", busy=True, wait=3600.0)])
    assert (count, error.code) == (0, "transfer-failed")


def test_run_hands_on_what_a_coroutine_raises():
    async def work():
        await asyncio.sleep(0)
        raise TimeoutError("mine")

    with pytest.raises(TimeoutError, match="mine"):
        run(work())
    ticks = []

    async def longer():
        await asyncio.sleep(0.6)
        return 7

    assert run(longer(), lambda: ticks.append(1)) == 7
    assert len(ticks) >= 2


def test_what_a_tick_raises_ends_the_work():
    ended = []

    async def work():
        try:
            await asyncio.sleep(60)
        finally:
            ended.append(True)

    def stop():
        raise KeyError("stop")

    with pytest.raises(KeyError):
        run(work(), stop)
    assert ended == [True]
