"""Level tables by name, and how one is fitted to what is rounded to it (SPEC.md, 19.5 and 19.4).

The root depends on a table, so everything here is binary64 one operation at a time, or integers.
"""

from __future__ import annotations

from bisect import bisect_right
from functools import partial
from itertools import accumulate, pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["BINS", "NF4", "as_table", "exponential", "fit_table", "magnitude_counts", "uniform"]

F64 = NDArray[np.float64]
Counts = NDArray[np.int64]
Table = tuple[float, ...]

# The sixteen values of NormalFloat, 4 bits: Dettmers, Pagnoni, Holtzman and Zettlemoyer, "QLoRA:
# Efficient Finetuning of Quantized LLMs" (arXiv 2305.14314), appendix E.
NF4: Final[Table] = (
    -1.0,
    -0.6961928009986877,
    -0.5250730514526367,
    -0.39491748809814453,
    -0.28444138169288635,
    -0.18477343022823334,
    -0.09105003625154495,
    0.0,
    0.07958029955625534,
    0.16093020141124725,
    0.24611230194568634,
    0.33791524171829224,
    0.44070982933044434,
    0.5626170039176941,
    0.7229568362236023,
    1.0,
)

# Magnitudes are counted by exponent and by the first bits of their fraction.
_FRACTION: Final = 6
_OCTAVES: Final = 32  # magnitudes below 2**-_OCTAVES count as 0
_STEPS: Final = 1 << _FRACTION
BINS: Final = _OCTAVES * _STEPS + 2  # 0 and 1 have bins of their own
_UNIT: Final = _OCTAVES + _FRACTION + 1  # representatives are multiples of 2**-_UNIT
_SWEEPS: Final = 100


def as_table(numbers: list[float]) -> Table:
    """Return numbers rounded to what a record can hold: F32.

    Examples
    --------
    >>> as_table([-1, 0.1, 1])
    (-1.0, 0.10000000149011612, 1.0)
    """
    return tuple(float(number) for number in np.array(numbers, np.float64).astype(np.float32))


def uniform(s: int) -> Table:
    """Return the levels ``-s/s`` to ``s/s`` (QSGD, arXiv 1610.02132).

    Examples
    --------
    >>> uniform(2)
    (-1.0, -0.5, 0.0, 0.5, 1.0)
    """
    return as_table([j / s for j in range(-s, s + 1)])


def exponential(s: int, base: float) -> Table:
    """Return 0 and plus and minus ``base**j`` for j below s (NUQSGD, arXiv 1908.06077).

    Examples
    --------
    >>> exponential(2, 0.5)
    (-1.0, -0.5, 0.0, 0.5, 1.0)
    """
    powers = list(accumulate([1.0, *[base] * (s - 1)], lambda a, b: a * b))
    return as_table([-x for x in powers] + [0.0] + powers[::-1])


def magnitude_counts(magnitudes: F64) -> Counts:
    """Count numbers from 0 to 1 by size, an octave in 64 parts.

    Examples
    --------
    >>> magnitude_counts(np.array([0.0, 1.0, 1.0]))[[0, -1]].tolist()
    [1, 2]
    """
    bits = magnitudes.view(np.int64) >> (52 - _FRACTION)
    lowest = (1023 - _OCTAVES) << _FRACTION
    return np.bincount(np.maximum(bits - lowest + 1, 0), minlength=BINS)


def _representatives() -> list[int]:
    """Return what stands for each bin: its middle, in units of ``2**-_UNIT``."""
    inside = [
        (2 * (_STEPS + step) + 1) << octave for octave in range(_OCTAVES) for step in range(_STEPS)
    ]
    return [0, *inside, 1 << _UNIT]


def fit_table(counts: Counts, s: int, *, stochastic: bool) -> Table:
    """Return the symmetric table of ``2 s + 1`` levels that suits magnitudes best.

    Parameters
    ----------
    counts : ndarray of int64, shape (BINS,)
        What `magnitude_counts` says of all numbers.
    s : int
        Levels above 0; 0 is one too.
    stochastic : bool
        Whether the sum of ``(v - a) * (b - v)`` between neighbouring levels is to be small, the
        variance of stochastic rounding (ALQ of Faghri et al., arXiv 2010.12460, with normalised
        buckets; the largest level is then 1), or that of squares to the nearest one (Lloyd, Max).
        No table of `uniform` has a smaller one, of magnitudes in the middles of their bins.

    Examples
    --------
    >>> fit_table(magnitude_counts(np.array([0.25] * 9 + [1.0])), 2, stochastic=True)
    (-1.0, -0.251953125, 0.0, 0.251953125, 1.0)
    """
    points = _representatives()
    known = [int(count) for count in counts]
    number = [0, *accumulate(known)]
    total = [0, *accumulate(n * x for n, x in zip(known, points, strict=True))]
    cost = partial(_cost, points=points, number=number, total=total, stochastic=stochastic)
    settle = partial(_settle, points=points, number=number, total=total, stochastic=stochastic)
    best = settle(_start(known, s, ends=stochastic))
    even = [round(level * (1 << _UNIT)) for level in uniform(s)[s:]]
    if cost(even) < cost(best):
        # Where few magnitudes are all there is, the way down may end in a hollow far above.
        best = min(best, even, settle(_spread(points, even)), key=cost)
    upper = [level / (1 << _UNIT) for level in best[1:]]
    return as_table([-x for x in upper[::-1]] + [0.0] + upper)


