"""Updates: what a difference is, what it adds up to, its figures, and what is refused."""

from __future__ import annotations

import math
import shutil

import ml_dtypes
import msgpack
import numpy as np
import pytest
from blake3 import blake3
from safetensors.numpy import save_file

import p2uformat
from p2uformat import (
    Affine,
    InvalidArgument,
    Levels,
    Policy,
    RootMismatch,
    apply_update,
    pack_update,
)

FLOATS = {
    "d": np.float64,
    "f": np.float32,
    "h": np.float16,
    "b": ml_dtypes.bfloat16,
    "e": ml_dtypes.float8_e5m2,
}
TABLES = {
    "uniform": [j / 4 for j in range(-4, 5)],
    "exponential": [-1, -0.5, -0.25, -0.125, 0, 0.125, 0.25, 0.5, 1],
}


def model(seed, by=0.0, base=None):
    """A model of every kind of tensor; or one that is moved by so much."""
    rng = np.random.default_rng(seed)
    made = {} if base is None else dict(base)
    if base is None:
        for name, dtype in FLOATS.items():
            made[name] = (rng.standard_normal((24, 36)) * 0.5).astype(dtype)
        made["bias"] = rng.standard_normal(36).astype(np.float32)
        made["scalar"] = np.array(0.25, np.float32)
        made["none"] = np.zeros((0, 3), np.float32)
        made["steps"] = np.arange(5)
        made["flag"] = np.array([True, False])
        return made
    for name, array in made.items():
        if np.issubdtype(array.dtype, np.integer):
            made[name] = array + 7
        elif array.dtype != bool:
            moved = array.astype(np.float64) + by * rng.standard_normal(array.shape)
            made[name] = np.asarray(moved, array.dtype)
    return made


OLD = model(1)
NEW = model(2, 0.01, OLD)


@pytest.fixture
def base(tmp_path):
    path = tmp_path / "base.p2u"
    p2uformat.pack(OLD, path)
    return path


def difference(name):
    """After less before, rounded once."""
    old, new = OLD[name], NEW[name]
    if old.dtype in (np.float64, np.float32):
        return np.asarray(new - old)
    if old.dtype.kind in "ib":
        return new
    return (new.astype(np.float64) - old.astype(np.float64)).astype(old.dtype)


def left(folder):
    return sorted(path.name for path in folder.iterdir())


# What it holds.


@pytest.mark.parametrize("kind", ["file", "artifact", "arrays"])
def test_an_exact_update_is_the_difference(tmp_path, base, kind):
    with p2uformat.open(base) as opened:
        root = opened.root
        how = {
            "file": (base, {}),
            "artifact": (opened, {}),
            "arrays": (OLD, {"base": root}),
        }[kind]
        made = pack_update(NEW, how[0], tmp_path / "u.p2u", client=3, round=4, **how[1])
        assert opened.get("f").tobytes() == OLD["f"].tobytes()  # what is open stays open
    assert made.update.base == root
    assert p2uformat.verify(tmp_path / "u.p2u", deep=True, expect=made.root).ok
    with p2uformat.open(tmp_path / "u.p2u") as update:
        assert (update.update.client, update.update.round, update.update.weight) == (3, 4, 1.0)
        assert set(update) == set(OLD)
        for name in OLD:
            assert update.get(name, tier="exact").tobytes() == difference(name).tobytes(), name
    added = apply_update(tmp_path / "u.p2u", base)
    for name, old in OLD.items():
        if old.dtype.kind in "ib":
            assert added[name].tobytes() == NEW[name].tobytes()
            continue
        moved = difference(name).astype(np.float64)
        expected = (old.astype(np.float64) + moved).astype(old.dtype)
        assert added[name].tobytes() == expected.tobytes()
        assert added[name].shape == old.shape


