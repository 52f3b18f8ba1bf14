"""Whole files: every kind of tensor, every kind of ladder, byte for byte."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy

import p2uformat
from p2uformat.errors import InvalidArgument, InvalidSource

SIZES = {"F4": 0.5}


def write_safetensors(
    path: Path, tensors: dict[str, tuple[str, tuple[int, ...], bytes]], **metadata: str
) -> Path:
    """Write a file by hand: any dtype name, any bytes, an odd header."""
    head: dict[str, Any] = {"__metadata__": metadata} if metadata else {}
    offset = 0
    for name, (dtype, shape, data) in tensors.items():
        head[name] = {
            "dtype": dtype,
            "shape": list(shape),
            "data_offsets": [offset, offset + len(data)],
        }
        offset += len(data)
    text = json.dumps(head).encode() + b"   "
    body = b"".join(data for *_, data in tensors.values())
    path.write_bytes(struct.pack("<Q", len(text)) + text + body)
    return path


def _f32(values: Any) -> tuple[str, tuple[int, ...], bytes]:
    array = np.asarray(values, np.float32, order="C")
    return "F32", array.shape, array.tobytes()


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file with a tensor of every kind."""
    rng = np.random.default_rng(0)
    normal = rng.standard_normal
    pruned = normal((128, 128)).astype(np.float16)
    pruned[rng.random((128, 128)) < 0.9] = 0
    wild = normal(6000).astype(np.float32)
    wild[::7] *= 1e20
    wild[::11] = np.inf
    wild[::13] = -np.inf
    wild[::17] = np.nan
    tensors = {
        "empty": _f32(np.empty((0, 5))),
        "scalar": _f32(np.float32(3.5)),
        "odd.shape": _f32(normal((7, 11, 13, 9)) * 0.02),
        "zeros": _f32(np.zeros((64, 128))),
        "minus.zeros": _f32(-np.zeros((64, 128))),
        "constant": _f32(np.full((64, 128), 1.0)),
        "wild": _f32(wild),
        "long.row": _f32(normal((2, 600_000)) * 1e-3),
        "flat": _f32(normal(70_000)),
        "transposed": _f32((normal((90, 70)) * 0.1).T),
        "subnormal": _f32(normal((80, 80)) * 1e-40),
        "big": _f32(normal((80, 80)) * 1e37),
        "random.bits": ("F16", (8192,), rng.bytes(16384)),
        "pruned": ("F16", (128, 128), pruned.tobytes()),
        "half": ("F16", (100, 100), (normal((100, 100)) * 1e-4).astype(np.float16).tobytes()),
        "bf16": ("BF16", (300, 40), normal((300, 40)).astype(ml_dtypes.bfloat16).tobytes()),
        "double": ("F64", (90, 60), normal((90, 60)).tobytes()),
        "e4m3": ("F8_E4M3", (128, 64), normal((128, 64)).astype(ml_dtypes.float8_e4m3fn).tobytes()),
        "e5m2": ("F8_E5M2", (128, 64), normal((128, 64)).astype(ml_dtypes.float8_e5m2).tobytes()),
        "all.e4m3": ("F8_E4M3", (32, 256), bytes(range(256)) * 32),
        "ints": ("I64", (1, 512), np.arange(512).tobytes()),
        "bools": ("BOOL", (5,), bytes([1, 0, 1, 1, 0])),
        "bytes": ("U8", (300_000,), rng.bytes(300_000)),
        "four.bits": ("F4", (100, 2), rng.bytes(100)),
        "nürnberg \u202e[red]": _f32(normal((70, 70))),
    }
    path = tmp_path_factory.mktemp("zoo") / "zoo.safetensors"
    return write_safetensors(path, tensors, format="pt", note="häßlich")


@pytest.mark.parametrize(
    "tiers",
    ["q4,q8,exact", "q4,exact", "q2,q3,q4,q6,q8,exact", "q4,q16,exact", "q1,q24,exact", "q8,exact"],
)
def test_every_kind_of_tensor_returns(zoo: Path, tmp_path: Path, tiers: str) -> None:
    summary = p2uformat.pack(zoo, tmp_path / "zoo.p2u", tiers=tiers)
    assert summary.manifest_bytes + sum(tier.bytes for tier in summary.tiers) == summary.bytes
    assert summary.bytes == (tmp_path / "zoo.p2u").stat().st_size
    report = p2uformat.verify(tmp_path / "zoo.p2u", deep=True)
    assert report.ok, report.damage[:3]
    result = p2uformat.unpack(tmp_path / "zoo.p2u", tmp_path / "back.safetensors")
    assert result.identical
    assert (tmp_path / "back.safetensors").read_bytes() == zoo.read_bytes()


