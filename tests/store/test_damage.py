"""What is wrong in a store is named, and mended from sound copies."""

import random
import shutil
import threading

import pytest

import p2uformat
from p2uformat import (
    CorruptData,
    DigestMismatch,
    InvalidArgument,
    NotFound,
    P2UError,
    UnsupportedFormat,
)
from p2uformat.store.trailers import read_trailer
from p2uformat.testing import FaultServer
from tests.store.conftest import changed, model_of, same


def files_of(store, folder):
    return sorted(path for path in (store / folder).rglob("*") if path.is_file())


def flip(path, at):
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "store"


@pytest.fixture
def two(place, model, store):
    """Return a store with two versions, the second a child of the first."""
    newer = changed(model, ["l.2.w"], 5)
    p2uformat.pack(model, f"{place}#m")
    p2uformat.pack(newer, f"{place}#m")
    return store, newer


def test_a_bad_chunk_is_named_in_every_version(two, folder, model):
    store, _ = two
    pack = max(files_of(folder, "packs"), key=lambda path: path.stat().st_size)
    flip(pack, 1000)
    report = store.verify()
    assert not report.ok
    assert report.checked_chunks == report.chunks
    assert {one.address.rpartition("#")[2] for one in report.damage} == {"m@1", "m@2"}
    for one in report.damage:
        assert one.key == pack.relative_to(folder).as_posix()
        assert one.offset <= 1000
        assert one.damage.tensor in model
        assert one.damage.tier == "exact"
        assert one.damage.elements is not None
    with store.open("m") as artifact:
        hit = {one.damage.tensor for one in report.damage}
        for name in set(model) - hit:
            artifact.get(name)
        for name in hit:
            artifact.get(name, tier="q8")
            with pytest.raises(DigestMismatch, match=name):
                artifact.get(name)


def test_every_byte_of_a_pack_counts(place, packed, store, folder):
    """No flipped bit of chunks goes unseen; one in a trailer is for the collector to see."""
    store.push(packed, "m")
    chance = random.Random(1)
    for pack in files_of(folder, "packs"):
        sound = pack.read_bytes()
        payload = read_trailer(
            store._objects, pack.relative_to(folder).as_posix(), len(sound)
        ).payload
        for at in chance.sample(range(payload), 10):
            flip(pack, at)
            report = store.verify()
            assert [one.key for one in report.damage] == [
                pack.relative_to(folder).as_posix()
            ] * len(report.damage)
            assert report.damage
            pack.write_bytes(sound)
    assert store.verify().ok