def _settle(
    levels: list[int], points: list[int], number: list[int], total: list[int], *, stochastic: bool
) -> list[int]:
    """Move levels, given by their places, until they rest; returns them in units."""
    step = _stochastic_sweep if stochastic else _nearest_sweep
    for _ in range(_SWEEPS):
        before = list(levels)
        step(levels, points, number, total)
        if levels == before:
            break
    return [points[place] for place in levels]


def _spread(points: list[int], levels: list[int]) -> list[int]:
    """Return the places nearest to levels, each above the one before; the ends stay."""
    places = [0]
    for j, level in enumerate(levels[1:], 1):
        highest = BINS - len(levels) + j
        places.append(min(max(_place_of(points, level), places[-1] + 1), highest))
    return places


def _cost(
    levels: list[int], points: list[int], number: list[int], total: list[int], *, stochastic: bool
) -> int:
    """Return the sum that a table is to make small, less what is the same for all tables."""
    if stochastic:
        cuts = [bisect_right(points, level) for level in levels]
        factors = [(a + b, a * b) for a, b in pairwise(levels)]
    else:
        cuts = [0, *(bisect_right(points, (a + b) // 2) for a, b in pairwise(levels)), BINS]
        factors = [(-2 * level, -level * level) for level in levels]
    return sum(
        first * (total[high] - total[low]) - second * (number[high] - number[low])
        for (first, second), (low, high) in zip(factors, pairwise(cuts), strict=True)
    )


def _start(counts: list[int], s: int, *, ends: bool) -> list[int]:
    """Return places of levels as dense as the cube root of the density of magnitudes.

    In the limit of many levels that is where they belong (Panter, Dite). With `ends` the last one
    is 1.
    """
    weights = [0] * BINS
    for place in range(1, BINS - 1):
        width = 1 << ((place - 1) // _STEPS)
        weights[place] = _cube_root(counts[place] * width * width << 30)
    reached = list(accumulate(weights))
    levels, parts = [0], 2 * s if ends else 2 * s + 1
    for j in range(1, s + 1):
        wanted = reached[-1] * 2 * j
        low = levels[-1] + 1
        while low < BINS - 1 - (s - j) and reached[low] * parts < wanted:
            low += 1
        levels.append(low)
    return [*levels[:-1], BINS - 1] if ends else levels


def _cube_root(number: int) -> int:
    """Return the floor of a cube root."""
    low, high = 0, 1 << (number.bit_length() // 3 + 1)
    while high - low > 1:
        middle = (low + high) // 2
        if middle**3 <= number:
            low = middle
        else:
            high = middle
    return low


def _stochastic_sweep(
    levels: list[int], points: list[int], number: list[int], total: list[int]
) -> None:
    """Move each level to where the sum is least between its neighbours; the ends stay."""
    for j in range(1, len(levels) - 1):
        low, high = levels[j - 1], levels[j + 1]
        first, last = low + 1, high - 1
        # The sum is linear between points, and its slope grows: the first place where it turns.
        while first < last:
            place = (first + last) // 2
            below = total[place + 1] - total[low] - points[low] * (number[place + 1] - number[low])
            above = points[high] * (number[high + 1] - number[place + 1])
            above -= total[high + 1] - total[place + 1]
            if below >= above:
                last = place
            else:
                first = place + 1
        levels[j] = first


def _nearest_sweep(
    levels: list[int], points: list[int], number: list[int], total: list[int]
) -> None:
    """Move each level but 0 to the mean of what is nearest to it."""
    edges = [_nearest_edge(points, low, high) for low, high in pairwise(levels)]
    edges.append(BINS)
    for j in range(1, len(levels)):
        count = number[edges[j]] - number[edges[j - 1]]
        if not count:
            continue
        mean = (total[edges[j]] - total[edges[j - 1]]) // count
        place = _place_of(points, mean)
        highest = BINS - len(levels) + j
        levels[j] = min(max(place, levels[j - 1] + 1), highest)


def _nearest_edge(points: list[int], low: int, high: int) -> int:
    """Return the first place that is nearer to the upper of two levels."""
    return _first_above(points, (points[low] + points[high]) // 2, low, high)


def _place_of(points: list[int], number: int) -> int:
    """Return the place whose representative is nearest to a number, the lower one of two."""
    above = _first_above(points, number, 0, BINS - 1)
    if above and 2 * number <= points[above - 1] + points[above]:
        return above - 1
    return above


def _first_above(points: list[int], number: int, first: int, last: int) -> int:
    while first < last:
        place = (first + last) // 2
        if points[place] > number:
            last = place
        else:
            first = place + 1
    return first