def test_the_ways_to_name_what_it_is_to_give_one_root(tmp_path, base):
    roots = set()
    store = str(tmp_path / "store")
    p2uformat.pack(OLD, f"{store}#m")
    save_file({n: a for n, a in NEW.items() if a.dtype.itemsize}, tmp_path / "new.safetensors")
    with p2uformat.open(base) as opened:
        root = opened.root
    for number, (after, before, how) in enumerate(
        [
            (NEW, base, {}),
            (NEW, OLD, {"base": root}),
            (NEW, f"{store}#m", {}),
            (NEW, f"{store}#m@1", {}),
            (NEW, f"{store}#{root}", {}),
        ]
    ):
        path = tmp_path / f"{number}.p2u"
        made = pack_update(after, before, path, quantizer="levels:uniform:4", **how)
        roots.add((made.root, made.encoding_root, made.update))
    assert len(roots) == 1
    other = pack_update(tmp_path / "new.safetensors", base, tmp_path / "s.p2u", threads=1)
    assert other.update.energy == next(iter(roots))[2].energy


def test_one_at_a_tier_is_to_what_that_tier_has(tmp_path, base):
    path = tmp_path / "u.p2u"
    pack_update(NEW, base, path, tier="q4")
    with p2uformat.open(base) as old, p2uformat.open(path) as update:
        near = old.get("f", tier="q4")
        assert update.get("f").tobytes() == (NEW["f"] - near).tobytes()
        assert update.update.base == old.root
        lower = {name: old.get(name, tier="q4") for name in old}
    added = apply_update(path, lower)
    np.testing.assert_allclose(added["f"], NEW["f"], rtol=1e-6, atol=1e-7)


def test_numbers_that_a_dtype_cannot_hold_and_signs_of_zero(tmp_path):
    most = np.finfo(np.float16).max
    old = {
        "h": np.array([most, 1, 0.0, -0.0], np.float16),
        "f": np.array([-0.0, 5e-45], np.float32),
    }
    new = {
        "h": np.array([-most, 1, -0.0, 0.0], np.float16),
        "f": np.array([-0.0, 1e-45], np.float32),
    }
    made = p2uformat.pack(old, tmp_path / "b.p2u")
    with pytest.raises(InvalidArgument, match="infinity in an update"):
        pack_update(new, old, tmp_path / "u.p2u", base=made.root)
    made = pack_update(new, old, tmp_path / "u.p2u", base=made.root, allow_nonfinite=True)
    with p2uformat.open(tmp_path / "u.p2u") as update:
        assert update.get("h").tolist()[:2] == [-math.inf, 0]
        assert np.signbit(update.get("h")).tolist() == [True, False, True, False]
        assert update.get("f").tobytes() == (new["f"] - old["f"]).tobytes()
    assert made.update.energy == pytest.approx(float(new["f"][1] - old["f"][1]) ** 2, abs=0)


def test_nan_is_refused_and_nothing_is_written(tmp_path, base):
    broken = NEW | {"b": NEW["b"].copy()}
    broken["b"][3, 4] = np.nan
    before = left(tmp_path)
    with pytest.raises(InvalidArgument, match="NaN in an update: tensor 'b'"):
        pack_update(broken, base, tmp_path / "u.p2u", quantizer="levels:uniform:4")
    assert left(tmp_path) == before
    made = pack_update(
        broken, base, tmp_path / "u.p2u", quantizer="levels:uniform:4", allow_nonfinite=True
    )
    with p2uformat.open(tmp_path / "u.p2u") as update:
        assert update.info("b").quantizer == "opaque"
        assert math.isnan(float(update.get("b")[3, 4]))
    assert math.isfinite(made.update.energy)
    assert np.isnan(apply_update(tmp_path / "u.p2u", base)["b"][3, 4].astype(np.float32))


# Adding.


