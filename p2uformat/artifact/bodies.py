"""Blocks on their way into chunks: each layer with a chunk of its own, for a group, or shared."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

from p2uformat.artifact.blobs import encode_text
from p2uformat.artifact.statistics import TensorSums
from p2uformat.chunk import (
    Codec,
    encode_classes,
    encode_differences,
    encode_planes,
    encode_raw_or_sections,
    encode_sections,
)
from p2uformat.digest import digest, digest_of
from p2uformat.quant.bitplane import BlockLayers
from p2uformat.quant.fit import Distances
from p2uformat.quant.layers import BaseLayer
from p2uformat.quant.leveltally import LevelTally

__all__ = [
    "Body",
    "Bucket",
    "EncodedBlock",
    "Form",
    "OwnChunk",
    "Shared",
    "fresh_bodies",
    "is_alone",
    "ladder_digests",
    "opaque_body",
    "own_chunk",
    "placed_block",
    "whole_block",
]

Encoded = tuple[int, bytes]
OPAQUE_ALONE: Final = 1 << 17  # bytes


class Form(Enum):
    """What is stored of a layer."""

    BASE = "base"
    DIGITS = "digits"
    EXACT = "exact"
    WHOLE = "whole"  # the bytes of a block
    TEXT = "text"  # the same, with repeats that are worth finding
    DIFFERENCE = "difference"
    CODES = "codes"  # of a quantizer without a ladder, in sections
    RESIDUAL = "residual"  # what turns these into the source


@dataclass(frozen=True, slots=True)
class Bucket:
    """What layers have in common if they share a chunk.

    Parameters
    ----------
    tier : int
        Number of their tier.
    form : Form
        What is stored.
    detail : int
        Planes of the tensor, bytes of an element, sections, or the codec of differences.
    """

    tier: int
    form: Form
    detail: int

    @property
    def order(self) -> tuple[int, int]:
        """Where its chunks stand among those of a tier that are stored at once."""
        return list(Form).index(self.form), self.detail

    def encode(self, members: Sequence[object]) -> Encoded:
        """Return a chunk of several layers."""
        return _ENCODERS[self.form](self.detail, members)


@dataclass(frozen=True, slots=True)
class Body:
    """A layer that waits for others to share a chunk with."""

    bucket: Bucket
    data: object


@dataclass(frozen=True, slots=True)
class OwnChunk:
    """A layer's own chunk."""

    tier: int
    codec: int
    data: bytes
    id: bytes


class Shared:
    """A layer that the parent has."""


@dataclass(frozen=True, slots=True)
class EncodedBlock:
    """One block, ready to be placed.

    Parameters
    ----------
    digests : tuple of bytes
        Of its layers.
    bodies : tuple
        What is stored of each.
    sums : TensorSums or None
        Its part of the tensor's statistics.
    weight : int
        How much it adds to a group: weights, or bytes of what travels whole.
    rebuilt : bytes or None
        Digest of what a lossy artifact gives back for it, which is its block digest there.
    distances : Distances or None
        How far a quantizer without a ladder is off.
    tally : LevelTally or None
        What levels add to the figures of an update.
    """

    digests: tuple[bytes, ...]
    bodies: tuple[Body | OwnChunk | Shared, ...]
    sums: TensorSums | None
    weight: int
    rebuilt: bytes | None = None
    distances: Distances | None = None
    tally: LevelTally | None = None

    @property
    def grouped(self) -> bool:
        """Whether a layer waits for others."""
        return any(isinstance(body, Body) for body in self.bodies)

    @property
    def fresh(self) -> bool:
        """Whether nothing of it needs the parent."""
        return not any(
            isinstance(body, Shared)
            or (isinstance(body, Body) and body.bucket.form is Form.DIFFERENCE)
            or (isinstance(body, OwnChunk) and body.codec >= Codec.BASE_DIFFERENCE)
            for body in self.bodies
        )


def ladder_digests(layers: BlockLayers) -> tuple[bytes, ...]:
    """Return the layer digests of a block."""
    return (
        digest_of(layers.base.sections()),
        *map(digest, layers.refinements),
        digest_of(layers.exact.sections()),
    )


def fresh_bodies(layers: BlockLayers, row: int, planes: int) -> tuple[Body, ...]:
    """Return the layers of a block as they are stored without a parent."""
    last = len(layers.refinements) + 1
    return (
        Body(Bucket(0, Form.BASE, planes), (layers.base, row)),
        *(
            Body(Bucket(tier, Form.DIGITS, planes), payload)
            for tier, payload in enumerate(layers.refinements, 1)
        ),
        Body(Bucket(last, Form.EXACT, planes), layers.exact.sections()),
    )


def opaque_body(data: bytes, size: int, tier: int, *, text: bool = False) -> Body:
    """Return a block that travels as it is."""
    return Body(Bucket(tier, Form.TEXT if text else Form.WHOLE, size), data)


def own_chunk(body: Body, payload: bytes) -> OwnChunk:
    """Return a layer's own chunk; the id of a raw one is the digest of its payload."""
    codec, data = body.bucket.encode([body.data])
    return OwnChunk(body.bucket.tier, codec, data, payload if codec == Codec.RAW else digest(data))


def placed_block(
    digests: tuple[bytes, ...],
    bodies: Sequence[Body | OwnChunk | Shared],
    sums: TensorSums | None,
    weight: int,
    *,
    alone: bool,
) -> EncodedBlock:
    """Return a block whose layers get chunks of their own if it is alone."""
    placed = (
        own_chunk(body, name) if alone and isinstance(body, Body) else body
        for body, name in zip(bodies, digests, strict=True)
    )
    return EncodedBlock(digests, tuple(placed), sums, weight)


def whole_block(
    data: bytes, name: bytes, body: Body | OwnChunk | Shared, *, alone: bool
) -> EncodedBlock:
    """Return a block that travels as it is; `name` is its digest."""
    return placed_block((name,), (body,), None, len(data), alone=alone or is_alone(data))


def is_alone(data: bytes) -> bool:
    """Tell whether a block that travels as it is has a chunk of its own."""
    return len(data) >= OPAQUE_ALONE


def _base(_: int, members: Sequence[tuple[BaseLayer, int]]) -> Encoded:
    return Codec.CLASSES, encode_classes(*zip(*members, strict=True))


def _codes(_: int, members: Sequence[Sequence[bytes]]) -> Encoded:
    chunk = encode_sections(members)
    whole = b"".join(members[0])
    if len(members) == 1 and len(whole) <= len(chunk):
        return Codec.RAW, whole
    return Codec.SECTIONS, chunk


_ENCODERS: Final[dict[Form, Callable[..., Encoded]]] = {
    Form.BASE: _base,
    Form.DIGITS: lambda _, members: encode_raw_or_sections(members),
    Form.EXACT: lambda _, members: (Codec.SECTIONS, encode_sections(members)),
    Form.WHOLE: encode_planes,
    Form.TEXT: lambda _, members: encode_text(members),
    Form.CODES: _codes,
    Form.RESIDUAL: encode_planes,
    Form.DIFFERENCE: lambda codec, members: (codec, encode_differences(codec, members)),
}
