"""How base layers are cut into units, and what a chunk of them will take.

The planner calibrates its budget against the estimate rather than against zstd, so that an
artifact's identity does not depend on the version of a compressor.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from p2uformat.codec.classes import Member, Pool, cuts_of
from p2uformat.codec.estimate import CHUNK_HEAD, MEMBER_HEAD, entropy_bytes
from p2uformat.codec.rates import ONE_BIT
from p2uformat.kernels import kernels

__all__ = ["Cut", "choose_cut", "class_chunk_bytes"]

_UNIT_BITS = 2 * ONE_BIT  # what a unit's class number costs


@dataclass(frozen=True, slots=True)
class Cut:
    """A layer's symbols as they are cut, and what its units hold."""

    member: Member
    pool: Pool


def choose_cut(symbols: NDArray[np.uint8], row: int, *, sparse: bool) -> Cut:
    """Choose between units of rows and units of columns, by the estimated size."""
    work = kernels()
    cuts = [Cut(member, work.pool(member, sparse=sparse)) for member in cuts_of(symbols, row)]
    if len(cuts) == 1:
        return cuts[0]
    by_row, by_column = (
        work.merge(cut.pool.tables).bits + cut.member.units * _UNIT_BITS for cut in cuts
    )
    return cuts[1] if by_column < by_row else cuts[0]


def class_chunk_bytes(pools: Sequence[Pool], steps: Sequence[NDArray[np.int16]]) -> int:
    """Estimate the bytes of a chunk of codec `classes`, outliers apart.

    Parameters
    ----------
    pools : sequence of Pool
        What its members' units hold.
    steps : sequence of ndarray of int16
        Their step exponents.
    """
    work = kernels()
    tables = sum_tables(pools)
    names = work.merge(tables).names
    class_map = names[np.concatenate([pool.octaves for pool in pools])]
    total = CHUNK_HEAD + MEMBER_HEAD * len(pools) + entropy_bytes(np.bincount(class_map))
    delta = np.diff(np.concatenate(steps).astype(np.int64), prepend=0)
    counts = np.bincount(delta - delta.min())
    total += 2 * entropy_bytes(counts[counts > 0])  # in two planes
    for name in range(int(class_map.max()) + 1):
        total += work.stream_bytes(tables[names == name].sum(0))
    return total


def sum_tables(pools: Sequence[Pool]) -> NDArray[np.int64]:
    """Return the tables of several members together."""
    total = pools[0].tables
    for pool in pools[1:]:
        total = total + pool.tables
    return total
