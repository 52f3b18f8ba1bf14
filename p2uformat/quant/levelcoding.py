"""A block of a `levels` tensor on its way to its layer (SPEC.md, 19.4 and 19.5)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from p2uformat.floats import FloatFormat
from p2uformat.quant import levels
from p2uformat.quant.levels import Levels
from p2uformat.quant.leveltables import fit_table, magnitude_counts
from p2uformat.quant.leveltally import LevelTally, tally

__all__ = ["encode_block", "fitted_to", "scan_block"]

F64 = NDArray[np.float64]
Counts = NDArray[np.int64]
Words = NDArray[np.unsignedinteger]


def scan_block(form: Levels, values: F64) -> tuple[bool, Counts | None]:
    """Return whether norms of a block's finite weights are held, and what a table is fitted to."""
    cut = form.cut(len(values))
    norms = levels.bucket_norms(form, cut, values)
    if not levels.holds(form, norms):
        return False, None
    if form.entries is not None:
        return True, None
    return True, magnitude_counts(np.abs(levels.ratios(form, cut, norms, values)))


def fitted_to(form: Levels, counts: Counts) -> Levels:
    """Return a quantizer with the table that suits what was counted."""
    assert form.s is not None
    return form.fitted(fit_table(counts, form.s, stochastic=form.rounding == "stochastic"))


def encode_block(
    form: Levels, name: str, start: int, values: F64, source: FloatFormat
) -> tuple[list[bytes], Words, LevelTally]:
    """Return a block's layer in parts, what it is rebuilt as, and what it adds to figures.

    Parameters
    ----------
    form : Levels
        The quantizer, with its table.
    name, start
        The tensor and the block's first element, which rounding draws from.
    values : ndarray of float64
        The weights.
    source : FloatFormat
        Their format.
    """
    cut = form.cut(len(values))
    norms = levels.bucket_norms(form, cut, values)
    found = levels.ratios(form, cut, norms, values)
    codes = levels.encode(form, found, levels.draw(form, name, start, len(values)))
    near = levels.decode(form, cut, norms, codes, source, source)
    return levels.sections(form, norms, codes), near, tally(form, cut, norms, found, codes)
