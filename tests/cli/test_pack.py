"""``p2u pack``: what it says, what it refuses, what it leaves behind."""

import json
import struct

import pytest

DOCUMENT = {
    "root": str,
    "encoding_root": str,
    "bytes": int,
    "manifest_bytes": int,
    "source_bytes": int,
    "parameters": int,
    "quantized_parameters": int,
    "complete": list,
    "parent": type(None),
    "lossy": bool,
    "policy": type(None),
    "update": type(None),
    "tiers": list,
}
TIER = {
    "name": str,
    "bytes": int,
    "bits_per_weight": float,
    "exact_bytes": int,
    "max_error": float,
    "rms_error": float,
}


def files(folder):
    return sorted(path.name for path in folder.iterdir())


def types(document):
    return {key: type(value) for key, value in document.items()}


def test_json_has_the_documented_keys(packed):
    assert types(packed.document) == DOCUMENT
    for tier in packed.document["tiers"]:
        assert types(tier) == TIER
    assert packed.document["root"].startswith("blake3:")
    assert len(packed.document["root"]) == len("blake3:") + 64


def test_json_sums_to_the_size_of_the_file(packed):
    document = packed.document
    parts = document["manifest_bytes"] + sum(tier["bytes"] for tier in document["tiers"])
    assert parts == document["bytes"] == packed.artifact.stat().st_size
    assert document["source_bytes"] == packed.source.stat().st_size


def test_json_tells_the_ladder(packed):
    document = packed.document
    assert (
        document["complete"]
        == [tier["name"] for tier in document["tiers"]]
        == ["q4", "q8", "exact"]
    )
    errors = [tier["rms_error"] for tier in document["tiers"]]
    assert errors[0] > errors[1] > errors[2] == 0
    assert 0 < document["quantized_parameters"] <= document["parameters"]
    # 512 x 256 and 256 x 128 weights, a bias of 256, 77 integers, one scalar.
    assert document["parameters"] == 131072 + 32768 + 256 + 77 + 1


def test_text_has_a_row_per_tier_then_manifest_and_total(p2u, packed, tmp_path):
    result = p2u("pack", packed.source, tmp_path / "m.p2u")
    assert (result.code, result.err) == (0, "")
    lines = result.out.splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("tier "))
    rows = [line.split() for line in lines[start + 2 :]]
    assert [row[0] for row in rows] == ["q4", "q8", "exact", "manifest", "total"]
    tiers = packed.document["tiers"]
    assert [row[1] for row in rows[:3]] == [f"{tier['bytes']:,}" for tier in tiers]
    assert rows[0][3] == f"{packed.ends['q4']:,}"
    assert rows[3][1] == f"{packed.document['manifest_bytes']:,}"
    assert rows[4][1] == rows[2][3] == f"{packed.document['bytes']:,}"
    assert packed.document["root"] in result.out


def test_tiers_and_base_bits_reach_the_library(p2u, packed, tmp_path):
    options = ("--tiers", "q3, exact", "--base-bits", "3.5", "--json")
    result = p2u("pack", packed.source, tmp_path / "m.p2u", *options)
    assert result.code == 0, result.out
    base, exact = result.document["tiers"]
    assert (base["name"], exact["name"]) == ("q3", "exact")
    assert 3.0 < base["bits_per_weight"] <= 3.6


def test_set_keeps_a_tensor_exact(p2u, packed, tmp_path):
    result = p2u(
        "pack", packed.source, tmp_path / "m.p2u", "--set", "layer.0.weight=exact", "--json"
    )
    assert result.code == 0, result.out
    before, after = packed.document["tiers"][0], result.document["tiers"][0]
    assert after["exact_bytes"] > before["exact_bytes"] + 131072
    quantized = packed.document["quantized_parameters"] - 131072
    assert result.document["quantized_parameters"] == quantized


def test_set_may_be_given_several_times(p2u, packed, tmp_path):
    options = ("--set", "layer.0.weight=bits:6", "--set", "layer.1.weight=exact", "--json")
    result = p2u("pack", packed.source, tmp_path / "m.p2u", *options)
    assert result.code == 0, result.out
    assert result.document["quantized_parameters"] == 131072


def test_a_parent_is_taken(p2u, packed, tmp_path):
    parent = p2u("pack", packed.source, tmp_path / "p.p2u", "--base-bits", "3.5", "--json").document
    options = ("--parent", tmp_path / "p.p2u", "--json")
    result = p2u("pack", packed.source, tmp_path / "c.p2u", *options)
    assert result.code == 0, result.out
    # Equal weights under the parent's steps are equal content, whatever the budget would give.
    assert result.document["root"] == parent["root"] != packed.document["root"]


