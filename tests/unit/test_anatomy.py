"""Where the bytes are, to the last one."""

import json
from collections import Counter

import numpy as np
import pytest

import p2uformat
from p2uformat.container import Container


def parts_of(report):
    return {(part.tier, part.kind): part.bytes for part in report.parts}


@pytest.mark.parametrize("which", ["artifact_path", "small_path", "paged_path"])
def test_parts_add_up_to_the_file(which, request):
    path = request.getfixturevalue(which)
    report = p2uformat.anatomy(path)
    assert sum(part.bytes for part in report.parts) == path.stat().st_size
    assert all(part.bytes > 0 for part in report.parts)
    tiers = Counter()
    for part in report.parts:
        tiers[part.tier] += part.bytes
    assert tiers.pop(None) == report.summary.manifest_bytes
    assert dict(tiers) == {tier.name: tier.bytes for tier in report.summary.tiers if tier.bytes}


def test_every_kind_is_found_where_it_belongs(artifact_path):
    found = parts_of(p2uformat.anatomy(artifact_path))
    base = {"tables", "symbols", "steps", "classes", "outlier indices", "outlier values"}
    assert {kind for tier, kind in found if tier == "q4"} == base | {"exact tensors", "files"}
    assert {kind for tier, kind in found if tier == "q8"} <= {"tables", "digits"}
    last = {kind for tier, kind in found if tier == "exact"}
    assert last == {"tables", "exponents", "planes", "bits"}


def test_digits_are_half_a_byte_for_each_weight(tmp_path):
    weights = np.random.default_rng(3).standard_normal((512, 512), np.float32)
    summary = p2uformat.pack({"w": weights}, tmp_path / "m.p2u")
    found = parts_of(p2uformat.anatomy(tmp_path / "m.p2u"))
    assert found["q8", "digits"] == weights.size // 2
    assert found[None, "manifest"] == summary.manifest_bytes
    # Three streams' headers at most, of one chunk: eight bytes and eight for each.
    assert found["exact", "tables"] < 200


@pytest.mark.parametrize("threads", [1, 3])
def test_threads_change_nothing(artifact_path, threads):
    again = p2uformat.anatomy(artifact_path, threads=threads)
    assert again == p2uformat.anatomy(artifact_path, threads=2)


def test_outliers_are_counted_and_measured(tmp_path):
    weights = np.random.default_rng(1).standard_normal((128, 64), np.float32)
    weights[0, :5] = np.nan, np.inf, 1e6, -4e6, -np.inf
    p2uformat.pack({"w": weights, "few": np.ones(3, np.float32)}, tmp_path / "m.p2u")
    with p2uformat.open(tmp_path / "m.p2u") as artifact:
        steps = artifact.info("w", steps=True).steps
        report = p2uformat.anatomy(artifact)
        assert artifact.get("few").size == 3  # it stays open
    tensor, few = report.tensors
    assert (tensor.outliers, tensor.not_finite) == (5, 3)
    assert tensor.outlier_share == 5 / weights.size
    assert tensor.info.steps == steps
    assert 4e6 / 2.0 ** steps[1] <= tensor.largest_outlier <= 4e6 / 2.0 ** steps[0]
    assert (few.outliers, few.largest_outlier, few.info.steps) == (0, None, None)


def test_bits_are_stored_bits(artifact_path):
    report = p2uformat.anatomy(artifact_path)
    for tensor in report.tensors:
        count = tensor.info.parameters
        for bits, stored in zip(tensor.bits, tensor.info.stored, strict=True):
            assert bits == (8 * stored / count if count else 0)