@pytest.mark.parametrize("scale", [1.0, 0.5, -1.0, 0.0, 1e-3, 3])
def test_adding_some_of_it(tmp_path, base, scale):
    pack_update(NEW, base, tmp_path / "u.p2u", quantizer="levels:uniform:4", lossy=True)
    added = apply_update(tmp_path / "u.p2u", base, scale)
    with p2uformat.open(tmp_path / "u.p2u") as update:
        for name, old in OLD.items():
            if old.dtype.kind in "ib":
                continue
            wide = update.get(name, dtype="F64").astype(np.float64)
            expected = (old.astype(np.float64) + scale * wide).astype(old.dtype)
            assert added[name].tobytes() == expected.tobytes()


def test_adding_to_other_arrays(tmp_path, base):
    pack_update(NEW, base, tmp_path / "u.p2u")
    other = model(5)
    added = apply_update(tmp_path / "u.p2u", other)
    expected = (other["d"] + difference("d")).tobytes()
    assert added["d"].tobytes() == expected
    wrong = [
        (other | {"more": np.zeros(1)}, "'more'"),
        ({n: a for n, a in other.items() if n != "f"}, "'f'"),
        (other | {"f": np.zeros((3, 3), np.float32)}, "'f'"),
        (other | {"f": other["f"].astype(np.float64)}, "'f'"),
        (other | {"f": 1.0}, "'f'"),
        (other | {"steps": np.arange(6)}, "'steps'"),
        (other | {"steps": np.arange(5, dtype=np.int32)}, "'steps'"),
    ]
    for arrays, words in wrong:
        with pytest.raises(InvalidArgument, match=words):
            apply_update(tmp_path / "u.p2u", arrays)


def test_byte_order_and_strides_of_arrays_do_not_matter(tmp_path, base):
    """Big-endian and transposed: what they hold counts, not how."""

    def other(arrays):
        turned = {n: a.T.copy().T for n, a in arrays.items()}
        return {n: a.astype(a.dtype.newbyteorder(">")) for n, a in turned.items()}

    plain = pack_update(NEW, base, tmp_path / "1.p2u", quantizer="levels:uniform:4")
    turned = pack_update(
        other(NEW),
        other(OLD),
        tmp_path / "2.p2u",
        base=plain.update.base,
        quantizer="levels:uniform:4",
    )
    assert (turned.root, turned.update) == (plain.root, plain.update)
    expected = apply_update(tmp_path / "1.p2u", OLD)
    added = apply_update(tmp_path / "1.p2u", other(OLD))
    assert all(added[name].tobytes() == expected[name].tobytes() for name in expected)


def test_adding_to_another_artifact_is_refused(tmp_path, base):
    pack_update(NEW, base, tmp_path / "u.p2u")
    p2uformat.pack(NEW, tmp_path / "other.p2u")
    with pytest.raises(RootMismatch, match="the update is to blake3:"):
        apply_update(tmp_path / "u.p2u", tmp_path / "other.p2u")
    with pytest.raises(InvalidArgument, match="is no update"):
        apply_update(base, base)
    for scale in (math.nan, math.inf):
        with pytest.raises(InvalidArgument, match="an update times"):
            apply_update(tmp_path / "u.p2u", base, scale)


def test_adding_at_a_tier(tmp_path, base):
    pack_update(NEW, base, tmp_path / "u.p2u", quantizer="levels:uniform:4")
    rough = apply_update(tmp_path / "u.p2u", base, tier="levels9")
    fine = apply_update(tmp_path / "u.p2u", base)
    away = [np.abs(m["f"] - NEW["f"]).max() for m in (rough, fine)]
    assert away[1] < 1e-7 < away[0]


# Figures.


