"""``p2u inspect``: the same contract as pack, and the tensors."""

import pytest

TENSOR = {
    "name",
    "dtype",
    "shape",
    "quantizer",
    "blocks",
    "parameters",
    "bytes",
    "stored",
    "max_error",
    "rms_error",
    "steps",
}


def test_json_says_what_pack_said(p2u, packed):
    result = p2u("inspect", packed.artifact, "--json")
    assert (result.code, result.err) == (0, "")
    document = result.document
    assert document.pop("metadata") == {"format": "np", "made by": "a test"}
    assert [file["path"] for file in document.pop("files")] == ["m.safetensors"]
    assert document == packed.document


def test_json_lists_tensors_in_the_order_of_the_source(p2u, packed):
    document = p2u("inspect", packed.artifact, "--tensors", "--json").document
    tensors = {tensor["name"]: tensor for tensor in document["tensors"]}
    source = packed.source.read_bytes()
    places = [source.index(b'"%s"' % name.encode()) for name in tensors]
    assert places == sorted(places)
    assert len(tensors) == 6
    assert all(set(tensor) == TENSOR for tensor in tensors.values())
    matrix, integers = tensors["layer.0.weight"], tensors["positions"]
    assert (matrix["dtype"], matrix["shape"], matrix["bytes"]) == ("F32", [512, 256], 524288)
    assert matrix["quantizer"] == "bitplane"
    assert len(matrix["stored"]) == len(matrix["max_error"]) == len(matrix["rms_error"]) == 3
    assert (integers["dtype"], integers["quantizer"]) == ("I64", "opaque")


def test_json_has_tensors_only_if_asked(p2u, packed):
    assert "tensors" not in p2u("inspect", packed.artifact, "--json").document


def test_text_shows_tiers_and_metadata(p2u, packed):
    result = p2u("inspect", packed.artifact)
    assert (result.code, result.err) == (0, "")
    assert "complete q4, q8, exact" in result.out
    assert "metadata made by = a test" in result.out
    assert packed.document["root"] in result.out
    assert "layer.0.weight" not in result.out


def test_text_has_a_row_per_tensor_if_asked(p2u, packed):
    lines = p2u("inspect", packed.artifact, "--tensors").out.splitlines()
    row = next(line.split() for line in lines if line.startswith("layer.0.weight"))
    assert row[1:4] == ["F32", "512x256", "524,288"]
    assert next(line for line in lines if line.startswith("scale ")).split()[1:3] == [
        "F32",
        "scalar",
    ]


def test_a_truncated_file_says_which_tiers_are_whole(p2u, packed, tmp_path):
    cut = packed.cut(tmp_path / "cut.p2u", packed.ends["q8"] + 100)
    result = p2u("inspect", cut, "--json")
    assert result.code == 0
    assert result.document["complete"] == ["q4", "q8"]
    # Sizes stay those of the complete file.
    assert result.document["bytes"] == packed.document["bytes"]
    assert "q4, q8 (not whole here: exact)" in p2u("inspect", cut).out


def test_a_file_cut_in_its_manifest_is_incomplete(p2u, packed, tmp_path):
    cut = packed.cut(tmp_path / "cut.p2u", packed.document["manifest_bytes"] - 1)
    result = p2u("inspect", cut, "--json")
    assert (result.code, result.error["code"]) == (6, "incomplete")
    assert result.error["complete"] == []


@pytest.mark.parametrize("command", [("inspect",), ("verify",), ("unpack",)], ids=" ".join)
def test_files_that_cannot_be_artifacts(p2u, packed, tmp_path, command):
    def run(path):
        out = [tmp_path / "out"] if command == ("unpack",) else []
        result = p2u(*command, path, *out, "--json")
        return result.code, result.error["code"]

    assert run(tmp_path / "no.p2u") == (4, "not-found")
    assert run(packed.source) == (5, "not-an-artifact")
    newer = bytearray(packed.artifact.read_bytes())
    newer[8] = 2
    (tmp_path / "newer.p2u").write_bytes(newer)
    assert run(tmp_path / "newer.p2u") == (5, "unsupported-format")
    assert not (tmp_path / "out").exists()


def test_a_folder_is_no_artifact(p2u, tmp_path):
    result = p2u("inspect", tmp_path)
    assert result.code == 4
    assert result.err.startswith("error: ")
