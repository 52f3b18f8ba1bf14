"""Bit-widths for clients with budgets: one ladder, and as much of each tensor as a client can take.

Mixed precision as in FedMPQ (Chen, Vikalo: Mixed-Precision Quantization for Federated Learning on
Resource-Constrained Heterogeneous Devices, CVPR 2024, arXiv 2311.18129): each tensor has a width,
each client a budget of bits per weight on average. Whole numbers and fractions only, so that every
machine comes to the same widths.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from heapq import heappop, heappush
from typing import Final, Self

from p2uformat import Artifact, InvalidArgument

__all__ = [
    "Layer",
    "average_widths",
    "layers_of",
    "plan_widths",
    "prune_and_grow",
    "used_bits",
]

Widths = Mapping[str, int]
_TIER: Final = re.compile(r"q([0-9]{1,2})")
_WIDEST: Final = 8
_FINEST_WEIGHT: Final = 1 << 20  # sensitivities are whole multiples of one part in so many


@dataclass(frozen=True, slots=True)
class Layer:
    """A tensor that can be had at several widths.

    Parameters
    ----------
    name : str
        Its name.
    weights : int
        Number of its weights.
    bits : mapping of int to int
        For each width, narrowest first, how many bits the tensor takes.
    errors : mapping of int to int
        For each width how much is lost at it, in any unit that all layers share; falling.

    Raises
    ------
    InvalidArgument
        If it has no width, or a wider one takes fewer bits.
    """

    name: str
    weights: int
    bits: Mapping[int, int]
    errors: Mapping[int, int]

    def __post_init__(self) -> None:
        widths = list(self.bits)
        if not widths or list(self.errors) != widths:
            raise InvalidArgument(f"layer {self.name!r} without widths, or without their errors")
        sizes = list(self.bits.values())
        if widths != sorted(widths) or sizes != sorted(sizes):
            raise InvalidArgument(f"layer {self.name!r}: wider and yet smaller")

    @property
    def widths(self) -> tuple[int, ...]:
        """The widths that it can have, ascending."""
        return tuple(self.bits)

    def fitting(self, width: int) -> int:
        """Return the widest of its widths that is not above one, or its least."""
        return max((w for w in self.bits if w <= width), default=min(self.bits))


def layers_of(artifact: Artifact, sensitivity: Mapping[str, float] | None = None) -> list[Layer]:
    """Return the tensors of a ladder as layers, each tier ``qN`` up to ``q8`` as width N.

    What a layer takes is what is stored of it: N bits a weight on average over all layers, more
    where the ladder spends more. What it loses is its relative squared error times its weights
    times its sensitivity: a scale that normalisation takes out again does not count.

    Parameters
    ----------
    artifact : Artifact
        The model; its manifest says all that is needed.
    sensitivity : mapping of str to float, optional
        By tensor, how much its error counts; 1 where nothing is said.

    Returns
    -------
    list of Layer
        In the order of names. Tensors that travel exactly are none.

    Raises
    ------
    InvalidArgument
        If no tier is a width, or a sensitivity is negative or not finite.
    """
    found = [_TIER.fullmatch(tier) for tier in artifact.tiers]
    tiers = {number: int(match[1]) for number, match in enumerate(found) if match}
    tiers = {number: width for number, width in tiers.items() if width <= _WIDEST}
    if not tiers:
        raise InvalidArgument(
            f"none of the tiers {', '.join(artifact.tiers)} is a width of 1 to {_WIDEST} bits",
            hint="pack with tiers such as q2,q3,q4,q5,q6,q7,q8,exact",
        )
    counts = _checked(sensitivity or {})
    layers = []
    for name in sorted(artifact.keys()):
        info = artifact.info(name)
        if info.quantizer != "bitplane":
            continue
        bits, errors, stored = {}, {}, 0
        for number in range(max(tiers) + 1):
            stored += 8 * info.stored[number]
            if number in tiers:
                width = tiers[number]
                bits[width] = stored
                lost = info.rms_error[number] ** 2 * info.parameters * counts.get(name, 1.0)
                errors[width] = round(lost * _FINEST_WEIGHT)
        layers.append(Layer(name, info.parameters, bits, errors))
    return layers


def used_bits(layers: Iterable[Layer], widths: Widths) -> int:
    """Return how many bits layers take at given widths."""
    return sum(layer.bits[widths[layer.name]] for layer in layers)


def plan_widths(layers: Sequence[Layer], budget: float) -> dict[str, int]:
    """Return the widths that lose least within a budget.

    Each layer begins at its least width; the step that wins most per bit is taken as long as it
    fits (steps along the convex hull of each layer's errors over its bits, so for all budgets that
    such a step meets exactly the loss is the least there is).

    Parameters
    ----------
    layers : sequence of Layer
        What there is; the order does not matter.
    budget : float
        Bits per weight, on average over all weights of the layers.

    Returns
    -------
    dict of str to int
        By name.

    Raises
    ------
    InvalidArgument
        If the least widths are above the budget.

    Examples
    --------
    >>> bits, errors = {2: 200, 4: 400, 8: 800}, {2: 900, 4: 90, 8: 1}
    >>> small = Layer("a", 100, bits, errors)
    >>> large = Layer("b", 100, bits, {2: 9000, 4: 900, 8: 10})
    >>> plan_widths([small, large], 4)
    {'a': 4, 'b': 4}
    >>> plan_widths([small, large], 6)
    {'a': 4, 'b': 8}
    """
    limit = _limit(layers, budget)
    widths = {layer.name: layer.widths[0] for layer in sorted(layers, key=lambda layer: layer.name)}
    used = used_bits(layers, widths)
    _check_floor(layers, used, limit, budget)
    used = _widen(layers, widths, used, limit, _best_step)
    # What is left of the budget may be enough for shorter steps than those on the hull.
    _widen(layers, widths, used, limit, _next_step)
    return widths


def average_widths(reports: Iterable[tuple[Widths, float]]) -> dict[str, int]:
    """Return the widths that clients came to, on average by their weights, rounded half up.

    Parameters
    ----------
    reports : iterable of (mapping of str to int, float)
        Widths by tensor, and the client's weight.

    Raises
    ------
    InvalidArgument
        If there is none, clients have other tensors, or a weight is not above 0 and finite.

    Examples
    --------
    >>> average_widths([({"a": 2, "b": 8}, 1), ({"a": 4, "b": 3}, 3)])
    {'a': 4, 'b': 4}
    """
    known = list(reports)
    if not known:
        raise InvalidArgument("no widths to average")
    names = sorted(known[0][0])
    sums = dict.fromkeys(names, Fraction())
    total = Fraction()
    for widths, weight in known:
        if sorted(widths) != names:
            raise InvalidArgument("widths of other tensors than those of the first client")
        if not (math.isfinite(weight) and weight > 0):
            raise InvalidArgument(f"a weight of {weight}", hint="give a number above 0")
        total += Fraction(weight)
        for name in names:
            sums[name] += Fraction(weight) * widths[name]
    return {name: math.floor(sums[name] / total + Fraction(1, 2)) for name in names}


def prune_and_grow(
    layers: Sequence[Layer],
    widths: Widths,
    budget: float,
    drops: Widths | None = None,
) -> dict[str, int]:
    """Bring widths under a budget, or up to it, by the rule of FedMPQ.

    Layers are sorted by their weights times one more than the bits they lost in the last round,
    largest first. While the widths are above the budget, they lose one bit each from the front on,
    round after round; then, from the back on, they gain one as long as it fits.

    Parameters
    ----------
    layers : sequence of Layer
        What there is.
    widths : mapping of str to int
        Where to begin: the average of the clients' widths. A layer that has no such width begins at
        its next narrower one.
    budget : float
        Bits per weight on average.
    drops : mapping of str to int, optional
        How many bits each lost; 0 where nothing is said.

    Returns
    -------
    dict of str to int
        By name, never above the budget.

    Raises
    ------
    InvalidArgument
        If the least widths are above the budget, or a layer has no width to begin at.

    Examples
    --------
    >>> bits = {w: 100 * w for w in range(1, 9)}
    >>> errors = {w: 8 - w for w in range(1, 9)}
    >>> layers = [Layer(name, 100, bits, errors) for name in "ab"]
    >>> prune_and_grow(layers, {"a": 8, "b": 8}, 5.5, drops={"b": 1})
    {'a': 6, 'b': 5}
    """
    limit = _limit(layers, budget)
    missing = [layer.name for layer in layers if layer.name not in widths]
    if missing:
        raise InvalidArgument(f"no width for {missing[0]!r}")
    lost = drops or {}
    order = sorted(
        layers, key=lambda layer: (-layer.weights * (lost.get(layer.name, 0) + 1), layer.name)
    )
    made = {layer.name: layer.fitting(widths[layer.name]) for layer in order}
    _check_floor(layers, sum(layer.bits[layer.widths[0]] for layer in layers), limit, budget)
    used = used_bits(layers, made)
    while used > limit:
        for layer in order:
            narrower = [w for w in layer.widths if w < made[layer.name]][-1:]
            if used > limit and narrower:
                used -= layer.bits[made[layer.name]] - layer.bits[narrower[0]]
                made[layer.name] = narrower[0]
    grown = True
    while grown:
        grown = False
        for layer in reversed(order):
            step = _next_step(layer, made[layer.name])
            if step is not None and used + step.bits <= limit:
                used += step.bits
                made[layer.name] = step.width
                grown = True
    return {name: made[name] for name in sorted(made)}


@dataclass(frozen=True, slots=True)
class _Step:
    """One way to widen a layer."""

    width: int
    bits: int
    gain: Fraction  # of error, per bit

    @classmethod
    def to(cls, layer: Layer, width: int, wider: int) -> Self:
        bits = layer.bits[wider] - layer.bits[width]
        lost = layer.errors[width] - layer.errors[wider]
        return cls(wider, bits, Fraction(lost, max(bits, 1)))


def _best_step(layer: Layer, width: int) -> _Step | None:
    """Return the step with the largest gain per bit; of equals the longest."""
    steps = (_Step.to(layer, width, wider) for wider in layer.widths if wider > width)
    return max(steps, key=lambda step: (step.gain, step.width), default=None)


def _next_step(layer: Layer, width: int) -> _Step | None:
    """Return the step to the next width."""
    return next((_Step.to(layer, width, w) for w in layer.widths if w > width), None)


def _widen(
    layers: Iterable[Layer],
    widths: dict[str, int],
    used: int,
    limit: int,
    step_of: Callable[[Layer, int], _Step | None],
) -> int:
    """Take the step with the most gain, again and again; return the bits that are used then.

    What is used only grows, so a step that does not fit will not fit later.
    """
    by_name = {layer.name: layer for layer in layers}
    waiting: list[tuple[Fraction, str, int, int]] = []

    def wait(name: str) -> None:
        step = step_of(by_name[name], widths[name])
        if step is not None:
            heappush(waiting, (-step.gain, name, step.width, step.bits))

    for name in widths:
        wait(name)
    while waiting:
        _, name, width, bits = heappop(waiting)
        if used + bits <= limit:
            widths[name] = width
            used += bits
            wait(name)
    return used


def _limit(layers: Sequence[Layer], budget: float) -> int:
    if not layers:
        raise InvalidArgument("no layer to plan", hint="the artifact has no ladder")
    if not (math.isfinite(budget) and budget > 0):
        raise InvalidArgument(f"a budget of {budget} bits", hint="give a number above 0")
    return math.floor(Fraction(budget) * sum(layer.weights for layer in layers))


def _check_floor(layers: Sequence[Layer], used: int, limit: int, budget: float) -> None:
    if used > limit:
        weights = sum(layer.weights for layer in layers)
        raise InvalidArgument(
            f"a budget of {budget:g} bits per weight: the ladder begins at {used / weights:.3f}",
            hint="give a larger budget, or a ladder with a lower base tier",
        )


def _checked(sensitivity: Mapping[str, float]) -> Mapping[str, float]:
    for name, value in sensitivity.items():
        if not (math.isfinite(value) and value >= 0):
            raise InvalidArgument(
                f"the sensitivity of {name!r} is {value}", hint="give a number from 0 on"
            )
    return sensitivity