def independent(name, delta, form, client, round_):
    """Norms, codes and variance of one tensor, by other means."""
    values = delta.astype(np.float64).reshape(-1)
    table = np.array(form.levels)
    norms = []
    for start in range(0, len(values), form.bucket):
        part = values[start : start + form.bucket]
        norm = np.abs(part).max() if form.norm == "max" else math.sqrt(math.fsum(part * part))
        stored = np.float32(norm)
        norms.append(np.nextafter(stored, np.float32(np.inf)) if float(stored) < norm else stored)
    norm = np.repeat(np.array(norms, np.float64), form.bucket)[: len(values)]
    x = np.where(norm > 0, values / np.where(norm > 0, norm, 1), 0)
    below = np.array([max(j for j in range(len(table) - 1) if table[j] <= v or not j) for v in x])
    message = msgpack.packb(["p2u levels", form.seed, client, round_, name, 0])
    drawn = np.frombuffer(blake3(message).digest(4 * len(values)), "<u4") / 2.0**32
    low, high = table[below], table[below + 1]
    if form.rounding == "stochastic":
        codes = below + (drawn < (x - low) / (high - low))
        squares = (x - low) * (high - x)
    else:
        codes = below + (high - x < x - low) + ((high - x == x - low) & (below % 2 == 1))
        squares = (x - table[codes]) ** 2
    near = (norm * table[codes]).astype(delta.dtype)
    away = near.astype(np.float64) - values
    counts = np.bincount(codes, minlength=len(table))
    some = counts[counts > 0]
    entropy = math.ceil(float((some * np.log2(len(values) / some)).sum()))
    return near, (away * away).sum(), (squares * norm**2).sum(), entropy, 32 * len(norms)


@pytest.mark.parametrize("lossy", [False, True])
@pytest.mark.parametrize("table", ["uniform", "exponential"])
@pytest.mark.parametrize("rest", [":l2:bucket=100", ":max:bucket=864", ":max:nearest:bucket=7"])
def test_figures_are_what_they_say(tmp_path, base, table, rest, lossy):
    form = p2uformat.parse_quantizer(f"levels:{table}:4:seed=9{rest}")
    made = pack_update(
        NEW, base, tmp_path / "u.p2u", quantizer=form, client=5, round=6, weight=2.5, lossy=lossy
    )
    found = made.update
    assert found.weight == 2.5
    variance = expected = bits = most = 0.0
    with p2uformat.open(tmp_path / "u.p2u") as update:
        for name in OLD:
            delta = difference(name)
            if update.info(name).quantizer == "opaque":
                bits, most = bits + 8 * delta.nbytes, most + 8 * delta.nbytes
                continue
            near, error, mean, entropy, norms = independent(name, delta, form, 5, 6)
            assert update.get(name, tier=update.tiers[0]).tobytes() == near.tobytes()
            variance, expected = variance + error, expected + mean
            bits += entropy + norms
            most += math.ceil(delta.size * math.log2(9)) + norms
    energy = sum(
        float((difference(name).astype(np.float64) ** 2).sum())
        for name in OLD
        if OLD[name].dtype.kind not in "ib"
    )
    assert found.energy == pytest.approx(energy, rel=1e-8)
    assert found.variance == pytest.approx(variance, rel=1e-8)
    assert found.expected == pytest.approx(expected, rel=1e-8)
    assert found.expected <= found.bound
    assert abs(found.bits - bits) <= len(FLOATS)  # rounded up, of each tensor
    assert abs(found.most - most) <= len(FLOATS)
    assert found.bits <= found.most
    # What is stored is about that, but for what the manifest takes.
    assert made.tiers[0].bytes * 8 < found.bits * 1.06 + 8 * 700
    assert made.to_dict()["update"] == found.to_dict()


