"""Versions of a model: children that share layers with a parent, or differ from it."""

import pickle
import threading
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import p2uformat
from p2uformat.chunk import DIFFERENCES, Codec
from p2uformat.container import Container, Header
from p2uformat.errors import (
    CorruptData,
    DestinationExists,
    DigestMismatch,
    Incomplete,
    InvalidArgument,
    LimitExceeded,
    Malformed,
    ParentMismatch,
    ParentRequired,
    TensorNotFound,
)
from tests.sealing import replace_chunk, seal, take_apart

DTYPES = {"f32": np.float32, "f16": np.float16, "bf16": ml_dtypes.bfloat16, "f64": np.float64}


def first_version():
    rng = np.random.default_rng(1)
    arrays = {
        name: (rng.standard_normal((96, 64)) * 0.05).astype(dtype) for name, dtype in DTYPES.items()
    }
    arrays["large"] = (rng.standard_normal((600, 512)) * 0.02).astype(np.float32)
    pruned = (rng.standard_normal((80, 64)) * 0.05).astype(np.float32)
    pruned[rng.random(pruned.shape) < 0.5] = 0
    arrays["pruned"] = pruned
    arrays["fixed"] = (rng.standard_normal((70, 64)) * 0.05).astype(np.float32)
    arrays["bias"] = rng.standard_normal(300).astype(np.float32)
    arrays["steps"] = np.arange(50, dtype=np.int64)
    wild = (rng.standard_normal((64, 64)) * 0.05).astype(np.float32)
    wild[0, :5] = np.inf, np.nan, -0.0, 1e30, -np.inf
    arrays["wild"] = wild
    return arrays


