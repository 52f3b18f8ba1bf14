"""Versions of names in stores: pushed, packed, read, fetched, copied, removed."""

import json

import numpy as np
import pytest

import p2uformat
from p2uformat import (
    Incomplete,
    InvalidArgument,
    NotFound,
    P2UError,
    RootMismatch,
    UnsupportedFormat,
    VersionConflict,
)
from tests.store.conftest import changed, model_of, same


def test_pushed_read_fetched(anywhere, packed, model, tmp_path):
    place, how = anywhere
    given = {"storage_options": how}
    store = p2uformat.Store(place, **given)
    with pytest.raises(NotFound):
        store.names()
    first = store.push(packed, "team/m")
    assert (first.version, first.reused, first.unchanged) == (1, 0, False)
    again = store.push(packed, "team/m")
    assert (again.version, again.added, again.unchanged) == (1, 0, True)
    other = store.push(packed, "other")
    assert (other.version, other.added) == (1, 0)
    assert [(one.name, one.version) for one in store.names()] == [("other", 1), ("team/m", 1)]
    for address in (f"{place}#team/m", f"{place}#team/m@1", f"{place}#{first.root}"):
        with p2uformat.open(address, **given) as artifact:
            assert same(artifact, model)
            assert artifact.root == first.root
    assert p2uformat.verify(f"{place}#team/m", deep=True, expect=first.root, **given).ok
    small = p2uformat.fetch(f"{place}#team/m", tmp_path / "a.p2u", tier="q4", **given)
    assert small.complete == ("q4",)
    rest = p2uformat.fetch(f"{place}#team/m", tmp_path / "a.p2u", **given)
    assert rest.whole
    assert rest.present == small.total
    assert (tmp_path / "a.p2u").read_bytes() == packed.read_bytes()
    p2uformat.unpack(f"{place}#team/m", tmp_path / "back.safetensors", **given)
    assert store.verify().ok


def test_packed_into_the_store(anywhere, model, tmp_path):
    """The current version is the parent, and only what changed is written."""
    place, how = anywhere
    given = {"storage_options": how}
    first = p2uformat.pack(model, f"{place}#m", **given)
    newer = changed(model, ["l.2.w"], 5)
    second = p2uformat.pack(newer, f"{place}#m", **given)
    assert second.parent == first.root
    store = p2uformat.Store(place, **given)
    one, two = store.refs("m")
    assert (one.version, two.version, two.current, two.parents) == (1, 2, True, 1)
    assert two.added < 0.2 * one.added
    assert two.shared > 0.7 * two.size
    with store.open("m") as artifact:
        assert same(artifact, newer)
    with store.open("m@1") as artifact:
        assert same(artifact, model)
    assert p2uformat.verify(f"{place}#m", deep=True, **given).ok
    got = p2uformat.fetch(f"{place}#m", tmp_path / "m.p2u", **given)
    assert got.whole
    assert [one.whole for one in got.beside] == [True]
    with p2uformat.open(tmp_path / "m.p2u") as artifact:
        assert same(artifact, newer)


def test_a_fetch_with_the_parent_at_hand_moves_the_difference(place, model, tmp_path):
    p2uformat.pack(model, f"{place}#m")
    newer = changed(model, ["l.2.w"], 5)
    p2uformat.pack(newer, f"{place}#m")
    old, new = tmp_path / "1.p2u", tmp_path / "2.p2u"
    p2uformat.fetch(f"{place}#m@1", old)
    got = p2uformat.fetch(f"{place}#m", new, seeds=old)
    assert got.beside == ()
    assert got.fetched < 0.2 * got.total
    with p2uformat.open(new, parents=old) as artifact:
        assert same(artifact, newer)


def test_the_same_content_as_packed_to_a_file(place, model, tmp_path):
    p2uformat.pack(model, f"{place}#m")
    p2uformat.pack(model, tmp_path / "1.p2u")
    newer = changed(model, ["l.0.w", "l.3.b"], 6)
    stored = p2uformat.pack(newer, f"{place}#m")
    filed = p2uformat.pack(newer, tmp_path / "2.p2u", parent=tmp_path / "1.p2u")
    assert stored.root == filed.root


