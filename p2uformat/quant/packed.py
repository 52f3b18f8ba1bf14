"""Arrays that are kept quantized in memory, and expanded when they are needed."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from p2uformat.errors import InvalidArgument
from p2uformat.floats import FORMATS
from p2uformat.quant.binary64 import source_values
from p2uformat.quant.fit import TensorFit, rebuild
from p2uformat.quant.levels import Levels
from p2uformat.quant.minifloat import Minifloat
from p2uformat.quant.quantizer import Quantizer, describe, parse_quantizer
from p2uformat.quant.rounding import format_of
from p2uformat.quant.transform import Transform

__all__ = ["PackedArray", "dequantize", "quantize"]

_HINT: Final = f"only these are quantized: {', '.join(FORMATS)}"


@dataclass(frozen=True, slots=True)
class PackedArray:
    """A quantized array.

    Parameters
    ----------
    quantizer : Affine, Minifloat or Levels
        How; levels with the table that was fitted.
    dtype : str
        Safetensors name of the dtype it had, such as ``F32``.
    shape : tuple of int
        Its shape.
    data : bytes
        Scales or norms, zero points and codes, as a layer holds them (SPEC.md, 19).
    transform : Transform or None
        Of a fitted minifloat: what its values are scaled and moved by.
    """

    quantizer: Quantizer
    dtype: str
    shape: tuple[int, ...]
    data: bytes
    transform: Transform | None = None

    @property
    def nbytes(self) -> int:
        """Bytes that it takes in memory, without what every object takes."""
        return len(self.data)

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)


def quantize(array: ArrayLike, quantizer: Quantizer | str) -> PackedArray:
    """Quantize an array.

    Parameters
    ----------
    array : array_like
        Floats of any shape; fp32, fp64, fp16, or bfloat16 and float8 of ml_dtypes.
    quantizer : Affine, Minifloat, Levels or str
        How, or its name as `parse_quantizer` takes it.

    Returns
    -------
    PackedArray
        Equal arrays give equal bytes on every machine.

    Raises
    ------
    InvalidArgument
        If it does not hold floats; or if one is not finite, which `Affine` and `Levels` cannot
        hold, nor a `Minifloat` whose specials are ``finite``; or if it has no such axis, or norms
        that their dtype cannot hold.

    Examples
    --------
    >>> weights = np.linspace(-1, 1, 64, dtype=np.float32).reshape(8, 8)
    >>> packed = quantize(weights, "minifloat:S1E3M7")
    >>> packed.nbytes, bool(abs(dequantize(packed) - weights).max() <= 2**-9)
    (88, True)
    """
    form = parse_quantizer(quantizer) if isinstance(quantizer, str) else quantizer
    given = np.asarray(array)
    fmt = format_of(given.dtype)
    if fmt is None:
        raise InvalidArgument(f"cannot quantize an array of {given.dtype}", hint=_HINT)
    words = np.ascontiguousarray(given).reshape(-1).view(fmt.word)
    fit = TensorFit(form, fmt, given.shape)
    if not len(words):
        return PackedArray(form, fmt.name, given.shape, b"")
    if not (np.isfinite(source_values(fmt, words)).all() or _holds_specials(form)):
        raise InvalidArgument(
            f"{describe(form)} holds finite numbers only",
            hint="a minifloat of other specials holds NaN",
        )
    # What a format cannot hold becomes what its specials say: here that is for the caller to judge.
    if not isinstance(form, Minifloat) or form.fit:
        scan = fit.scan(0, len(words), words)
        if isinstance(form, Levels) and not scan.holds:
            raise InvalidArgument(
                f"norms that {form.scale} cannot hold", hint="choose a dtype of more range for them"
            )
        fit.finish([replace(scan, holds=True)], len(words))
    coded = fit.encode(0, len(words), words)
    packed = b"".join(coded.sections)
    return PackedArray(fit.quantizer, fmt.name, given.shape, packed, fit.transform)


def _holds_specials(form: Quantizer) -> bool:
    return isinstance(form, Minifloat) and form.specials != "finite"


def dequantize(
    packed: PackedArray,
    *,
    dtype: str | None = None,
    out: NDArray[np.generic] | None = None,
) -> NDArray[np.generic]:
    """Expand a quantized array.

    Parameters
    ----------
    packed : PackedArray
        The array.
    dtype : str, optional
        Safetensors name of the float dtype to round to, once. Its own by default, or that of `out`.
    out : ndarray, optional
        Receives the values: C-contiguous, of the shape, and of a float dtype.

    Returns
    -------
    ndarray
        The same bits on every machine; `out` if that is given.

    Raises
    ------
    InvalidArgument
        If `out` does not fit, or a dtype is none of floats.
    Malformed
        If the data are not what `quantize` makes.

    Examples
    --------
    >>> packed = quantize(np.ones((2, 3), np.float32), "affine:4")
    >>> dequantize(packed, dtype="F16")
    array([[1., 1., 1.],
           [1., 1., 1.]], dtype=float16)
    """
    source = FORMATS.get(packed.dtype)
    name = dtype or packed.dtype
    target = format_of(out.dtype) if out is not None else FORMATS.get(name)
    if source is None or target is None:
        raise InvalidArgument("no float dtype to expand to", hint=_HINT)
    words = np.empty(0, target.word)
    if packed.size:
        place = packed.shape, 0, packed.size
        words = rebuild(packed.quantizer, packed.transform, *place, packed.data, source, target)
    if out is None:
        return words.view(target.numpy).reshape(packed.shape)
    if out.shape != packed.shape or not out.flags.c_contiguous:
        raise InvalidArgument(
            f"out: expected a C-contiguous array of shape {packed.shape}, got {out.shape}"
        )
    out.reshape(-1).view(target.word)[:] = words
    return out
