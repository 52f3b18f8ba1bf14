"""Many tensors at once: memory for them, and their blocks on all threads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from p2uformat.artifact.ahead import expecting
from p2uformat.artifact.catalog import StoredTensor
from p2uformat.artifact.read import BlockReader
from p2uformat.artifact.rows import allocate, fitting, row_range
from p2uformat.errors import InvalidArgument, StoreUnavailable
from p2uformat.floats import FloatFormat
from p2uformat.memory import fresh
from p2uformat.parallel import for_each

__all__ = ["allocate_all", "given", "load_blocks"]

# Tensors too small for huge pages of their own share allocations of this size.
_SHARED_BYTES: Final = 1 << 25
_OWN_BYTES: Final = 1 << 22
_ALIGNMENT: Final = 64

Targets = Sequence[FloatFormat | None]
Arrays = list[NDArray[np.generic]]


def allocate_all(tensors: Sequence[StoredTensor], targets: Targets) -> Arrays:
    """Return an uninitialised array for each tensor.

    Raises
    ------
    LimitExceeded
        If numpy cannot have such a shape.
    StoreUnavailable
        If there is not enough memory.
    """
    left = sum(size for size in map(_padded, map(_size, tensors, targets)) if size < _OWN_BYTES)
    room, at = np.empty(0, np.uint8), 0
    arrays: Arrays = []
    try:
        for stored, target in zip(tensors, targets, strict=True):
            size = _size(stored, target)
            if size >= _OWN_BYTES:
                arrays.append(_shaped(fresh(size), stored, target))
                continue
            if at + size > len(room):
                room, at = fresh(max(min(left, _SHARED_BYTES), size)), 0
            arrays.append(_shaped(room[at : at + size], stored, target))
            at += _padded(size)
            left -= _padded(size)
    except MemoryError as error:
        raise StoreUnavailable("not enough memory", hint="load fewer tensors") from error
    return arrays


def _shaped(
    room: NDArray[np.uint8], stored: StoredTensor, target: FloatFormat | None
) -> NDArray[np.generic]:
    _, _, shape = row_range(stored, None)
    # An array of nothing like it has its dtype, and shows that there can be such a shape.
    like = allocate(stored, (0, *shape[1:]) if shape else (), target)
    return room.view(like.dtype).reshape(shape)


def given(
    arrays: Mapping[str, NDArray[np.generic]], tensors: Sequence[StoredTensor], targets: Targets
) -> Arrays:
    """Return the caller's arrays, in the order of the tensors.

    Raises
    ------
    InvalidArgument
        If one is missing or does not fit.
    """
    chosen: Arrays = []
    for stored, target in zip(tensors, targets, strict=True):
        name = stored.record.name
        if name not in arrays:
            raise InvalidArgument(f"out: no array for tensor {name!r}")
        chosen.append(fitting(arrays[name], stored, row_range(stored, None)[2], target))
    return chosen


def _size(stored: StoredTensor, target: FloatFormat | None) -> int:
    size = stored.geometry.element_size if target is None else target.itemsize
    return stored.geometry.elements * size


def _padded(size: int) -> int:
    return -(-size // _ALIGNMENT) * _ALIGNMENT


def load_blocks(
    reader: BlockReader,
    tensors: Sequence[StoredTensor],
    targets: Targets,
    arrays: Arrays,
    tier: int,
    threads: int,
    *,
    warm: bool,
) -> None:
    """Decode all blocks of tensors into their arrays; `warm` as of `BlockReader.fill`."""

    def jobs() -> Iterator[tuple[int, int]]:
        for number, stored in enumerate(tensors):
            yield from ((number, block) for block in range(stored.blocks))

    flats = [array.reshape(-1).view(np.uint8) for array in arrays]

    def fill(job: tuple[int, int]) -> None:
        number, block = job
        stored, target = tensors[number], targets[number]
        start, stop = stored.geometry.block_range(block)
        size = stored.geometry.element_size if target is None else target.itemsize
        reader.fill(
            stored, block, tier, target, flats[number][start * size : stop * size], warm=warm
        )

    with expecting(reader, ((tensors[number], block, tier) for number, block in jobs())):
        for_each(fill, jobs(), threads)
