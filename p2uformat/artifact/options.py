"""What `pack` is asked to do, checked once, before anything is read."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import pairwise

from p2uformat.errors import InvalidArgument
from p2uformat.limits import MAX_DIGITS, MAX_TIERS
from p2uformat.manifest import LEVELS, LOSSY, QUANTIZERS
from p2uformat.manifest.parameters import TierSpec
from p2uformat.quant.levels import Levels
from p2uformat.quant.policy import Candidate, Policy
from p2uformat.quant.quantizer import Quantizer, parse_quantizer

__all__ = ["PackOptions", "TensorPolicy", "parse_policy", "quantizer_options"]

_LOSSY = re.compile(r"q([1-9][0-9]?)")
_BITS = (0.5, 8.5)  # what one symbol a weight can be made to cost
Sensitivity = Mapping[str, float] | Callable[[str], float] | None


@dataclass(frozen=True, slots=True)
class TensorPolicy:
    """How one tensor is treated."""

    exact: bool
    bits: float
    weight: float


@dataclass(frozen=True, slots=True)
class PackOptions:
    """How all tensors are treated.

    Parameters
    ----------
    tiers : tuple of TierSpec
        The ladder.
    bits : float
        Budget of the base tier, bits per quantized weight.
    finest : int
        The number in the last lossy tier's name.
    overrides : tuple of (str, str, float)
        Glob, what it sets, to what.
    sensitivity : mapping, callable or None
        Weight of a tensor's squared error.
    quantizer : Affine, Minifloat, Levels or None
        What quantizes instead of the ladder of bit planes.
    policy : Policy or None
        Which tensors it quantizes; given exactly with a quantizer.
    separate : bool
        Whether chunks of quantized tensors hold nothing of another tensor.
    """

    tiers: tuple[TierSpec, ...]
    bits: float
    finest: int
    overrides: tuple[tuple[str, str, float], ...]
    sensitivity: Sensitivity
    quantizer: Quantizer | None = None
    policy: Policy | None = None
    separate: bool = False

    @property
    def lossy(self) -> bool:
        """Whether there is no exact tier."""
        return self.tiers[-1].digits is not None

    @property
    def features(self) -> frozenset[str]:
        """Features of the content root."""
        if self.quantizer is None:
            return frozenset()
        found = {QUANTIZERS} | ({LOSSY} if self.lossy else set())
        return frozenset(found | ({LEVELS} if isinstance(self.quantizer, Levels) else set()))

    @property
    def digits(self) -> tuple[int, ...]:
        """Cumulative digits of the lossy tiers."""
        return tuple(tier.digits for tier in self.tiers if tier.digits is not None)

    def of(self, name: str) -> TensorPolicy:
        """Return the policy of a tensor; later overrides win."""
        exact, bits, weight = False, self.bits, self._sensitivity(name)
        for glob, what, value in self.overrides:
            if not fnmatchcase(name, glob):
                continue
            if what == "exact":
                exact = True
            elif what == "bits":
                exact, bits = False, value
            else:
                weight = value
        return TensorPolicy(exact, bits, weight)

    def chosen(self, tensors: Sequence[Candidate]) -> frozenset[str]:
        """Return the names of the tensors that the quantizer is for.

        Parameters
        ----------
        tensors : sequence of Candidate
            All tensors of floats.

        Raises
        ------
        InvalidArgument
            If the policy names none of them.
        """
        if self.policy is None:
            return frozenset()
        free = [tensor for tensor in tensors if not self.of(tensor.name).exact]
        covered = [tensor.name for tensor in free if self.policy.covers(tensor)]
        if not covered:
            raise InvalidArgument(
                f"the policy names none of {len(tensors)} float tensors",
                hint="look at its globs, and at whether it is for matrices only",
            )
        return frozenset(covered) - self.policy.kept(free)

    def _sensitivity(self, name: str) -> float:
        given = self.sensitivity
        if given is None:
            return 1.0
        value = given(name) if callable(given) else _mapped(given, name)
        return _positive(value, f"the sensitivity of {name!r}")


def _mapped(given: Mapping[str, float], name: str) -> float:
    value = 1.0
    for glob, weight in given.items():
        if fnmatchcase(name, glob):
            value = weight
    return value


def _positive(value: float, what: str) -> float:
    number = float(value)
    if not math.isfinite(number) or not 1e-6 <= number <= 1e6:
        raise InvalidArgument(f"{what} is {value}", hint="give a number from 1e-6 to 1e6")
    return number


def parse_policy(
    tiers: Sequence[str] | str,
    base_bits: float | None,
    overrides: Mapping[str, str] | None,
    sensitivity: Sensitivity,
) -> PackOptions:
    """Check the options of `pack`.

    Raises
    ------
    InvalidArgument
        If the ladder is no ladder, a budget cannot be met, or an override says nothing known.

    Examples
    --------
    >>> parse_policy("q4,q8,exact", None, None, None).digits
    (0, 4)
    """
    names = [name.strip() for name in (tiers.split(",") if isinstance(tiers, str) else tiers)]
    numbers = _ladder(names)
    specs = [
        TierSpec(name, number - numbers[0]) for name, number in zip(names, numbers, strict=False)
    ]
    bits = float(numbers[0]) if base_bits is None else _budget(base_bits)
    return PackOptions(
        (*specs, TierSpec("exact", None)),
        bits,
        numbers[-1],
        tuple(_override(glob, value) for glob, value in (overrides or {}).items()),
        sensitivity,
    )


def quantizer_options(
    quantizer: Quantizer | str,
    policy: Policy | None,
    tiers: Sequence[str] | str | None,
    overrides: Mapping[str, str] | None,
    *,
    lossy: bool,
) -> PackOptions:
    """Check the options of `pack` with a quantizer of its own.

    Raises
    ------
    InvalidArgument
        If there is no such quantizer, or the tiers are not those that it has.

    Examples
    --------
    >>> [t.name for t in quantizer_options("affine:4", None, None, None, lossy=False).tiers]
    ['affine4', 'exact']
    """
    form = parse_quantizer(quantizer) if isinstance(quantizer, str) else quantizer
    specs = [TierSpec(form.tier, 0)] + ([] if lossy else [TierSpec("exact", None)])
    names = [spec.name for spec in specs]
    asked = tiers.split(",") if isinstance(tiers, str) else tiers
    if asked is not None and [name.strip() for name in asked] != names:
        raise InvalidArgument(
            f"the tiers {','.join(asked)} with such a quantizer",
            hint=f"leave them out: they are {','.join(names)}",
        )
    set_ = tuple(_override(glob, value) for glob, value in (overrides or {}).items())
    for glob, what, _ in set_:
        if what != "exact":
            raise InvalidArgument(
                f"{glob!r} is set to {what}", hint="with a quantizer a tensor can be set exact only"
            )
    return PackOptions(tuple(specs), 8.0, 8, set_, None, form, policy or Policy())


def _ladder(names: list[str]) -> list[int]:
    hint = "name them coarse to fine and end in exact, e.g. q4,q8,exact"
    if len(names) < 2 or names[-1] != "exact" or len(names) > MAX_TIERS:
        raise InvalidArgument(f"the tiers {','.join(names)} are no ladder", hint=hint)
    matches = [_LOSSY.fullmatch(name) for name in names[:-1]]
    numbers = [int(match.group(1)) for match in matches if match]
    if len(numbers) != len(matches) or any(b <= a for a, b in pairwise(numbers)):
        raise InvalidArgument(f"the tiers {','.join(names)} are no ladder", hint=hint)
    if numbers[0] > 8 or numbers[-1] - numbers[0] > MAX_DIGITS:
        raise InvalidArgument(
            f"the tiers {','.join(names)} are too fine",
            hint=f"the base tier is q1 to q8, the last lossy one at most {MAX_DIGITS} bits finer",
        )
    return numbers


def _budget(bits: float) -> float:
    if not math.isfinite(bits) or not _BITS[0] <= bits <= _BITS[1]:
        raise InvalidArgument(
            f"a base tier of {bits} bits per weight", hint=f"give {_BITS[0]} to {_BITS[1]}"
        )
    return float(bits)


def _override(glob: str, value: str) -> tuple[str, str, float]:
    if value == "exact":
        return glob, "exact", 1.0
    what, _, text = value.partition(":")
    try:
        number = float(text)
    except ValueError:
        what = ""
        number = 0.0
    if what == "bits":
        return glob, what, _budget(number)
    if what == "weight":
        return glob, what, _positive(number, f"the weight of {glob!r}")
    raise InvalidArgument(
        f"{glob!r} is set to {value!r}",
        hint="use exact, bits:N or weight:X, e.g. 'lm_head*=bits:6'",
    )