def _alone(zoo: Path, tmp_path: Path, name: str, **options: Any) -> tuple[int, int]:
    """Return the stored and the source bytes of one tensor of the zoo, packed by itself."""
    p2uformat.pack(zoo, tmp_path / "zoo.p2u", overwrite=True)
    with p2uformat.open(tmp_path / "zoo.p2u") as art:
        info, data = art.info(name), art.get(name)
    source = write_safetensors(
        tmp_path / "one.safetensors", {name: (info.dtype, info.shape, data.tobytes())}
    )
    summary = p2uformat.pack(source, tmp_path / "one.p2u", overwrite=True, **options)
    return sum(tier.bytes for tier in summary.tiers), info.bytes


@pytest.mark.parametrize("name", ["zeros", "minus.zeros", "constant"])
def test_tensors_of_one_value_take_next_to_nothing(zoo: Path, tmp_path: Path, name: str) -> None:
    stored, _ = _alone(zoo, tmp_path, name)
    assert stored < 800


@pytest.mark.parametrize("name", ["random.bits", "wild", "all.e4m3", "bytes", "big"])
def test_nothing_grows(zoo: Path, tmp_path: Path, name: str) -> None:
    stored, source = _alone(zoo, tmp_path, name)
    assert stored <= source + 400


def test_pruned_tensors_stay_small(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for minus, limit in ((False, 0.16), (True, 0.20)):
        values = (rng.standard_normal((1024, 1024)) * 0.02).astype(np.float16)
        mask = rng.random(values.shape) < 0.9
        values[mask] = values[mask] * np.float16(0) if minus else 0
        source = write_safetensors(
            tmp_path / "m.safetensors", {"w": ("F16", values.shape, values.tobytes())}
        )
        summary = p2uformat.pack(source, tmp_path / "m.p2u", overwrite=True)
        assert summary.bytes <= limit * values.nbytes


def test_packing_twice_gives_the_same_bytes_whatever_the_threads(zoo: Path, tmp_path: Path) -> None:
    p2uformat.pack(zoo, tmp_path / "a.p2u", threads=1)
    p2uformat.pack(zoo, tmp_path / "b.p2u", threads=3)
    assert (tmp_path / "a.p2u").read_bytes() == (tmp_path / "b.p2u").read_bytes()


def _model(path: Path, seed: int, shapes: dict[str, tuple[int, ...]], noise: float = 0.0) -> Path:
    rng = np.random.default_rng(seed)
    drift = np.random.default_rng(seed + 1)
    tensors = {}
    for name, shape in shapes.items():
        values = rng.standard_normal(shape) * 0.02
        tensors[name] = _f32(values * (1 + noise * drift.standard_normal(shape)))
    return write_safetensors(path, tensors)


SHAPES = {"a.weight": (256, 128), "b.weight": (512, 256), "c.weight": (64, 300)}


@pytest.mark.parametrize("bits", [2.5, 3.0, 4.0, 4.5, 6.0])
def test_base_tier_keeps_its_budget(tmp_path: Path, bits: float) -> None:
    source = _model(tmp_path / "m.safetensors", 1, SHAPES)
    summary = p2uformat.pack(source, tmp_path / "m.p2u", base_bits=bits)
    assert bits - 0.15 < summary.tiers[0].bits_per_weight <= bits


@pytest.mark.parametrize("minus", [False, True])
@pytest.mark.parametrize("dtype", [ml_dtypes.float8_e4m3fn, np.float16])
def test_budget_holds_where_blocks_are_sparse(tmp_path: Path, dtype: Any, minus: bool) -> None:
    rng = np.random.default_rng(11)
    values = rng.standard_normal((640, 512)) * 0.01
    values[rng.random(values.shape) < 0.05] = 0
    if not minus:
        values = np.where(np.abs(values) < 0.001, 0.0, values)
    summary = p2uformat.pack({"w": values.astype(dtype)}, tmp_path / "m.p2u", tiers="q4,exact")
    assert 3.5 < summary.tiers[0].bits_per_weight <= 4.0


def test_reported_errors_are_the_measured_ones(tmp_path: Path) -> None:
    source = _model(tmp_path / "m.safetensors", 2, SHAPES)
    p2uformat.pack(source, tmp_path / "m.p2u")
    with p2uformat.open(tmp_path / "m.p2u") as art:
        for number, tier in enumerate(art.tiers[:-1]):
            told = art.summary.tiers[number]
            error = energy = worst = 0.0
            for name in art.keys():  # noqa: SIM118
                exact = art.get(name).astype(np.float64)
                gap = art.get(name, tier=tier).astype(np.float64) - exact
                error += float((gap**2).sum())
                energy += float((exact**2).sum())
                worst = max(worst, float(np.abs(gap).max()))
            assert told.rms_error == pytest.approx((error / energy) ** 0.5, rel=0.01)
            assert worst <= told.max_error


def test_each_finer_tier_is_closer(tmp_path: Path) -> None:
    source = _model(tmp_path / "m.safetensors", 3, SHAPES)
    tiers = "q2,q3,q4,q6,q8,exact"
    summary = p2uformat.pack(source, tmp_path / "m.p2u", tiers=tiers)
    errors = [tier.rms_error for tier in summary.tiers]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] == 0.0
    assert summary.tiers[4].rms_error < 0.005 * 1.5