def test_a_new_head_needs_no_parent(place, model, store):
    """What is shared is named by its chunks; only differences need the parent."""
    p2uformat.pack(model, f"{place}#m")
    rng = np.random.default_rng(9)
    newer = {**model, "head": rng.standard_normal((64, 128)).astype(np.float32)}
    made = p2uformat.pack(newer, f"{place}#m")
    assert made.parent is None
    store.remove("m", [1])
    with store.open("m") as artifact:
        assert same(artifact, newer)


def test_another_name_finds_what_is_alike(place, model, store):
    """A fine-tune under a new name shares with what has the most of its blocks."""
    p2uformat.pack(model_of(77), f"{place}#unrelated")
    p2uformat.pack(model, f"{place}#base")
    tuned = changed(model, ["l.4.w"], 3)
    p2uformat.pack(tuned, f"{place}#tuned")
    (version,) = store.refs("tuned")
    assert version.added < 0.25 * version.size
    with store.open("tuned") as artifact:
        assert same(artifact, tuned)


def test_other_names_and_another_order(place, store, tmp_path):
    """Identical tensors are stored once, whatever they are called."""
    model = {f"w{i}": array for i, array in enumerate(model_of(3, layers=8, size=256).values())}
    renamed = {f"x.{9 - i}": array for i, array in enumerate(model.values())}
    p2uformat.pack(model, f"{place}#a")
    p2uformat.pack(renamed, f"{place}#b")
    (version,) = store.refs("b")
    assert version.added < 0.02 * version.size
    p2uformat.pack(renamed, tmp_path / "c.p2u")
    with store.open("b") as artifact:
        assert same(artifact, renamed)


def test_chains_end_in_key_frames(place, model, store):
    """So many differences in a row, then one is stored as it is."""
    models = [model]
    for seed in range(7):
        models.append(changed(models[-1], ["l.1.w"], seed))
    for one in models:
        p2uformat.pack(one, f"{place}#m")
    found = store.refs("m")
    assert [version.parents for version in found] == [0, 1, 2, 3, 4, 0, 1, 2]
    for version, one in zip(found, models, strict=True):
        with store.open(f"m@{version.version}") as artifact:
            assert same(artifact, one)
    store.remove("m", range(1, 6))
    with store.open("m") as artifact:
        assert same(artifact, models[-1])


def test_pushing_a_child_takes_its_parents_along(place, model, packed, store, tmp_path):
    child = tmp_path / "child.p2u"
    newer = changed(model, ["l.2.w"], 5)
    p2uformat.pack(newer, child, parent=packed)
    with pytest.raises(Incomplete):
        store.push(child, "m")
    pushed = store.push(child, "m", parents=packed)
    assert pushed.version == 1
    with store.open("m") as artifact:
        assert same(artifact, newer)
    # Now the store has the parent, and the next child need not bring it.
    grandchild = tmp_path / "grandchild.p2u"
    newest = changed(newer, ["l.2.w"], 6)
    p2uformat.pack(newest, grandchild, parent=child, parents=packed)
    store.push(grandchild, "m", parents=[child, packed])
    with store.open("m") as artifact:
        assert same(artifact, newest)


def test_a_mirror_of_the_lower_tiers(place, packed, model, store, tmp_path):
    store.push(packed, "m")
    mirror = p2uformat.Store(tmp_path / "mirror")
    made = store.copy("m", mirror.address("m"), tier="q8")
    with mirror.open("m") as artifact:
        assert artifact.complete == ("q4", "q8")
        with pytest.raises(Incomplete):
            artifact.get("l.0.w", tier="exact")
    assert mirror.verify().ok
    full = store.copy("m", mirror.address("m"))
    assert full.reused > 0.9 * made.added
    with mirror.open("m") as artifact:
        assert same(artifact, model)
    assert full.added < packed.stat().st_size - 0.9 * made.added
    # What is there whole is not sent again.
    assert store.copy("m", mirror.address("m")).unchanged


