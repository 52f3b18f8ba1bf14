"""``p2u update`` and ``p2u apply``, and what the other commands say of an update."""

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import p2uformat

LEVELS = ("--quantizer", "levels:uniform:4:bucket=64", "--lossy", "--round", "7", "--client", "3")


@pytest.fixture(scope="module")
def moved(packed, tmp_path_factory):
    """The packed model a little further on."""
    path = tmp_path_factory.mktemp("moved") / "new.safetensors"
    arrays = load_file(packed.source)
    made = {}
    for name, array in arrays.items():
        if array.dtype.kind == "f":
            array = np.asarray(array + np.float32(0.01) * np.sign(array), array.dtype)
        else:
            array = array + 1
        made[name] = array
    save_file(made, path)
    return path


def test_an_update_is_packed_shown_and_applied(p2u, packed, moved, tmp_path):
    path, out = tmp_path / "u.p2u", tmp_path / "new.safetensors"
    made = p2u("update", moved, packed.artifact, path, "--json")
    assert made.code == 0, made.out
    found = made.document["update"]
    assert found["base"] == packed.document["root"]
    assert (found["client"], found["round"], found["weight"]) == (0, 0, 1.0)
    assert found == p2u("inspect", path, "--json").document["update"]
    assert p2u("verify", path, "--deep", "--expect", made.document["root"]).code == 0
    written = p2u("apply", path, packed.artifact, out, "--json")
    assert written.code == 0, written.out
    assert written.document["bytes"] == out.stat().st_size
    old, new, added = (load_file(file) for file in (packed.source, moved, out))
    for name, array in added.items():
        if array.dtype.kind == "i":
            assert (array == new[name]).all()
            continue
        wide = (array.astype(np.float64) for array in (old[name], new[name] - old[name]))
        assert array.tobytes() == np.asarray(sum(wide), array.dtype).tobytes()
    with p2uformat.open(packed.artifact) as artifact, p2uformat.open(path) as update:
        assert update.update.base == artifact.root


def test_what_is_said_of_it(p2u, packed, moved, tmp_path):
    path = tmp_path / "u.p2u"
    done = p2u("update", moved, packed.artifact, path, *LEVELS, "--weight", "600")
    assert done.code == 0, done.err
    for text in (done.out, p2u("inspect", path).out):
        shown = " ".join(text.split())
        assert f"base {packed.document['root']}" in shown
        assert "of client 3, round 7, weight 600" in shown
        assert " energy " in shown
        assert "% of energy); expected" in shown
        assert "at least in the first tier, at most" in shown
    tensors = p2u("inspect", path, "--tensors").out
    assert "levels:uniform:4:bucket=64:l2:stochastic:client=3:round=7" in tensors
    other = tmp_path / "a.p2u"
    assert p2u("update", moved, packed.artifact, other, "--quantizer", "affine:4").code == 0
    assert "expected" not in p2u("inspect", other).out
    assert "energy" not in p2u("inspect", packed.artifact).out
    assert p2u("inspect", packed.artifact, "--json").document["update"] is None


def test_half_of_it(p2u, packed, moved, tmp_path):
    path = tmp_path / "u.p2u"
    assert p2u("update", moved, packed.artifact, path, *LEVELS).code == 0
    for scale in ("0.5", "-1"):
        out = tmp_path / f"{scale}.safetensors"
        assert p2u("apply", path, packed.artifact, out, "--scale", scale).code == 0
        expected = p2uformat.apply_update(path, packed.artifact, float(scale))
        added = load_file(out)
        assert all(added[name].tobytes() == expected[name].tobytes() for name in expected)


def test_by_addresses_in_a_store(p2u, packed, moved, tmp_path):
    store = tmp_path / "store"
    assert p2u("push", packed.artifact, f"{store}#model").code == 0
    made = p2u("update", moved, f"{store}#model", f"{store}#updates/7/3", *LEVELS, "--json")
    assert made.code == 0, made.out
    assert made.document["parent"] is None
    assert p2u("verify", store).code == 0
    part = tmp_path / "part.p2u"
    assert p2u("fetch", f"{store}#updates/7/3", part).code == 0
    out = tmp_path / "o.safetensors"
    done = p2u("apply", f"{store}#updates/7/3", f"{store}#model@1", out)
    assert done.code == 0, done.err
    assert "written" in done.out
    again = tmp_path / "again.safetensors"
    assert p2u("apply", part, packed.artifact, again).code == 0
    assert again.read_bytes() == out.read_bytes()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--lossy",), "without a quantizer"),
        (("--weight", "0"), "a weight of 0.0"),
        (("--round", "-1"), "round -1"),
        (("--quantizer", "levels:uniform:0"), "0 levels above 0"),
        (("--quantizer", "levels:uniform", "--tiers", "q4,exact"), "tiers q4,exact"),
    ],
)
def test_what_makes_no_sense_is_misuse(p2u, packed, moved, tmp_path, options, words):
    result = p2u("update", moved, packed.artifact, tmp_path / "u.p2u", *options)
    assert result.code == 2
    assert words in result.err
    assert list(tmp_path.iterdir()) == []


def test_what_does_not_belong_together_is_refused(p2u, packed, moved, tmp_path, make_model):
    path, other = tmp_path / "u.p2u", tmp_path / "other.p2u"
    small = make_model(tmp_path / "small.safetensors", rows=16)
    result = p2u("update", small, packed.artifact, path)
    assert (result.code, "layer.0.weight" in result.err) == (2, True)
    assert p2u("pack", small, other).code == 0
    assert p2u("update", moved, packed.artifact, path).code == 0
    out = tmp_path / "o.safetensors"
    result = p2u("apply", path, other, out)
    assert (result.code, "the update is to" in result.err) == (3, True)
    result = p2u("apply", other, other, out)
    assert (result.code, "is no update" in result.err) == (2, True)
    assert not out.exists()
    assert p2u("apply", path, packed.artifact, path).code == 2
    result = p2u("apply", path, packed.artifact, out, "--tier", "q99")
    assert (result.code, out.exists()) == (4, False)
