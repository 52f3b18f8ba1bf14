"""``p2u diff``: the same figures as the library's, for people and for programs."""

import json
import re

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import p2uformat


@pytest.fixture(scope="module")
def newer(p2u, packed, tmp_path_factory):
    """The model of `packed`, a matrix of it changed, one tensor gone and one new."""
    folder = tmp_path_factory.mktemp("newer")
    arrays = load_file(packed.source)
    arrays["layer.1.weight"][5] += np.float16(0.25)
    arrays["fresh"] = arrays.pop("layer.0.bias")[:200]
    save_file(arrays, folder / "m.safetensors", metadata={"format": "np"})
    result = p2u(
        "pack",
        folder / "m.safetensors",
        folder / "n.p2u",
        "--parent",
        packed.artifact,
        "--self-contained",
        "--json",
    )
    assert result.code == 0
    return folder / "n.p2u"


def test_json_is_what_the_library_says(p2u, packed, newer):
    result = p2u("diff", packed.artifact, newer, "--json")
    assert (result.code, result.err) == (0, "")
    report = p2uformat.diff(packed.artifact, newer)
    assert result.document == json.loads(json.dumps(report.to_dict()))
    statuses = {tensor["name"]: tensor["status"] for tensor in result.document["tensors"]}
    assert statuses == {
        "layer.0.weight": "identical",
        "layer.1.weight": "changed",
        "positions": "identical",
        "empty": "identical",
        "scale": "identical",
        "fresh": "added",
        "layer.0.bias": "removed",
    }


def row(text, name):
    return next(line.split() for line in text.splitlines() if line.startswith(name + " "))


def test_text_begins_with_totals_and_lists_what_is_not_identical(p2u, packed, newer):
    result = p2u("diff", packed.artifact, newer)
    assert (result.code, result.err) == (0, "")
    assert "tensors  4 identical, 1 changed, 1 added, 1 removed\n" in result.out
    assert "values   compared at exact\n" in result.out
    report = p2uformat.diff(packed.artifact, newer)
    tier = report.tiers[1]
    counts = (tier.shared, tier.changed, tier.added, tier.bytes, tier.held_bytes, tier.new_bytes)
    assert row(result.out, "q8")[1:7] == [f"{count:,}" for count in counts]
    new = sum(tier.new_bytes for tier in report.tiers) + report.manifest_bytes
    assert row(result.out, "total")[-1] == f"{new:,}"
    assert row(result.out, "layer.1.weight")[1:3] == ["changed", "F16"]
    assert row(result.out, "layer.0.bias")[1] == "removed"
    assert "positions" not in result.out
    assert row(result.out, "m.safetensors")[1] == "changed"


def test_all_lists_identical_ones_too(p2u, packed, newer):
    result = p2u("diff", packed.artifact, newer, "--all")
    assert row(result.out, "positions")[1:4] == ["identical", "I64", "77"]


def test_without_errors_nothing_is_compared(p2u, packed, newer):
    document = p2u("diff", packed.artifact, newer, "--no-errors", "--json").document
    assert document["tier"] is None
    assert all(tensor["distance"] is None for tensor in document["tensors"])
    assert "values   not compared\n" in p2u("diff", packed.artifact, newer, "--no-errors").out


def test_only_what_is_asked_for(p2u, packed, newer):
    document = p2u("diff", packed.artifact, newer, "--tensors", "layer.1*", "--json").document
    assert [tensor["name"] for tensor in document["tensors"]] == ["layer.1.weight"]
    result = p2u("diff", packed.artifact, newer, "--tensors", "nothing*", "--json")
    assert (result.code, result.error["code"]) == (4, "tensor-not-found")


def test_the_same_file_differs_in_nothing(p2u, packed):
    result = p2u("diff", packed.artifact, packed.artifact, "--json")
    assert (result.code, result.document["identical"]) == (0, True)
    assert result.document["new_manifest_bytes"] == 0
    text = p2u("diff", packed.artifact, packed.artifact).out
    assert "(the same content)" in text
    assert row(text, "total")[-2:] == ["0", "0"]


def test_other_ladders_are_named(p2u, packed, tmp_path):
    other = tmp_path / "o.p2u"
    assert p2u("pack", packed.source, other, "--tiers", "q3,exact").code == 0
    result = p2u("diff", packed.artifact, other)
    assert "tiers    q4, q8, exact in A, q3, exact in B" in result.out


def test_a_cut_file_is_compared_at_the_tier_that_it_holds(p2u, packed, newer, tmp_path):
    cut = packed.cut(tmp_path / "cut.p2u", packed.ends["q4"])
    result = p2u("diff", cut, newer, "--json")
    assert (result.code, result.document["tier"]) == (0, "q4")


def test_damage_ends_with_its_place(p2u, packed, newer, tmp_path):
    # The last chunk of a file is of the exact tier, and read where its tensor changed.
    damaged = bytearray(newer.read_bytes())
    damaged[-3] ^= 1
    (tmp_path / "d.p2u").write_bytes(damaged)
    result = p2u("diff", packed.artifact, tmp_path / "d.p2u", "--json")
    assert (result.code, result.error["code"]) == (3, "digest-mismatch")
    assert (result.error["tensor"], result.error["tier"]) == ("layer.1.weight", "exact")
    assert result.error["elements"] == [0, 256 * 128]


def test_files_that_are_not_there_or_no_artifacts(p2u, packed, tmp_path):
    result = p2u("diff", packed.artifact, tmp_path / "no.p2u", "--json")
    assert (result.code, result.error["code"]) == (4, "not-found")
    result = p2u("diff", packed.source, packed.artifact, "--json")
    assert (result.code, result.error["code"]) == (5, "not-an-artifact")


def test_names_cannot_act_on_the_terminal(p2u, tmp_path):
    name = "a\x1b[2J\u202ename"
    for number in (1, 2):
        arrays = {name: np.full((9,), number, np.float32)}
        p2uformat.pack(arrays, tmp_path / f"{number}.p2u")
    out = p2u("diff", tmp_path / "1.p2u", tmp_path / "2.p2u").out
    assert r"a\x1b[2J\u202ename" in out
    assert not re.search("[\x1b\u202e]", out)
