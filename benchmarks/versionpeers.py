"""What an update is laid beside: zstd with the older file, casync, a one-shot difference."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from benchmarks.sources import Array
from p2uformat.codec import zstd

__all__ = ["absent", "bit_lengths", "casync", "integer_codes", "one_shot", "patch"]


def absent() -> list[str]:
    """Return a line for each command that is not installed here."""
    return [f"{name}: not installed" for name in ("zstd", "casync") if not shutil.which(name)]


def patch(old: Path, new: Path, work: Path) -> int | None:
    """Return the bytes of ``zstd -19 --long=27 --patch-from``.

    Parameters
    ----------
    old, new
        The older and the newer file.
    work
        Folder for the patch.

    Returns
    -------
    int or None
        None where the command is not installed.
    """
    if shutil.which("zstd") is None:
        return None
    target = work / "patch.zst"
    command = ["zstd", "-q", "-f", "-19", "--long=27", f"--patch-from={old}", str(new)]
    subprocess.run([*command, "-o", str(target)], check=True, capture_output=True)
    return target.stat().st_size


def casync(old: Path, new: Path, work: Path) -> int | None:
    """Return the bytes of the chunks that `new` adds to a store that has `old`.

    Parameters
    ----------
    old, new
        The older and the newer file.
    work
        Folder to make the store in; it is removed again.

    Returns
    -------
    int or None
        None where the command is not installed.
    """
    if shutil.which("casync") is None:
        return None
    folder = work / "casync"
    folder.mkdir()
    sizes = []
    for number, file in enumerate((old, new)):
        index = folder / f"{number}.caibx"
        command = ["casync", "make", f"--store={folder / 'store'}", str(index), str(file)]
        subprocess.run(command, check=True, capture_output=True)
        sizes.append(sum(f.stat().st_size for f in (folder / "store").rglob("*") if f.is_file()))
    shutil.rmtree(folder)
    return sizes[1] - sizes[0]


def one_shot(
    before: Mapping[str, Array], after: Mapping[str, Array], names: Iterable[str]
) -> float | None:
    """Return the bits per weight of a plain integer difference of some tensors.

    The words become integers in the order of their values; these are subtracted and zigzagged. Of
    each result the bit length is entropy coded, the bits behind its leading one are taken raw.

    Parameters
    ----------
    before, after
        Tensors of the older and of the newer version.
    names
        Those that count.

    Returns
    -------
    float or None
        None if one of them has no predecessor of its shape and dtype, or there are none.
    """
    lengths = []
    for name in names:
        old, new = before.get(name), after[name]
        if old is None or (old.shape, old.dtype) != (new.shape, new.dtype):
            return None
        moved = integer_codes(new) - integer_codes(old)
        lengths.append(bit_lengths(np.where(moved < 0, ~moved, moved) * 2 + (moved < 0)))
    if not lengths:
        return None
    every = np.concatenate(lengths)
    raw = float(np.maximum(every.astype(np.int64) - 1, 0).sum())
    return (raw + _coded_bits(every)) / every.size


def integer_codes(array: Array) -> Array:
    """Return floats of at most 32 bits as integers in the order of their values.

    A positive word is itself, a negative one ``-1 - magnitude``.

    Examples
    --------
    >>> integer_codes(np.array([0.0, 1e-45, -0.0, -1e-45], np.float32)).tolist()
    [0, 1, -1, -2]
    """
    bits = 8 * array.dtype.itemsize
    words = np.ascontiguousarray(array).reshape(-1).view(f"<u{array.dtype.itemsize}")
    magnitude = (words & words.dtype.type((1 << (bits - 1)) - 1)).astype(np.int64)
    codes: Array = np.where(words >> words.dtype.type(bits - 1), ~magnitude, magnitude)
    return codes


def bit_lengths(values: Array) -> Array:
    """Return how many bits each of some integers from 0 to 2**53 has.

    Examples
    --------
    >>> bit_lengths(np.array([0, 1, 2, 255, 256])).tolist()
    [0, 1, 2, 8, 9]
    """
    return np.asarray(np.frexp(values.astype(np.float64))[1], np.uint8)


def _coded_bits(symbols: Array) -> float:
    """Return the bits of some bytes by an entropy coder: zstd's, or an ideal one if smaller."""
    counts = np.bincount(symbols)
    counts = counts[counts > 0]
    ideal = float((counts * np.log2(symbols.size / counts)).sum())
    return min(8.0 * len(zstd.compress(symbols.tobytes())), ideal)
