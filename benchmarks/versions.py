"""Versions of a model as updates of the one before, beside zstd, casync and packing afresh."""

from __future__ import annotations

import shutil
import statistics
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import p2uformat
from benchmarks import peers, sources
from benchmarks.report import Cell, Check, Section, Table
from p2uformat.codec import zstd

__all__ = ["Chain", "chains", "run"]

TIERS = "q4,q8,exact"
FINE = "q4,q8,q16,exact"
COLUMNS = (
    *("chain", "weights", "update", "fresh", "zstd -19 patch", "casync", "bits/weight by tier"),
    *("sum", "one-shot difference"),
)


@dataclass(frozen=True, slots=True)
class Chain:
    """Consecutive versions of one model.

    Parameters
    ----------
    name
        What it is.
    files
        Safetensors files, oldest first.
    kind
        What is asked of it: ``head`` where the head alone changed, else ``all``.
    follow
        Most bits per weight of a q4 update, where there is such a target.
    """

    name: str
    files: tuple[Path, ...]
    kind: str = "all"
    follow: float | None = None


@dataclass(frozen=True, slots=True)
class Update:
    """One version as a child of the one before."""

    path: Path
    parents: tuple[Path, ...]
    summary: p2uformat.Summary
    fresh: p2uformat.Summary


def chains(folder: Path | None, work: Path) -> list[Chain]:
    """Return the chains that are present; those of other containers as safetensors."""
    if folder is None:
        return []
    tuned = folder / "cifar10-resnet" / "chain"
    xray = tuple(folder / "pneumonia" / f"epoch{i}.safetensors" for i in range(1, 7))
    found = [
        Chain(
            "ResNet20, head only",
            (tuned / "v0-base.safetensors", tuned / "v1-head-only.safetensors"),
            "head",
        ),
        Chain(
            "ResNet20, full fine-tune",
            (tuned / "v0-base.safetensors", tuned / "v2-full-ft-epoch1.safetensors"),
        ),
        Chain(
            "ResNet20, epoch 1 to 2",
            (
                tuned / "v2-full-ft-epoch1.safetensors",
                tuned / "v2-full-ft-epoch2.safetensors",
            ),
            follow=0.3,
        ),
        Chain("X-ray CNN, epochs 3 to 6", xray[2:], follow=0.8),
        Chain("X-ray CNN, epochs 1 to 6", xray),
    ]
    for first, second in (
        ("10-0.58_396749", "11-0.58_9b1540"),
        ("32-0.62_edde74", "37-0.62_c9adac"),
    ):
        names = [folder / "fer" / f"fer2013_mini_XCEPTION.{n}.hdf5" for n in (first, second)]
        made = [_from_hdf5(name, work) for name in names]
        files = tuple(path for path in made if path is not None)
        label = f"mini-XCEPTION, epoch {first[:2]} to {second[:2]}"
        found.append(Chain(label, files))
    return [c for c in found if len(c.files) > 1 and all(f.is_file() for f in c.files)]


def _from_hdf5(path: Path, work: Path) -> Path | None:
    """Return the weights of a Keras file as safetensors, without the optimizer's state."""
    if not path.is_file() or not peers.has("h5py"):
        return None
    import h5py

    arrays: dict[str, np.ndarray] = {}
    with h5py.File(path) as file:
        root = file.get("model_weights", file)

        def visit(name: str, item: object) -> None:
            if isinstance(item, h5py.Dataset) and item.shape is not None:
                arrays[name] = np.asarray(item)

        root.visititems(visit)
    return sources.write(work / f"{path.stem}.safetensors", arrays)


def run(found: Sequence[Chain], work: Path, minilm: Path | None, repeats: int = 5) -> Section:
    """Measure every chain, and how quickly a child is packed."""
    rows: list[list[Cell]] = []
    checks: list[Check] = []
    for number, chain in enumerate(found):
        for tiers in (TIERS, FINE) if chain.kind == "all" else (TIERS,):
            folder = work / f"chain{number}-{tiers}"
            folder.mkdir()
            _measure(chain, tiers, folder, rows, checks)
    tables = [Table("Updates", COLUMNS, rows, _NOTE)] if rows else []
    if minilm is not None:
        table, more = _speed(minilm, work, repeats)
        tables.append(table)
        checks += more
        tables.append(_renamed(minilm, work))
    return Section("versions", "Versions as differences", tables, checks)