def test_figures_of_other_quantizers(tmp_path, base):
    ladder = pack_update(NEW, base, tmp_path / "1.p2u").update
    assert (ladder.variance, ladder.expected, ladder.bound) == (0, 0, 0)
    for form in (Affine(bits=4), "minifloat:S1E4M3"):
        made = pack_update(NEW, base, tmp_path / "2.p2u", quantizer=form, overwrite=True)
        assert (made.update.expected, made.update.bound) == (None, None)
        assert made.update.variance > 0
        assert made.update.energy == ladder.energy
        with p2uformat.open(tmp_path / "2.p2u") as update:
            error = sum(
                float(
                    (
                        (
                            update.get(name, tier=update.tiers[0]).astype(np.float64)
                            - difference(name).astype(np.float64)
                        )
                        ** 2
                    ).sum()
                )
                for name in FLOATS
            )
        assert made.update.variance == pytest.approx(error, rel=1e-8)
    kept = sum(OLD[name].nbytes for name in OLD if name not in FLOATS)
    weights = sum(OLD[name].size for name in FLOATS)
    assert made.update.bits == made.update.most == 8 * (kept + weights)  # one byte each
    no_change = pack_update(OLD, base, tmp_path / "3.p2u", quantizer="levels:uniform:4").update
    assert (no_change.energy, no_change.variance, no_change.bound) == (0, 0, 0)


def test_client_and_round_are_those_of_the_update(tmp_path, base):
    asked = Levels("uniform", 4, seed=3, client=99, round=99)
    pack_update(NEW, base, tmp_path / "u.p2u", quantizer=asked, client=1, round=2)
    with p2uformat.open(tmp_path / "u.p2u") as update:
        assert update.info("f").quantizer.endswith("seed=3:client=1:round=2")
        assert update.policy == Policy(client=1, round=2)


def test_quantizers_by_name(tmp_path, base):
    forms = {"*": "levels:uniform:1", "d": "affine:8", "h": Levels("fitted", 8)}
    made = pack_update(NEW, base, tmp_path / "u.p2u", quantizer=forms, lossy=True, round=1)
    assert made.update.bound is None
    with p2uformat.open(tmp_path / "u.p2u") as update:
        assert update.info("d").quantizer.startswith("affine:8")
        assert update.info("h").quantizer.startswith("levels:fitted:8")
        assert update.info("f").quantizer.startswith("levels:uniform:1")


def test_metadata_is_kept(tmp_path, base):
    pack_update(NEW, base, tmp_path / "u.p2u", metadata={"loss": "0.25", "ü": "x"})
    with p2uformat.open(tmp_path / "u.p2u") as update:
        assert update.metadata == {"loss": "0.25", "ü": "x"}


# What is refused.


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"client": -1}, "client -1"),
        ({"round": 2**64}, "round"),
        ({"client": True}, "client True"),
        ({"weight": 0.0}, "weight of 0.0"),
        ({"weight": -1.0}, "weight of"),
        ({"weight": math.nan}, "weight of"),
        ({"weight": math.inf}, "weight of"),
        ({"lossy": True}, "without a quantizer"),
        ({"policy": Policy()}, "without a quantizer"),
        ({"quantizer": "levels:none"}, "unknown quantizer"),
        ({"quantizer": {}}, "no quantizer"),
        ({"quantizer": "levels:uniform", "tiers": "q4,exact"}, "tiers q4,exact"),
        ({"quantizer": "levels:uniform", "policy": Policy(only=("zz",))}, "names none"),
        ({"base": "blake3:" + "0" * 64}, "its own root"),
    ],
)
def test_options_that_make_no_sense(tmp_path, base, how, words):
    before = left(tmp_path)
    with pytest.raises(InvalidArgument, match=words):
        pack_update(NEW, base, tmp_path / "u.p2u", **how)
    assert left(tmp_path) == before


def changed(name, array):
    made = dict(NEW)
    if array is None:
        del made[name]
    else:
        made[name] = array
    return made


@pytest.mark.parametrize(
    ("after", "words"),
    [
        (changed("f", None), "'f': there before only"),
        (changed("more", np.zeros(2)), "'more': there after only"),
        (changed("f", np.zeros((36, 24), np.float32)), "'f'"),
        (changed("f", NEW["f"].astype(np.float64)), "'f'"),
        (changed("steps", np.arange(5, dtype=np.int32)), "'steps'"),
    ],
)
def test_other_tensors_are_refused(tmp_path, base, after, words):
    before = left(tmp_path)
    with pytest.raises(InvalidArgument, match=words):
        pack_update(after, base, tmp_path / "u.p2u")
    assert left(tmp_path) == before