def test_overrides(tmp_path: Path) -> None:
    source = _model(tmp_path / "m.safetensors", 4, SHAPES)
    p2uformat.pack(
        source,
        tmp_path / "m.p2u",
        overrides={"a.*": "exact", "b.*": "bits:6", "c.*": "weight:4"},
    )
    with p2uformat.open(tmp_path / "m.p2u") as art:
        assert art.info("a.weight").quantizer == "opaque"
        assert art.info("b.weight").rms_error[0] < art.info("c.weight").rms_error[0] / 2
        exact = np.frombuffer(source.read_bytes()[-4 * 64 * 300 :], np.float32)
        assert np.array_equal(art.get("c.weight").reshape(-1), exact)
        assert np.array_equal(art.get("a.weight", tier="q4"), art.get("a.weight"))


def test_sensitivity_by_glob_and_by_function(tmp_path: Path) -> None:
    source = _model(tmp_path / "m.safetensors", 5, SHAPES)
    weights = {"b.*": 64.0}
    first = p2uformat.pack(source, tmp_path / "a.p2u", sensitivity=weights)
    second = p2uformat.pack(
        source, tmp_path / "b.p2u", sensitivity=lambda name: 64.0 if name[0] == "b" else 1.0
    )
    plain = p2uformat.pack(source, tmp_path / "c.p2u")
    assert first.root == second.root != plain.root
    with p2uformat.open(tmp_path / "a.p2u") as art, p2uformat.open(tmp_path / "c.p2u") as flat:
        assert art.info("b.weight").rms_error[0] < flat.info("b.weight").rms_error[0]


def test_a_child_keeps_its_parents_grid(tmp_path: Path) -> None:
    parent = _model(tmp_path / "v1.safetensors", 6, SHAPES)
    child = _model(tmp_path / "v2.safetensors", 6, SHAPES, noise=0.001)
    p2uformat.pack(parent, tmp_path / "v1.p2u")
    p2uformat.pack(child, tmp_path / "v2.p2u", parent=tmp_path / "v1.p2u", self_contained=True)
    with p2uformat.open(tmp_path / "v1.p2u") as one, p2uformat.open(tmp_path / "v2.p2u") as two:
        for name in SHAPES:
            assert one.info(name).steps == two.info(name).steps
            near = np.isclose(one.get(name, tier="q4"), two.get(name, tier="q4"), rtol=0.01)
            assert near.mean() > 0.98
    again = p2uformat.pack(parent, tmp_path / "same.p2u", parent=tmp_path / "v1.p2u")
    with p2uformat.open(tmp_path / "v1.p2u") as one:
        assert again.root == one.root