def test_a_missing_parent_is_not_found(p2u, packed, tmp_path):
    result = p2u(
        "pack", packed.source, tmp_path / "m.p2u", "--parent", tmp_path / "no.p2u", "--json"
    )
    assert (result.code, result.error["code"]) == (4, "not-found")
    assert files(tmp_path) == []


def test_an_existing_destination_stays_unless_overwrite(p2u, packed, tmp_path):
    destination = tmp_path / "m.p2u"
    destination.write_bytes(b"precious")
    result = p2u("pack", packed.source, destination, "--json")
    assert (result.code, result.error["code"]) == (2, "destination-exists")
    assert destination.read_bytes() == b"precious"
    assert p2u("pack", packed.source, destination, "--overwrite").code == 0
    assert destination.read_bytes() == packed.artifact.read_bytes()


def test_the_number_of_threads_does_not_change_a_byte(p2u, packed, tmp_path):
    assert p2u("pack", packed.source, tmp_path / "1.p2u", "--threads", "1").code == 0
    assert p2u("pack", packed.source, tmp_path / "2.p2u", P2U_THREADS="2").code == 0
    expected = packed.artifact.read_bytes()
    assert (tmp_path / "1.p2u").read_bytes() == expected
    assert (tmp_path / "2.p2u").read_bytes() == expected


def test_a_missing_source_is_not_found(p2u, tmp_path):
    result = p2u("pack", tmp_path / "no.safetensors", tmp_path / "m.p2u", "--json")
    assert (result.code, result.error["code"], result.err) == (4, "not-found", "")
    assert "no.safetensors" in result.error["message"]
    assert files(tmp_path) == []


def header(**tensors):
    text = json.dumps(tensors).encode()
    return struct.pack("<Q", len(text)) + text


F32 = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
UNSOUND = {
    "empty": b"",
    "text": b"this is no checkpoint, but it is long enough to hold a length",
    "header longer than the file": struct.pack("<Q", 1 << 40) + b"{}",
    "header cut off": header(a=F32)[:20],
    "data cut off": header(a=F32) + bytes(4),
    "overlap": header(a=F32, b=F32 | {"data_offsets": [4, 12]}) + bytes(12),
    "dtype that is no name": header(a=F32 | {"dtype": 32}) + bytes(8),
    "length against shape": header(a=F32 | {"shape": [3]}) + bytes(8),
    "duplicate name": header(a=F32, b=F32 | {"data_offsets": [8, 16]}).replace(b'"b"', b'"a"')
    + bytes(16),
}


@pytest.mark.parametrize("content", UNSOUND.values(), ids=UNSOUND)
def test_an_unsound_source_is_damaged_input(p2u, tmp_path, content):
    source = tmp_path / "bad.safetensors"
    source.write_bytes(content)
    result = p2u("pack", source, tmp_path / "m.p2u", "--json")
    assert (result.code, result.error["code"]) == (3, "invalid-source")
    assert files(tmp_path) == ["bad.safetensors"]


def test_a_dtype_that_nobody_knows_is_named(p2u, tmp_path):
    source = tmp_path / "m.safetensors"
    source.write_bytes(header(a=F32 | {"dtype": "F31"}) + b"any 8 by")
    result = p2u("pack", source, tmp_path / "m.p2u", "--json")
    assert (result.code, result.error["code"]) == (3, "invalid-source")
    assert "F31" in result.error["message"]


def test_a_dtype_that_numpy_cannot_name_travels_exactly(p2u, tmp_path):
    source = tmp_path / "m.safetensors"
    four = {"dtype": "F4", "shape": [4, 4], "data_offsets": [0, 8]}
    source.write_bytes(header(a=four) + b"any 8 by")
    assert p2u("pack", source, tmp_path / "m.p2u").code == 0
    result = p2u("unpack", tmp_path / "m.p2u", tmp_path / "out", "--json")
    assert (result.code, result.document["identical"]) == (0, True)
    assert (tmp_path / "out").read_bytes() == source.read_bytes()


def test_a_destination_in_no_folder_is_not_found(p2u, packed, tmp_path):
    result = p2u("pack", packed.source, tmp_path / "no" / "m.p2u")
    assert result.code == 4
    assert result.err.startswith("error: ")
    assert result.out == ""
