"""Bytes are cut into pieces, however they come, and each is handed on once."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2uformat.digest import digest
from p2uformat.reading import Piece
from p2uformat.testing import FaultServer
from p2uformat.transport import Address, Policy
from p2uformat.transport.pieces import Span
from p2uformat.transport.remote import source_of
from p2uformat.transport.running import run
from p2uformat.transport.transfer import _KEPT_BYTES, Transfer, _Part, joined

DATA = random.Random(3).randbytes(600_000)
STEP = 50_000
PIECES = [Piece(at, STEP, digest(DATA[at : at + STEP])) for at in range(0, len(DATA), STEP)]


@given(st.lists(st.integers(1, 3 * _KEPT_BYTES), min_size=1, max_size=40))
def test_pieces_are_what_came_however_it_came(sizes):
    part = _Part([Piece(0, 100_000, None), Piece(100_000, 70_001, None)])
    view, at = memoryview(DATA)[:170_001], 0
    for size in sizes * 200:
        step = view[at : at + size]
        while step and part.pieces:
            count = part.take(step)
            at, step = at + count, step[count:]
    got = b"".join(joined(views) for _, views in part.ready)
    rest = b"".join(part.drop())
    assert got + rest == bytes(view[:at])


def test_single_bytes_take_no_more_memory_than_they_are():
    part = _Part([Piece(0, 100_000, None)])
    for at in range(99_999):
        part.take(memoryview(DATA)[at : at + 1])
    assert len(part.drop()) == 1


def test_what_is_handed_on_holds_nothing_else():
    base = memoryview(bytearray(DATA))
    kept = joined([base[:10], base[20:30]])
    base[:10] = bytes(10)
    assert bytes(kept) == DATA[:10] + DATA[20:30]


@pytest.mark.parametrize("bad", [0, 5, len(PIECES) - 1])
def test_one_bad_piece_among_others_is_asked_for_again(bad):
    pytest.importorskip("aiohttp")
    got = {}

    def sink(piece, views):
        assert piece.offset not in got
        got[piece.offset] = bytes(joined(views))

    with FaultServer({"a": DATA}, script=f"flip@{bad * STEP + 7}") as server:
        source = source_of(Address.of(server.url_of("a")), Policy())
        state = run(Transfer(source, [Span(tuple(PIECES))], sink, Policy()).run())
        asked = [record.range for record in server.requests]
    assert asked == [(0, len(DATA)), (bad * STEP, len(DATA))]
    assert b"".join(got[at] for at in sorted(got)) == DATA
    assert (state.verified, state.underway, state.retries) == (len(DATA), 0, 1)
