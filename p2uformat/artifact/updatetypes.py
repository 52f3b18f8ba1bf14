"""What is known of an update without reading its tensors."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from p2uformat.digest import to_text
from p2uformat.manifest import UpdateRecord
from p2uformat.quant.binary64 import scaled_value

__all__ = ["UpdateInfo"]


@dataclass(frozen=True, slots=True)
class UpdateInfo:
    """An update: the difference of a model's weights to those of another.

    The figures are what the writer says; of `variance`, only the distances of single weights can be
    checked, and only where there is an exact tier.

    Parameters
    ----------
    base : str
        Content root of the artifact that it is to: ``blake3:`` and 64 hexadecimal digits.
    client, round : int
        Whose it is, and when.
    weight : float
        How much it counts among others, above 0.
    variance : float
        Sum of squared errors of the first tier, as measured.
    energy : float
        Sum of squares of the difference.
    expected : float or None
        Mean of the variance over what stochastic rounding may draw; None if a quantizer without
        levels has part in it.
    bound : float or None
        What `expected` cannot be above, whatever the weights are (QSGD, NUQSGD and the like).
    bits : int
        Entropy of the codes, with norms and what is exact, of the first tier: what no coder of
        single codes can go below.
    most : int
        What `bits` cannot be above, whatever the weights are.
    """

    base: str
    client: int
    round: int
    weight: float
    variance: float
    energy: float
    expected: float | None
    bound: float | None
    bits: int
    most: int

    @classmethod
    def of(cls, record: UpdateRecord) -> UpdateInfo:
        """Return what a content root says."""
        return cls(
            to_text(record.base),
            record.client,
            record.round,
            record.weight,
            scaled_value(record.variance),
            scaled_value(record.energy),
            None if record.expected is None else scaled_value(record.expected),
            None if record.bound is None else scaled_value(record.bound),
            record.bits,
            record.most,
        )

    def to_dict(self) -> dict[str, object]:
        """Return what becomes JSON."""
        return asdict(self)
