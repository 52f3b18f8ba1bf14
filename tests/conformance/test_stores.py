"""Stores that the library writes, read by the independent reader."""

import importlib
import shutil
from pathlib import Path

import numpy as np
import pytest

import p2uformat
from p2uformat import P2UError
from tests.store.conftest import changed, model_of


@pytest.fixture(scope="module")
def p2u_store(reference):
    """Return the independent reader of stores; `reference` makes it importable."""
    del reference
    return importlib.import_module("p2u_store")


@pytest.fixture(scope="module")
def lived_in(tmp_path_factory):
    """Return a store with a chain, a removal, a mirror's part, repacked packs, and the models."""
    place = str(tmp_path_factory.mktemp("lived") / "store")
    store = p2uformat.Store(place)
    models = {}
    model = model_of(1, layers=4)
    for seed in range(4):
        p2uformat.pack(model, f"{place}#a/chain")
        models[f"a/chain@{seed + 1}"] = model
        model = changed(model, ["l.1.w"], seed)
    other = model_of(2, layers=3, size=256)
    for seed in range(3):
        p2uformat.pack(other, f"{place}#b")
        models[f"b@{seed + 1}"] = other
        other = changed(other, ["l.0.w", "l.1.w"], seed, by=1.0)
    store.remove("a/chain", [2])
    store.gc(keep=3, grace=0, delete=True)
    store.remove("b", [1])
    for _ in range(3):
        store.gc(grace=0, delete=True)
    del models["a/chain@2"], models["b@1"]
    return place, models


def test_every_version_reads_alike(p2u_store, lived_in):
    place, models = lived_in
    versions = [v for name in ("a/chain", "b") for v in p2uformat.Store(place).refs(name)]
    assert {f"{v.name}@{v.version}" for v in versions} == set(models)
    for address, model in models.items():
        for tier in (None, "q4"):
            found = p2u_store.read(place, address, tier)
            with p2uformat.open(f"{place}#{address}") as artifact:
                for name, array in model.items():
                    expected = array if tier is None else artifact.get(name, tier=tier)
                    assert found[name][2] == np.ascontiguousarray(expected).tobytes()


def test_every_pack_says_what_it_holds(p2u_store, lived_in):
    packs = [path for path in (Path(lived_in[0]) / "packs").rglob("*") if path.is_file()]
    assert packs
    for path in packs:
        assert p2u_store.trailer(path.read_bytes())["chunks"]


def test_faults_have_the_same_code(p2u_store, lived_in, tmp_path):
    """A bit in each object of a small store: what one reader refuses, the other does too."""
    place = tmp_path / "store"
    p2uformat.pack(model_of(3, layers=1, size=64), f"{place}#m")
    objects = [path for path in place.rglob("*") if path.is_file() and "index" not in path.parts]
    assert {path.relative_to(place).parts[0] for path in objects} == {
        "p2u.json",
        "packs",
        "meta",
        "roots",
        "refs",
    }
    rng = np.random.default_rng(1)
    seen = set()
    for path in objects:
        if path.name == "p2u.json":
            continue  # one of them reads by names alone
        sound = path.read_bytes()
        for at in rng.choice(len(sound), min(30, len(sound)), replace=False):
            bad = bytearray(sound)
            bad[at] ^= 1 << int(rng.integers(8))
            path.write_bytes(bad)
            ours, theirs = verdict(place), reference_verdict(p2u_store, place)
            assert (ours is None) == (theirs is None), (path.relative_to(place), at, ours, theirs)
            seen.add(ours)
        path.write_bytes(sound)
    shutil.rmtree(place)
    assert {None, "digest-mismatch", "malformed"} <= seen


def verdict(place):
    try:
        with p2uformat.open(f"{place}#m") as artifact:
            artifact.load()
        report = p2uformat.verify(f"{place}#m", deep=True)
    except P2UError as error:
        return error.code
    return report.damage[0].code if report.damage else None


def reference_verdict(p2u_store, place):
    try:
        p2u_store.read(place, "m")
    except p2u_store.RefError as error:
        return error.code
    except (ValueError, OSError) as error:
        return type(error).__name__
    return None