def test_a_parents_grid_is_left_where_it_does_not_fit(tmp_path: Path) -> None:
    parent = _model(tmp_path / "v1.safetensors", 7, SHAPES)
    loud = {
        name: _f32(np.random.default_rng(8).standard_normal(shape) * 2.0)
        for name, shape in SHAPES.items()
    }
    child = write_safetensors(tmp_path / "v2.safetensors", loud)
    p2uformat.pack(parent, tmp_path / "v1.p2u")
    summary = p2uformat.pack(child, tmp_path / "v2.p2u", parent=tmp_path / "v1.p2u")
    assert summary.tiers[0].bits_per_weight <= 4.0


def test_equal_blocks_are_stored_once(tmp_path: Path) -> None:
    values = np.random.default_rng(9).standard_normal((512, 512)) * 0.02
    one = write_safetensors(tmp_path / "one.safetensors", {"a": _f32(values)})
    two = write_safetensors(tmp_path / "two.safetensors", {"a": _f32(values), "b": _f32(values)})
    small = p2uformat.pack(one, tmp_path / "one.p2u")
    large = p2uformat.pack(two, tmp_path / "two.p2u")
    assert large.bytes < small.bytes + 1500


@pytest.mark.parametrize(
    "options",
    [
        {"tiers": "q4,q8"},
        {"tiers": "exact"},
        {"tiers": "q8,q4,exact"},
        {"tiers": "q4,q4,exact"},
        {"tiers": "q9,exact"},
        {"tiers": "q1,q40,exact"},
        {"tiers": "best,exact"},
        {"base_bits": 0.1},
        {"base_bits": float("nan")},
        {"overrides": {"*": "bits:x"}},
        {"overrides": {"*": "soft"}},
        {"sensitivity": {"*": -1.0}},
        {"threads": 0},
    ],
)
def test_options_that_make_no_sense(tmp_path: Path, options: dict[str, Any]) -> None:
    source = _model(tmp_path / "m.safetensors", 1, SHAPES)
    with pytest.raises(InvalidArgument):
        p2uformat.pack(source, tmp_path / "m.p2u", **options)
    assert not (tmp_path / "m.p2u").exists()


def test_nothing_is_left_when_the_source_is_bad(tmp_path: Path) -> None:
    source = tmp_path / "m.safetensors"
    source.write_bytes(b"\xff" * 100)
    with pytest.raises(InvalidSource):
        p2uformat.pack(source, tmp_path / "m.p2u")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.safetensors"]


def test_progress_counts_every_phase_to_its_end(tmp_path: Path) -> None:
    source = _model(tmp_path / "m.safetensors", 1, SHAPES)
    seen: list[p2uformat.Progress] = []
    p2uformat.pack(source, tmp_path / "m.p2u", progress=seen.append)
    phases = list(dict.fromkeys(step.phase for step in seen))
    assert phases == ["plan", "encode", "assemble"]
    for phase in phases:
        steps = [step for step in seen if step.phase == phase]
        assert len({step.total for step in steps}) == 1
        assert steps[-1].done == steps[-1].total
        assert [step.done for step in steps] == sorted(step.done for step in steps)


def test_an_interrupted_pack_leaves_nothing(tmp_path: Path) -> None:
    source = _model(tmp_path / "m.safetensors", 1, SHAPES)

    def interrupt(step: p2uformat.Progress) -> None:
        if step.phase == "assemble":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        p2uformat.pack(source, tmp_path / "m.p2u", progress=interrupt)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.safetensors"]


def test_dtype_of_the_result(zoo: Path, tmp_path: Path) -> None:
    p2uformat.pack(zoo, tmp_path / "zoo.p2u")
    with p2uformat.open(tmp_path / "zoo.p2u") as art:
        assert art.get("bf16").dtype == ml_dtypes.bfloat16
        assert art.get("bf16", tier="q4", dtype="float32").dtype == np.float32
        assert art.get("scalar").shape == ()
        assert art.get("empty").shape == (0, 5)
        whole = art.get("odd.shape", tier="q8")
        assert np.array_equal(art.get("odd.shape", tier="q8", rows=(2, 5)), whole[2:5])
        assert art.metadata == {"format": "pt", "note": "häßlich"}


