"""Blocks of tensors without a ladder, to their layers and back (SPEC.md, section 19)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, TypeGuard

import numpy as np
from numpy.typing import NDArray

from p2uformat.artifact.bodies import Body, Bucket, EncodedBlock, Form, Shared, placed_block
from p2uformat.artifact.catalog import StoredFile, StoredTensor
from p2uformat.artifact.plan import BlockPlan, TensorPlan
from p2uformat.digest import digest, digest_of
from p2uformat.floats import FORMATS, FloatFormat
from p2uformat.manifest import (
    Figures,
    MinifloatParameters,
    QuantizedParameters,
    TensorRecord,
    quantized_parameters,
)
from p2uformat.quant.fit import Distances, layer_sections, rebuild
from p2uformat.quant.rounding import cast_words
from p2uformat.quant.ulp import from_residual, residual

if TYPE_CHECKING:
    from p2uformat.artifact.parent import Parent
    from p2uformat.artifact.read import BlockReader

__all__ = [
    "encode_quantized",
    "fill_quantized",
    "fit_tensors",
    "is_lossy",
    "is_quantized",
    "near_words",
    "parameters_of",
    "stored_bodies",
]

Buffer = bytes | memoryview
Words = NDArray[np.unsignedinteger]
Stored = StoredTensor | StoredFile


def is_quantized(stored: Stored) -> TypeGuard[StoredTensor]:
    """Tell whether it is a tensor of codes without a ladder."""
    return isinstance(stored, StoredTensor) and isinstance(
        stored.record.parameters, QuantizedParameters
    )


def parameters_of(record: TensorRecord) -> QuantizedParameters:
    """Return the parameters of a quantized tensor."""
    assert isinstance(record.parameters, QuantizedParameters)
    return record.parameters


def is_lossy(stored: Stored) -> bool:
    """Tell whether its source is not to be had at any tier."""
    return is_quantized(stored) and parameters_of(stored.record).residual is None


def fit_tensors(plans: Iterable[TensorPlan]) -> None:
    """Fit what blocks share, and turn tensors opaque that their quantizer cannot hold."""
    for plan in plans:
        if plan.fit is None:
            continue
        scans = [block.scan for block in plan.blocks]
        known = [scan for scan in scans if scan is not None]
        assert len(known) == len(scans), "a block was not looked at"
        if not plan.fit.finish(known, plan.geometry.elements):
            plan.fit = None
        for block in plan.blocks:
            block.scan = None


def encode_quantized(
    plan: TensorPlan,
    block: BlockPlan,
    data: bytes,
    tiers: int,
    parent: Parent | None,
    *,
    alone: bool,
) -> EncodedBlock:
    """Encode a block.

    Parameters
    ----------
    plan : TensorPlan
        Its tensor.
    block : BlockPlan
        The block.
    data : bytes
        Its bytes.
    tiers : int
        How many tiers there are; with a single one there is no residual.
    parent : Parent, optional
        What layers may be shared with.
    alone : bool
        Whether layers get chunks of their own.
    """
    assert plan.fit is not None
    fmt = plan.fit.fmt
    words = np.frombuffer(data, fmt.word)
    coded = plan.fit.encode(block.start, block.stop, words)
    digests = [digest_of(coded.sections)]
    bodies: list[Body | Shared] = [_codes_body(coded.sections)]
    rebuilt = None
    if tiers > 1:
        rest = residual(fmt, words, coded.near)
        digests.append(digest(rest))
        bodies.append(_residual_body(rest, fmt, tiers - 1))
    else:
        rebuilt = digest(coded.near.tobytes())
    if parent is not None:
        for layer, name in enumerate(digests):
            if parent.known(layer and tiers - 1, name):
                bodies[layer] = Shared()
    alone = alone or plan.alone(block)
    made = placed_block(tuple(digests), bodies, None, block.weights, alone=alone)
    return EncodedBlock(
        made.digests,
        made.bodies,
        None,
        made.weight,
        rebuilt=rebuilt,
        distances=coded.distances,
        tally=coded.tally,
    )


def _codes_body(sections: list[bytes]) -> Body:
    return Body(Bucket(0, Form.CODES, len(sections)), sections)


def _residual_body(data: bytes, fmt: FloatFormat, tier: int) -> Body:
    return Body(Bucket(tier, Form.RESIDUAL, fmt.itemsize), data)


def final_parameters(plan: TensorPlan, distances: Distances, tiers: int) -> QuantizedParameters:
    """Return what the record of a tensor says once its blocks are encoded."""
    assert plan.fit is not None
    last = tiers - 1 if tiers > 1 else None
    figures = Figures(*distances.figures())
    return quantized_parameters(plan.fit.quantizer, plan.fit.transform, figures, last)


def stored_bodies(reader: BlockReader, stored: StoredTensor, block: int) -> list[Body]:
    """Return the layers of a stored block, ready to be stored again."""
    record = stored.record
    parameters = parameters_of(record)
    cut = stored.geometry.block_range(block)
    payload = reader.payload(stored, 0, block)
    with reader.located(stored, 0, block):
        sections = layer_sections(parameters.quantizer, record.shape, *cut, payload)
    bodies = [_codes_body(sections)]
    if parameters.residual is not None:
        rest = bytes(reader.payload(stored, 1, block))
        bodies.append(_residual_body(rest, FORMATS[record.dtype], parameters.residual))
    return bodies


def near_words(
    stored: StoredTensor, block: int, payload: Buffer, target: FloatFormat | None = None
) -> Words:
    """Return what a block's codes stand for, in the format of the source or in another."""
    record = stored.record
    parameters = parameters_of(record)
    transform = None
    if isinstance(parameters, MinifloatParameters):
        transform = parameters.transform
    source = FORMATS[record.dtype]
    start, stop = stored.geometry.block_range(block)
    form, shape = parameters.quantizer, record.shape
    return rebuild(form, transform, shape, start, stop, payload, source, target or source)


def fill_quantized(
    reader: BlockReader,
    stored: StoredTensor,
    block: int,
    tier: int,
    target: FloatFormat | None,
    out: NDArray[np.uint8],
) -> None:
    """Write a block's values at a tier into an array; see `BlockReader.fill`."""
    source = FORMATS[stored.record.dtype]
    wanted = target or source
    last = parameters_of(stored.record).residual
    exact = last is not None and tier >= last
    payload = reader.payload(stored, 0, block)
    with reader.located(stored, 0, block):
        words = near_words(stored, block, payload, None if exact else wanted)
    if exact:
        rest = reader.payload(stored, 1, block)
        with reader.located(stored, 1, block):
            words = from_residual(source, rest, words)
        words = cast_words(source, words, wanted)
    out.view(wanted.word)[:] = words