def test_copying_a_chain(place, model, store, tmp_path):
    newer = changed(model, ["l.2.w"], 5)
    p2uformat.pack(model, f"{place}#m")
    p2uformat.pack(newer, f"{place}#m")
    other = p2uformat.Store(tmp_path / "other")
    store.copy("m", other.address("m"))
    with other.open("m") as artifact:
        assert same(artifact, newer)
    assert other.verify().ok


def test_part_of_the_tiers(place, packed, store):
    store.push(packed, "m", tier="q4")
    with store.open("m") as artifact:
        assert artifact.complete == ("q4",)
    more = store.push(packed, "m", tier="q8")
    assert more.version == 2
    assert more.reused > 0
    store.push(packed, "m")
    # A version is what its root says: the first one has the rest by now, too.
    with store.open("m@1") as artifact:
        assert artifact.complete == ("q4", "q8", "exact")


def test_expected_roots(place, packed, store, tmp_path):
    store.push(packed, "m")
    wrong = "blake3:" + "0" * 64
    with pytest.raises(RootMismatch):
        p2uformat.fetch(f"{place}#m", tmp_path / "a.p2u", expect=wrong)
    with pytest.raises(NotFound):
        p2uformat.open(f"{place}#{wrong}")


def test_removed_names_and_numbers(place, packed, model, store, tmp_path):
    store.push(packed, "m")
    p2uformat.pack(changed(model, ["l.0.w"], 1), f"{place}#m")
    assert store.remove("m", [2]) == 3
    with store.open("m") as artifact:
        assert same(artifact, model)
    with pytest.raises(NotFound, match="m@2"):
        store.open("m@2")
    with pytest.raises(NotFound):
        store.remove("m", [2])
    assert store.remove("m") == 4
    with pytest.raises(NotFound, match="no versions left"):
        store.open("m")
    assert store.refs("m") == []
    assert store.push(packed, "m").version == 5
    with pytest.raises(NotFound, match="nothing called"):
        store.remove("other")


def test_a_version_expected_to_be_the_last(store, packed, place, model):
    assert store.push(packed, "m", after=0).version == 1
    with pytest.raises(VersionConflict) as caught:
        store.push(packed, "m", after=0)
    assert (caught.value.expected, caught.value.got) == (0, 1)
    assert store.push(packed, "m", after=1).version == 2


@pytest.mark.parametrize(
    "name", ["", "a//b", "../x", "a/../b", ".x", "a b", "m@0", "m@x", "1234567890123456", "x" * 200]
)
def test_names_that_are_none(place, packed, name):
    with pytest.raises(InvalidArgument):
        p2uformat.push(packed, f"{place}#{name}")


def test_addresses_that_cannot_be_written(place, packed):
    with pytest.raises(InvalidArgument, match="next free number"):
        p2uformat.push(packed, f"{place}#m@3")
    with pytest.raises(InvalidArgument, match="STORE#name"):
        p2uformat.push(packed, place)


def test_a_file_with_a_hash_in_its_name(tmp_path, model):
    path = tmp_path / "odd#name.p2u"
    path.touch()
    p2uformat.pack(model, path, overwrite=True)
    with p2uformat.open(path) as artifact:
        assert same(artifact, model)


def test_a_place_that_is_no_store(tmp_path, packed):
    with pytest.raises(NotFound, match=r"no store: it has no p2u.json"):
        p2uformat.open(f"{tmp_path}#m")
    with pytest.raises(NotFound):
        p2uformat.Store(tmp_path).verify()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("marker", "error"),
    [
        ({"format": "p2u-store", "version": 2}, UnsupportedFormat),
        ({"format": "something else"}, P2UError),
    ],
)
def test_a_store_of_another_format(place, packed, store, tmp_path, marker, error):
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "p2u.json").write_text(json.dumps(marker))
    before = sorted(tmp_path.rglob("*"))
    for use in (
        lambda: store.push(packed, "m"),
        lambda: store.open("m"),
        store.names,
        lambda: store.gc(delete=True),
    ):
        with pytest.raises(error):
            use()
    assert sorted(tmp_path.rglob("*")) == before