_NOTE = (
    "Bytes of whole files. The patch is `zstd -19 --long=27 --patch-from` between the safetensors "
    "files; casync's are the new chunks in its store, where it is installed. Bits per weight are "
    "of the quantized tensors; the one-shot difference is that of order-preserving integers, bit "
    "lengths entropy coded, the rest raw. Every update was unpacked and compared with its source."
)


def _measure(
    chain: Chain, tiers: str, folder: Path, rows: list[list[Cell]], checks: list[Check]
) -> None:
    ladder = "" if tiers == TIERS else " with q16"
    for step, update in enumerate(_updates(chain, tiers, folder), 1):
        old, new = chain.files[step - 1], chain.files[step]
        label = f"{chain.name}{ladder}" + (f", step {step}" if len(chain.files) > 2 else "")
        patch = _patch(old, new, folder) if tiers == TIERS else None
        bits = [tier.bits_per_weight for tier in update.summary.tiers]
        once = _one_shot(old, new, update)
        rows.append(
            [
                label,
                update.summary.quantized_parameters,
                update.summary.bytes,
                update.fresh.bytes,
                patch,
                _casync(old, new, folder / f"casync{step}") if tiers == TIERS else None,
                " / ".join(f"{value:.3g}" for value in bits),
                sum(bits),
                once,
            ]
        )
        if chain.kind == "head":
            checks += _head_checks(label, update)
            continue
        if patch is not None:
            share = update.summary.bytes / patch
            checks.append(Check(f"{label}: update / zstd patch", share, "<=", 0.9))
        if tiers == TIERS:
            share = update.summary.bytes / update.fresh.bytes
            checks.append(Check(f"{label}: update / fresh", share, "<=", 0.9))
            if chain.follow is not None:
                checks.append(
                    Check(f"{label}: following at q4", bits[0], "<=", chain.follow, "bits/weight")
                )
        if once:
            checks.append(Check(f"{label}: all tiers / one-shot", sum(bits) / once, "<=", 1.06))


def _updates(chain: Chain, tiers: str, folder: Path) -> list[Update]:
    """Pack a chain, each version with the one before, and see that each comes back."""
    made: list[Path] = []
    found = []
    for number, file in enumerate(chain.files):
        path = folder / f"{number}.p2u"
        above = made[-1] if made else None
        summary = p2uformat.pack(file, path, tiers=tiers, parent=above, parents=made)
        if above is not None:
            fresh = p2uformat.pack(file, folder / "fresh.p2u", tiers=tiers, overwrite=True)
            back = folder / "back.safetensors"
            p2uformat.unpack(path, back, parents=made, overwrite=True)
            assert back.read_bytes() == file.read_bytes()
            found.append(Update(path, tuple(made), summary, fresh))
        made.append(path)
    return found


def _head_checks(label: str, update: Update) -> list[Check]:
    """Compare an update of few tensors with what these take alone."""
    with (
        p2uformat.open(update.path, parents=update.parents) as child,
        p2uformat.open(update.parents[-1]) as parent,
    ):
        report = p2uformat.diff(parent, child, errors=False)
        changed = [t.name for t in report.tensors if t.status != "identical"]
        whole = sum(child.info(name).bytes for name in changed)
    payload = update.summary.bytes - update.summary.manifest_bytes
    # One page holds all records of so small a model: all of it is on the path.
    pages = update.summary.manifest_bytes / update.fresh.manifest_bytes
    return [
        Check(f"{label}: payload / bytes of the changed tensors", payload / whole, "<=", 1.05),
        Check(f"{label}: pages / all pages of a fresh file", pages, "<=", 1.0),
    ]


def _one_shot(old: Path, new: Path, update: Update) -> float | None:
    """Return bits per weight of a plain integer difference of the quantized tensors."""
    before, after = sources.read(old), sources.read(new)
    with p2uformat.open(update.path, parents=update.parents) as child:
        names = [n for n in child.keys() if child.info(n).quantizer == "bitplane"]  # noqa: SIM118
    bits, weights = 0.0, 0
    lengths = []
    for name in names:
        if name not in before or before[name].shape != after[name].shape:
            return None
        moved = _codes(after[name]) - _codes(before[name])
        size = _bit_lengths(np.where(moved < 0, ~moved, moved) * 2 + (moved < 0))
        lengths.append(size)
        bits += float(np.maximum(size.astype(np.int64) - 1, 0).sum())
        weights += len(moved)
    if not weights:
        return None
    symbols = np.concatenate(lengths).tobytes()
    counts = np.bincount(np.frombuffer(symbols, np.uint8))
    counts = counts[counts > 0]
    entropy = float((counts * np.log2(len(symbols) / counts)).sum())
    return (bits + min(8 * len(zstd.compress(symbols)), entropy)) / weights


