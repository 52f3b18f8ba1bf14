"""Every vector through the reference reader, the library and the installed command.

A vector that one of them does not run does not count: the numbers are checked first.
"""

import contextlib
import json
import sys
from collections import Counter

import numpy as np
import pytest
from blake3 import blake3
from safetensors import safe_open

import p2uformat

# Without these a whole family of files would go unread and no other test would tell.
SCENARIOS = {
    "bf16", "f8-e4m3-all", "f64-planes-6", "sparse", "several-blocks", "codec-classes-transposed",
    "two-pages", "truncated-base", "magic", "msgpack-nesting", "records-twice", "shape-overflow",
    "table-overlap", "chunk-id", "zstd-bomb", "layer-digest", "block-digest", "file-digest",
    "difference-f64", "difference-sparse", "version-3", "version-pages", "partial-q4",
    "parent-as-deep", "sections-symbol", "sections-digest", "affine-group", "affine-channel",
    "minifloat-half", "minifloat-transform", "ulp-specials", "lossy-affine", "codes-child",
    "quantizers-mixed", "affine-padding", "codes-bound", "lossy-block-digest", "policy-keep",
}  # fmt: skip


def test_there_are_vectors_of_every_kind(vectors):
    counts = Counter(vector.expected["valid"] for vector in vectors)
    codes = {vector.expected["error"] for vector in vectors}
    assert counts[True] >= 40
    assert counts[False] >= 40
    assert {vector.name for vector in vectors} >= SCENARIOS
    assert codes == {
        None,
        "not-an-artifact",
        "unsupported-format",
        "incomplete",
        "digest-mismatch",
        "non-canonical",
        "malformed",
        "limit-exceeded",
        "parent-required",
        "parent-mismatch",
    }


def digest(data: bytes) -> str:
    return blake3(data).hexdigest()


class TestReference:
    def test_reads_each_tier(self, reference, readable):
        for tier, expected in readable.expected["tiers"].items():
            tensors = reference.read(readable.path, tier, readable.parents)
            got = {
                name: {"dtype": dtype, "shape": list(shape), "blake3": digest(data)}
                for name, (dtype, shape, data) in tensors.items()
            }
            assert got == expected, tier

    def test_default_is_the_last_complete_tier(self, reference, readable):
        last = readable.expected["complete"][-1]
        parents = readable.parents
        found = reference.read(readable.path, None, parents)
        assert found == reference.read(readable.path, last, parents)

    def test_refuses(self, reference, refused):
        tier = "exact" if refused.readable else None
        with pytest.raises(reference.RefError) as caught:
            reference.read(refused.path, tier, refused.parents)
        assert caught.value.code == refused.expected["error"]

    @pytest.mark.parametrize(
        "name",
        [
            "names",
            "magic",
            "major",
            "truncated-manifest",
            "chunk-id",
            "msgpack-bool",
            "totals",
            "rank",
        ],
    )
    def test_command(self, run, reference_path, vectors, name):
        (vector,) = (vector for vector in vectors if vector.name == name)
        done = run(sys.executable, reference_path, vector.path)
        assert done.returncode == vector.expected["exit"]
        if vector.expected["valid"]:
            assert done.stderr == ""
            assert printed(done.stdout) == expected_lines(vector.expected["tiers"]["exact"])
        else:
            assert done.stdout == ""
            assert done.stderr.startswith(f"error: {vector.expected['error']}: ")
            assert done.stderr.count("\n") == 1

    def test_command_of_a_truncated_file(self, run, reference_path, vectors):
        (vector,) = (vector for vector in vectors if vector.name == "truncated-base")
        done = run(sys.executable, reference_path, vector.path, "--tier", "q4")
        assert done.returncode == 0
        assert printed(done.stdout) == expected_lines(vector.expected["tiers"]["q4"])
        assert run(sys.executable, reference_path, vector.path, "--tier", "exact").returncode == 6


def printed(text):
    rows = [line.split("\t") for line in text.splitlines()]
    return [[dtype, json.loads(shape), name] for _, dtype, shape, name in rows]


def expected_lines(tensors):
    rows = sorted(tensors.items(), key=lambda row: row[0].encode())
    return [[row["dtype"], row["shape"], row["blake3"]] for _, row in rows]


def verdict(vector) -> str | None:
    """Return the code of what deep verification finds first, whether raised or reported."""
    try:
        report = p2uformat.verify(vector.path, deep=True, parents=vector.parents)
    except p2uformat.P2UError as error:
        return error.code
    if report.ok:
        return None
    return report.damage[0].code if report.damage else "incomplete"


