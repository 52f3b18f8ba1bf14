"""What an encoded tensor leaves behind in the manifest."""

from __future__ import annotations

from collections.abc import Iterator

from p2uformat.artifact.options import PackOptions
from p2uformat.artifact.plan import TensorPlan
from p2uformat.artifact.quantized import final_parameters
from p2uformat.artifact.statistics import TensorSums
from p2uformat.limits import MAX_RECORD_BLOCKS
from p2uformat.manifest import (
    BitplaneParameters,
    OpaqueParameters,
    QuantizedParameters,
    TensorRecord,
)
from p2uformat.quant.fit import Distances

__all__ = ["tensor_records"]


def tensor_records(
    plan: TensorPlan,
    blocks: list[bytes],
    digests: list[tuple[bytes, ...]],
    sums: TensorSums,
    away: Distances,
    policy: PackOptions,
) -> Iterator[tuple[TensorRecord, int]]:
    """Yield a tensor's records and the number of each one's first block.

    Parameters
    ----------
    plan : TensorPlan
        The tensor.
    blocks : list of bytes
        Digests of its blocks.
    digests : list of tuple of bytes
        Digests of the layers of each block.
    sums : TensorSums
        What its parameters are computed from.
    away : Distances
        The same of a quantizer without a ladder.
    policy : PackOptions
        The ladder.
    """
    geometry = plan.geometry
    parameters: OpaqueParameters | BitplaneParameters | QuantizedParameters
    quantizer = "opaque" if plan.fmt is None else "bitplane"
    if plan.fit is not None:
        parameters = final_parameters(plan, away, len(policy.tiers))
        quantizer = parameters.name
    elif plan.fmt is None:
        parameters = OpaqueParameters(0, geometry.elements * geometry.element_size)
    else:
        parameters = sums.parameters(plan.segment, plan.planes, policy.digits)
    for first in range(0, max(len(blocks), 1), MAX_RECORD_BLOCKS):
        part = slice(first, first + MAX_RECORD_BLOCKS)
        layers = (
            () if quantizer == "opaque" else tuple(map(b"".join, zip(*digests[part], strict=True)))
        )
        yield (
            TensorRecord(
                plan.name,
                first,
                geometry.dtype,
                geometry.shape,
                quantizer,
                parameters,
                b"".join(blocks[part]),
                layers,
            ),
            first,
        )
