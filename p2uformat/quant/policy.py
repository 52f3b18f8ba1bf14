"""Which tensors a quantizer applies to, and which are kept exact this time (SPEC.md, 19.4)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from fnmatch import fnmatchcase
from typing import Final

from p2uformat.digest import digest
from p2uformat.errors import InvalidArgument
from p2uformat.wire import encode

__all__ = ["GENERATORS", "Candidate", "Policy"]

_MOST: Final = (1 << 64) - 1
_MILLION: Final = 1_000_000
_SLACK: Final = 1e-3  # what binary fractions are off by


@dataclass(frozen=True, slots=True)
class Candidate:
    """A tensor that a policy may choose.

    Parameters
    ----------
    name : str
        Its name.
    rank : int
        Number of its dimensions.
    weights : int
        Number of its elements.
    """

    name: str
    rank: int
    weights: int


def _blake3_draw(seed: int, client: int, round_: int, name: str) -> int:
    message = ["p2u keep", seed, client, round_, name]
    return int.from_bytes(digest(encode(message))[:8], "little")


GENERATORS: Final[Mapping[str, Callable[[int, int, int, str], int]]] = {"blake3": _blake3_draw}
"""What turns (seed, client, round, name) into a number below ``2**64``."""


@dataclass(frozen=True, slots=True)
class Policy:
    """Which tensors are quantized, and which of these are kept exact instead, at random.

    Parameters
    ----------
    matrices : bool
        Whether only tensors of two or more dimensions are quantized.
    only, skip : tuple of str
        Globs of names: quantized are those that match one of `only` and none of `skip`.
    keep : float
        Share of the weights of these, 0 to 1 in millionths, whose tensors are kept exact ("partial
        parameter quantization" of OMC, arXiv 2205.03494, which counts variables).
    generator : str
        What draws the tensors that are kept: ``blake3``.
    seed, client, round : int
        What it draws from, each below ``2**64``: other tensors for each client and each round.

    Raises
    ------
    InvalidArgument
        If a value is out of range, or the generator is unknown.

    Examples
    --------
    >>> policy = Policy(keep=0.1, seed=7)
    >>> tensors = [Candidate(f"layer{i}", 2, 1000) for i in range(20)]
    >>> kept = policy.kept(tensors)
    >>> len(kept), kept == policy.kept(tensors[::-1])
    (2, True)
    >>> Policy.from_dict(policy.to_dict()) == policy
    True
    """

    matrices: bool = True
    only: tuple[str, ...] = ("*",)
    skip: tuple[str, ...] = ()
    keep: float = 0.0
    generator: str = "blake3"
    seed: int = 0
    client: int = 0
    round: int = 0

    def __post_init__(self) -> None:
        for name in ("only", "skip"):
            globs = getattr(self, name)
            globs = (globs,) if isinstance(globs, str) else tuple(globs)
            object.__setattr__(self, name, globs)
        if not self.only:
            raise InvalidArgument("a policy that names no tensor", hint="give a glob, such as *")
        share = float(self.keep) * _MILLION
        if not 0 <= share <= _MILLION or abs(share - round(share)) > _SLACK:
            raise InvalidArgument(
                f"a share of {self.keep} kept", hint="give 0 to 1, in steps of a millionth"
            )
        if self.generator not in GENERATORS:
            raise InvalidArgument(
                f"unknown generator {str(self.generator)[:40]!r}",
                hint=f"known: {', '.join(GENERATORS)}",
            )
        for name in ("seed", "client", "round"):
            number = getattr(self, name)
            if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number <= _MOST:
                raise InvalidArgument(f"{name} {number!r}", hint="give a whole number below 2^64")

    @property
    def millionths(self) -> int:
        """The share that is kept, in millionths."""
        return round(self.keep * _MILLION)

    def to_dict(self) -> dict[str, object]:
        """Return what becomes JSON."""
        made = asdict(self)
        return made | {"only": list(self.only), "skip": list(self.skip)}

    @classmethod
    def from_dict(cls, value: Mapping[str, object]) -> Policy:
        """Return the policy that `to_dict` described.

        Raises
        ------
        InvalidArgument
            If a key is unknown, or a value out of range.
        """
        unknown = sorted(set(value) - {field.name for field in fields(cls)})
        if unknown:
            raise InvalidArgument(f"a policy with {', '.join(map(repr, unknown))[:80]}")
        try:
            return cls(**value)  # type: ignore[arg-type]
        except (TypeError, ValueError) as error:
            raise InvalidArgument(f"a policy with a value of another kind: {error}") from error

    def covers(self, tensor: Candidate) -> bool:
        """Return whether a tensor is to be quantized, if it is not kept."""
        if (self.matrices and tensor.rank < 2) or not tensor.weights:
            return False
        name = tensor.name
        return any(fnmatchcase(name, glob) for glob in self.only) and not any(
            fnmatchcase(name, glob) for glob in self.skip
        )

    def kept(self, tensors: Sequence[Candidate]) -> frozenset[str]:
        """Return the names of the tensors that are kept exact, of those that `covers` accepts.

        In the order that the generator gives them, each is kept that does not bring the sum above
        the share; then the first one that brings it nearest, if it is nearer from above.

        Parameters
        ----------
        tensors : sequence of Candidate
            All tensors that could be quantized; their order does not matter.
        """
        covered = [tensor for tensor in tensors if self.covers(tensor)]
        total = sum(tensor.weights for tensor in covered)
        target = total * self.millionths // _MILLION
        draw = GENERATORS[self.generator]
        order = sorted(
            covered, key=lambda t: (draw(self.seed, self.client, self.round, t.name), t.name)
        )
        kept, rest, left = [], [], target
        for tensor in order:
            if tensor.weights <= left:
                kept.append(tensor.name)
                left -= tensor.weights
            else:
                rest.append(tensor)
        nearest = min(rest, key=lambda tensor: tensor.weights, default=None)
        if nearest is not None and nearest.weights - left < left:
            kept.append(nearest.name)
        return frozenset(kept)
