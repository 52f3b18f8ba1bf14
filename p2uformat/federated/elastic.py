"""How many levels an update is worth: more as training comes to its end.

Elastic quantization as in ElastiQuant (Sudharsan et al.: ElastiQuant, SAC 2022, doi
10.1145/3477314.3507135), whose own formulas were not to be had; the rule is that of AdaQuantFL
(Jhunjhunwala et al.: Adaptive Quantization of Model Updates for Communication-Efficient Federated
Learning, ICASSP 2021): ``s_t = ceil(s_0 * sqrt(f_0 / f_t))``, f the loss. Where the levels lie
follows the data: see `p2uformat.Levels` with fitted tables.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

from p2uformat import InvalidArgument

__all__ = ["ElasticLevels"]

_MOST = 127


@dataclass(frozen=True, slots=True)
class ElasticLevels:
    """The number of levels from round to round, from the loss.

    It does not change: `after` returns the state behind a round, and `to_dict` what can be kept.

    Parameters
    ----------
    start : int
        Levels of the first round, on each side of 0.
    momentum : float
        How much of the smoothed loss stays from one round to the next, 0 to below 1: losses of
        single rounds are noisy.
    most : int
        Never more levels than these, at most 127.
    first, loss : float or None
        The loss of the first round, and the smoothed one of the last; None before any.

    Raises
    ------
    InvalidArgument
        If a value is out of range.

    Examples
    --------
    >>> rule = ElasticLevels(start=2)
    >>> rule.levels
    2
    >>> rule = rule.after(2.0).after(0.5)
    >>> rule.levels
    4
    >>> ElasticLevels.from_dict(rule.to_dict()) == rule
    True
    """

    start: int = 2
    momentum: float = 0.0
    most: int = _MOST
    first: float | None = None
    loss: float | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.start <= self.most <= _MOST:
            raise InvalidArgument(
                f"{self.start} levels at first and {self.most} at most",
                hint=f"give 1 to {_MOST}, the first not above the second",
            )
        if not 0 <= self.momentum < 1:
            raise InvalidArgument(f"a momentum of {self.momentum}", hint="give 0 to below 1")
        if (self.first is None) != (self.loss is None):
            raise InvalidArgument("a first loss without a last one, or the other way round")
        for value in (self.first, self.loss):
            if value is not None:
                _check_loss(value)

    @property
    def levels(self) -> int:
        """Levels of the next update, on each side of 0."""
        if self.first is None or self.loss is None or self.first == 0:
            return self.start
        if self.loss == 0:
            return self.most
        return min(self.most, max(1, math.ceil(self.start * math.sqrt(self.first / self.loss))))

    def after(self, loss: float) -> Self:
        """Return the rule behind a round.

        Parameters
        ----------
        loss : float
            Of the training, from 0 on.

        Raises
        ------
        InvalidArgument
            If it is negative or not finite.
        """
        _check_loss(loss)
        if self.first is None or self.loss is None:
            return replace(self, first=float(loss), loss=float(loss))
        smooth = self.momentum * self.loss + (1 - self.momentum) * loss
        return replace(self, loss=smooth)

    def to_dict(self) -> dict[str, Any]:
        """Return what becomes JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> Self:
        """Return the rule that `to_dict` described.

        Raises
        ------
        InvalidArgument
            If a key is unknown, or a value out of range.
        """
        try:
            return cls(**value)
        except TypeError as error:
            raise InvalidArgument(f"a rule of another kind: {error}") from error


def _check_loss(loss: float) -> None:
    if not (math.isfinite(loss) and loss >= 0):
        raise InvalidArgument(f"a loss of {loss}", hint="give a finite number from 0 on")