def test_a_cut_file_says_what_is_missing(artifact_path, tmp_path):
    whole = p2uformat.anatomy(artifact_path)
    summary = whole.summary
    size = summary.manifest_bytes + summary.tiers[0].bytes
    (tmp_path / "cut.p2u").write_bytes(artifact_path.read_bytes()[:size])
    report = p2uformat.anatomy(tmp_path / "cut.p2u")
    found = parts_of(report)
    assert sum(found.values()) == summary.bytes
    assert found["q8", "missing"] == summary.tiers[1].bytes
    assert found["q4", "symbols"] == parts_of(whole)["q4", "symbols"]
    empty = p2uformat.anatomy(artifact_path.read_bytes()[: summary.manifest_bytes])
    assert {part.kind for part in empty.parts} == {"manifest", "missing"}
    assert all(tensor.outliers == 0 and tensor.info.steps is None for tensor in empty.tensors)


def test_no_tensor_no_weight(tmp_path):
    p2uformat.pack({}, tmp_path / "none.p2u")
    p2uformat.pack({"e": np.zeros((0, 4), np.float32)}, tmp_path / "empty.p2u")
    for name in ("none.p2u", "empty.p2u"):
        report = p2uformat.anatomy(tmp_path / name)
        assert sum(part.bytes for part in report.parts) == report.summary.bytes
        assert all(tensor.bits == (0.0,) * len(tensor.bits) for tensor in report.tensors)


def test_chunks_are_checked_before_they_are_looked_into(small_path):
    data = small_path.read_bytes()
    with p2uformat.open(small_path) as artifact:
        first = artifact.summary.manifest_bytes
    for at in range(first, len(data), 997):
        changed = bytearray(data)
        changed[at] ^= 4
        with pytest.raises(p2uformat.DigestMismatch) as error:
            p2uformat.anatomy(bytes(changed), threads=1)
        assert error.value.region == "chunk"
        assert error.value.tier is not None


def test_progress_counts_every_stored_byte(artifact_path):
    seen = []
    p2uformat.anatomy(artifact_path, progress=seen.append)
    summary = p2uformat.anatomy(artifact_path).summary
    assert seen[-1].done == seen[-1].total == summary.bytes - summary.manifest_bytes
    assert {step.phase for step in seen} == {"dissect"}


def test_codecs_of_difference_layers_have_a_kind_of_their_own(artifact_path):
    from p2uformat.artifact.anatomy import _Dissection, _User
    from p2uformat.codec.frame import build_frame, parse_frame

    with p2uformat.open(artifact_path) as artifact:
        dissection = _Dissection(artifact, 1, None)
        stored = dissection._contents.catalog.tensor("l.0")
        for codec in (16, 17, 18, 19):
            frame = build_frame(codec, 1, [bytes(4), b"abcdefg", b""])
            for layer in range(3):
                user = _User(stored, layer, 0)
                kinds = dissection._streams(user, codec, parse_frame(codec, frame))
                assert kinds == {"tables": 8 + 3 * 8 + 4, "differences": 7}


def test_a_base_layer_stored_raw_is_taken_apart(artifact_path):
    from p2uformat.artifact.anatomy import _Dissection, _User

    with p2uformat.open(artifact_path) as artifact:
        dissection = _Dissection(artifact, 1, None)
        reader = dissection._contents.reader
        stored = dissection._contents.catalog.tensor("odd")
        size = len(reader.payload(stored, 0, 0))
        kinds = dissection._raw(_User(stored, 0, 0), size)
        assert sum(kinds.values()) == size
        assert kinds["outlier indices"] == kinds["outlier values"] > 0


def test_it_becomes_json(artifact_path):
    report = p2uformat.anatomy(artifact_path)
    document = json.loads(json.dumps(report.to_dict()))
    assert len(document["tensors"]) == len(report.tensors)
    assert document["parts"][0]["kind"] == "manifest"


def test_layout_and_anatomy_agree(artifact_path):
    container = Container.open(artifact_path.read_bytes())
    found = Counter()
    for part in p2uformat.anatomy(artifact_path).parts:
        found[part.tier] += part.bytes
    assert [found[tier] for tier in container.tiers] == list(container.layout.tier_bytes)
