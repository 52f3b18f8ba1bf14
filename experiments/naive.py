"""Progressive precision in the plainest way: integers with one scale a tensor, then the difference.

That is what P2U (Tavakoli, Afrabandpey 2025, arXiv 2506.22871) asks for at least: a base of b bits,
and what has to be added to it to have the original again. Nothing of p2uformat's ladder is used.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import zstandard

from benchmarks.sources import Array

__all__ = ["Coded", "Naive", "coded", "differing", "packed", "unpacked"]

_BYTE = 8
# Beyond this many bytes zstd's best levels take minutes, and find no more in what is mostly noise.
_LARGE = 8 << 20


@dataclass(frozen=True, slots=True)
class Coded:
    """A tensor as ``lowest + step * code``, the codes packed densely.

    Parameters
    ----------
    codes
        uint8, `bits` bits a weight, high bits first.
    lowest, step
        float32.
    bits
        Width of a code, 1 to 8.
    shape
        Of the tensor.
    """

    codes: Array
    lowest: np.float32
    step: np.float32
    bits: int
    shape: tuple[int, ...]

    def values(self) -> Array:
        """Return the tensor that the codes stand for, float32."""
        count = int(np.prod(self.shape))
        codes = unpacked(self.codes, count, self.bits).astype(np.float32)
        return (self.lowest + self.step * codes).astype(np.float32).reshape(self.shape)


@dataclass(frozen=True, slots=True)
class Naive:
    """A model in two files.

    Parameters
    ----------
    base
        What is stored of the first: codes with their two numbers, and other tensors as they are.
    rough
        The model that the first gives.
    difference
        The second: original minus rough, float32, behind zstd.
    whole
        The model that both give.
    """

    base: dict[str, Array]
    rough: dict[str, Array]
    difference: bytes
    whole: dict[str, Array]

    @classmethod
    def of(cls, tensors: Mapping[str, Array], bits: int, chosen: Collection[str]) -> Naive:
        """Take a float32 model apart.

        Parameters
        ----------
        tensors
            The model.
        bits
            Of the base, 1 to 8.
        chosen
            Names of the tensors that become integers; the others travel with the base.
        """
        base, rough, whole = {}, dict(tensors), dict(tensors)
        differences = []
        for name in tensors:
            if name not in chosen:
                base[name] = tensors[name]
                continue
            made = coded(tensors[name], bits)
            base[name] = made.codes
            base[f"{name}.grid"] = np.array([made.lowest, made.step], np.float32)
            rough[name] = made.values()
            differences.append((tensors[name] - rough[name]).astype(np.float32))
            whole[name] = (rough[name] + differences[-1]).astype(np.float32)
        raw = b"".join(each.tobytes() for each in differences)
        level = 19 if len(raw) <= _LARGE else 3
        return cls(base, rough, zstandard.ZstdCompressor(level=level).compress(raw), whole)


def coded(tensor: Array, bits: int) -> Coded:
    """Bring a tensor to ``2**bits`` even levels between its least and its greatest value.

    Examples
    --------
    >>> coded(np.array([-1.0, 0.1, 2.0], np.float32), 2).values().tolist()
    [-1.0, 0.0, 2.0]
    """
    low, high = np.float32(tensor.min()), np.float32(tensor.max())
    step = np.float32((float(high) - float(low)) / (2**bits - 1))
    scaled = (tensor.astype(np.float64) - float(low)) / float(step) if step else 0 * tensor
    codes = np.clip(np.rint(scaled), 0, 2**bits - 1).astype(np.uint8)
    return Coded(packed(codes.ravel(), bits), low, step, bits, tensor.shape)


def packed(codes: Array, bits: int) -> Array:
    """Pack codes densely.

    Examples
    --------
    >>> packed(np.array([1, 2, 3, 0], np.uint8), 2).tolist()
    [108]
    """
    planes = np.unpackbits(codes[:, None], axis=1)[:, _BYTE - bits :]
    return np.packbits(planes.ravel())


def unpacked(data: Array, count: int, bits: int) -> Array:
    """Return `count` codes again, uint8."""
    planes = np.unpackbits(data, count=count * bits).reshape(count, bits)
    zeros = np.zeros((count, _BYTE - bits), np.uint8)
    return np.packbits(np.concatenate([zeros, planes], axis=1), axis=1).ravel()


def differing(first: Mapping[str, Array], second: Mapping[str, Array]) -> int:
    """Return how many weights are not the same bits; -0 and 0 are not."""
    count = 0
    for name, tensor in first.items():
        words: Any = np.dtype(f"u{tensor.dtype.itemsize}")
        count += int(np.sum(tensor.view(words) != second[name].view(words)))
    return count