def test_arrays_need_the_root_that_they_are_of(tmp_path, base):
    for how in ({}, {"base": "blake3:00"}, {"base": "x"}):
        with pytest.raises(p2uformat.P2UError):
            pack_update(NEW, OLD, tmp_path / "u.p2u", **how)
    with pytest.raises(InvalidArgument, match="no tier"):
        pack_update(NEW, OLD, tmp_path / "u.p2u", base="blake3:" + "0" * 64, tier="q4")
    with pytest.raises(InvalidArgument, match="expected an array"):
        pack_update(NEW, OLD | {"f": 1.0}, tmp_path / "u.p2u", base="blake3:" + "0" * 64)
    assert not (tmp_path / "u.p2u").exists()


def test_an_update_of_an_update_is_refused(tmp_path, base):
    pack_update(NEW, base, tmp_path / "u.p2u")
    with pytest.raises(InvalidArgument, match="is an update itself"):
        pack_update(NEW, tmp_path / "u.p2u", tmp_path / "v.p2u")
    with pytest.raises(InvalidArgument, match="is no update"):
        apply_update(base, tmp_path / "u.p2u")
    assert not (tmp_path / "v.p2u").exists()


def test_a_destination_that_is_there_is_refused(tmp_path, base):
    (tmp_path / "u.p2u").write_bytes(b"mine")
    with pytest.raises(p2uformat.DestinationExists):
        pack_update(NEW, base, tmp_path / "u.p2u")
    assert (tmp_path / "u.p2u").read_bytes() == b"mine"
    pack_update(NEW, base, tmp_path / "u.p2u", overwrite=True)


def test_folders_of_other_formats_are_refused(tmp_path, base):
    folder = tmp_path / "model"
    folder.mkdir()
    save_file({"f": NEW["f"]}, folder / "m.safetensors")
    (folder / "config.json").write_text("{}")
    with pytest.raises(InvalidArgument, match="other files than safetensors"):
        pack_update(folder, base, tmp_path / "u.p2u")


# What other functions make of it.


@pytest.fixture
def update(tmp_path, base):
    path = tmp_path / "u.p2u"
    pack_update(NEW, base, path, quantizer="levels:uniform:4", round=1)
    return path


def test_it_is_fetched_at_a_tier(tmp_path, base, update):
    p2uformat.fetch(update, tmp_path / "part.p2u", tier="levels9")
    with p2uformat.open(tmp_path / "part.p2u") as part, p2uformat.open(update) as whole:
        assert part.complete == ("levels9",)
        assert part.update == whole.update
        assert part.get("f").tobytes() == whole.get("f", tier="levels9").tobytes()
    rough = apply_update(tmp_path / "part.p2u", base)
    assert rough["f"].tobytes() == apply_update(update, base, tier="levels9")["f"].tobytes()
    assert p2uformat.fetch(update, tmp_path / "part.p2u").whole
    assert (tmp_path / "part.p2u").read_bytes() == update.read_bytes()


def test_it_is_unpacked_as_what_it_is(tmp_path, update):
    p2uformat.unpack(update, tmp_path / "o.safetensors")
    p2uformat.pack(tmp_path / "o.safetensors", tmp_path / "again.p2u")
    with p2uformat.open(tmp_path / "again.p2u") as made:
        assert all(made.get(name).tobytes() == difference(name).tobytes() for name in OLD)


