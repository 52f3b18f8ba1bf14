"""A parent artifact as `pack` uses it: its grid is kept, its layers are shared or differed from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import Final

from p2uformat.artifact.bodies import Body, Bucket, Form, OwnChunk, Shared, own_chunk
from p2uformat.artifact.catalog import StoredTensor
from p2uformat.artifact.contents import Contents
from p2uformat.artifact.lineage import Lineage
from p2uformat.artifact.plan import Grid, TensorPlan, symbol_bits
from p2uformat.artifact.undo import block_ladder, block_layers
from p2uformat.chunk import Codec
from p2uformat.errors import InvalidArgument
from p2uformat.kernels import kernels
from p2uformat.limits import MAX_DEPTH
from p2uformat.manifest import BitplaneParameters, ParentRef, TensorRecord, TierSpec
from p2uformat.quant.difference import opaque_difference
from p2uformat.quant.ladder import Ladder

__all__ = ["Parent"]

_SHARED: Final = Shared()
_CLEARLY: Final = 4  # a difference of so small a part of the payload needs no comparison
Chosen = Body | OwnChunk | Shared


class Parent:
    """What an artifact offers to a child that is being packed.

    Parameters
    ----------
    contents : Contents
        The parent, with parents of its own if it needs any.
    differ : bool
        Whether layers may be shared and differed from; otherwise its grid is all that is used.
    """

    def __init__(self, contents: Contents, *, differ: bool) -> None:
        self.contents = contents
        self.differ = differ
        self._lineage = Lineage(contents.catalog)

    @property
    def reference(self) -> ParentRef:
        """How a child names it.

        Raises
        ------
        InvalidArgument
            If the child would stand too deep.
        """
        above = self.contents.container.encoding.parent
        depth = 1 + (0 if above is None else above.depth)
        if depth > MAX_DEPTH:
            raise InvalidArgument(
                f"{self.contents.path!r} has {depth - 1} parents already, at most"
                f" {MAX_DEPTH} can stand above an artifact",
                hint="make the parent self-contained first: p2u squash, or pack --self-contained",
            )
        return ParentRef(self.contents.container.header.content_root, depth)

    @property
    def tiers(self) -> tuple[TierSpec, ...]:
        """Its ladder."""
        return self.contents.container.content.tiers

    @property
    def pages(self) -> frozenset[bytes]:
        """Digests of its content pages."""
        return frozenset(ref.digest for ref in self.contents.container.content.pages)

    def known(self, tier: int, digest: bytes) -> bool:
        """Return whether a layer can be shared."""
        return self.differ and self._lineage.known(tier, digest)

    def _stored(self, plan: TensorPlan, block: int = 0) -> StoredTensor | None:
        """Return the tensor of the same name, dtype and rows, if it has a block like one here.

        It may have more or fewer rows: then the last blocks differ, and nothing else.
        """
        found = self.contents.catalog.tensors.get(plan.name)
        if found is None or found.record.dtype != plan.geometry.dtype:
            return None
        ours, theirs = plan.geometry.shape, found.record.shape
        if len(ours) != len(theirs) or ours[1:] != theirs[1:] or block >= found.blocks:
            return None
        alike = found.geometry.block_range(block) == plan.geometry.block_range(block)
        return found if alike else None

    def adopt(self, plan: TensorPlan) -> None:
        """Give a tensor that is to be quantized the segments of its parent's."""
        stored = self._stored(plan) if plan.geometry.blocks() else None
        if stored is not None and isinstance(stored.record.parameters, BitplaneParameters):
            plan.segment = stored.record.parameters.segment

    def unchanged(self, plan: TensorPlan, block: int, digest: bytes) -> bool:
        """Return whether a block is the parent's: then its grid is not looked at for now."""
        stored = self._stored(plan, block)
        if stored is None or (stored.record.quantizer == "opaque") != (plan.fmt is None):
            return False
        return _block_digest(stored, block) == digest

    def grid(self, plan: TensorPlan, block: int) -> Grid | None:
        """Return K of a block of the same tensor, with what its symbols cost there."""
        stored = self._stored(plan, block)
        if stored is None or not isinstance(stored.record.parameters, BitplaneParameters):
            return None
        base = self.contents.reader.base(stored, block)
        with self.contents.reader.located(stored, 0, block):
            base.check()
        return Grid(base.steps.copy(), base.sparse, symbol_bits(base.symbols))

    def same_tensor(self, plan: TensorPlan) -> tuple[TensorRecord, ...]:
        """Return the records of a tensor with the same bytes, whatever its name; none if new."""
        if not self.differ or not plan.blocks:
            return ()
        key = plan.geometry.dtype, plan.geometry.shape, tuple(b.digest for b in plan.blocks)
        stored = self._by_content.get(key)
        own = self.contents.catalog.tensors.get(plan.name)
        if own is not None and (own.record.dtype, own.record.shape, _digests(own)) == key:
            stored = own
        if stored is None or (plan.exact and stored.record.quantizer != "opaque"):
            return ()
        return tuple(replace(record, name=plan.name) for record in _records(stored))

    @cached_property
    def _by_content(
        self,
    ) -> dict[tuple[str, tuple[int, ...], tuple[bytes, ...]], StoredTensor]:
        found: dict[tuple[str, tuple[int, ...], tuple[bytes, ...]], StoredTensor] = {}
        for stored in self.contents.catalog.tensors.values():
            key = stored.record.dtype, stored.record.shape, _digests(stored)
            found.setdefault(key, stored)
        return found

    def ladder(
        self,
        plan: TensorPlan,
        block: int,
        child: Ladder,
        digests: Sequence[bytes],
        fresh: Sequence[Body],
        *,
        alone: bool,
    ) -> list[Chosen]:
        """Choose how each layer of a block is stored: shared, as a difference, or as it is.

        Parameters
        ----------
        plan : TensorPlan
            Its tensor.
        block : int
            Its number.
        child : Ladder
            All of it.
        digests : sequence of bytes
            Of its layers.
        fresh : sequence of Body
            Each layer as it is.
        alone : bool
            Whether layers get chunks of their own.
        """
        chosen: list[Chosen] = [
            _SHARED if self.known(tier, digest) else body
            for tier, (digest, body) in enumerate(zip(digests, fresh, strict=True))
        ]
        parent = self._parent_of(plan, block, child, chosen) if self.differ else None
        if parent is None:
            return chosen
        for tier, body in enumerate(chosen):
            if isinstance(body, Body):
                other = _difference(parent, child, tier, plan.row)
                chosen[tier] = _smaller(
                    other, body, digests[tier], _length(child, tier), alone=alone
                )
        return chosen

    def _parent_of(
        self, plan: TensorPlan, block: int, child: Ladder, chosen: Sequence[Chosen]
    ) -> Ladder | None:
        """Return the parent's block if it has the same grid, and something differs."""
        stored = self._stored(plan, block)
        if stored is None or all(isinstance(body, Shared) for body in chosen):
            return None
        parameters = stored.record.parameters
        if not isinstance(parameters, BitplaneParameters):
            return None
        if (parameters.segment, parameters.planes) != (plan.segment, plan.planes):
            return None
        reader = self.contents.reader
        layers = block_layers(reader, stored, block, reader.exact)
        parent = block_ladder(reader, stored, block, layers)
        same = parent.base.flags == child.base.flags and (
            parent.base.steps.tobytes() == child.base.steps.tobytes()
        )
        return parent if same else None

    def whole(
        self, plan: TensorPlan, block: int, data: bytes, fresh: Body, *, alone: bool
    ) -> Chosen:
        """Choose how a block that travels as it is is stored."""
        name = plan.blocks[block].digest
        if self.known(0, name):
            return _SHARED
        stored = self._stored(plan, block)
        if not self.differ or stored is None or stored.record.quantizer != "opaque":
            return fresh
        old = self.contents.reader.raw(stored, block)
        size = plan.geometry.element_size
        parts = opaque_difference(old, data, size)
        bucket = Bucket(0, Form.DIFFERENCE, Codec.OPAQUE_DIFFERENCE)
        return _smaller(Body(bucket, parts), fresh, name, len(data), alone=alone)


