"""A 90 %-pruned fp16 tensor: what its zeros cost, with +0 and with half of them -0."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import p2uformat
from benchmarks import peers
from benchmarks.report import Cell, Check, Section, Table
from benchmarks.sources import Array, write

TARGETS = {"+0": 16.0, "half -0": 20.0}
SHARE = 0.9


def masks(weights: Array, rng: np.random.Generator) -> dict[str, Array]:
    """Choose what stays: by chance, as sparse training does, or the largest magnitudes."""
    size = np.abs(weights)
    return {
        "by chance": rng.random(weights.shape) >= SHARE,
        "by magnitude": size > np.quantile(size, SHARE),
    }


def prune(weights: Array, mask: Array, *, keep_sign: bool) -> Array:
    """Zero what the mask leaves out, with +0, or with the -0 that a product with a mask leaves."""
    if keep_sign:
        return np.asarray((weights * mask).astype(np.float16))
    return np.where(mask, weights, 0).astype(np.float16)


def run(work: Path, rows: int = 1536, columns: int = 1536) -> Section:
    """Pack every kind of pruned tensor and compare with the lossless peers."""
    rng = np.random.default_rng(3)
    weights = rng.normal(0, 0.02, (rows, columns)).astype(np.float32)
    table: list[list[Cell]] = []
    checks: list[Check] = []
    for label, keep_sign in (("+0", False), ("half -0", True)):
        for how, mask in masks(weights, rng).items():
            pruned = prune(weights, mask, keep_sign=keep_sign)
            shares = _shares(write(work / "pruned.safetensors", {"w": pruned}), work)
            table.append([how, label, *shares.values()])
            what = f"90 %-pruned fp16 {how}, zeros {label}, of its bytes"
            checks.append(Check(what, shares["p2u, all tiers"], "<=", TARGETS[label], "%"))
    columns_ = ["pruned", "zeros", *shares]
    note = (
        f"Percent of the original file. One tensor of {rows} x {columns} normal weights, "
        "90 % of them zero."
    )
    return Section("pruned", "A pruned tensor", [Table("", columns_, table, note)], checks)


def _shares(source: Path, work: Path) -> dict[str, float]:
    data = source.read_bytes()
    summary = p2uformat.pack(source, work / "pruned.p2u", overwrite=True)
    sizes = {"p2u, all tiers": summary.bytes}
    sizes |= {peer.name: len(peer.compress(data)) for peer in peers.lossless("F16")}
    return {name: 100 * size / len(data) for name, size in sizes.items()}
