"""How far each lossy form is from the original, beside GGUF's 4-bit and 8-bit blocks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

import p2uformat
from benchmarks import peers
from benchmarks.report import Cell, Check, Section, Table
from benchmarks.sources import Array, Checkpoint, quantized, read

#: Bits per weight -> highest q4 error as a multiple of Q4_0's.
TARGETS = {4.0: 1.05, 4.5: 0.82}


def relative_rms(original: Mapping[str, Array], rebuilt: Mapping[str, Array]) -> float:
    """Return sqrt(sum of squared errors / sum of squares) over all tensors of `original`.

    Examples
    --------
    >>> relative_rms({"w": np.array([3.0, 4.0])}, {"w": np.array([3.0, 4.5])})
    0.1
    """
    error = square = 0.0
    for name, tensor in original.items():
        exact = np.asarray(tensor, np.float64)
        error += float(np.sum((np.asarray(rebuilt[name], np.float64) - exact) ** 2))
        square += float(np.sum(exact**2))
    return float(np.sqrt(error / square)) if square else 0.0


def at_tier(artifact: p2uformat.Artifact, tier: str, names: Iterable[str]) -> dict[str, Array]:
    """Rebuild tensors at a tier, in their own dtype."""
    return {name: artifact.get(name, tier=tier) for name in names}


def q4_error(checkpoint: Checkpoint, base_bits: float, work: Path) -> tuple[float, float]:
    """Pack at `base_bits` and return the q4 error and the bits per weight it took."""
    tensors = quantized(read(checkpoint.path))
    destination = work / "error.p2u"
    summary = p2uformat.pack(checkpoint.path, destination, base_bits=base_bits, overwrite=True)
    with p2uformat.open(destination) as artifact:
        error = relative_rms(tensors, at_tier(artifact, "q4", tensors))
    return error, summary.tiers[0].bits_per_weight


def against_q4_0(checkpoint: Checkpoint, work: Path) -> list[Cell]:
    """Measure one model: name, weights, Q4_0's error, then error, ratio and bits at each budget."""
    tensors = quantized(read(checkpoint.path))
    blocks = {name: peers.gguf_roundtrip(v, "Q4_0") for name, v in tensors.items()}
    reference = relative_rms(tensors, blocks)
    row: list[Cell] = [checkpoint.name, sum(v.size for v in tensors.values()), reference]
    for base_bits in TARGETS:
        error, bits = q4_error(checkpoint, base_bits, work)
        row += [error, error / reference, bits]
    return row


def run(checkpoints: Sequence[Checkpoint], work: Path) -> Section:
    """Compare the q4 tier with Q4_0 on every checkpoint."""
    rows = [against_q4_0(checkpoint, work) for checkpoint in checkpoints]
    columns = ["model", "weights", "Q4_0 error (4.5 bits)"]
    columns += [f"{what} at {bits}" for bits in TARGETS for what in ("error", "ratio", "bits")]
    note = (
        "Relative RMS error over all tensors that a `.p2u` quantizes together. "
        "`ratio` is the q4 tier's error over Q4_0's; `bits` counts the q4 chunks, headers included."
    )
    return Section(
        "q4-error",
        "q4 beside GGUF Q4_0 on real models",
        [Table("", columns, rows, note)],
        [check for at, bits in enumerate(TARGETS) for check in _checks(rows, bits, 4 + 3 * at)],
    )


def _checks(rows: Sequence[Sequence[Cell]], bits: float, column: int) -> list[Check]:
    if not rows:
        return []
    ratio, name = max((float(row[column] or 0), str(row[0])) for row in rows)
    stored = max(float(row[column + 1] or 0) for row in rows)
    return [
        Check(
            f"q4 error / Q4_0's at {bits} bits, worst of {len(rows)} models ({name})",
            ratio,
            "<=",
            TARGETS[bits],
        ),
        Check(f"bits per quantized weight asked for {bits}, most of any model", stored, "<=", bits),
    ]