def _block_digest(stored: StoredTensor, block: int) -> bytes | None:
    if stored.place(0, block) is None:
        return None
    page, index, inner = stored.part(block)
    assert page.content is not None
    return page.content.records[index].block_digest(inner)


def _digests(stored: StoredTensor) -> tuple[bytes, ...]:
    return tuple(_block_digest(stored, block) or b"" for block in range(stored.blocks))


def _records(stored: StoredTensor) -> list[TensorRecord]:
    found = []
    for first in sorted(stored.parts):
        page, index = stored.parts[first]
        assert page.content is not None
        record = page.content.records[index]
        assert isinstance(record, TensorRecord)
        found.append(record)
    return found


def _length(child: Ladder, tier: int) -> int:
    """Return about how long a layer's payload is."""
    if tier == 0:
        return len(child.symbols)
    if tier <= len(child.digits):
        return len(child.digits[tier - 1])
    return len(child.symbols) * child.spec.format.itemsize // 2


def _difference(parent: Ladder, child: Ladder, tier: int, row: int) -> Body:
    """Return a layer as its difference."""
    work = kernels()
    if tier == 0:
        codec = Codec.BASE_DIFFERENCE
        parts = work.base_difference(parent.base, child.base, row)
    elif tier <= len(child.digits):
        codec = Codec.DIGITS_DIFFERENCE
        parts = work.digits_difference(parent, child, tier, row)
    else:
        codec = Codec.EXACT_DIFFERENCE
        parts = work.exact_difference(parent, child, row)
    return Body(Bucket(tier, Form.DIFFERENCE, codec), parts)


def _smaller(
    difference: Body, fresh: Body, name: bytes, length: int, *, alone: bool
) -> Body | OwnChunk:
    """Return the one that is stored in fewer bytes, as its own chunk if it is alone."""
    mine = own_chunk(difference, name)
    if len(mine.data) * _CLEARLY >= length:
        other = own_chunk(fresh, name)
        if len(other.data) <= len(mine.data):
            return other if alone else fresh
    return mine if alone else difference
