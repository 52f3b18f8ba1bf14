"""The figures of an update, added up while it is encoded (SPEC.md, 19.6)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from p2uformat.artifact.bodies import EncodedBlock
from p2uformat.artifact.plan import TensorPlan
from p2uformat.manifest import UpdateRecord
from p2uformat.quant.binary64 import add_up, as_scaled
from p2uformat.quant.fit import Distances
from p2uformat.quant.levels import Levels
from p2uformat.quant.leveltally import LevelTally, entropy_bits, most_bits

__all__ = ["UpdateTally"]


@dataclass(slots=True)
class UpdateTally:
    """Figures of an update in the making.

    Parameters
    ----------
    base : bytes
        Content root of what the difference is to.
    client, round : int
        Whose it is, and when.
    weight : float
        How much it counts.
    energy : float
        Sum of squares of the difference.
    """

    base: bytes
    client: int
    round: int
    weight: float
    energy: float
    errors: list[float] = field(default_factory=list)  # of each tensor, as are all of these
    expected: list[float] = field(default_factory=list)
    bounds: list[float] = field(default_factory=list)
    bits: int = 0
    most: int = 0
    bounded: bool = True

    def add(
        self,
        plan: TensorPlan,
        away: Distances,
        blocks: Sequence[EncodedBlock],
    ) -> None:
        """Add a tensor.

        Parameters
        ----------
        plan : TensorPlan
            The tensor.
        away : Distances
            How far a quantizer without a ladder is off.
        blocks : sequence of EncodedBlock
            What was made of its blocks.
        """
        self.errors.append(add_up(np.array(away.errors)))
        if plan.fit is not None and isinstance(plan.fit.quantizer, Levels):
            self._add_levels(plan, [b.tally for b in blocks if b.tally is not None])
        elif plan.fit is not None:
            self.bounded = False
            self._add_bits(8 * sum(block.first_bytes for block in blocks))
        elif plan.fmt is None:
            self._add_bits(8 * plan.geometry.elements * plan.geometry.element_size)

    def _add_levels(self, plan: TensorPlan, tallies: Sequence[LevelTally]) -> None:
        assert plan.fit is not None
        assert isinstance(plan.fit.quantizer, Levels)
        codes = plan.fit.quantizer.count
        counts = sum((tally.counts for tally in tallies), np.zeros(codes, np.int64))
        norms = sum(tally.norm_bits for tally in tallies)
        self.bits += entropy_bits(counts) + norms
        self.most += most_bits(codes, plan.geometry.elements) + norms
        self.expected.append(add_up(np.array([tally.expected for tally in tallies])))
        self.bounds.append(add_up(np.array([tally.bound for tally in tallies])))

    def _add_bits(self, bits: int) -> None:
        self.bits += bits
        self.most += bits

    def record(self) -> UpdateRecord:
        """Return what the content root says."""
        return UpdateRecord(
            base=self.base,
            client=self.client,
            round=self.round,
            weight=self.weight,
            variance=as_scaled(add_up(np.array(self.errors)), up=False),
            energy=as_scaled(self.energy, up=False),
            expected=self._figure(self.expected, up=False),
            bound=self._figure(self.bounds, up=True),
            bits=self.bits,
            most=self.most,
        )

    def _figure(self, sums: list[float], *, up: bool) -> tuple[int, int] | None:
        return as_scaled(add_up(np.array(sums)), up=up) if self.bounded else None
