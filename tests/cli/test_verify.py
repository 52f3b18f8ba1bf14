"""``p2u verify``: what is damaged, what is missing, and whose file it is."""

import pytest

REPORT = {
    "ok",
    "root",
    "authenticated",
    "checked_chunks",
    "checked_bytes",
    "complete_tiers",
    "missing_chunks",
    "parent",
    "damage",
}
DAMAGE = {"code", "file", "tensor", "tier", "elements", "region", "offset", "expected", "got"}


def in_tier(packed, name):
    """An offset in the middle of a tier's chunks."""
    size = next(tier["bytes"] for tier in packed.document["tiers"] if tier["name"] == name)
    return packed.ends[name] - size // 2


@pytest.mark.parametrize("options", [(), ("--deep",)], ids=["quick", "deep"])
def test_a_sound_file_is_self_consistent(p2u, packed, options):
    result = p2u("verify", packed.artifact, "--json", *options)
    assert (result.code, result.err) == (0, "")
    report = result.document
    assert set(report) == REPORT
    assert (report["ok"], report["authenticated"], report["damage"]) == (True, False, [])
    assert (report["root"], report["missing_chunks"]) == (packed.document["root"], 0)
    assert report["complete_tiers"] == ["q4", "q8", "exact"]
    assert report["checked_chunks"] > 0
    assert 0 < report["checked_bytes"] <= packed.document["bytes"]
    text = p2u("verify", packed.artifact, *options)
    assert text.code == 0
    assert "self-consistent, not authenticated" in text.out


def test_the_expected_root_authenticates(p2u, packed):
    options = ("--expect", packed.document["root"])
    assert p2u("verify", packed.artifact, "--json", *options).document["authenticated"] is True
    text = p2u("verify", packed.artifact, *options)
    assert text.code == 0
    assert "not authenticated" not in text.out
    assert "authenticated" in text.out


def test_another_root_is_refused(p2u, packed):
    other = "blake3:" + "0" * 64
    result = p2u("verify", packed.artifact, "--expect", other, "--json")
    assert (result.code, result.error["code"]) == (3, "root-mismatch")
    assert packed.document["root"].removeprefix("blake3:") in result.error["got"]


def test_a_root_that_is_none_is_a_usage_error(p2u, packed):
    result = p2u("verify", packed.artifact, "--expect", "sha256:00", "--json")
    assert (result.code, result.error["code"]) == (2, "invalid-argument")


def test_a_flipped_bit_is_named(p2u, packed, tmp_path):
    offset = in_tier(packed, "q8")
    bad = packed.flip(tmp_path / "bad.p2u", offset)
    result = p2u("verify", bad, "--json")
    assert result.code == 3
    report = result.document
    assert (report["ok"], report["complete_tiers"]) == (False, ["q4"])
    assert report["damage"]
    for damage in report["damage"]:
        assert set(damage) == DAMAGE
        assert (damage["tier"], damage["region"]) == ("q8", "chunk")
        assert damage["tensor"] in {"layer.0.weight", "layer.1.weight"}
        first, end = damage["elements"]
        assert 0 <= first < end <= 512 * 256
        assert damage["offset"] <= offset
        assert damage["expected"] != damage["got"]


def test_damage_has_a_line_of_its_own_in_text(p2u, packed, tmp_path):
    bad = packed.flip(tmp_path / "bad.p2u", in_tier(packed, "exact"))
    found = p2u("verify", bad, "--json").document["damage"]
    result = p2u("verify", bad)
    assert result.code == 3
    lines = [line for line in result.out.splitlines() if line.startswith("damage: ")]
    assert len(lines) == len(found)
    for line, damage in zip(lines, found, strict=True):
        assert f"tensor {damage['tensor']}, tier exact, elements {damage['elements'][0]} to" in line
        assert f"chunk at byte {damage['offset']}: expected {damage['expected']}" in line
        assert line.endswith(f"got {damage['got']}")


@pytest.mark.parametrize("offset", [20, 60, 100, 120, 140, 700])
def test_a_flipped_bit_in_the_manifest_is_damage(p2u, packed, tmp_path, offset):
    assert offset < packed.document["manifest_bytes"]
    bad = packed.flip(tmp_path / "bad.p2u", offset)
    result = p2u("verify", bad, "--json")
    assert result.code == 3
    document = result.document
    found = [document["error"]] if "error" in document else document["damage"]
    assert found[0]["region"] in {"header", "root", "page", "table"}
    assert p2u("verify", bad).code == 3


def test_a_truncated_file_is_incomplete(p2u, packed, tmp_path):
    cut = packed.cut(tmp_path / "cut.p2u", packed.ends["q4"])
    result = p2u("verify", cut, "--json")
    assert result.code == 6
    report = result.document
    assert (report["ok"], report["damage"], report["complete_tiers"]) == (False, [], ["q4"])
    assert report["missing_chunks"] > 0
    text = p2u("verify", cut)
    assert text.code == 6
    assert f"incomplete, {report['missing_chunks']} chunk" in text.out


def test_a_tier_that_is_whole_is_enough_if_asked_for(p2u, packed, tmp_path):
    cut = packed.cut(tmp_path / "cut.p2u", packed.ends["q4"])
    assert p2u("verify", cut, "--tier", "q4", "--json").code == 0
    text = p2u("verify", cut, "--tier", "q4")
    assert text.code == 0
    assert "q4 is whole" in text.out
    assert p2u("verify", cut, "--tier", "q8", "--json").code == 6
    assert p2u("verify", cut, "--tier", "exact").code == 6


def test_damage_outweighs_what_is_missing(p2u, packed, tmp_path):
    bad = packed.flip(tmp_path / "bad.p2u", in_tier(packed, "q4"))
    bad.write_bytes(bad.read_bytes()[: packed.ends["q8"]])
    assert p2u("verify", bad, "--json").code == 3


def test_bytes_behind_the_end_are_damage(p2u, packed, tmp_path):
    longer = tmp_path / "longer.p2u"
    longer.write_bytes(packed.artifact.read_bytes() + b"more")
    result = p2u("verify", longer, "--json")
    assert result.code == 3
    document = result.document
    found = [document["error"]] if "error" in document else document["damage"]
    assert found[0]["region"] == "trailing"


def test_an_unknown_tier_is_not_found(p2u, packed):
    result = p2u("verify", packed.artifact, "--tier", "q5", "--json")
    assert (result.code, result.error["code"]) == (4, "tier-not-found")
