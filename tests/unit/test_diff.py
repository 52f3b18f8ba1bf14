"""What two artifacts share, and how far apart they are."""

import json
import math

import ml_dtypes
import numpy as np
import pytest

import p2uformat


def normal(*shape, seed=0, dtype=np.float32):
    return (np.random.default_rng(seed).standard_normal(shape) * 0.02).astype(dtype)


def old_arrays():
    return {
        "same": normal(128, 64, seed=1),
        "moved": normal(128, 64, seed=2),
        "half": normal(90, 64, seed=3, dtype=np.float16),
        "brain": normal(90, 64, seed=4).astype(ml_dtypes.bfloat16),
        "large": normal(2, (1 << 19) + 7, seed=5),
        "gone": normal(64, 64, seed=6),
        "shape": normal(64, 96, seed=7),
        "type": normal(64, 64, seed=8),
        "ids": np.arange(100, dtype=np.int64),
        "few": normal(9, seed=9),
    }


def new_arrays():
    arrays = old_arrays()
    arrays["moved"] = arrays["moved"] + normal(128, 64, seed=20) * np.float32(0.01)
    arrays["half"][3, 5] *= 2
    arrays["brain"][1] = 0
    arrays["large"][1, -1] = 0.5
    arrays["shape"] = arrays["shape"].reshape(96, 64)
    arrays["type"] = arrays["type"].astype(np.float16)
    arrays["ids"][:7] += 1
    arrays["few"][2] += 1
    del arrays["gone"]
    return arrays | {"fresh": normal(70, 64, seed=21)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("diff")
    p2uformat.pack(old_arrays(), folder / "a.p2u")
    p2uformat.pack(new_arrays(), folder / "b.p2u", parent=folder / "a.p2u", self_contained=True)
    return folder


@pytest.fixture(scope="module")
def report(folder):
    return p2uformat.diff(folder / "a.p2u", folder / "b.p2u")


def by_name(report):
    return {tensor.name: tensor for tensor in report.tensors}


def test_every_tensor_has_its_status(report):
    changed = dict.fromkeys(("moved", "half", "brain", "large", "ids", "few"), "changed")
    expected = changed | {"same": "identical", "shape": "reshaped", "type": "retyped"}
    expected |= {"gone": "removed", "fresh": "added"}
    assert {name: tensor.status for name, tensor in by_name(report).items()} == expected
    assert report.tensors[-1].name == "gone"  # what only the older one has comes last
    assert (report.count("changed"), report.count("identical")) == (6, 1)
    assert not report.identical


def test_forms_are_those_of_both(report):
    tensors = by_name(report)
    assert tensors["type"].dtype == ("F32", "F16")
    assert tensors["type"].bytes == (4 * 64 * 64, 2 * 64 * 64)
    assert tensors["shape"].shape == ((64, 96), (96, 64))
    assert tensors["gone"].dtype == ("F32", None)
    assert tensors["fresh"].bytes == (0, 4 * 70 * 64)
    # Rows of 2^19 + 7 elements are two blocks each, and one element of the last one moved.
    assert (tensors["large"].blocks, tensors["large"].blocks_changed) == (4, 1)


def numpy_distance(a, b):
    a, b = a.astype(np.float64).reshape(-1), b.astype(np.float64).reshape(-1)
    return np.linalg.norm(a - b) / np.linalg.norm(a), np.abs(a - b).max()


def test_distances_are_those_that_numpy_finds(report):
    old, new, tensors = old_arrays(), new_arrays(), by_name(report)
    assert report.tier == "exact"
    for name in ("moved", "half", "brain", "large", "few"):
        found = tensors[name].distance
        relative, largest = numpy_distance(old[name], new[name])
        assert found.relative_rms == pytest.approx(relative, rel=1e-12)
        assert found.largest == largest
        bits = f"u{old[name].itemsize}"
        assert found.changed == (old[name].view(bits) != new[name].view(bits)).sum()
        assert (found.elements, found.not_finite) == (old[name].size, 0)


def test_integers_have_a_share_and_no_distance(report):
    found = by_name(report)["ids"].distance
    assert (found.changed, found.changed_share) == (7, 0.07)
    assert (found.relative_rms, found.largest) == (None, None)


def test_only_changed_tensors_are_measured(report, folder):
    measured = {tensor.name for tensor in report.tensors if tensor.distance is not None}
    assert measured == {"moved", "half", "brain", "large", "ids", "few"}
    quick = p2uformat.diff(folder / "a.p2u", folder / "b.p2u", errors=False)
    assert all(tensor.distance is None for tensor in quick.tensors)
    assert quick.tier is None
    assert quick.tiers == report.tiers


def test_threads_do_not_change_a_figure(report, folder):
    for threads in (1, 3):
        again = p2uformat.diff(folder / "a.p2u", folder / "b.p2u", threads=threads)
        assert again == report


def chunk_ids(path):
    from p2uformat.container import Container

    container = Container.open(path.read_bytes())
    entries = [entry for page in container.pages for entry in page.encoding.chunks]
    return {(entry.tier, entry.id): entry.length for entry in entries}


def test_bytes_are_those_of_equal_chunks(report, folder):
    held = {id_ for _, id_ in chunk_ids(folder / "a.p2u")}
    with p2uformat.open(folder / "b.p2u") as artifact:
        sizes = [tier.bytes for tier in artifact.summary.tiers]
    assert [tier.bytes for tier in report.tiers] == sizes
    for number, tier in enumerate(report.tiers):
        mine = {k: n for k, n in chunk_ids(folder / "b.p2u").items() if k[0] == number}
        assert tier.held_bytes == sum(n for (_, id_), n in mine.items() if id_ in held)
        assert tier.new_bytes == tier.bytes - tier.held_bytes
        assert tier.held_bytes > 0


def test_new_bytes_of_tensors_add_up(folder):
    report = p2uformat.diff(folder / "a.p2u", folder / "b.p2u", tensors="*", errors=False)
    for number, tier in enumerate(report.tiers):
        total = sum(tensor.new_bytes[number] for tensor in report.tensors)
        assert abs(total - tier.new_bytes) <= len(report.tensors)  # each is rounded


def test_layers_are_shared_under_any_name(tmp_path):
    p2uformat.pack({"w": normal(64, 64)}, tmp_path / "a.p2u")
    p2uformat.pack({"v": normal(64, 64)}, tmp_path / "b.p2u")
    report = p2uformat.diff(tmp_path / "a.p2u", tmp_path / "b.p2u")
    # The one that changed is the head of the file, in which the name stands.
    assert [(tier.shared, tier.changed) for tier in report.tiers] == [(1, 1), (1, 0), (1, 0)]
    assert [tensor.status for tensor in report.tensors] == ["added", "removed"]


def test_layers_of_the_same_place_are_changed_others_added(tmp_path):
    p2uformat.pack({"w": normal(64, 64)}, tmp_path / "a.p2u")
    p2uformat.pack({"w": normal(64, 64, seed=1), "v": normal(64, 64, seed=2)}, tmp_path / "b.p2u")
    tiers = p2uformat.diff(tmp_path / "a.p2u", tmp_path / "b.p2u").tiers
    # The base tier holds the file's head too, which changed as the names did.
    assert [(tier.changed, tier.added) for tier in tiers] == [(2, 1), (1, 1), (1, 1)]


def test_an_artifact_is_identical_to_itself(folder):
    data = (folder / "a.p2u").read_bytes()
    with p2uformat.open(folder / "a.p2u") as artifact:
        report = p2uformat.diff(artifact, data)
        assert artifact.get("few").shape == (9,)  # it stays open
    assert report.identical
    assert {tensor.status for tensor in report.tensors} == {"identical"}
    assert [tier.new_bytes for tier in report.tiers] == [0, 0, 0]
    assert [file.status for file in report.files] == ["identical"]


def test_patterns_choose_tensors_and_their_chunks(folder):
    report = p2uformat.diff(folder / "a.p2u", folder / "b.p2u", tensors=["large", "g*"])
    assert [tensor.name for tensor in report.tensors] == ["large", "gone"]
    assert report.files == ()
    assert [tier.shared + tier.changed + tier.added for tier in report.tiers] == [4, 4, 4]
    with pytest.raises(p2uformat.TensorNotFound, match="matches 'x\\*'"):
        p2uformat.diff(folder / "a.p2u", folder / "b.p2u", tensors=["g*", "x*"])


def test_values_that_are_not_finite_are_counted_apart(tmp_path):
    a = normal(100, 64)
    a[0, :3] = np.nan, np.inf, -np.inf
    b = a.copy()
    b[0, 1], b[0, 3], b[1, 0] = 1.0, np.nan, b[1, 0] + np.float32(0.25)
    p2uformat.pack({"w": a}, tmp_path / "a.p2u")
    p2uformat.pack({"w": b}, tmp_path / "b.p2u")
    (tensor,) = p2uformat.diff(tmp_path / "a.p2u", tmp_path / "b.p2u").tensors
    found = tensor.distance
    assert (found.changed, found.not_finite) == (3, 4)
    finite = np.isfinite(a) & np.isfinite(b)
    relative, largest = numpy_distance(a[finite], b[finite])
    assert (found.relative_rms, found.largest) == (pytest.approx(relative), largest)


@pytest.mark.parametrize("scale", [1e-300, 5e-324, 1e300])
def test_squares_outside_of_fp64_do_no_harm(tmp_path, scale):
    a = np.full((80, 64), 2 * scale)
    p2uformat.pack({"w": a}, tmp_path / "a.p2u")
    p2uformat.pack({"w": -a}, tmp_path / "b.p2u")
    (tensor,) = p2uformat.diff(tmp_path / "a.p2u", tmp_path / "b.p2u").tensors
    assert tensor.distance.relative_rms == pytest.approx(2.0)
    assert tensor.distance.largest == 4 * scale


def test_from_nothing_but_zeros_all_is_infinitely_far(tmp_path):
    p2uformat.pack({"w": np.zeros((80, 64), np.float32)}, tmp_path / "a.p2u")
    p2uformat.pack({"w": normal(80, 64)}, tmp_path / "b.p2u")
    (tensor,) = p2uformat.diff(tmp_path / "a.p2u", tmp_path / "b.p2u").tensors
    assert tensor.distance.relative_rms == math.inf
    # Only the sign of a zero: a bit changed, no distance.
    p2uformat.pack({"w": -np.zeros((80, 64), np.float32)}, tmp_path / "c.p2u")
    (tensor,) = p2uformat.diff(tmp_path / "a.p2u", tmp_path / "c.p2u").tensors
    assert (tensor.distance.changed, tensor.distance.relative_rms) == (80 * 64, 0.0)


def cut(path, tier, to):
    with p2uformat.open(path) as artifact:
        summary = artifact.summary
    ends = np.cumsum([summary.manifest_bytes, *(tier.bytes for tier in summary.tiers)])
    to.write_bytes(path.read_bytes()[: ends[1 + tier]])
    return to


def test_cut_files_are_compared_at_what_both_hold(folder, tmp_path):
    short = cut(folder / "b.p2u", 1, tmp_path / "b.p2u")
    shorter = cut(folder / "a.p2u", 0, tmp_path / "a.p2u")
    report = p2uformat.diff(shorter, short)
    assert report.tier == "q4"
    with p2uformat.open(shorter) as a, p2uformat.open(short) as b:
        relative, _ = numpy_distance(a.get("moved", "q4"), b.get("moved", "q4"))
    assert by_name(report)["moved"].distance.relative_rms == pytest.approx(relative)
    # A holder of the cut file has fewer chunks, and has to fetch the others.
    assert report.tiers[0].held_bytes > 0
    assert [tier.held_bytes for tier in report.tiers[1:]] == [0, 0]
    none = cut(folder / "a.p2u", -1, tmp_path / "none.p2u")
    assert p2uformat.diff(none, short).tier is None


def test_other_ladders_are_compared_where_they_can_be(folder, tmp_path):
    p2uformat.pack(old_arrays(), tmp_path / "c.p2u", tiers=("q3", "q6", "exact"))
    report = p2uformat.diff(folder / "a.p2u", tmp_path / "c.p2u")
    assert (report.same_ladder, report.tier) == (False, "exact")
    assert report.ladders == (("q4", "q8", "exact"), ("q3", "q6", "exact"))
    assert {tensor.status for tensor in report.tensors} == {"identical"}
    assert report.tiers[2].new_bytes > 0  # the same weights, other layers
    short = cut(tmp_path / "c.p2u", 1, tmp_path / "short.p2u")
    assert p2uformat.diff(folder / "a.p2u", short).tier is None


def test_damage_is_named(folder, tmp_path):
    data = bytearray((folder / "b.p2u").read_bytes())
    data[-5] ^= 1
    with pytest.raises(p2uformat.DigestMismatch) as error:
        p2uformat.diff(folder / "a.p2u", bytes(data))
    assert (error.value.tier, error.value.region) == ("exact", "chunk")
    assert error.value.tensor in new_arrays()
    assert error.value.elements is not None
    # What is not read is not found: that is for `verify`.
    assert p2uformat.diff(folder / "a.p2u", bytes(data), errors=False).count("changed") == 6


def test_a_damaged_page_is_named_for_nothing_can_be_said_of_it(paged_path):
    data = bytearray(paged_path.read_bytes())
    data[data.index(b"t.350")] ^= 1
    broken = bytes(data)
    with p2uformat.open(broken):
        pass
    for pair in ((paged_path, broken), (broken, paged_path)):
        with pytest.raises(p2uformat.DigestMismatch) as error:
            p2uformat.diff(*pair)
        assert error.value.region == "page"


def test_progress_ends_at_its_total(folder):
    seen = []
    p2uformat.diff(folder / "a.p2u", folder / "b.p2u", progress=seen.append)
    assert {step.phase for step in seen} == {"compare"}
    assert seen[-1].done == seen[-1].total == max(step.total for step in seen)


def test_the_report_becomes_json(report):
    document = json.loads(json.dumps(report.to_dict()))
    assert [tensor["name"] for tensor in document["tensors"]] == [t.name for t in report.tensors]
    assert document["tiers"][0]["new_bytes"] == report.tiers[0].new_bytes