def _codes(array: np.ndarray) -> np.ndarray:
    """Return the places of floats among all of their format."""
    width = 8 * array.dtype.itemsize
    words = np.ascontiguousarray(array).reshape(-1).view(f"<u{array.dtype.itemsize}")
    magnitude = (words & words.dtype.type((1 << (width - 1)) - 1)).astype(np.int64)
    codes: np.ndarray = np.where(words >> words.dtype.type(width - 1), ~magnitude, magnitude)
    return codes


def _bit_lengths(values: np.ndarray) -> np.ndarray:
    exponent = np.frexp(values.astype(np.float64))[1]
    return np.where(values > 0, exponent, 0).astype(np.uint8)


def _patch(old: Path, new: Path, folder: Path) -> int | None:
    if shutil.which("zstd") is None:
        return None
    target = folder / "patch.zst"
    command = ["zstd", "-q", "-f", "-19", "--long=27", f"--patch-from={old}", str(new)]
    subprocess.run([*command, "-o", str(target)], check=True, capture_output=True)
    return target.stat().st_size


def _casync(old: Path, new: Path, folder: Path) -> int | None:
    """Return what the newer file adds to a store that has the older one."""
    if shutil.which("casync") is None:
        return None
    folder.mkdir()
    sizes = []
    for number, file in enumerate((old, new)):
        index = folder / f"{number}.caibx"
        command = ["casync", "make", f"--store={folder / 'store'}", str(index), str(file)]
        subprocess.run(command, check=True, capture_output=True)
        sizes.append(sum(f.stat().st_size for f in folder.rglob("*") if f.is_file()))
    return sizes[1] - sizes[0]


def _speed(minilm: Path, work: Path, repeats: int) -> tuple[Table, list[Check]]:
    """Time a child of which a tenth changed beside packing it afresh."""
    arrays = sources.read(minilm)
    child = sources.write(work / "tenth.safetensors", _changed(arrays, 0.1))
    p2uformat.pack(minilm, work / "whole.p2u")
    rows: list[list[Cell]] = []
    checks = []
    for threads in (1, 2):
        fresh, update = [], []
        for _ in range(repeats):
            start = time.perf_counter()
            p2uformat.pack(child, work / "f.p2u", overwrite=True, threads=threads)
            middle = time.perf_counter()
            p2uformat.pack(
                child, work / "c.p2u", parent=work / "whole.p2u", overwrite=True, threads=threads
            )
            fresh.append(middle - start)
            update.append(time.perf_counter() - middle)
        one, other = statistics.median(fresh), statistics.median(update)
        rows.append([threads, one, other, one / other])
        what = f"packing a child with 90 % unchanged, {threads} thread(s): times as fast as fresh"
        checks.append(Check(what, one / other, ">=", 3))
    columns = ["threads", "fresh, s", "child, s", "ratio"]
    return Table("Packing MiniLM, a tenth of which changed", columns, rows), checks


def _changed(arrays: Mapping[str, np.ndarray], share: float) -> dict[str, np.ndarray]:
    """Move the weights of some large tensors that hold a share of all."""
    rng = np.random.default_rng(0)
    room = share * sum(array.size for array in arrays.values())
    made = dict(arrays)
    for name in sorted(arrays, key=lambda name: arrays[name].size):
        array = arrays[name]
        if array.size < 100_000 or array.dtype != np.float32 or array.size > room:
            continue
        room -= array.size
        made[name] = array + rng.standard_normal(array.shape).astype(np.float32) * np.float32(1e-4)
    return made


def _renamed(minilm: Path, work: Path) -> Table:
    """Pack the same weights under other names, in another order, with the first as parent."""
    arrays = sources.read(minilm)
    other = {f"model.{name}": arrays[name] for name in reversed(arrays)}
    path = sources.write(work / "renamed.safetensors", other)
    summary = p2uformat.pack(path, work / "renamed.p2u", parent=work / "whole.p2u")
    payload = summary.bytes - summary.manifest_bytes
    row: list[Cell] = [path.stat().st_size, payload, summary.manifest_bytes]
    columns = ["source bytes", "payload of the update", "its manifest"]
    note = "All weights are shared; the payload is the head of the file, in which the names stand."
    return Table("The same weights in another container", columns, [row], note)