def test_missing_and_short_packs(two, folder):
    store, _ = two
    packs = files_of(folder, "packs")
    sound = packs[0].read_bytes()
    packs[0].unlink()
    assert not store.verify().ok
    packs[0].write_bytes(sound[: len(sound) // 2])
    report = store.verify()
    assert {one.key for one in report.damage} == {packs[0].relative_to(folder).as_posix()}
    packs[0].write_bytes(sound)
    assert store.verify().ok


def test_a_page_that_lies(two, folder, tmp_path):
    """A record names a bundle whose bytes are others: nothing of it is believed."""
    store, _ = two
    for bundle in files_of(folder, "meta"):
        flip(bundle, bundle.stat().st_size - 3)
    with pytest.raises(DigestMismatch, match="meta/"):
        store.open("m")
    report = store.verify()
    assert {one.damage.region for one in report.damage} == {"page"}
    with pytest.raises(DigestMismatch):
        p2uformat.fetch(store.address("m"), tmp_path / "a.p2u")
    assert not (tmp_path / "a.p2u").exists()


def test_a_ref_to_a_missing_root(two, folder):
    store, _ = two
    shutil.rmtree(folder / "roots")
    with pytest.raises(NotFound, match="has no artifact blake3:"):
        store.open("m")
    assert [one.damage.code for one in store.verify().damage] == ["not-found"] * 2
    with pytest.raises(NotFound, match="is not there"):
        store.gc(delete=True, grace=0)


@pytest.mark.parametrize("kind", ["refs", "roots", "pins"])
def test_damage_that_decides_what_is_needed_stops_a_collection(two, folder, kind):
    store, _ = two
    if kind == "pins":
        (folder / "pins").mkdir(exist_ok=True)
        (folder / "pins" / f"{'0' * 32}.0000").write_bytes(b"\x81")
    else:
        flip(files_of(folder, kind)[-1], 0)
    before = {path: path.read_bytes() for path in files_of(folder, "")}
    with pytest.raises((CorruptData, UnsupportedFormat)):
        store.gc(delete=True, grace=0)
    for path in files_of(folder, "packs") + files_of(folder, "meta"):
        assert path.read_bytes() == before[path]


def test_newer_objects_are_told_apart(two, folder):
    store, _ = two
    path = files_of(folder, "refs")[-1]
    data = path.read_bytes()
    at = data.index(b"\xa7version\x01") + 8
    path.write_bytes(data[:at] + b"\x02" + data[at + 1 :])
    with pytest.raises(UnsupportedFormat, match="version 2"):
        store.open("m")


def test_a_record_of_another_artifact(two, folder):
    """Swapping records is seen: the content root is compared."""
    store, _ = two
    roots = sorted((folder / "roots").iterdir())
    one, two_ = (next(root.iterdir()) for root in roots)
    first, second = one.read_bytes(), two_.read_bytes()
    one.write_bytes(second)
    two_.write_bytes(first)
    with pytest.raises(P2UError) as caught:
        store.open("m")
    assert caught.value.code in {"root-mismatch", "digest-mismatch"}


def test_repaired_from_a_file(place, packed, model, store, folder):
    store.push(packed, "m")
    pack = max(files_of(folder, "packs"), key=lambda path: path.stat().st_size)
    flip(pack, 5)
    (bad,) = {one.offset for one in store.verify().damage}
    assert bad == 0
    before = sum(path.stat().st_size for path in files_of(folder, "packs"))
    result = p2uformat.repair(place, packed)
    assert (result.ok, result.damaged, result.repaired) == (True, 1, 1)
    grown = sum(path.stat().st_size for path in files_of(folder, "packs")) - before
    assert grown <= result.moved + (1 << 12)
    assert store.verify().ok
    with store.open("m") as artifact:
        assert same(artifact, model)
    # The damaged pack is worn now, and goes by and by.
    assert p2uformat.repair(place, packed).moved == 0


def test_repaired_from_another_store(two, folder, tmp_path):
    store, newer = two
    mirror = p2uformat.Store(tmp_path / "mirror")
    store.copy("m@1", mirror.address("m"))
    store.copy("m@2", mirror.address("m"))
    for pack in files_of(folder, "packs"):
        flip(pack, 10)
    assert not store.verify().ok
    result = store.repair(str(tmp_path / "mirror"))
    assert result.ok
    assert store.verify().ok
    with store.open("m") as artifact:
        assert same(artifact, newer)
    assert p2uformat.verify(store.address("m"), deep=True).ok


def test_a_lost_record_is_brought_back(place, packed, model, store, folder):
    store.push(packed, "m")
    shutil.rmtree(folder / "roots")
    shutil.rmtree(folder / "meta")
    result = p2uformat.repair(place, packed)
    assert result.ok
    with store.open("m") as artifact:
        assert same(artifact, model)


def test_what_nobody_has_stays_on_the_list(two, folder, model, tmp_path):
    store, _ = two
    other = tmp_path / "other.p2u"
    p2uformat.pack(changed(model, list(model), 8, by=1.0), other)
    flip(max(files_of(folder, "packs"), key=lambda path: path.stat().st_size), 5)
    result = store.repair(other)
    assert not result.ok
    assert result.repaired == 0
    assert result.left


def test_files_are_repaired_in_place(packed, tmp_path):
    bad = tmp_path / "bad.p2u"
    sound = packed.read_bytes()
    with p2uformat.open(packed) as artifact:
        start = artifact._contents.container.header.manifest_length
    for at in (start, len(sound) - 1, (start + len(sound)) // 2):
        bad.write_bytes(sound)
        flip(bad, at)
        result = p2uformat.repair(bad, packed)
        assert (result.ok, result.damaged, result.repaired) == (True, 1, 1)
        assert bad.read_bytes() == sound
    # A damaged manifest comes from the same file only.
    for at in (20, 200, start - 5):
        bad.write_bytes(sound)
        flip(bad, at)
        assert p2uformat.repair(bad, packed).ok
        assert bad.read_bytes() == sound
    bad.write_bytes(sound[: len(sound) // 2])
    assert p2uformat.repair(bad, packed).ok
    assert bad.read_bytes() == sound


def test_a_file_is_repaired_from_another_encoding(tmp_path):
    """A sibling that shares the chunk will do."""
    mine, sibling, bad = (tmp_path / f"{name}.p2u" for name in ("mine", "sibling", "bad"))
    large = model_of(4, layers=3, size=512)
    p2uformat.pack(large, mine)
    newer = changed(large, ["l.0.w"], 2)
    p2uformat.pack(newer, sibling, parent=mine, self_contained=True)
    sound = mine.read_bytes()
    bad.write_bytes(sound)
    flip(bad, len(sound) - 10)
    assert p2uformat.repair(bad, sibling).ok
    assert bad.read_bytes() == sound
    flip(bad, 20)
    with pytest.raises(InvalidArgument, match="none of the others"):
        p2uformat.repair(bad, sibling)


def test_repairing_one_chunk_moves_little(tmp_path):
    """At most the chunk and 64 KiB, by a copy behind a URL (R5)."""
    import numpy as np

    rng = np.random.default_rng(2)
    path = tmp_path / "m.p2u"
    p2uformat.pack({f"w{i}": rng.standard_normal((512, 512), np.float32) for i in range(16)}, path)
    bad = tmp_path / "bad.p2u"
    shutil.copy(path, bad)
    flip(bad, path.stat().st_size - 100)
    with p2uformat.open(path) as artifact:
        container = artifact._contents.container
        last = max(
            (offset, entry.length)
            for page, offsets in zip(container.pages, container.offsets, strict=True)
            for entry, offset in zip(page.encoding.chunks, offsets, strict=True)
        )
    with FaultServer({"m.p2u": path.read_bytes()}) as server:
        result = p2uformat.repair(bad, server.url_of("m.p2u"))
        assert server.bytes_sent <= last[1] + (1 << 16)
    assert result.ok
    assert bad.read_bytes() == path.read_bytes()


def test_samples_and_time_limits(two):
    store, _ = two
    some = store.verify(sample=0.1)
    assert 0 < some.checked_chunks <= some.chunks // 5
    none = store.verify(max_duration=0.0)
    assert none.ok
    assert none.checked_chunks < none.chunks
    with pytest.raises(InvalidArgument):
        store.verify(sample=0.0)
    one = store.verify("m@1")
    assert one.versions == 1


def test_threads_read_from_one_artifact(two, model):
    store, newer = two
    with store.open("m") as artifact:
        wrong = []

        def read(name):
            if artifact.get(name).tobytes() != newer[name].tobytes():
                wrong.append(name)

        threads = [threading.Thread(target=read, args=(name,)) for name in newer for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not wrong


def test_readers_follow_what_was_repacked(place, model, store):
    """A pack that is gone has a successor, which the newest record names."""
    models = [model]
    for seed in range(3):
        models.append(changed(models[-1], [f"l.{i}.w" for i in range(4)], seed, by=1.0))
    for one in models:
        p2uformat.pack(one, f"{place}#m")
    with store.open("m") as artifact:
        store.gc(keep=1, grace=0, delete=True)
        assert store.gc(grace=0, delete=True).deleted
        store.gc(grace=0, delete=True)
        assert same(artifact, models[-1])
