"""Bytes of every tier and of the whole file, beside one-shot compressors and GGUF."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import p2uformat
from benchmarks import peers
from benchmarks.errors import at_tier, relative_rms
from benchmarks.report import Cell, Check, Section, Table
from benchmarks.sources import Checkpoint, quantized, read

#: Whole file / original, for MiniLM in each width, in percent.
WHOLE = {"F32": 81.75, "F16": 84.85, "BF16": 66.3}
OURS = "p2u, all tiers"


def run(checkpoints: Sequence[Checkpoint], work: Path) -> Section:
    """Pack each checkpoint with the default ladder and lay its bytes beside its peers'."""
    whole: list[list[Cell]] = []
    tiers: list[list[Cell]] = []
    checks: list[Check] = []
    for checkpoint in checkpoints:
        destination = work / "sizes.p2u"
        summary = p2uformat.pack(checkpoint.path, destination, overwrite=True)
        beside = _whole_rows(checkpoint, summary)
        whole += beside
        measured = _tier_rows(checkpoint, summary, destination)
        tiers += measured + _gguf_rows(checkpoint, work)
        checks += _checks(checkpoint, summary, measured) + _beside_peers(checkpoint.name, beside)
    return Section("sizes", "Sizes", [_whole_table(whole), _tier_table(tiers)], checks)


def _whole_table(rows: Sequence[Sequence[Cell]]) -> Table:
    return Table(
        "The whole, bit for bit",
        ["model", "form", "bytes", "% of the original"],
        rows,
        "The `.p2u` counts everything: all three tiers, manifest, digests. Peers compress the same "
        "file in one shot and hold no smaller tier.",
    )


def _tier_table(rows: Sequence[Sequence[Cell]]) -> Table:
    return Table(
        "Tier by tier",
        ["model", "form", "own bytes", "bytes to fetch", "bits/weight", "RMS error", "2-D error"],
        rows,
        "`bytes to fetch` is the manifest and all tiers up to this one. `bits/weight` is of the "
        "quantized weights alone. Errors are relative RMS, over all quantized tensors and over "
        "those of two dimensions. GGUF bytes are of a real file.",
    )


def _whole_rows(checkpoint: Checkpoint, summary: p2uformat.Summary) -> list[list[Cell]]:
    data = checkpoint.path.read_bytes()
    rows: list[list[Cell]] = [
        [checkpoint.name, OURS, summary.bytes, 100 * summary.bytes / len(data)]
    ]
    for peer in peers.lossless(checkpoint.dtype):
        packed = peer.compress(data)
        if peer.decompress(packed) != data:
            message = f"{peer.name} did not return {checkpoint.name}"
            raise AssertionError(message)
        rows.append([checkpoint.name, peer.name, len(packed), 100 * len(packed) / len(data)])
    best = len(peers.zstd(19, threads=-1).compress(data))
    rows.append([checkpoint.name, "zstd -19", best, 100 * best / len(data)])
    return rows


def _tier_rows(
    checkpoint: Checkpoint, summary: p2uformat.Summary, destination: Path
) -> list[list[Cell]]:
    tensors = quantized(read(checkpoint.path))
    flat = {name: v for name, v in tensors.items() if v.ndim == 2}
    rows: list[list[Cell]] = []
    fetched = summary.manifest_bytes
    with p2uformat.open(destination) as artifact:
        for tier in summary.tiers:
            fetched += tier.bytes
            rebuilt = at_tier(artifact, tier.name, tensors)
            error, error_2d = relative_rms(tensors, rebuilt), relative_rms(flat, rebuilt)
            label = f"p2u {tier.name}"
            bits = tier.bits_per_weight
            rows.append([checkpoint.name, label, tier.bytes, fetched, bits, error, error_2d])
    return rows


def _gguf_rows(checkpoint: Checkpoint, work: Path) -> list[list[Cell]]:
    if not peers.has("gguf"):
        return []
    every = read(checkpoint.path)
    tensors = quantized(every)
    flat = {name: v for name, v in tensors.items() if v.ndim == 2}
    rows: list[list[Cell]] = []
    for kind, bits in (("Q4_0", 4.5), ("Q8_0", 8.5)):
        path = work / "sizes.gguf"
        path.unlink(missing_ok=True)
        size = peers.gguf_file(every, kind, path)
        rebuilt = {name: peers.gguf_roundtrip(v, kind) for name, v in tensors.items()}
        error, error_2d = relative_rms(tensors, rebuilt), relative_rms(flat, rebuilt)
        rows.append([checkpoint.name, f"GGUF {kind}", size, size, bits, error, error_2d])
    return rows


def _beside_peers(name: str, rows: Sequence[Sequence[Cell]]) -> list[Check]:
    """Hold the whole file against the smallest that a one-shot compressor for weights makes."""
    sizes = {str(row[1]): float(row[2] or 0) for row in rows}
    best = [size for form, size in sizes.items() if form.startswith(("zipnn", "pcodec"))]
    if not best:
        return []
    what = f"whole file / best of zipnn and pcodec, {name}"
    return [Check(what, sizes[OURS] / min(best), "<=", 1.0, aim=0.99)]


def _checks(
    checkpoint: Checkpoint, summary: p2uformat.Summary, tiers: Sequence[Sequence[Cell]]
) -> list[Check]:
    name = checkpoint.name
    q4, q8 = summary.tiers[0], tiers[1]
    manifest = 100 * summary.manifest_bytes / summary.source_bytes
    share = 100 * summary.bytes / summary.source_bytes
    per_parameter = 8 * q4.bytes / summary.parameters
    checks = [
        Check(f"whole file / original, {name}", share, "<=", WHOLE[checkpoint.dtype], "%"),
        Check(f"q4 bits per quantized weight, {name}", q4.bits_per_weight, "<=", 4.0),
        Check(f"q4 tier, bits per parameter, {name}", per_parameter, "<=", 4.08),
        Check(f"q4 relative RMS error, 2-D tensors, {name}", float(tiers[0][6] or 0), "<=", 0.075),
        Check(f"q8 relative RMS error, 2-D tensors, {name}", float(q8[6] or 0), "<=", 0.0052),
    ]
    if checkpoint.dtype == "F16":
        checks.append(Check(f"manifest / original, {name}", manifest, "<=", 0.08, "%"))
    return checks