def test_stores_keep_updates_beside_models(tmp_path, base, update):
    one, two = str(tmp_path / "one"), str(tmp_path / "two")
    store, other = p2uformat.Store(one), p2uformat.Store(two)
    store.push(base, "m")
    store.push(update, "u")
    made = pack_update(NEW, f"{one}#m", f"{one}#w", quantizer="levels:uniform:4", round=1)
    with p2uformat.open(update) as opened:
        assert made.root == opened.root
        assert made.update == opened.update
    assert store.verify().ok
    store.copy("u", f"{two}#u")
    assert other.verify().ok
    p2uformat.fetch(f"{two}#u", tmp_path / "f.p2u")
    with p2uformat.open(tmp_path / "f.p2u") as opened:
        assert opened.update == made.update
    p2uformat.push(f"{two}#u", f"{one}#again")
    expected = apply_update(update, base)
    added = apply_update(f"{one}#again", f"{one}#m")
    assert all(added[name].tobytes() == expected[name].tobytes() for name in expected)
    assert store.gc(delete=False) is not None


def test_nothing_has_an_update_as_its_parent_by_chance(tmp_path, base, update):
    place = str(tmp_path / "store")
    store = p2uformat.Store(place)
    store.push(base, "m")
    first = pack_update(NEW, f"{place}#m", f"{place}#u", round=1)
    later = pack_update(model(3, 0.01, OLD), f"{place}#m", f"{place}#u", round=2)
    again = pack_update(NEW, f"{place}#m", f"{place}#other", round=3)
    alone = p2uformat.pack({n: difference(n) for n in OLD}, f"{place}#u")
    near = p2uformat.pack({n: difference(n) for n in OLD}, f"{place}#fresh")
    assert [made.parent for made in (first, later, again, alone)] == [None] * 4
    assert near.parent in (None, alone.root)
    with store.open("u") as opened:
        assert opened.update is None
    assert store.verify().ok


def test_a_checkpoint_with_an_update_as_its_parent_is_refused(tmp_path, base, update):
    pack_update(NEW, base, tmp_path / "plain.p2u")
    before = left(tmp_path)
    with pytest.raises(InvalidArgument, match="update"):
        p2uformat.pack(NEW, tmp_path / "c.p2u", parent=tmp_path / "plain.p2u")
    assert left(tmp_path) == before


def test_squash_and_diff(tmp_path, base, update):
    squashed = p2uformat.squash(update, tmp_path / "s.p2u")
    with p2uformat.open(tmp_path / "s.p2u") as made, p2uformat.open(update) as whole:
        assert (squashed.root, made.update) == (whole.root, whole.update)
    assert p2uformat.verify(tmp_path / "s.p2u", deep=True).ok
    shutil.copy(update, tmp_path / "copy.p2u")
    same = p2uformat.diff(update, tmp_path / "copy.p2u")
    assert sum(tier.changed + tier.added for tier in same.tiers) == 0
    other = pack_update(model(3, 0.01, OLD), base, tmp_path / "2.p2u", quantizer="levels:uniform:4")
    report = p2uformat.diff(update, tmp_path / "2.p2u")
    assert report.to_dict()
    assert other.update.base == made.update.base


def test_the_same_update_is_the_same_bytes(tmp_path, base):
    made = set()
    for threads in (1, 2):
        path = tmp_path / f"{threads}.p2u"
        pack_update(NEW, base, path, quantizer="levels:fitted:4", threads=threads, lossy=True)
        made.add(path.read_bytes())
    assert len(made) == 1


def test_an_artifact_that_is_closed_or_not_there_is_refused(tmp_path):
    for before in (tmp_path / "none.p2u", f"{tmp_path}/store#m"):
        with pytest.raises(p2uformat.P2UError):
            pack_update(NEW, before, tmp_path / "u.p2u")
    assert left(tmp_path) == []


def test_an_update_is_compared_with_no_checkpoint(tmp_path, base):
    pack_update(NEW, base, tmp_path / "u.p2u")
    for pair in ((base, tmp_path / "u.p2u"), (tmp_path / "u.p2u", base)):
        with pytest.raises(InvalidArgument, match="one is an update"):
            p2uformat.diff(*pair)
    assert all(
        tensor.status == "identical"
        for tensor in p2uformat.diff(tmp_path / "u.p2u", tmp_path / "u.p2u").tensors
    )
