"""The budget planner: a step exponent for every segment under a bit budget (SPEC.md, section 11).

At a fixed rate the squared error is least where every segment has the same slope of distortion over
rate (Shoham and Gersho 1988, "Efficient bit allocation for an arbitrary set of quantizers"). Each
segment's candidates are priced with the tables that segments of its scale class share, the slope is
searched by bisection, and the tables are re-estimated from the choice, a few times. What is left
of the budget is filled in the order of benefit.

All sums are of integers; the only floating point is single IEEE operations on single values, so
that the plan is the same on every machine.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from p2uformat.codec.rates import ONE_BIT, log2_fixed, quarter_octaves
from p2uformat.quant.histogram import (
    BINS,
    CANDIDATES,
    EMPTY,
    SPREAD,
    distortions,
    magnitudes,
    remainders,
)
from p2uformat.quant.pricing import NUMPY, Arithmetic
from p2uformat.quant.split import OUTLIER

__all__ = ["Plan", "Segments", "make_plan"]

U8 = NDArray[np.uint8]

_ROUNDS = 5
_OUTLIER_BITS = 32  # the index; the value is added
_STEP_BITS = 2  # a step exponent, entropy coded
_CALIBRATIONS = 12  # at the most, until a plan is inside its budget
_ENOUGH = 5  # attempts to come closer
_CLASS_LIMITS = (-20, 28)
_OUTLIER_SHARE = 16


@dataclass(frozen=True, slots=True)
class Segments:
    """All segments that share one budget.

    Parameters
    ----------
    counts : ndarray, shape (n, BINS)
        Histograms, see `quant.histogram`.
    anchor : ndarray of int16, shape (n,)
        Their anchors.
    sizes : ndarray of int64, shape (n,)
        Weights of each segment.
    value_bits : ndarray of int64, shape (n,)
        Bits of a source value, which an outlier costs.
    sensitivity : ndarray of float64, shape (n,)
        Weight of the segment's squared error.
    sparse : ndarray of bool, shape (n,)
        Whether its zeros have symbols of their own, and so nothing beyond them.
    """

    counts: NDArray[np.unsignedinteger]
    anchor: NDArray[np.int16]
    sizes: NDArray[np.int64]
    value_bits: NDArray[np.int64]
    sensitivity: NDArray[np.float64]
    sparse: NDArray[np.bool_]

    @property
    def weights(self) -> int:
        """Number of weights."""
        return int(self.sizes.sum())


@dataclass(frozen=True, slots=True)
class Plan:
    """The choice for every segment.

    Parameters
    ----------
    steps : ndarray of int16, shape (n,)
        K.
    choice : ndarray of uint8, shape (n,)
        The candidate it is.
    rates : ndarray of int64, shape (n,)
        Modelled bits of the base tier, in units of 1 / ONE_BIT.
    """

    steps: NDArray[np.int16]
    choice: U8
    rates: NDArray[np.int64]

    def ladder_bits(
        self,
        segments: Segments,
        mantissa: NDArray[np.int64],
        digits: int,
        arithmetic: Arithmetic = NUMPY,
    ) -> NDArray[np.int64]:
        """Return the modelled bits of each segment's whole ladder.

        Parameters
        ----------
        segments : Segments
            What was planned.
        mantissa : ndarray of int64, shape (n,)
            Stored mantissa bits of each segment's format.
        digits : int
            Digits of the last lossy tier.
        arithmetic : Arithmetic
            Who does the sums.
        """
        zeros = np.where(segments.sparse, segments.counts[:, 0].astype(np.int64), 0)
        out = self.rates // ONE_BIT + digits * (segments.sizes - zeros)
        for bits in np.unique(mantissa).tolist():
            left = remainders(bits, digits)
            rows = np.flatnonzero(mantissa == bits)
            counts = segments.counts if len(rows) == len(out) else segments.counts[rows]
            spent = arithmetic.products(counts, left)
            chosen = self.choice[rows]
            out[rows] += spent[chosen, np.arange(len(rows))] - zeros[rows] * left[chosen, 0]
        return out


class _Pricer:
    """Rates and distortions of every candidate of every segment, candidates first."""

    def __init__(self, segments: Segments, arithmetic: Arithmetic) -> None:
        self.segments = segments
        self._arithmetic = arithmetic
        spread = magnitudes()
        width = len(CANDIDATES)
        sizes = np.maximum(segments.sizes, 1)
        means = spread @ np.arange(OUTLIER + 1, dtype=np.int64)  # (candidates, BINS), eighths
        wanted = np.concatenate((means, spread[:, :, OUTLIER], distortions()))
        height, outliers, raw = arithmetic.products(segments.counts, wanted).reshape(3, width, -1)
        average = (height << 13) // sizes
        limits = quarter_octaves(*_CLASS_LIMITS)
        places = np.searchsorted(limits, average.reshape(-1), side="right")
        self.classes = places.reshape(average.shape).astype(np.uint8)
        self.rows = np.arange(len(segments.sizes))
        outliers = outliers // SPREAD
        spent = segments.sizes + outliers * (_OUTLIER_BITS + segments.value_bits)
        self.fixed = (spent + _STEP_BITS) * ONE_BIT  # signs, outliers, the step exponent
        self.rate = self.fixed.astype(np.float64)  # integers, all of them
        # Past this a finer step only turns weights into outliers, which are exact, and dear.
        numbers = segments.sizes - segments.counts[:, 0].astype(np.int64)
        barred = outliers * _OUTLIER_SHARE > np.maximum(numbers, 1)
        self._open = self._distortions(raw)
        self.distortion = np.where(barred, np.inf, self._open)

    def _distortions(self, raw: NDArray[np.int64]) -> NDArray[np.float64]:
        empty = self.segments.anchor == EMPTY
        anchor = np.where(empty, 0, self.segments.anchor).astype(np.int32)
        scale = 2 * (anchor + np.array(CANDIDATES, np.int32)[:, None])
        # Relative to the middle anchor, so that nothing leaves float64's range.
        centre = int(np.median(anchor))
        scaled: NDArray[np.float64] = np.ldexp(
            raw.astype(np.float64), np.clip(scale - 2 * centre, -900, 900)
        )
        return scaled * self.segments.sensitivity

    def retable(self, choice: U8) -> None:
        """Price every candidate with the tables that a choice leads to."""
        counts = self.segments.counts
        total = int(self.classes.max()) + 1
        width = len(CANDIDATES)
        keys = self.classes[choice, self.rows].astype(np.uint16) * np.uint16(width) + choice
        pooled = self._arithmetic.pool_counts(counts, keys, total * width)
        lengths = _code_lengths(self._arithmetic.spread_tables(pooled.reshape(total, -1)))
        costs = self._arithmetic.spread_costs(lengths).reshape(total, width, BINS)
        self.rate = self._arithmetic.rates(counts, self.classes, costs, self.fixed)

    def search(self, budget: int) -> tuple[U8, U8]:
        """Bisect the slope; return the best choice inside the budget and the next one outside."""
        return self._arithmetic.search(self.distortion, self.rate, budget)

    def rates(self, choice: U8) -> NDArray[np.int64]:
        """Return the modelled bits of each segment of a choice."""
        return self.rate[choice, self.rows].astype(np.int64)

    def saved(self, inside: U8, outside: U8) -> NDArray[np.float64]:
        """Return the error that one choice saves over another."""
        gain: NDArray[np.float64] = self._open[inside, self.rows] - self._open[outside, self.rows]
        return gain


def _code_lengths(tables: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return ideal code lengths; symbols a class has not seen borrow from all classes."""
    everything = tables.sum(0)
    share = np.maximum(everything.sum(), 1)
    size = tables.sum(1, keepdims=True)
    prior = (everything[None, :] * (size // 50 + 400)) // share + 1
    mixed = tables * 64 + prior * 64
    lengths: NDArray[np.int64] = log2_fixed(mixed.sum(1, keepdims=True)) - log2_fixed(mixed)
    return lengths


def _fill(pricer: _Pricer, inside: U8, outside: U8, budget: int) -> U8:
    """Spend what the bisection left over, where a bit saves most first."""
    before = pricer.rates(inside)
    left = budget - int(before.sum())
    choice = inside.copy()
    change = pricer.rates(outside) - before
    gain = pricer.saved(inside, outside)
    order = np.argsort(-gain / np.maximum(change, 1).astype(np.float64), kind="stable")
    for row in order[change[order] > 0].tolist():
        if change[row] <= left:
            choice[row] = outside[row]
            left -= int(change[row])
    return choice


def _steps(segments: Segments, choice: U8) -> NDArray[np.int16]:
    steps = segments.anchor + np.array(CANDIDATES, np.int16)[choice]
    # A segment of zeros takes its neighbour's exponent, which costs nothing to store.
    known = np.where(segments.anchor == EMPTY, -1, np.arange(len(steps)))
    last = np.maximum.accumulate(known)
    first = int(np.argmax(known >= 0)) if (known >= 0).any() else 0
    filled = steps[np.where(last < 0, first, last)]
    if not (known >= 0).any():
        filled = np.zeros_like(steps)
    return filled.astype(np.int16)


def make_plan(
    segments: Segments,
    budget_bits: float,
    measure: Callable[[NDArray[np.int16]], float] | None = None,
    arithmetic: Arithmetic = NUMPY,
) -> Plan:
    """Choose K of every segment.

    Parameters
    ----------
    segments : Segments
        What to plan.
    budget_bits : float
        Bits per weight that the base tier may take.
    measure : callable, optional
        Bits per weight that a choice of K really takes, estimated in integers on a sample; the
        model is calibrated against it.
    arithmetic : Arithmetic
        Who does the sums; the plan does not depend on it.

    Returns
    -------
    Plan
        K of each segment.
    """
    if not segments.weights:
        none = np.zeros(len(segments.sizes), np.int64)
        return Plan(none.astype(np.int16), none.astype(np.uint8), none)
    pricer = _Pricer(segments, arithmetic)
    # Two bits below the anchor is about four bits a weight: the first tables come from there.
    start = int(np.clip(round(2 - budget_bits) - CANDIDATES[0], 0, len(CANDIDATES) - 1))
    pricer.retable(np.full(len(segments.sizes), start, np.uint8))
    target = budget_bits
    margin = budget_bits / 5000
    best: tuple[float, Plan] | None = None
    for attempt in range(_CALIBRATIONS):
        choice = _settle(pricer, target, rounds=_ROUNDS if attempt == 0 else 1)
        plan = Plan(_steps(segments, choice), choice, pricer.rates(choice))
        if measure is None:
            return plan
        gap = budget_bits - measure(plan.steps)
        if gap >= 0:
            if best is None or gap < best[0]:
                best = (gap, plan)
            if gap < budget_bits / 2000 or attempt >= _ENOUGH:
                break
        else:
            # Tables move with the choice, so the same aim may miss again: aim lower each time.
            margin *= 2
        target = max(target + gap - margin, 0.05)
    return best[1] if best else plan


def _settle(pricer: _Pricer, target: float, rounds: int) -> U8:
    budget = int(target * pricer.segments.weights * ONE_BIT)
    for _ in range(rounds):
        inside, _outside = pricer.search(budget)
        pricer.retable(inside)
    inside, outside = pricer.search(budget)
    return _fill(pricer, inside, outside, budget)
