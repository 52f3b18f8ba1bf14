"""Pack one checkpoint, check it, rebuild it at every tier, and measure each."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import p2uformat


@dataclass(frozen=True, slots=True)
class TierRow:
    """One tier of one packed model, as measured here.

    Parameters
    ----------
    name
        The tier's name.
    own
        Bytes of its own chunks.
    fetched
        Bytes needed to have it: the manifest and every tier up to it.
    source
        Bytes of the original checkpoint.
    bits
        Stored bits per quantized weight, summed up to this tier.
    error
        Relative RMS error of the rebuilt weights, 0 when exact.
    seconds
        Time to rebuild the whole checkpoint at this tier.
    """

    name: str
    own: int
    fetched: int
    source: int
    bits: float
    error: float
    seconds: float


def timed(call: Callable[[], Any]) -> tuple[Any, float]:
    """Return what a call returns, and its seconds."""
    start = time.perf_counter()
    result = call()
    return result, time.perf_counter() - start


def rebuild_all(source: Path, packed: Path) -> list[TierRow]:
    """Unpack `packed` at every tier, into files beside it, and compare each with `source`."""
    with p2uformat.open(packed) as artifact:
        summary = artifact.summary
    rows: list[TierRow] = []
    fetched, bits = summary.manifest_bytes, 0.0
    for tier in summary.tiers:
        fetched, bits = fetched + tier.bytes, bits + tier.bits_per_weight
        rebuilt = packed.with_name(f"{packed.stem}-{tier.name}.safetensors")
        unpack = partial(p2uformat.unpack, packed, rebuilt, tier=tier.name, overwrite=True)
        result, seconds = timed(unpack)
        error = 0.0 if result.identical else measured_error(packed, tier.name)
        whole = source.stat().st_size
        rows.append(TierRow(tier.name, tier.bytes, fetched, whole, bits, error, seconds))
    require_identical(source, rebuilt)
    return rows


def measured_error(packed: Path, tier: str) -> float:
    """Return the relative RMS error of all quantized weights at a tier, from the weights."""
    error = square = 0.0
    with p2uformat.open(packed) as artifact:
        for name in artifact:
            if artifact.info(name).quantizer == "opaque":
                continue
            exact = artifact.get(name, tier="exact").astype(np.float64)
            error += float(np.sum((artifact.get(name, tier=tier).astype(np.float64) - exact) ** 2))
            square += float(np.sum(exact**2))
    return float(np.sqrt(error / square))


def require_identical(original: Path, rebuilt: Path) -> None:
    """Raise unless two files hold the same bytes."""
    if original.read_bytes() != rebuilt.read_bytes():
        message = f"{rebuilt.name} differs from {original.name}"
        raise AssertionError(message)
