"""Codes of any width packed densely, so that whole vectors unpack them.

A code is cut into parts of 8, 4, 2 or 1 bits, high ones first. Each part has a plane: byte j of
one with k parts to a byte holds those of elements j, j + q, j + 2q and so on, q being its length.
So each lane of a plane belongs to consecutive elements, and one operation unpacks it.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import torch

from p2uformat.torch.omc.compiled import native_for

__all__ = ["looked_up", "pack", "packed_bytes", "unpack"]

_GROUP: Final = 8  # elements, so that every plane has whole bytes
_TABLE_BITS: Final = 16


def packed_bytes(count: int, bits: int) -> int:
    """Return how many bytes `count` codes take.

    Examples
    --------
    >>> packed_bytes(16, 11), packed_bytes(1, 11)
    (22, 11)
    """
    return -(-count // _GROUP) * bits


def pack(codes: torch.Tensor, bits: int) -> torch.Tensor:
    """Pack codes.

    Parameters
    ----------
    codes : torch.Tensor
        int32, one dimension; only the lowest `bits` count.
    bits : int
        Width of a code, 1 to 31.

    Returns
    -------
    torch.Tensor
        uint8, of `packed_bytes` elements.

    Examples
    --------
    >>> pack(torch.tensor([5, 0, 0, 0, 0, 0, 0, 7], dtype=torch.int32), 3)
    tensor([  2, 192, 129], dtype=torch.uint8)
    """
    native = native_for(codes)
    if native is not None:
        out = torch.empty(packed_bytes(len(codes), bits), dtype=torch.uint8)
        native.lanes_pack(codes.numpy(), bits, len(codes), out.numpy())
        return out
    lacking = -len(codes) % _GROUP
    if lacking:
        codes = torch.cat([codes, codes.new_zeros(lacking)])
    planes, left = [], bits
    for width in _parts(bits):
        left -= width
        # What is above the part falls away with the conversion, or by the shift of its lane.
        part = (codes >> left).to(torch.uint8)
        planes.append(part if width == 8 else _joined(part, width))
    return torch.cat(planes)


def unpack(packed: torch.Tensor, count: int, bits: int) -> torch.Tensor:
    """Return the codes that `pack` packed, as int32.

    Examples
    --------
    >>> unpack(torch.tensor([2, 192, 129], dtype=torch.uint8), 8, 3)
    tensor([5, 0, 0, 0, 0, 0, 0, 7], dtype=torch.int32)
    """
    native = native_for(packed)
    if native is not None:
        out = torch.empty(count, dtype=torch.int32)
        whole = -(-max(count, 1) // _GROUP) * _GROUP
        native.lanes_words(packed.numpy(), bits, whole, None, count, out.numpy())
        return out
    high: torch.Tensor | None = None
    low: torch.Tensor | None = None
    begin, lows, padded = 0, bits % 8, -(-count // _GROUP) * _GROUP
    for width in _parts(bits):
        plane = packed[begin : begin + padded * width // 8]
        begin += len(plane)
        if width == 8:
            high = plane.to(torch.int32) if high is None else high.bitwise_left_shift_(8) | plane
        else:
            part = _separated(plane, width)
            low = part if low is None else low.bitwise_left_shift_(width).bitwise_or_(part)
    if high is None:
        assert low is not None
        return low.to(torch.int32)[:count]
    if low is not None:
        high.bitwise_left_shift_(lows).bitwise_or_(low)
    return high[:count]


def looked_up(
    packed: torch.Tensor, bits: int, block: int, table: torch.Tensor, out: torch.Tensor
) -> bool:
    """Write what a table has for each code, if there is a compiled kernel for that.

    Parameters
    ----------
    packed : torch.Tensor
        Blocks of codes, each packed by `pack`.
    bits : int
        Width of a code.
    block : int
        Codes of each block but the last; a multiple of 8.
    table : torch.Tensor
        float32, of ``2**bits`` elements.
    out : torch.Tensor
        float32, one dimension; as many codes are read as it has elements.

    Returns
    -------
    bool
        False if nothing was written.

    Examples
    --------
    >>> codes, out = torch.tensor([1, 0, 3], dtype=torch.int32), torch.empty(3)
    >>> table = torch.tensor([0.0, 0.5, 1.0, 1.5])
    >>> out.tolist() if looked_up(pack(codes, 2), 2, 8, table, out) else [0.5, 0.0, 1.5]
    [0.5, 0.0, 1.5]
    """
    native = native_for(out)
    if native is None or bits > _TABLE_BITS:
        return False
    native.lanes_words(packed.numpy(), bits, block, table.numpy(), len(out), out.numpy())
    return True


def _parts(bits: int) -> list[int]:
    return [8] * (bits // 8) + [width for width in (4, 2, 1) if bits & width]


@lru_cache(maxsize=16)
def _shifts(width: int, device: torch.device) -> torch.Tensor:
    """Return where each lane of a plane begins, as a column: all lanes in one operation."""
    return torch.arange(0, 8, width, dtype=torch.uint8, device=device).view(-1, 1)


def _joined(part: torch.Tensor, width: int) -> torch.Tensor:
    lanes = part.view(8 // width, -1) & ((1 << width) - 1)
    lanes <<= _shifts(width, part.device)
    return lanes.sum(0, dtype=torch.uint8)


def _separated(plane: torch.Tensor, width: int) -> torch.Tensor:
    lanes = plane >> _shifts(width, plane.device)
    lanes &= (1 << width) - 1
    return lanes.view(-1)
