"""What of an artifact is stored, and what of it is taken from what lies there."""

import pytest

from p2uformat.store.keys import PackId
from p2uformat.stored.offer import Known, OfferedChunk, PackPlace, arrange

SHORT = 1 << 16
PACK = PackId(b"w" * 16, 0)


def arranged(*chunks):
    """Return which chunks are taken from the store, of triples of tier, length and known."""
    offered = [
        OfferedChunk(tier, bytes([number]) * 32, length)
        for number, (tier, length, _) in enumerate(chunks)
    ]
    known = Known()
    known.add_chunks(
        (chunk, PackPlace(PACK, number * SHORT))
        for number, (chunk, (_, _, is_known)) in enumerate(zip(offered, chunks, strict=True))
        if is_known
    )
    places = arrange(offered, known)
    for number, place in enumerate(places):
        assert place in (None, PackPlace(PACK, number * SHORT))
    return [place is not None for place in places]


NEW, LITTLE, MUCH = (0, 9, False), (0, SHORT // 2 - 1, True), (0, SHORT // 2, True)


@pytest.mark.parametrize(
    ("chunks", "taken"),
    [
        ((), []),
        ((NEW, NEW), [False, False]),
        ((LITTLE, LITTLE), [True, True]),
        # A short run between new chunks is stored again, so that one request reads them all.
        ((NEW, LITTLE, NEW), [False, False, False]),
        ((NEW, LITTLE, LITTLE, NEW), [False, False, False, False]),
        ((NEW, MUCH, MUCH, NEW), [False, True, True, False]),
        # At an end it saves none.
        ((LITTLE, NEW), [True, False]),
        ((NEW, LITTLE), [False, True]),
        # Nor where another tier begins: tiers are read by themselves.
        ((NEW, (1, 9, True), (1, 9, False)), [False, True, False]),
        ((NEW, LITTLE, (1, 9, False)), [False, True, False]),
        # Each run for itself.
        ((NEW, LITTLE, NEW, MUCH, MUCH, NEW), [False, False, False, True, True, False]),
    ],
)
def test_short_runs_are_stored_again(chunks, taken):
    assert arranged(*chunks) == taken


def test_a_chunk_of_another_tier_is_another():
    known = Known()
    chunk = OfferedChunk(0, b"c" * 32, 9)
    known.add_chunks([(chunk, PackPlace(PACK, 0))])
    assert arrange([chunk._replace(tier=1)], known) == [None]


def test_what_is_refused_is_not_known_any_more():
    """Of packs and bundles that are condemned, or gone, nothing is taken."""
    known, other = Known(), PackId(b"o" * 16, 0)
    one, two = (OfferedChunk(0, bytes([number]) * 32, 9) for number in (1, 2))
    known.add_chunks([(one, PackPlace(PACK, 0)), (two, PackPlace(other, 0))])
    left = known.without(frozenset([PACK.key]))
    assert arrange([one, two], left) == [None, PackPlace(other, 0)]
