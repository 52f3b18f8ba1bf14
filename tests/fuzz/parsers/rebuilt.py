"""Blocks beside the independent reader, which rebuilds them on fractions (SPEC.md, 4 and 6)."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np

from p2uformat.quant.layers import BaseLayer
from tests.fuzz.parsers.blocks import (
    NUMPY,
    REFUSED,
    Block,
    decoded,
    mended,
    outcome,
    parsed,
    short_values,
)
from tests.fuzz.parsers.harness import Form, Harness, expect
from tests.fuzz.parsers.sources import packed, reference_layers, unpacked

_MOST_WEIGHTS = 48


def _run(data: bytes) -> bool:
    block = parsed(decoded(data))
    if block is None or block.spec.weights > _MOST_WEIGHTS:
        return False
    tiers = len(block.spec.digits)
    for tier in range(tiers):
        ours, theirs = _ours(block, tier), _theirs(block, tier)
        # Whether digits are on the source grid the library looks at with the exact layer.
        expect(ours is not None or theirs is None, f"the library refuses tier {tier}")
        expect(None in (ours, theirs) or ours == theirs, f"both rebuild tier {tier} alike")
    ours, theirs = _ours(block, tiers), _theirs(block, tiers)
    expect(ours == theirs, f"both rebuild the original alike, or refuse it: {theirs is None}")
    return ours is not None


def _ours(block: Block, tier: int) -> bytes | None:
    spec = block.spec
    out = np.empty(spec.weights, spec.format.word)
    try:
        base = BaseLayer.parse(spec.format, spec.weights, spec.segments, block.base)
    except REFUSED:
        return None
    if tier == len(spec.digits):
        made = outcome(NUMPY.exact, spec, base, block.digits, [block.exact], out=out)
    else:
        made = outcome(NUMPY.values, spec, base, block.digits[:tier], spec.format, out=out)
    return None if isinstance(made, str) else made.tobytes()


def _theirs(block: Block, tier: int) -> bytes | None:
    spec = block.spec
    record: Any = SimpleNamespace(
        dtype=spec.format.name,
        segment=spec.segment,
        planes=spec.planes,
        figures=spec.deltas,
        largest=-9999,
    )
    layers = [block.base, *block.digits, block.exact][: tier + 1]
    try:
        found: bytes = reference_layers.rebuild(record, spec.weights, layers, list(spec.digits))
    except reference_layers.RefError:
        return None
    return found


def _seeds() -> Iterator[bytes]:
    return map(packed, short_values())


HARNESSES = (
    Harness("block-reference", _run, _seeds, 6, Form(unpacked, packed, mend=mended), 1024),
)
