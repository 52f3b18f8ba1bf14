"""``p2u unpack``: the source again, or a tier of it."""

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file

RESULT = {
    "path": str,
    "bytes": int,
    "tier": str,
    "tensors": int,
    "identical": bool,
    "files": int,
    "left_out": list,
}


def test_the_source_comes_back_byte_for_byte(p2u, packed, tmp_path):
    out = tmp_path / "out.safetensors"
    result = p2u("unpack", packed.artifact, out, "--json")
    assert (result.code, result.err) == (0, "")
    document = result.document
    assert {key: type(value) for key, value in document.items()} == RESULT
    assert (document["tier"], document["tensors"], document["identical"]) == ("exact", 6, True)
    assert document["path"] == str(out)
    assert document["bytes"] == out.stat().st_size
    assert out.read_bytes() == packed.source.read_bytes()


def test_text_says_whether_it_is_the_source(p2u, packed, tmp_path):
    whole = p2u("unpack", packed.artifact, tmp_path / "a")
    assert (whole.code, whole.err) == (0, "")
    assert "source   identical, bit for bit" in whole.out
    base = p2u("unpack", packed.artifact, tmp_path / "b", "--tier", "q4")
    assert base.code == 0
    assert "source   not identical" in base.out


@pytest.mark.parametrize(("tier", "most"), [("q4", 0.1), ("q8", 0.01)])
def test_a_lower_tier_is_near_the_source(p2u, packed, tmp_path, tier, most):
    result = p2u("unpack", packed.artifact, tmp_path / "out", "--tier", tier, "--json")
    assert (result.code, result.document["tier"], result.document["identical"]) == (0, tier, False)
    source, rebuilt = load_file(packed.source), load_file(tmp_path / "out")
    assert set(source) == set(rebuilt)
    for name in ("layer.0.weight", "layer.1.weight"):
        assert source[name].dtype == rebuilt[name].dtype
        given, got = source[name].astype(np.float64), rebuilt[name].astype(np.float64)
        error = np.linalg.norm(given - got) / np.linalg.norm(given)
        assert most / 20 < error < most
    assert np.array_equal(source["positions"], rebuilt["positions"])


def test_only_the_tensors_asked_for(p2u, packed, tmp_path):
    options = ("--tensors", "layer.0.*", "--tensors", "scale", "--json")
    result = p2u("unpack", packed.artifact, tmp_path / "out", *options)
    assert (result.code, result.document["tensors"], result.document["identical"]) == (0, 3, False)
    source, rebuilt = load_file(packed.source), load_file(tmp_path / "out")
    assert set(rebuilt) == {"layer.0.weight", "layer.0.bias", "scale"}
    assert all(np.array_equal(source[name], rebuilt[name]) for name in rebuilt)


def test_a_glob_that_matches_nothing_is_not_found(p2u, packed, tmp_path):
    result = p2u("unpack", packed.artifact, tmp_path / "out", "--tensors", "nope.*", "--json")
    assert (result.code, result.error["code"]) == (4, "tensor-not-found")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("dtype", "stored"), [("BF16", "BF16"), ("float16", "F16"), ("F64", "F64")]
)
def test_dtype_converts_floating_point_tensors(p2u, packed, tmp_path, dtype, stored):
    result = p2u("unpack", packed.artifact, tmp_path / "out", "--dtype", dtype, "--json")
    assert (result.code, result.document["identical"]) == (0, False)
    with safe_open(tmp_path / "out", "np") as opened:
        found = {name: opened.get_slice(name).get_dtype() for name in opened.keys()}  # noqa: SIM118
    assert found.pop("positions") == "I64"
    assert set(found.values()) == {stored}


def test_a_dtype_that_is_none_is_a_usage_error(p2u, packed, tmp_path):
    result = p2u("unpack", packed.artifact, tmp_path / "out", "--dtype", "F31", "--json")
    assert (result.code, result.error["code"]) == (2, "invalid-argument")
    assert not (tmp_path / "out").exists()


def test_an_unknown_tier_is_not_found(p2u, packed, tmp_path):
    result = p2u("unpack", packed.artifact, tmp_path / "out", "--tier", "q5", "--json")
    assert (result.code, result.error["code"]) == (4, "tier-not-found")
    assert not (tmp_path / "out").exists()


def test_an_existing_destination_stays_unless_overwrite(p2u, packed, tmp_path):
    out = tmp_path / "out"
    out.write_bytes(b"precious")
    result = p2u("unpack", packed.artifact, out, "--json")
    assert (result.code, result.error["code"]) == (2, "destination-exists")
    assert out.read_bytes() == b"precious"
    assert p2u("unpack", packed.artifact, out, "--overwrite").code == 0
    assert out.read_bytes() == packed.source.read_bytes()


def test_a_truncated_file_gives_the_tiers_it_holds(p2u, packed, tmp_path):
    cut = packed.cut(tmp_path / "cut.p2u", packed.ends["q4"])
    result = p2u("unpack", cut, tmp_path / "whole", "--json")
    assert (result.code, result.error["code"]) == (6, "incomplete")
    assert result.error["complete"] == ["q4"]
    assert not (tmp_path / "whole").exists()
    assert p2u("unpack", cut, tmp_path / "q4", "--tier", "q4").code == 0
    assert p2u("unpack", packed.artifact, tmp_path / "same", "--tier", "q4").code == 0
    assert (tmp_path / "q4").read_bytes() == (tmp_path / "same").read_bytes()


def test_a_flipped_bit_is_refused_and_the_rest_still_loads(p2u, packed, tmp_path):
    bad = packed.flip(tmp_path / "bad.p2u", packed.ends["q8"] - 10)
    result = p2u("unpack", bad, tmp_path / "out", "--json")
    assert (result.code, result.error["code"]) == (3, "digest-mismatch")
    assert result.error["tier"] == "q8"
    assert result.error["tensor"] in {"layer.0.weight", "layer.1.weight"}
    text = p2u("unpack", bad, tmp_path / "out")
    assert (text.code, text.out) == (3, "")
    assert text.err.startswith("error: ")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.p2u"]
    assert p2u("unpack", bad, tmp_path / "q4", "--tier", "q4").code == 0