QUANTIZERS = {
    "affine": {"quantizer": p2uformat.Affine(bits=4, group=32)},
    "minifloat": {"quantizer": p2uformat.Minifloat(exponent=3, mantissa=7), "lossy": True},
    "ladder": {"tiers": "q4,q8,exact"},
    "tiers": {"tiers": "q3,q4,q8,exact"},
}


@pytest.mark.parametrize("first", QUANTIZERS)
@pytest.mark.parametrize("second", QUANTIZERS)
def test_any_quantizer_after_any_other(place, model, store, tmp_path, first, second):
    """Each version is read back as the file that the same options make of it is."""
    for seq, kind in enumerate((first, second), 1):
        options = QUANTIZERS[kind]
        assert p2uformat.pack(model, f"{place}#m", **options).root
        path = tmp_path / f"{kind}{seq}.p2u"
        p2uformat.pack(model, path, **options)
        with p2uformat.open(path) as file, store.open(f"m@{seq}") as stored:
            assert stored.tiers == file.tiers
            assert same(stored, {name: file.get(name) for name in file})
            for tier in file.tiers:
                for name in model:
                    lower = file.get(name, tier=tier)
                    assert (stored.get(name, tier=tier) == lower).all()
    assert store.verify().ok


@pytest.mark.parametrize(
    ("options", "least", "most"),
    [
        ({"tiers": "q3,q8,exact"}, 2.5, 3),
        ({"base_bits": 3.5}, 3, 3.5),
        ({"base_bits": 4.5}, 4, 4.5),
    ],
)
def test_the_current_version_does_not_decide_over_the_base(place, model, options, least, most):
    p2uformat.pack(model, f"{place}#m", tiers="q4,q8,exact")
    made = p2uformat.pack(model, f"{place}#m", **options)
    assert least < made.tiers[0].bits_per_weight <= most


def test_versions_of_one_budget_share(place, model):
    for factor in (1, 1.0001, 1.0002):
        changed = {name: (value * factor).astype(value.dtype) for name, value in model.items()}
        made = p2uformat.pack(changed, f"{place}#m", base_bits=3.5)
        assert (made.parent is None) == (factor == 1)


@pytest.mark.parametrize("kind", QUANTIZERS)
def test_a_file_of_any_quantizer_is_pushed_and_fetched(place, model, store, tmp_path, kind):
    path = tmp_path / "m.p2u"
    p2uformat.pack(model, path, **QUANTIZERS[kind])
    assert p2uformat.push(path, f"{place}#m").version == 1
    p2uformat.fetch(f"{place}#m", tmp_path / "back.p2u")
    assert (tmp_path / "back.p2u").read_bytes() == path.read_bytes()
    assert p2uformat.verify(f"{place}#m", deep=True).ok


def test_what_is_no_source_makes_no_store(place, tmp_path):
    (tmp_path / "m.safetensors").write_bytes(b"junk")
    for source in ("missing.safetensors", "m.safetensors"):
        with pytest.raises(P2UError):
            p2uformat.pack(tmp_path / source, f"{place}#m")
        with pytest.raises(P2UError):
            p2uformat.push(tmp_path / source, f"{place}#m")
    assert not (tmp_path / "store").exists()


def test_names_below_a_name(anywhere, packed):
    place, how = anywhere
    store = p2uformat.Store(place, storage_options=how)
    for name in ("a", "a/b", "a/b/c", "ab/c", "z"):
        store.push(packed, name)
    assert [info.name for info in store.names("a")] == ["a", "a/b", "a/b/c"]
    assert [info.name for info in store.names("a/b")] == ["a/b", "a/b/c"]
    assert store.names("nothing") == []
    with pytest.raises(InvalidArgument):
        store.names("../a")