def test_arrays_of_any_strides_are_packed(tmp_path: Path) -> None:
    rng = np.random.default_rng(10)
    base = rng.standard_normal((200, 300)).astype(np.float32)
    arrays = {
        "fortran": np.asfortranarray(base),
        "strided": base[::2, ::3],
        "reversed": base[::-1],
        "big.endian": base.astype(">f4"),
        "bf16": base.astype(ml_dtypes.bfloat16).T,
        "scalar": np.array(7, np.int64),
        "empty": base[:0],
    }
    p2uformat.pack(arrays, tmp_path / "m.p2u")
    with p2uformat.open(tmp_path / "m.p2u") as art:
        for name, array in arrays.items():
            assert np.array_equal(art.get(name), array), name
    result = p2uformat.unpack(tmp_path / "m.p2u", tmp_path / "m.safetensors")
    assert result.identical
    loaded = safetensors.numpy.load_file(tmp_path / "m.safetensors")
    assert np.array_equal(loaded["strided"], arrays["strided"])


@pytest.mark.parametrize("bad", [{1: np.zeros(3)}, {"a": [1.0]}, {"a": np.array(["x"])}])
def test_what_is_no_array_is_refused(tmp_path: Path, bad: Any) -> None:
    with pytest.raises(InvalidArgument):
        p2uformat.pack(bad, tmp_path / "m.p2u")


def test_a_tensor_of_more_blocks_than_a_record_holds(tmp_path: Path) -> None:
    block = 1 << 19
    big = np.zeros(1026 * block + 7, np.uint8)  # the system gives its pages out only when touched
    big[::block] = np.arange(1027) % 251
    source = {"big": big, "small": np.arange(10)}
    p2uformat.pack(source, tmp_path / "m.p2u")
    assert p2uformat.verify(tmp_path / "m.p2u").ok
    with p2uformat.open(tmp_path / "m.p2u") as art:
        assert art.info("big").blocks == 1027
        for start in (0, 1024 * block - 5, 1026 * block):
            rows = (start, start + 7)
            assert np.array_equal(art.get("big", rows=rows), big[start : start + 7])
        assert np.array_equal(art.get("small"), source["small"])


@pytest.mark.parametrize("shape", [(3000, 96), (288000,), (48, 6000), (6, 100, 480)])
def test_the_same_bytes_in_another_shape_come_back(tmp_path, shape):
    weights = (np.random.default_rng(0).standard_normal((96, 3000)) * 0.04).astype(np.float16)
    other = weights.reshape(shape).copy()
    p2uformat.pack({"a": weights, "b": other}, tmp_path / "m.p2u")
    assert p2uformat.verify(tmp_path / "m.p2u", deep=True).ok
    with p2uformat.open(tmp_path / "m.p2u") as artifact:
        assert artifact.get("b").tobytes() == other.tobytes()


def test_the_same_bytes_as_other_numbers_come_back(tmp_path):
    half = (np.random.default_rng(0).standard_normal((96, 300)) * 0.04).astype(np.float16)
    brain = half.view(ml_dtypes.bfloat16)
    p2uformat.pack({"a": half, "b": brain}, tmp_path / "m.p2u")
    assert p2uformat.verify(tmp_path / "m.p2u", deep=True).ok
    with p2uformat.open(tmp_path / "m.p2u") as artifact:
        assert artifact.get("b").tobytes() == half.tobytes()
        # What fits the one would make outliers of the other.
        assert artifact.info("a", steps=True).steps != artifact.info("b", steps=True).steps


def test_metadata_of_arrays(tmp_path):
    model = {"w": np.ones((64, 64), np.float32)}
    facts = {"format": "pt", "note": "é\n"}
    p2uformat.pack(model, tmp_path / "m.p2u", metadata=facts)
    with p2uformat.open(tmp_path / "m.p2u") as artifact:
        assert artifact.metadata == facts
    p2uformat.unpack(tmp_path / "m.p2u", tmp_path / "m.safetensors")
    p2uformat.pack(tmp_path / "m.safetensors", tmp_path / "again.p2u")
    with p2uformat.open(tmp_path / "again.p2u") as artifact:
        assert artifact.metadata == facts
    for source, wrong in ((tmp_path / "m.safetensors", facts), (model, {"n": 1})):
        with pytest.raises(p2uformat.InvalidArgument):
            p2uformat.pack(source, tmp_path / "no.p2u", metadata=wrong)
    assert not (tmp_path / "no.p2u").exists()