def trained(arrays, seed, scale=0.0005):
    """Return the next version: everything moves a little but for `fixed`."""
    rng = np.random.default_rng(seed)
    made = {}
    for name, array in arrays.items():
        if name == "fixed":
            made[name] = array
        elif name == "steps":
            made[name] = array + 1
        else:
            noise = rng.standard_normal(array.shape) * 0.05 * scale * (array != 0)
            with np.errstate(over="ignore", invalid="ignore"):
                made[name] = (array.astype(np.float64) + noise).astype(array.dtype)
    made["wild"][1, 1] = 1e25
    return made


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder with a chain of three versions, and each of them alone on the same grid."""
    folder = tmp_path_factory.mktemp("versions")
    arrays = first_version()
    p2uformat.pack(arrays, folder / "1.p2u")
    for number in (2, 3):
        arrays = trained(arrays, number)
        above = folder / f"{number - 1}.p2u"
        more = [folder / f"{i}.p2u" for i in range(1, number - 1)]
        p2uformat.pack(arrays, folder / f"{number}.p2u", parent=above, parents=more)
        p2uformat.pack(
            arrays,
            folder / f"alone{number}.p2u",
            parent=above,
            parents=more,
            self_contained=True,
        )
        with (folder / f"{number}.pickle").open("wb") as file:
            pickle.dump(arrays, file)
    return folder


def same(one, other):
    assert one.keys() == other.keys()
    for name in one:
        assert one[name].dtype == other[name].dtype
        assert one[name].tobytes() == other[name].tobytes(), name


def parents_of(folder, number):
    return [folder / f"{i}.p2u" for i in range(1, number)]


@pytest.mark.parametrize("number", [2, 3])
def test_every_tier_is_that_of_a_fresh_encoding(folder, number):
    parents = parents_of(folder, number)
    with (
        p2uformat.open(folder / f"{number}.p2u", parents=parents) as child,
        p2uformat.open(folder / f"alone{number}.p2u") as alone,
    ):
        assert child.root == alone.root
        assert child.encoding_root != alone.encoding_root
        assert child.complete == child.tiers
        assert child.keys() == alone.keys()
        for tier in child.tiers:
            same(child.load(tier), alone.load(tier))
        with (folder / f"{number}.pickle").open("rb") as file:
            same(child.load("exact"), pickle.load(file))
        assert child.summary.bytes < 0.9 * alone.summary.bytes
        assert child.parent == child.summary.parent
        assert alone.parent is None


def test_rows_come_alone(folder):
    with (
        p2uformat.open(folder / "3.p2u", parents=parents_of(folder, 3)) as child,
        p2uformat.open(folder / "alone3.p2u") as alone,
    ):
        for tier in child.tiers:
            part = child.get("large", tier=tier, rows=(10, 20))
            assert part.tobytes() == alone.get("large", tier=tier, rows=(10, 20)).tobytes()


def test_threads_read_at_once(folder):
    with (
        p2uformat.open(folder / "3.p2u", parents=parents_of(folder, 3)) as child,
        p2uformat.open(folder / "alone3.p2u") as alone,
    ):
        found = {}

        def read(name):
            found[name] = child.get(name).tobytes()

        workers = [threading.Thread(target=read, args=(name,)) for name in child.keys()]  # noqa: SIM118
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        assert found == {name: alone.get(name).tobytes() for name in alone.keys()}  # noqa: SIM118


def codecs(path):
    with Container.open(path) as container:
        return [
            entry.codec
            for page in container.pages
            if page.encoding is not None
            for entry in page.encoding.chunks
        ]


def test_all_kinds_of_differences_are_used(folder):
    assert set(codecs(folder / "2.p2u")) >= DIFFERENCES
    assert not set(codecs(folder / "alone2.p2u")) & DIFFERENCES


def test_packing_is_deterministic(folder, tmp_path):
    with (folder / "2.pickle").open("rb") as file:
        arrays = pickle.load(file)
    for threads in (1, 3):
        path = tmp_path / f"{threads}.p2u"
        p2uformat.pack(arrays, path, parent=folder / "1.p2u", threads=threads)
        assert path.read_bytes() == (folder / "2.p2u").read_bytes()


def test_kernels_write_the_same_bytes(folder, tmp_path):
    with (folder / "2.pickle").open("rb") as file:
        arrays = pickle.load(file)
    before = p2uformat.kernels_in_use()
    try:
        for name in p2uformat.available_kernels():
            p2uformat.use_kernels(name)
            path = tmp_path / f"{name}.p2u"
            p2uformat.pack(arrays, path, parent=folder / "1.p2u")
            assert path.read_bytes() == (folder / "2.p2u").read_bytes(), name
            with p2uformat.open(path, parents=folder / "1.p2u") as child:
                same(child.load("exact"), arrays)
    finally:
        p2uformat.use_kernels(before)


def test_an_unchanged_model_takes_nothing(folder, tmp_path):
    summary = p2uformat.pack(first_version(), tmp_path / "same.p2u", parent=folder / "1.p2u")
    assert sum(tier.bytes for tier in summary.tiers) == 0
    assert summary.bytes < 600  # roots alone: every page is inherited
    with p2uformat.open(tmp_path / "same.p2u", parents=folder / "1.p2u") as child:
        same(child.load("exact"), first_version())
    assert p2uformat.verify(tmp_path / "same.p2u", deep=True, parents=folder / "1.p2u").ok


def test_a_strange_parent_is_not_needed(folder, tmp_path):
    other = {"w": np.random.default_rng(9).standard_normal((64, 70)).astype(np.float32)}
    summary = p2uformat.pack(other, tmp_path / "other.p2u", parent=folder / "1.p2u")
    assert summary.parent is None
    with p2uformat.open(tmp_path / "other.p2u") as alone:
        same(alone.load("exact"), other)


def test_another_name_or_order_is_no_change(folder, tmp_path):
    arrays = first_version()
    renamed = {f"model.{name}": arrays[name] for name in reversed(arrays)}
    summary = p2uformat.pack(renamed, tmp_path / "renamed.p2u", parent=folder / "1.p2u")
    # The file's head is new, and nothing else.
    assert sum(tier.bytes for tier in summary.tiers[1:]) == 0
    assert summary.tiers[0].bytes < 2000
    with p2uformat.open(tmp_path / "renamed.p2u", parents=folder / "1.p2u") as child:
        same(child.load("exact"), renamed)


def test_another_shape_or_dtype_travels_fresh(folder, tmp_path):
    arrays = first_version()
    arrays["large"] = arrays["large"].reshape(512, 600)
    arrays["f32"] = arrays["f32"].astype(np.float16)
    arrays["bias"] = arrays["bias"][:100]
    del arrays["f64"]
    arrays["new"] = np.random.default_rng(4).standard_normal((64, 80)).astype(np.float32)
    p2uformat.pack(arrays, tmp_path / "v.p2u", parent=folder / "1.p2u")
    with p2uformat.open(tmp_path / "v.p2u", parents=folder / "1.p2u") as child:
        same(child.load("exact"), arrays)
    assert p2uformat.verify(tmp_path / "v.p2u", deep=True, parents=folder / "1.p2u").ok


def test_rows_that_were_added_are_what_is_stored(tmp_path):
    rng = np.random.default_rng(6)
    table = (rng.standard_normal((4096, 512)) * 0.02).astype(np.float32)
    p2uformat.pack({"table": table}, tmp_path / "1.p2u")
    longer = np.concatenate((table, (rng.standard_normal((64, 512)) * 0.02).astype(np.float32)))
    summary = p2uformat.pack({"table": longer}, tmp_path / "2.p2u", parent=tmp_path / "1.p2u")
    assert sum(tier.bytes for tier in summary.tiers) < 1.2 * 64 * 512 * 4
    with p2uformat.open(tmp_path / "2.p2u", parents=tmp_path / "1.p2u") as child:
        same(child.load("exact"), {"table": longer})
    assert p2uformat.verify(tmp_path / "2.p2u", deep=True, parents=tmp_path / "1.p2u").ok


def test_some_pages_are_inherited(tmp_path):
    rng = np.random.default_rng(7)
    arrays = {f"t.{i:03}.{'x' * 60}": rng.standard_normal(40 + i) for i in range(300)}
    p2uformat.pack(arrays, tmp_path / "1.p2u")
    changed = next(iter(arrays))
    arrays[changed] = arrays[changed] + 1
    summary = p2uformat.pack(arrays, tmp_path / "2.p2u", parent=tmp_path / "1.p2u")
    with p2uformat.open(tmp_path / "1.p2u") as parent:
        assert summary.manifest_bytes < 0.6 * parent.summary.manifest_bytes
    with Container.open(tmp_path / "2.p2u") as container:
        assert 0 < sum(page.inherited for page in container.pages) < len(container.pages)
    with p2uformat.open(tmp_path / "2.p2u", parents=tmp_path / "1.p2u") as child:
        same(child.load("exact"), arrays)
    with p2uformat.open(tmp_path / "2.p2u") as orphan:
        missing = next(name for name in arrays if name not in orphan)
        with pytest.raises(ParentRequired):
            orphan.get(missing)
        with pytest.raises((ParentRequired, TensorNotFound)):
            orphan.get("nothing like it")


def test_without_the_parent(folder, tmp_path):
    with p2uformat.open(folder / "1.p2u") as parent, p2uformat.open(folder / "2.p2u") as orphan:
        assert orphan.parent == parent.root
        assert orphan.complete == ()
        assert orphan.summary.parent == parent.root
        with pytest.raises(ParentRequired) as caught:
            orphan.get("large")
        assert caught.value.parent == parent.root
        assert caught.value.code == "parent-required"
        with pytest.raises(ParentRequired):
            orphan.get("large", tier="q4")
        with pytest.raises(ParentRequired):
            orphan.load("exact")
    with pytest.raises(ParentRequired):
        p2uformat.unpack(folder / "2.p2u", tmp_path / "m.safetensors")
    with pytest.raises(ParentRequired):
        p2uformat.verify(folder / "2.p2u", deep=True)
    with pytest.raises(ParentRequired):
        p2uformat.squash(folder / "2.p2u", tmp_path / "s.p2u")
    with pytest.raises(ParentRequired):
        p2uformat.pack(first_version(), tmp_path / "c.p2u", parent=folder / "2.p2u")
    assert not list(tmp_path.iterdir())
    report = p2uformat.verify(folder / "2.p2u")
    assert report.ok
    assert report.parent is not None
    assert report.complete_tiers == ()


def test_the_wrong_parent(folder, tmp_path):
    p2uformat.pack({"w": np.ones((64, 64), np.float32)}, tmp_path / "wrong.p2u")
    for call in (
        lambda: p2uformat.open(folder / "2.p2u", parents=tmp_path / "wrong.p2u"),
        lambda: p2uformat.verify(folder / "2.p2u", parents=tmp_path / "wrong.p2u"),
        lambda: p2uformat.unpack(
            folder / "2.p2u", tmp_path / "m", parents=[tmp_path / "wrong.p2u"]
        ),
    ):
        with pytest.raises(ParentMismatch) as caught:
            call()
        assert caught.value.expected != caught.value.got
    # The parent's own parent is missing: that is said of the parent.
    with pytest.raises(ParentRequired, match=r"2\.p2u"):
        p2uformat.open(folder / "3.p2u", parents=folder / "2.p2u")


def test_a_chain_of_open_artifacts(folder):
    with (
        p2uformat.open(folder / "1.p2u") as one,
        p2uformat.open(folder / "2.p2u", parents=one) as two,
        p2uformat.open(folder / "3.p2u", parents=[two]) as three,
        p2uformat.open(folder / "alone3.p2u") as alone,
    ):
        same(three.load(), alone.load())
        three.close()
        assert one.get("bias").shape == (300,)  # the caller's own stay open


def test_artifacts_in_memory(folder):
    data = [(folder / f"{i}.p2u").read_bytes() for i in (1, 2, 3)]
    with (
        p2uformat.open(data[2], parents=data[:2]) as three,
        p2uformat.open(folder / "alone3.p2u") as alone,
    ):
        same(three.load(), alone.load())


def test_unpack_and_verify(folder, tmp_path):
    parents = parents_of(folder, 3)
    result = p2uformat.unpack(folder / "3.p2u", tmp_path / "m.safetensors", parents=parents)
    assert result.identical
    p2uformat.unpack(folder / "alone3.p2u", tmp_path / "a.safetensors")
    assert (tmp_path / "m.safetensors").read_bytes() == (tmp_path / "a.safetensors").read_bytes()
    for tier in ("q4", "q8"):
        for name in ("3", "alone3"):
            p2uformat.unpack(
                folder / f"{name}.p2u",
                tmp_path / f"{name}.{tier}",
                tier=tier,
                parents=parents if name == "3" else (),
            )
        assert (tmp_path / f"3.{tier}").read_bytes() == (tmp_path / f"alone3.{tier}").read_bytes()
    for deep in (False, True):
        report = p2uformat.verify(folder / "3.p2u", deep=deep, parents=parents)
        assert report.ok, report
        assert report.complete_tiers == ("q4", "q8", "exact")


def test_squash_gives_the_fresh_file(folder, tmp_path):
    parents = parents_of(folder, 3)
    summary = p2uformat.squash(folder / "3.p2u", tmp_path / "s.p2u", parents=parents)
    assert (tmp_path / "s.p2u").read_bytes() == (folder / "alone3.p2u").read_bytes()
    assert summary.parent is None
    with pytest.raises(DestinationExists):
        p2uformat.squash(folder / "3.p2u", tmp_path / "s.p2u", parents=parents)
    with p2uformat.open(folder / "3.p2u", parents=parents) as child:
        p2uformat.squash(child, tmp_path / "s.p2u", overwrite=True)
    # What needs nothing is stored anew and stays what it is; and it can stand for the other.
    p2uformat.squash(folder / "2.p2u", tmp_path / "2.p2u", parents=folder / "1.p2u")
    with p2uformat.open(folder / "3.p2u", parents=tmp_path / "2.p2u") as child:
        assert child.complete == child.tiers


def test_a_chain_has_an_end(tmp_path):
    arrays = {"b": np.zeros(10, np.float32)}
    p2uformat.pack(arrays, tmp_path / "0.p2u")
    chain = [tmp_path / "0.p2u"]
    for number in range(1, 17):
        arrays["b"] = arrays["b"] + 1
        path = tmp_path / f"{number}.p2u"
        p2uformat.pack(arrays, path, parent=chain[-1], parents=chain)
        chain.append(path)
    with p2uformat.open(chain[-1], parents=chain) as last:
        assert last.get("b").tolist() == [16.0] * 10
    with pytest.raises(InvalidArgument, match="16 parents"):
        p2uformat.pack(arrays, tmp_path / "deep.p2u", parent=chain[-1], parents=chain)
    assert not (tmp_path / "deep.p2u").exists()
    p2uformat.pack(
        arrays, tmp_path / "alone.p2u", parent=chain[-1], parents=chain, self_contained=True
    )


def test_other_tiers_than_the_parents(folder, tmp_path):
    with pytest.raises(InvalidArgument, match="q4,q8,exact"):
        p2uformat.pack(
            first_version(), tmp_path / "v.p2u", parent=folder / "1.p2u", tiers="q3,exact"
        )
    p2uformat.pack(
        first_version(),
        tmp_path / "v.p2u",
        parent=folder / "1.p2u",
        tiers="q4,q6,exact",
        self_contained=True,
    )
    p2uformat.pack(first_version(), tmp_path / "w.p2u", tiers="q3,q6,exact")
    summary = p2uformat.pack(
        trained(first_version(), 5), tmp_path / "x.p2u", parent=tmp_path / "w.p2u"
    )
    assert [tier.name for tier in summary.tiers] == ["q3", "q6", "exact"]


def test_a_parent_is_not_replaced_by_its_child(tmp_path):
    p2uformat.pack(first_version(), tmp_path / "1.p2u")
    before = (tmp_path / "1.p2u").read_bytes()
    (tmp_path / "link.p2u").symlink_to("1.p2u")
    for name in ("1.p2u", "link.p2u"):
        with pytest.raises(InvalidArgument, match="would need"):
            p2uformat.pack(
                trained(first_version(), 2),
                tmp_path / name,
                parent=tmp_path / "1.p2u",
                overwrite=True,
            )
    assert (tmp_path / "1.p2u").read_bytes() == before


def test_a_cut_off_parent(folder, tmp_path):
    data = (folder / "1.p2u").read_bytes()
    with p2uformat.open(folder / "1.p2u") as parent:
        summary = parent.summary
        end = summary.manifest_bytes + summary.tiers[0].bytes
    (tmp_path / "q4.p2u").write_bytes(data[:end])
    with (
        p2uformat.open(folder / "2.p2u", parents=tmp_path / "q4.p2u") as child,
        p2uformat.open(folder / "alone2.p2u") as alone,
    ):
        assert child.complete == ("q4",)
        same(child.load(), alone.load("q4"))
        with pytest.raises(Incomplete):
            child.get("large", tier="q8")
        assert "large" in child.complete_tensors("q4")
        assert "large" not in child.complete_tensors("exact")
    report = p2uformat.verify(folder / "2.p2u", parents=tmp_path / "q4.p2u")
    assert not report.ok
    assert not report.damage
    assert p2uformat.verify(folder / "2.p2u", tier="q4", parents=tmp_path / "q4.p2u").ok
    with pytest.raises(Incomplete):
        p2uformat.pack(first_version(), tmp_path / "c.p2u", parent=tmp_path / "q4.p2u")
    with pytest.raises(Incomplete):
        p2uformat.squash(folder / "2.p2u", tmp_path / "c.p2u", parents=tmp_path / "q4.p2u")


def flipped(source, target, offset):
    data = bytearray(source.read_bytes())
    data[offset] ^= 1
    target.write_bytes(data)


def test_damage_in_the_child_is_named(folder, tmp_path):
    with Container.open(folder / "2.p2u") as container:
        (page,) = container.pages
        for index, entry in enumerate(page.encoding.chunks):
            offset = container.offsets[0][index] + entry.length // 2
            flipped(folder / "2.p2u", tmp_path / "bad.p2u", offset)
            tier = container.tiers[entry.tier]
            report = p2uformat.verify(tmp_path / "bad.p2u", deep=True, parents=folder / "1.p2u")
            assert {(d.tier, d.code) for d in report.damage} >= {(tier, "digest-mismatch")}
            assert all(d.region == "chunk" for d in report.damage)
            hit = {d.tensor for d in report.damage if d.tensor}
            with p2uformat.open(tmp_path / "bad.p2u", parents=folder / "1.p2u") as child:
                for name in child.keys():  # noqa: SIM118
                    if name not in hit:
                        child.get(name)
                        continue
                    with pytest.raises(CorruptData) as caught:
                        child.get(name)
                    assert (caught.value.tensor, caught.value.tier) == (name, tier)


def test_damage_in_the_parent_is_named(folder, tmp_path):
    with Container.open(folder / "1.p2u") as container:
        offset = container.offsets[0][0] + 100
    flipped(folder / "1.p2u", tmp_path / "1.p2u", offset)
    with p2uformat.open(folder / "2.p2u", parents=tmp_path / "1.p2u") as child:
        broken = []
        for name in child.keys():  # noqa: SIM118
            try:
                child.get(name)
            except CorruptData as error:
                broken.append(error.artifact)
        assert set(broken) == {str(tmp_path / "1.p2u")}
    report = p2uformat.verify(folder / "2.p2u", deep=True, parents=tmp_path / "1.p2u")
    assert not report.ok
    assert report.damage
    target = tmp_path / "m.safetensors"
    with pytest.raises(CorruptData):
        p2uformat.unpack(folder / "2.p2u", target, parents=tmp_path / "1.p2u")
    assert not target.exists()


def test_a_difference_that_gives_another_layer_is_refused(folder, tmp_path):
    """Every chunk id is right, yet what comes out is not what the content says."""
    parts = take_apart(folder / "2.p2u")
    entries = parts.pages[0][1][0]
    index = next(i for i, entry in enumerate(entries) if entry[1] == Codec.DIGITS_DIFFERENCE)
    chunk = bytearray(parts.chunks[0][index])
    chunk[-1] ^= 1  # the last of the numbers' bits
    replace_chunk(parts, 0, index, bytes(chunk))
    (tmp_path / "lie.p2u").write_bytes(seal(parts))
    report = p2uformat.verify(tmp_path / "lie.p2u", parents=folder / "1.p2u")
    assert report.ok  # by the chunk ids alone it is
    report = p2uformat.verify(tmp_path / "lie.p2u", deep=True, parents=folder / "1.p2u")
    found = {(d.tier, d.region) for d in report.damage}
    assert found <= {("q8", "layer"), ("q8", "chunk"), ("exact", "layer"), ("exact", "chunk")}
    assert found
    with p2uformat.open(tmp_path / "lie.p2u", parents=folder / "1.p2u") as child:
        with pytest.raises((DigestMismatch, Malformed)) as caught:
            child.load("q8")
        assert caught.value.tensor is not None
        assert caught.value.tier == "q8"
        child.load("q4")


def with_parent(path, target, root, depth, feature=True):
    parts = take_apart(path)
    parts.encoding["features"] = ["difference"] if feature else []
    parts.encoding["parent"] = [root, depth]
    parts.encoding = dict(sorted(parts.encoding.items()))
    target.write_bytes(seal(parts))


def root_of(path):
    with Container.open(path) as container:
        return container.header.content_root


def test_a_circle_is_refused(folder, tmp_path):
    circle = tmp_path / "circle.p2u"
    with_parent(folder / "1.p2u", circle, root_of(folder / "2.p2u"), 1)
    assert root_of(circle) == root_of(folder / "1.p2u")
    for first, second in ((folder / "2.p2u", circle), (circle, folder / "2.p2u")):
        with pytest.raises(Malformed, match="depth"):
            p2uformat.open(first, parents=[second, first])


@pytest.mark.parametrize(
    ("depth", "error"), [(0, Malformed), (17, LimitExceeded), (-1, Malformed), ("1", Malformed)]
)
def test_depths_are_bounded(folder, tmp_path, depth, error):
    with_parent(folder / "1.p2u", tmp_path / "x.p2u", root_of(folder / "2.p2u"), depth)
    with pytest.raises(error):
        p2uformat.open(tmp_path / "x.p2u")


def test_a_parent_without_the_feature(folder, tmp_path):
    with_parent(folder / "1.p2u", tmp_path / "x.p2u", bytes(32), 1, feature=False)
    with pytest.raises(Malformed):
        p2uformat.open(tmp_path / "x.p2u")


def test_layers_that_the_parent_does_not_have(folder, tmp_path):
    """A child may name any parent: what it says of it is checked."""
    stranger = tmp_path / "stranger.p2u"
    other = {"large": np.random.default_rng(3).standard_normal((600, 512)).astype(np.float16)}
    p2uformat.pack(other, stranger)
    with_parent(folder / "2.p2u", tmp_path / "x.p2u", root_of(stranger), 1)
    with p2uformat.open(tmp_path / "x.p2u", parents=stranger) as child:
        for name in child.keys():  # noqa: SIM118
            with pytest.raises(Malformed):
                child.get(name)


def partial(path, target, keep):
    """Write a partial file that says it holds some entries, the rest overwritten with noise."""
    data = bytearray(path.read_bytes())
    with Container.open(path) as container:
        header = container.header
        spans = [
            (offset, entry.length)
            for page in container.pages
            for offset, entry in zip(
                container.offsets[page.number], page.encoding.chunks, strict=True
            )
        ]
    bits = bytearray((header.entries + 7) // 8)
    for number, (offset, length) in enumerate(spans):
        if keep(number):
            bits[number // 8] |= 1 << number % 8
        else:
            data[offset : offset + length] = b"\xaa" * length
    fields = {name: getattr(header, name) for name in Header.__slots__} | {"partial": True}
    target.write_bytes(Header(**fields).encode() + bytes(data[128:]) + bytes(bits))
    return spans


def test_partial_files(folder, tmp_path):
    source = folder / "1.p2u"
    with Container.open(source) as container:
        (page,) = container.pages
        tiers = [entry.tier for entry in page.encoding.chunks]
    partial(source, tmp_path / "q4.p2u", lambda number: tiers[number] == 0)
    with p2uformat.open(tmp_path / "q4.p2u") as part, p2uformat.open(source) as whole:
        assert part.complete == ("q4",)
        same(part.load(), whole.load("q4"))
        with pytest.raises(Incomplete):
            part.get("large", tier="q8")
    report = p2uformat.verify(tmp_path / "q4.p2u")
    assert not report.ok
    assert not report.damage
    assert report.missing_chunks == sum(tier > 0 for tier in tiers)
    assert p2uformat.verify(tmp_path / "q4.p2u", tier="q4").ok
    partial(source, tmp_path / "all.p2u", lambda number: True)
    assert p2uformat.verify(tmp_path / "all.p2u", deep=True).ok
    partial(source, tmp_path / "odd.p2u", lambda number: number % 2)
    with p2uformat.open(tmp_path / "odd.p2u") as part:
        assert part.complete == ()
    for cut in (1, 2):
        (tmp_path / "cut.p2u").write_bytes((tmp_path / "all.p2u").read_bytes()[:-cut])
        with p2uformat.open(tmp_path / "cut.p2u") as part:
            assert part.complete != part.tiers
    (tmp_path / "long.p2u").write_bytes((tmp_path / "all.p2u").read_bytes() + b"\0")
    with pytest.raises(Malformed, match="behind the end"):
        p2uformat.open(tmp_path / "long.p2u")


def test_a_chunk_that_is_listed_twice_and_held_once_is_missing(tmp_path):
    """Two tensors share bytes, and the bitmap says so of one of them only."""
    source = Path(__file__).parents[2] / "spec" / "vectors" / "shared-chunk.p2u"
    spans = partial(source, tmp_path / "p.p2u", lambda number: True)
    twice = [number for number, span in enumerate(spans) if spans.count(span) > 1]
    assert twice
    data = bytearray((tmp_path / "p.p2u").read_bytes())
    bits = len(data) - (len(spans) + 7) // 8
    for number in twice:
        part = bytes(data)
        byte = bits + number // 8
        part = part[:byte] + bytes([part[byte] & ~(1 << number % 8)]) + part[byte + 1 :]
        report = p2uformat.verify(part, deep=True)
        assert (report.ok, report.missing_chunks, report.damage) == (False, 1, ())
        assert report.complete_tiers != ("q4", "q8", "exact")
        with p2uformat.open(part) as opened:
            assert opened.complete == report.complete_tiers


def test_a_bit_that_lies_is_found(folder, tmp_path):
    """The bitmap is a hint: what it says is there is checked all the same."""
    spans = partial(folder / "1.p2u", tmp_path / "p.p2u", lambda number: False)
    data = bytearray((tmp_path / "p.p2u").read_bytes())
    data[-((len(spans) + 7) // 8)] |= 1
    (tmp_path / "p.p2u").write_bytes(data)
    report = p2uformat.verify(tmp_path / "p.p2u")
    assert {d.code for d in report.damage} == {"digest-mismatch"}
    spare = len(spans) % 8
    if spare:
        data[-1] |= 1 << spare
        (tmp_path / "p.p2u").write_bytes(data)
        with pytest.raises(Malformed, match="padding"):
            p2uformat.open(tmp_path / "p.p2u")


def test_a_partial_child(folder, tmp_path):
    with Container.open(folder / "2.p2u") as container:
        (page,) = container.pages
        tiers = [entry.tier for entry in page.encoding.chunks]
    partial(folder / "2.p2u", tmp_path / "q8.p2u", lambda number: tiers[number] < 2)
    with (
        p2uformat.open(tmp_path / "q8.p2u", parents=folder / "1.p2u") as part,
        p2uformat.open(folder / "alone2.p2u") as alone,
    ):
        assert part.complete == ("q4", "q8")
        same(part.load(), alone.load("q8"))


@st.composite
def models(draw):
    """Return two versions of a model with tensors of any kind, some of them changed."""
    rng = np.random.default_rng(draw(st.integers(0, 1 << 30)))
    old, new = {}, {}
    for number in range(draw(st.integers(1, 5))):
        dtype = draw(st.sampled_from([*DTYPES.values(), np.int16, np.uint8, np.bool_]))
        shape = (draw(st.integers(0, 100)), draw(st.integers(1, 90)))
        values = rng.standard_normal(shape) * draw(st.sampled_from([1e-4, 0.05, 10]))
        scale = draw(st.sampled_from([0, 1e-6, 1e-3, 0.1, 3]))
        moved = values + rng.standard_normal(shape) * np.abs(values) * scale
        if draw(st.booleans()):
            mask = rng.random(shape) < 0.3
            values, moved = np.where(mask, 0, values), np.where(mask, -0.0, moved)
        with np.errstate(all="ignore"):
            old[f"t{number}"], new[f"t{number}"] = values.astype(dtype), moved.astype(dtype)
    return old, new


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(models(), st.sampled_from(["q4,q8,exact", "q2,exact", "q4,q16,exact", "q3,q4,q12,exact"]))
def test_any_two_versions(tmp_path_factory, versions, tiers):
    folder = Path(tmp_path_factory.mktemp("any"))
    old, new = versions
    p2uformat.pack(old, folder / "1.p2u", tiers=tiers)
    child = p2uformat.pack(new, folder / "2.p2u", parent=folder / "1.p2u")
    alone = p2uformat.pack(new, folder / "alone.p2u", parent=folder / "1.p2u", self_contained=True)
    assert child.root == alone.root
    with p2uformat.open(folder / "2.p2u", parents=folder / "1.p2u") as two:
        same(two.load("exact"), new)
    assert p2uformat.verify(folder / "2.p2u", deep=True, parents=folder / "1.p2u").ok
