"""What a collection condemns, waits for, deletes and puts together, with a clock that is set."""

import pytest

from p2uformat import CorruptData, InvalidArgument, NotFound
from p2uformat.digest import digest
from p2uformat.store.collector import collect
from p2uformat.store.index import encode_index
from p2uformat.store.keys import (
    COLLECTIONS,
    INDEX,
    PACKS,
    PINS,
    PackId,
    bundle_key,
    end_key,
    new_id,
    pin_key,
    record_key,
)
from p2uformat.store.lease import Lease
from p2uformat.store.lookup import read_record
from p2uformat.store.packs import PackBuilder
from p2uformat.store.pins import End, Outcome, Pin
from p2uformat.store.records import Blob, Extent, Placed, Record
from p2uformat.store.refs import Ref
from p2uformat.store.sketches import add_sketch, merge_index, read_index
from p2uformat.store.versions import add_version, history, remove
from tests.store.memory import MemoryObjects

DAY = 86400.0


class Shelf:
    """Versions of names in memory, each with one pack and one bundle of its own."""

    def __init__(self, *, conditions: bool = True) -> None:
        self.objects = MemoryObjects(conditions=conditions)

    def chunks(self, count, *, size=3000):
        return [new_id() * (size // 16) for _ in range(count)]

    def pack(self, chunks, writer=None):
        """Write a pack; return its name and where its chunks lie."""
        writer = writer or new_id()
        builder = PackBuilder(0)
        offsets = [builder.add(digest(chunk), chunk) for chunk in chunks]
        name = PackId(writer, 0)
        self.objects.create(name.key, builder.finish())
        return name, offsets

    def version(self, name, pack, extents):
        """Add a version that needs some of the bytes of a pack; return its content root."""
        writer, root = new_id(), new_id() * 2
        self.objects.create(bundle_key(writer), b"roots")
        placed = Placed(b"h" * 128, (Blob(0, 0, 2), Blob(0, 2, 3)), tuple(extents))
        record = Record(writer, (placed,), (writer,), (pack,))
        self.objects.create(record_key(root, 0), record.encode())

        def make(seq, previous, gone):
            del seq
            return Ref(writer, 0, previous, gone, root, b"e" * 32, 0)

        add_version(self.objects, name, make)
        return root

    def keys(self, *prefixes):
        return {key for key in self.objects.held if key.startswith(prefixes)}

    def wait(self, seconds=DAY + 1):
        self.objects.time += seconds


def whole(shelf, name="m", count=3):
    """Return the pack and root of a version that needs all of its pack."""
    chunks = shelf.chunks(count)
    pack, _ = shelf.pack(chunks)
    return pack, shelf.version(name, pack, [Extent(0, 0, sum(map(len, chunks)))])


@pytest.fixture
def shelf():
    return Shelf()


def test_a_look_writes_nothing_and_says_what_would_be(shelf):
    dead, _ = whole(shelf, "old")
    alive, _ = whole(shelf, "new")
    remove(shelf.objects, "old", new_id())
    shelf.wait()
    before = dict(shelf.objects.held)
    would = collect(shelf.objects)
    assert shelf.objects.held == before
    did = collect(shelf.objects, delete=True)
    assert (would.condemned, would.dead_packs, would.live_packs) == (3, 1, 1)
    assert {**would.to_dict(), "deleting": True} == did.to_dict()
    assert shelf.keys(PACKS) == {dead.key, alive.key}
    shelf.wait()
    would, did = collect(shelf.objects), collect(shelf.objects, delete=True)
    assert (would.deleted, would.deleted_bytes) == (did.deleted, did.deleted_bytes)
    assert did.deleted == 3
    assert shelf.keys(PACKS) == {alive.key}
    assert not shelf.keys(COLLECTIONS)


def test_young_then_condemned_then_waiting_then_deleted(shelf):
    """Each step takes the time of grace, none more, none less."""
    pack, _ = shelf.pack(shelf.chunks(2))
    collect(shelf.objects, delete=True)
    shelf.wait(DAY - 1)
    report = collect(shelf.objects, delete=True)
    assert (report.young, report.condemned) == (1, 0)
    shelf.wait(1)
    report = collect(shelf.objects, delete=True)
    assert (report.young, report.condemned, report.waiting) == (0, 1, 0)
    shelf.wait(DAY - 1)
    report = collect(shelf.objects, delete=True)
    assert (report.condemned, report.waiting, report.deleted) == (0, 1, 0)
    assert pack.key in shelf.objects.held
    shelf.wait(1)
    report = collect(shelf.objects, delete=True)
    assert (report.waiting, report.deleted) == (0, 1)
    assert pack.key not in shelf.objects.held


def test_a_shorter_grace(shelf):
    shelf.pack(shelf.chunks(2))
    collect(shelf.objects, grace=0, delete=True)
    assert collect(shelf.objects, grace=0, delete=True).deleted == 1
    assert not shelf.keys(PACKS)


@pytest.mark.parametrize(("keep", "grace"), [(0, DAY), (-1, DAY), (None, -1.0)])
def test_what_cannot_be_asked(shelf, keep, grace):
    with pytest.raises(InvalidArgument):
        collect(shelf.objects, keep=keep, grace=grace)


def test_only_the_latest_are_kept(shelf):
    packs = [whole(shelf, "m")[0] for _ in range(4)] + [whole(shelf, "n")[0]]
    shelf.wait()
    would = collect(shelf.objects, keep=2)
    assert (would.versions, would.condemned, would.dead_packs) == (3, 6, 2)
    report = collect(shelf.objects, keep=2, delete=True)
    assert (report.removed, report.versions, report.condemned) == (2, 3, 6)
    assert history(shelf.objects, "m").left == [3, 4]
    assert history(shelf.objects, "n").left == [1]
    shelf.wait()
    collect(shelf.objects, keep=2, delete=True)
    assert shelf.keys(PACKS) == {pack.key for pack in packs[2:]}


def test_a_list_stays_while_a_key_of_it_is_needed(shelf):
    """Another collector may be about to delete it: no writer may rely on it."""
    chunks = shelf.chunks(2)
    pack, _ = shelf.pack(chunks)
    other, _ = shelf.pack(shelf.chunks(2))
    shelf.wait()
    collect(shelf.objects, delete=True)
    (listed,) = shelf.keys(COLLECTIONS)
    root = shelf.version("m", pack, [Extent(0, 0, 6000)])  # as a writer that saw no list does
    shelf.wait()
    report = collect(shelf.objects, delete=True)
    assert (report.spared, report.deleted) == (1, 1)
    assert (pack.key in shelf.objects.held, other.key in shelf.objects.held) == (True, False)
    assert listed in shelf.objects.held
    lease = Lease.begin(shelf.objects, packs=[pack])
    assert lease.refused == {pack.key}
    lease.abandon()
    # When it is needed no more it goes, and the list with it.
    remove(shelf.objects, "m", new_id())
    report = collect(shelf.objects, delete=True)
    assert report.deleted == 1
    assert listed not in shelf.objects.held
    assert root not in history(shelf.objects, "m").left


def test_what_is_pinned_stays(shelf):
    pack, _ = shelf.pack(shelf.chunks(2))
    shelf.wait()
    lease = Lease.begin(shelf.objects, packs=[pack])
    mine, _ = shelf.pack(shelf.chunks(2), lease.writer)
    report = collect(shelf.objects, grace=0, delete=True)
    assert (report.condemned, report.dead_packs) == (0, 0)
    lease.abandon()
    assert collect(shelf.objects, grace=0, delete=True).condemned == 2
    assert {pack.key, mine.key} <= shelf.objects.held.keys()


def test_a_silent_writer_is_ended(shelf):
    lease = Lease.begin(shelf.objects, seconds=3600)
    pack, _ = shelf.pack(shelf.chunks(2), lease.writer)
    shelf.wait(3600)
    assert collect(shelf.objects, grace=0).condemned == 0
    shelf.wait(1)
    assert collect(shelf.objects, grace=0).condemned == 1
    assert end_key(lease.writer) not in shelf.objects.held
    assert collect(shelf.objects, grace=0, delete=True).condemned == 1
    assert End.parse(shelf.objects.get(end_key(lease.writer), most=999)).outcome is Outcome.EXPIRED
    assert pack.key in shelf.objects.held


@pytest.mark.parametrize(("left", "moves"), [(7100, False), (6900, True)])
def test_packs_of_which_a_third_is_dead_are_put_together_anew(shelf, left, moves):
    chunks = [new_id() * (left // 16 + 1), new_id() * (10_000 // 16 - left // 16)]
    pack, offsets = shelf.pack(chunks)
    size = len(shelf.objects.held[pack.key][0])
    dead = (size - len(chunks[0]) - size // 64) / size
    assert (dead >= 0.3) == moves
    root = shelf.version("m", pack, [Extent(0, 0, len(chunks[0]))])
    report = collect(shelf.objects, delete=True)
    assert report.repacked == int(moves)
    found = read_record(shelf.objects, root, int(moves))
    (extent,) = found.record.artifacts[0].extents
    place = found.record.packs[extent.pack]
    assert (place != pack) == moves
    data = shelf.objects.held[place.key][0]
    assert data[extent.offset : extent.offset + extent.length] == chunks[0]
    assert offsets == [0, len(chunks[0])]
    if moves:
        with pytest.raises(NotFound):
            read_record(shelf.objects, root, 2)
        for _ in range(2):
            shelf.wait()
            collect(shelf.objects, delete=True)
        assert shelf.keys(PACKS) == {place.key}
        assert shelf.keys("roots/") == {record_key(root, 1)}
        assert not shelf.keys(PINS)


def test_a_damaged_chunk_is_not_moved(shelf):
    """It stays where its damage can be named, and repaired."""
    chunks = shelf.chunks(4)
    pack, _ = shelf.pack(chunks)
    root = shelf.version("m", pack, [Extent(0, 0, 6000)])
    data, when = shelf.objects.held[pack.key]
    shelf.objects.held[pack.key] = data[:100] + b"X" + data[101:], when
    assert collect(shelf.objects, delete=True).repacked == 0
    found = read_record(shelf.objects, root, max(0, len(shelf.keys("roots/")) - 1))
    assert found.record.packs == (pack,)


@pytest.mark.parametrize(
    "key", [f"packs/ab/{'cd' * 16}/000001", "packs/readme", "meta/x", "roots/y"]
)
def test_what_is_not_understood_is_not_deleted(shelf, key):
    shelf.objects.create(key, b"somebody else's")
    for _ in range(3):
        collect(shelf.objects, grace=0, delete=True)
        shelf.wait()
    assert key in shelf.objects.held


def test_a_damaged_list_stops_a_collection(shelf):
    shelf.pack(shelf.chunks(1))
    shelf.objects.create(f"{COLLECTIONS}{new_id().hex()}", b"junk")
    with pytest.raises(CorruptData, match="gc/"):
        collect(shelf.objects, grace=0, delete=True)


def test_ends_that_nobody_waits_for_are_tidied(shelf):
    dead, committed, fresh = new_id(), new_id(), new_id()
    shelf.objects.create(pin_key(dead, 0), Pin(60).encode())
    shelf.objects.create(end_key(dead), End(Outcome.EXPIRED).encode())
    shelf.objects.create(end_key(committed), End(Outcome.COMMIT, (b"r" * 32, 0)).encode())
    shelf.wait(30 * DAY)
    shelf.objects.create(end_key(fresh), End(Outcome.ABANDONED).encode())
    collect(shelf.objects, delete=True)
    assert len(shelf.keys(PINS)) == 4
    shelf.wait(1)
    collect(shelf.objects)
    assert len(shelf.keys(PINS)) == 4
    collect(shelf.objects, delete=True)
    assert shelf.keys(PINS) == {end_key(dead), end_key(fresh)}
    collect(shelf.objects, delete=True)
    assert shelf.keys(PINS) == {end_key(fresh)}


def test_the_index_is_put_together_and_keeps_what_lives(shelf):
    _, root = whole(shelf)
    gone = b"g" * 32
    add_sketch(shelf.objects, new_id(), root, b"12345678")
    add_sketch(shelf.objects, new_id(), gone, b"87654321")
    assert read_index(shelf.objects) == {root: b"12345678", gone: b"87654321"}
    collect(shelf.objects)
    assert len(shelf.keys(INDEX)) == 2
    collect(shelf.objects, delete=True)
    assert len(shelf.keys(INDEX)) == 1
    assert read_index(shelf.objects) == {root: b"12345678"}


def test_many_parts_of_the_index_become_one(shelf):
    roots = [bytes([number]) * 32 for number in range(17)]
    for count, root in enumerate(roots, 1):
        add_sketch(shelf.objects, new_id(), root, b"12345678")
        assert len(shelf.keys(INDEX)) == (count if count <= 16 else 1)
    assert set(read_index(shelf.objects)) == set(roots)


def test_a_damaged_part_of_the_index_is_left_out(shelf):
    """Nothing depends on it: what cannot be read is lost, and nothing else."""
    shelf.objects.create(f"{INDEX}{new_id().hex()}", b"junk")
    shelf.objects.create(f"{INDEX}{new_id().hex()}", encode_index({b"r" * 32: b"12345678"}))
    assert read_index(shelf.objects) == {b"r" * 32: b"12345678"}
    merge_index(shelf.objects, new_id())
    assert read_index(shelf.objects) == {b"r" * 32: b"12345678"}
    assert len(shelf.keys(INDEX)) == 1
