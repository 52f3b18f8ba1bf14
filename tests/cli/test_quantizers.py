"""``p2u pack --quantizer``, and what the other commands say of what it makes."""

import pytest

SMALL = ("--quantizer", "minifloat:S1E3M7", "--keep", "0.2", "--seed", "7", "--round", "3")


def test_a_lossy_artifact_is_never_called_exact(p2u, packed, tmp_path):
    path = tmp_path / "m.p2u"
    made = p2u("pack", packed.source, path, *SMALL, "--lossy", "--json")
    assert made.code == 0, made.out
    assert made.document["lossy"] is True
    assert made.document["policy"] == {
        "client": 0,
        "generator": "blake3",
        "keep": 200_000,
        "matrices": 1,
        "only": ["*"],
        "round": 3,
        "seed": 7,
        "skip": [],
    }
    assert [tier["name"] for tier in made.document["tiers"]] == ["s1e3m7"]
    shown = " ".join(p2u("inspect", path, "--tensors").out.split())
    assert "exact no: lossy" in shown
    assert "matrices; 20 % kept, by blake3 of seed 7, client 0, round 3" in shown
    assert "minifloat:S1E3M7" in shown
    written = p2u("unpack", path, tmp_path / "o.safetensors")
    assert "not identical" in written.out
    assert p2u("unpack", path, tmp_path / "x.safetensors", "--tier", "exact").code == 4
    checked = p2u("verify", path, "--deep", "--expect", made.document["root"], "--json")
    assert checked.code == 0
    assert checked.document["complete_tiers"] == ["s1e3m7"]


def test_an_exact_tier_gives_the_source_back(p2u, packed, tmp_path):
    path, out = tmp_path / "m.p2u", tmp_path / "o.safetensors"
    options = ("--quantizer", "affine:4:group=32", "--skip", "layer.1.*", "--any-rank")
    made = p2u("pack", packed.source, path, *options, "--json")
    assert made.code == 0, made.out
    assert (made.document["lossy"], made.document["policy"]["skip"]) == (False, ["layer.1.*"])
    assert p2u("unpack", path, out).code == 0
    assert out.read_bytes() == packed.source.read_bytes()
    part = tmp_path / "part.p2u"
    assert p2u("fetch", path, part, "--tier", "affine4").code == 0
    assert p2u("inspect", part, "--json").document["complete"] == ["affine4"]
    assert p2u("get", part, "layer.0.weight", "-o", tmp_path / "w.npy").code == 0
    tensors = p2u("inspect", path, "--tensors", "--json").document["tensors"]
    found = {tensor["name"]: tensor["quantizer"] for tensor in tensors}
    assert found["layer.0.weight"] == "affine:4:group=32"
    assert found["layer.1.weight"] == "opaque"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--quantizer", "affine:9"), "9 bits"),
        (("--quantizer", "float:3"), "unknown quantizer 'float:3'"),
        (("--quantizer", "affine:4", "--only", "nothing*"), "names none of"),
        (("--quantizer", "affine:4", "--keep", "2"), "share of 2.0"),
        (("--quantizer", "affine:4", "--seed", "-1"), "seed -1"),
        (("--quantizer", "affine:4", "--tiers", "q4,exact"), "tiers q4,exact"),
        (("--keep", "0.1"), "without a quantizer"),
        (("--lossy",), "without a quantizer"),
    ],
)
def test_what_makes_no_sense_is_misuse(p2u, packed, tmp_path, options, words):
    result = p2u("pack", packed.source, tmp_path / "m.p2u", *options)
    assert result.code == 2
    assert words in result.err
    assert list(tmp_path.iterdir()) == []
