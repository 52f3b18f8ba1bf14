"""What `anatomy` hands out: plain values, each with the dict that becomes JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from p2uformat.artifact.types import Summary, TensorInfo

__all__ = ["Anatomy", "Part", "TensorAnatomy"]


@dataclass(frozen=True, slots=True)
class Part:
    """Stored bytes of one kind in one tier.

    Parameters
    ----------
    tier : str or None
        The tier; None for what belongs to none, the manifest.
    kind : str
        ``manifest`` · ``tables`` (headers, stream tables and first streams of chunks) · of base
        layers ``symbols``, ``steps``, ``classes``, ``outlier indices``, ``outlier values`` · of
        refinements ``digits`` · of exact layers ``exponents``, ``planes``, ``bits`` ·
        ``differences`` (what only a parent's layer makes sense of) · ``exact tensors`` · ``files``
        · ``missing`` (chunks that this file is too short for). Tables of symbols and entropy
        coding count with what they code. A base layer that is stored in another way than by
        classes counts as ``symbols``, an exact layer that is not cut into sections as ``bits``.
    bytes : int
        How many there are.
    """

    tier: str | None
    kind: str
    bytes: int

    def to_dict(self) -> dict[str, object]:
        """Return what becomes JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class TensorAnatomy:
    """One tensor: what it takes, what that buys, and what does not fit its steps.

    Parameters
    ----------
    info : TensorInfo
        Form, stored bytes and errors per tier, and the range of its step exponents, where its base
        tier is here.
    bits : tuple of float
        Stored bits per element that each tier adds.
    outliers : int
        Weights that are 127 steps or larger, or not finite: stored as they are in the base tier.
        0 where there is no base tier, or it is not here.
    not_finite : int
        Of these, NaN and infinite ones.
    largest_outlier : float or None
        Largest magnitude of the others, in steps of their segment; None if there are none.
    """

    info: TensorInfo
    bits: tuple[float, ...]
    outliers: int
    not_finite: int
    largest_outlier: float | None

    @property
    def outlier_share(self) -> float:
        """Share of the weights that are outliers, from 0.0 to 1.0."""
        return self.outliers / self.info.parameters if self.info.parameters else 0.0

    def to_dict(self) -> dict[str, object]:
        """Return what becomes JSON."""
        return self.info.to_dict() | {
            "bits": list(self.bits),
            "outliers": self.outliers,
            "not_finite": self.not_finite,
            "largest_outlier": self.largest_outlier,
        }


@dataclass(frozen=True, slots=True)
class Anatomy:
    """Where the bytes of an artifact are.

    Parameters
    ----------
    summary : Summary
        Its figures.
    parts : tuple of Part
        The manifest, then by tier; none is empty. Their bytes add up to those of the complete file.
    tensors : tuple of TensorAnatomy
        In the order of the source file.
    """

    summary: Summary
    parts: tuple[Part, ...]
    tensors: tuple[TensorAnatomy, ...]

    def to_dict(self) -> dict[str, object]:
        """Return what becomes JSON."""
        return {
            "summary": self.summary.to_dict(),
            "parts": [part.to_dict() for part in self.parts],
            "tensors": [tensor.to_dict() for tensor in self.tensors],
        }
