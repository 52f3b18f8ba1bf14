"""A name in a store as the target of `pack`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from functools import cached_property
from typing import Final

from p2uformat.artifact.ancestry import open_parent
from p2uformat.artifact.contents import Contents
from p2uformat.artifact.depot import Depot, RootExtras, check_target
from p2uformat.artifact.open import Artifact
from p2uformat.artifact.parent import Parent
from p2uformat.artifact.targets import Packed, ParentWish, ProgressCall, Target
from p2uformat.artifact.types import Summary
from p2uformat.digest import digest
from p2uformat.ingest import Checkpoint
from p2uformat.manifest import policy_to_value
from p2uformat.store.index import sketch
from p2uformat.store.versions import Version
from p2uformat.stored.address import StoreAddress
from p2uformat.stored.offer import OfferedChunk
from p2uformat.stored.place import StoredPlace
from p2uformat.tensor import geometry
from p2uformat.transport import StorageOptions

__all__ = ["store_target"]

# So many versions are differences, one from the other, until one is stored as it is: what has to
# be read for a version stays within a few times its size, and old versions can go at last.
KEY_FRAME_DEPTH: Final = 4
# By so many bits a weight a base tier may be below what is asked for: a child's own grid is let go
# of beyond that, too (SPEC.md, 11).
_NEAR: Final = 0.25


def store_target(
    destination: str | os.PathLike[str], options: StorageOptions | None, stack: ExitStack
) -> Target | None:
    """Return the target that a destination means; None if it names nothing in a store."""
    address = StoreAddress.of(destination, options)
    return None if address is None else _StoreTarget(address, stack)


class _StoreTarget(Target):
    """A name in a store. The place is looked at once the source is known to be one."""

    def __init__(self, address: StoreAddress, stack: ExitStack) -> None:
        check_target(address)
        self._address = address
        self._stack = stack

    @property
    def path(self) -> None:
        return None

    @cached_property
    def _depot(self) -> Depot:
        return Depot.open(self._address, self._stack)

    def above(self, checkpoint: Checkpoint, wish: ParentWish) -> Parent | None:
        depot = self._depot
        if wish.parent:
            return open_parent(self._stack, wish.parent, wish.parents, None, differ=wish.differ)
        found = depot.current() or self._nearest(checkpoint)
        if found is None or len(found.complete) < len(found.tiers) or found.orphaned:
            return None
        if not _serves(found, wish):
            return None
        above = found.container.encoding.parent
        deep = above is not None and above.depth >= KEY_FRAME_DEPTH
        return Parent(found, differ=wish.differ and not deep)

    def _nearest(self, checkpoint: Checkpoint) -> Contents | None:
        """Return the artifact that has the most blocks of a checkpoint, if any has some."""
        found = self._depot.alike(sketch(_block_digests(checkpoint)))
        return found[0] if found else None

    def finish(self, packed: Packed, threads: int, progress: ProgressCall) -> Summary:
        options, spools, needed = packed.options, packed.spools, packed.needed
        spools.finish()

        def read(chunk: OfferedChunk) -> bytes | None:
            return spools.read(chunk.tier, chunk.id, chunk.length)

        published = self._depot.store(
            options.tiers,
            packed.pages,
            read,
            parent=None if needed is None else needed.reference,
            extra=RootExtras(features=options.features, policy=policy_to_value(options.policy)),
            near=() if needed is None else (needed.contents,),
            progress=progress,
        )
        assert published.version is not None
        return self._summary(published.version, threads)

    def _summary(self, version: Version, threads: int) -> Summary:
        place = StoredPlace.of_version(self._depot.objects, version)
        with Contents.open(place) as contents:
            return Artifact(contents, threads).summary


def _serves(found: Contents, wish: ParentWish) -> bool:
    """Tell whether an artifact that nobody asked for has the grid of what is to be made."""
    root = found.container.content
    if root.features != wish.features:
        return False  # quantized in another way
    given = wish.tiers.split(",") if isinstance(wish.tiers, str) else wish.tiers
    if given is not None and [name.strip() for name in given] != list(found.tiers):
        return False
    if wish.base_bits is None:
        return True
    while found.parent is not None:
        found = found.parent  # the first of a chain has all of its base tier itself
    bits = Artifact(found, 1).summary.tiers[0].bits_per_weight
    return wish.base_bits - _NEAR < bits <= wish.base_bits


def _block_digests(checkpoint: Checkpoint) -> Iterator[bytes]:
    for member in checkpoint.members:
        for tensor in member.tensors:
            cut = geometry(tensor.dtype, tensor.shape, tensor.nbytes)
            for block in range(cut.blocks()):
                start, stop = (edge * cut.element_size for edge in cut.block_range(block))
                yield digest(member.read(tensor.offset + start, stop - start))