class TestLibrary:
    def test_verdict(self, vector):
        assert verdict(vector) == vector.expected["error"]

    def test_complete_tiers(self, readable):
        with p2uformat.open(readable.path, parents=readable.parents) as artifact:
            assert list(artifact.complete) == readable.expected["complete"]

    def test_reads_each_tier(self, readable):
        with p2uformat.open(readable.path, parents=readable.parents) as artifact:
            for tier, expected in readable.expected["tiers"].items():
                assert set(artifact.keys()) >= set(expected)
                for name, row in expected.items():
                    data = np.ascontiguousarray(artifact.get(name, tier=tier)).tobytes()
                    info = artifact.info(name)
                    assert (info.dtype, list(info.shape)) == (row["dtype"], row["shape"])
                    assert digest(data) == row["blake3"], (tier, name)

    def test_does_not_read_a_tier_that_is_not_whole(self, readable):
        with p2uformat.open(readable.path, parents=readable.parents) as artifact:
            for tier in set(artifact.tiers) - set(readable.expected["complete"]):
                # What travels whole is there all the same, and what a whole parent has.
                missing = set(artifact) - set(artifact.complete_tensors(tier))
                assert missing
                for name in missing:
                    with pytest.raises(p2uformat.Incomplete):
                        artifact.get(name, tier=tier)

    def test_rebuilds_source_files(self, readable, tmp_path):
        files = readable.expected["files"]
        if not files:
            pytest.skip("there are tensors only")
        result = p2uformat.unpack(readable.path, f"{tmp_path}/out/", parents=readable.parents)
        assert result.identical
        found = {
            path.relative_to(tmp_path / "out").as_posix(): digest(path.read_bytes())
            for path in (tmp_path / "out").rglob("*")
            if path.is_file()
        }
        assert found == files
        assert result.files == len(files)

    def test_a_lossy_artifact_is_rebuilt_and_not_called_exact(self, readable, tmp_path):
        if "exact" in readable.expected["tiers"] or len(readable.expected["tiers"]) != 1:
            pytest.skip("it has an exact tier")
        with p2uformat.open(readable.path) as artifact:
            if not artifact.summary.lossy:
                pytest.skip("it is cut off")
        result = p2uformat.unpack(readable.path, tmp_path / "out")
        assert not result.identical
        (expected,) = readable.expected["tiers"].values()
        found = safe_open(tmp_path / "out", framework="numpy")
        assert set(found.keys()) == set(expected)
        for name, row in expected.items():
            assert digest(np.ascontiguousarray(found.get_tensor(name)).tobytes()) == row["blake3"]

    def test_a_single_source_file_is_a_file(self, readable, tmp_path):
        files = readable.expected["files"]
        if list(files) != ["model.safetensors"]:
            pytest.skip("a folder")
        assert p2uformat.unpack(readable.path, tmp_path / "out", parents=readable.parents).identical
        assert digest((tmp_path / "out").read_bytes()) == files["model.safetensors"]

    def test_reads_or_refuses_but_never_breaks(self, refused):
        """Around damage the rest still loads; what does not load ends in an error of ours."""
        try:
            artifact = p2uformat.open(refused.path, parents=refused.parents)
        except p2uformat.P2UError:
            return
        with artifact:
            for name in artifact:
                with contextlib.suppress(p2uformat.P2UError):
                    artifact.get(name, tier="exact")


class TestCommand:
    def test_exit_code_and_document(self, vector, answers):
        code, document = answers[vector.name]
        assert code == vector.expected["exit"]
        if "error" in document:
            assert document["error"]["code"] == vector.expected["error"]
        else:
            assert document["ok"] is vector.expected["valid"]
            assert document["complete_tiers"] == vector.expected["complete"] or document["damage"]

    @pytest.mark.parametrize("name", ["bf16", "magic", "truncated-base", "chunk-id", "zstd-bomb"])
    def test_as_a_process(self, run, installed, vectors, answers, name):
        (vector,) = (vector for vector in vectors if vector.name == name)
        done = run(installed, "verify", vector.path, "--deep", "--json")
        assert (done.returncode, json.loads(done.stdout)) == answers[name]

    def test_a_whole_tier_of_a_truncated_file(self, run, installed, vectors):
        (vector,) = (vector for vector in vectors if vector.name == "truncated-base")
        assert run(installed, "verify", vector.path, "--tier", "q4").returncode == 0
        assert run(installed, "verify", vector.path, "--tier", "q8").returncode == 6
