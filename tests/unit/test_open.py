import threading

import ml_dtypes
import numpy as np
import pytest

import p2uformat
from p2uformat.errors import (
    InvalidArgument,
    NotAnArtifact,
    NotFound,
    StoreUnavailable,
    TensorNotFound,
    TierNotFound,
)


@pytest.fixture
def artifact(artifact_path):
    with p2uformat.open(artifact_path, threads=2) as artifact:
        yield artifact


def test_it_says_what_it_is(artifact, arrays, checkpoint):
    assert artifact.tiers == artifact.complete == ("q4", "q8", "exact")
    assert artifact.metadata == {"format": "pt"}
    assert len(artifact) == len(arrays)
    assert set(artifact) == set(artifact.keys()) == set(arrays)
    assert "l.0" in artifact
    assert "none" not in artifact
    assert artifact.summary.source_bytes == checkpoint.stat().st_size
    assert artifact.summary.to_dict()["root"] == artifact.root
    assert "q4+q8+exact" in repr(artifact)


def test_figures_add_up(artifact, artifact_path):
    summary = artifact.summary
    tiers = sum(tier.bytes for tier in summary.tiers)
    assert summary.manifest_bytes + tiers == summary.bytes == artifact_path.stat().st_size
    infos = [artifact.info(name) for name in artifact]
    assert summary.parameters == sum(info.parameters for info in infos)
    quantized = [info for info in infos if info.quantizer == "bitplane"]
    assert summary.quantized_parameters == sum(info.parameters for info in quantized)
    for number, tier in enumerate(summary.tiers):
        shared = sum(info.stored[number] for info in quantized)
        assert tier.bits_per_weight == pytest.approx(
            8 * shared / summary.quantized_parameters, rel=1e-3
        )
        assert tier.max_error == max(info.max_error[number] for info in infos)
    assert summary.tiers[-1].max_error == summary.tiers[-1].rms_error == 0
    assert summary.tiers[0].rms_error > 8 * summary.tiers[1].rms_error > 0


def test_exact_is_exact(artifact, arrays):
    for name, array in arrays.items():
        for tier in (None, "exact"):
            got = artifact.get(name, tier)
            assert got.dtype == array.dtype
            assert got.shape == array.shape
            assert got.flags.c_contiguous
            assert got.flags.writeable
            assert got.tobytes() == array.tobytes()


@pytest.mark.parametrize("tier", ["q4", "q8"])
def test_errors_are_as_recorded(artifact, arrays, tier):
    number = artifact.tiers.index(tier)
    for name, array in arrays.items():
        info = artifact.info(name)
        got = artifact.get(name, tier)
        if info.quantizer == "opaque":
            assert got.tobytes() == array.tobytes()
            continue
        want = array.astype(np.float64)
        finite = np.isfinite(want)
        off = np.abs(got[finite].astype(np.float64) - want[finite])
        assert off.max() <= info.max_error[number]
        assert np.array_equal(got[~finite], array[~finite], equal_nan=True)
        # The recorded sum is of differences before any rounding to the source dtype.
        error = artifact.get(name, tier, dtype="F64")[finite] - want[finite]
        relative = np.sqrt((error**2).sum() / (want[finite] ** 2).sum())
        assert relative == pytest.approx(info.rms_error[number], rel=0.01)


@pytest.mark.parametrize("name", ["l.0", "wide", "wider", "ids", "half", "empty"])
@pytest.mark.parametrize(
    "rows",
    [(0, 1), (1, 2), (0, 0), (5, 3), (-1, None), slice(None), slice(3, 17), slice(-9, 10**9)],
)
def test_rows_are_a_slice(artifact, arrays, name, rows):
    cut = rows if isinstance(rows, slice) else slice(*rows)
    for tier in ("q4", "exact"):
        got = artifact.get(name, tier, rows)
        want = artifact.get(name, tier)[cut]
        assert got.shape == want.shape
        assert got.tobytes() == want.tobytes()


def test_only_what_is_needed_is_read(artifact, arrays, monkeypatch):
    offsets = []
    file = artifact._contents.container.file
    for way in ("read", "readinto"):
        known = getattr(type(file), way)
        noted = lambda *a, known=known: offsets.append(a[1]) or known(*a)  # noqa: E731
        monkeypatch.setattr(type(file), way, noted)
    artifact.get("wider", "exact", (1, 2))
    whole = len(offsets)
    offsets.clear()
    artifact.get("wider", "q4", (1, 2))
    assert 0 < len(offsets) < whole


@pytest.mark.parametrize("rows", [slice(0, 4, 2), (0, 4, 2), 3, "ab", (1.5, 2), (1, 2, 3, 4)])
def test_other_rows_are_refused(artifact, rows):
    with pytest.raises(InvalidArgument):
        artifact.get("l.0", rows=rows)


def test_a_number_has_no_rows(artifact):
    assert artifact.get("scalar") == np.float32(1.5)
    with pytest.raises(InvalidArgument):
        artifact.get("scalar", rows=(0, 1))


@pytest.mark.parametrize("dtype", ["F32", "float16", "bfloat16", np.float64, ml_dtypes.float8_e5m2])
def test_floats_convert(artifact, arrays, dtype):
    name = dtype if isinstance(dtype, str) else np.dtype(dtype).name
    for tensor in ("l.0", "half", "brain", "scalar"):
        got = artifact.get(tensor, dtype=dtype)
        assert got.dtype.name == {"F32": "float32"}.get(name, name)
    assert np.array_equal(artifact.get("half", dtype="F64"), arrays["half"].astype(np.float64))


def test_other_conversions_are_refused(artifact, arrays):
    assert artifact.get("ids", dtype="int64").tobytes() == arrays["ids"].tobytes()
    for name, dtype in (("ids", "F32"), ("l.0", "I32"), ("l.0", "nonsense"), ("l.0", object())):
        with pytest.raises(InvalidArgument):
            artifact.get(name, dtype=dtype)


def test_unknown_names_are_told(artifact):
    with pytest.raises(TensorNotFound, match="did you mean 'half'"):
        artifact.get("halv")
    with pytest.raises(TensorNotFound):
        artifact.info("\ud800")
    with pytest.raises(TierNotFound, match="it has q4, q8, exact"):
        artifact.get("half", "q5")


def test_steps_are_read_on_demand(artifact):
    assert artifact.info("l.0").steps is None
    low, high = artifact.info("l.0", steps=True).steps
    assert low <= high
    assert artifact.info("l.0").max_error[0] == 2.0**high
    assert artifact.info("ids", steps=True).steps is None


def test_many_threads_read_one_artifact(artifact, arrays):
    wrong = []

    def read(name):
        if artifact.get(name).tobytes() != arrays[name].tobytes():
            wrong.append(name)

    threads = [threading.Thread(target=read, args=(name,)) for name in [*arrays] * 3]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_closed_artifact_says_so(artifact_path):
    artifact = p2uformat.open(artifact_path)
    artifact.close()
    with pytest.raises(InvalidArgument, match="closed"):
        artifact.get("l.0")


def test_what_is_no_artifact_is_refused(tmp_path, checkpoint):
    with pytest.raises(NotFound):
        p2uformat.open(tmp_path / "none")
    with pytest.raises(StoreUnavailable):
        p2uformat.open(tmp_path)
    with pytest.raises(NotAnArtifact):
        p2uformat.open(checkpoint)
    with pytest.raises(InvalidArgument):
        p2uformat.open(tmp_path / "x", threads=0)
