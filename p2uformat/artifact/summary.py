"""Figures of an artifact, from its manifest alone."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from p2uformat.artifact.catalog import SHARED, Catalog, StoredFile, StoredTensor
from p2uformat.artifact.types import Summary, TierSummary
from p2uformat.artifact.updatetypes import UpdateInfo
from p2uformat.container import Container
from p2uformat.digest import to_text
from p2uformat.manifest import BitplaneParameters, OpaqueParameters
from p2uformat.manifest.records import Parameters
from p2uformat.quant.binary64 import scaled_value

__all__ = ["Shares", "bound", "max_errors", "relative_error", "rms_errors", "summarize"]

Scaled = tuple[int, int]
_User = tuple[StoredTensor | StoredFile, int]


def bound(exponent: int) -> float:
    """Return ``2**exponent``, infinity where that is above every float."""
    try:
        return math.ldexp(1.0, exponent)
    except OverflowError:
        return math.inf


def relative_error(errors: Iterable[Scaled], energies: Iterable[Scaled]) -> float:
    """Return ``sqrt(sum(errors) / sum(energies))`` of ``mantissa * 2**exponent`` numbers.

    In integers, for sums of squares of large or tiny fp64 are outside what a float can hold.

    Examples
    --------
    >>> relative_error([(1, 0)], [(1, 4), (3, 4)])
    0.125
    """
    error, energy = list(errors), list(energies)
    lowest = min((exponent for _, exponent in (*error, *energy)), default=0)
    above = sum(mantissa << (exponent - lowest) for mantissa, exponent in error)
    below = sum(mantissa << (exponent - lowest) for mantissa, exponent in energy)
    if not below:
        return math.inf if above else 0.0
    try:
        return math.sqrt(above / below)
    except OverflowError:
        return math.inf


@dataclass(frozen=True, slots=True)
class Shares:
    """Stored bytes, divided among those that use them.

    A chunk belongs in equal parts to its users' elements, wherever they are.

    Parameters
    ----------
    quantized, exact : tuple of float
        Per tier: bytes of quantized layers, and of what travels whole.
    tensors : dict
        For each tensor its bytes per tier.
    """

    quantized: tuple[float, ...]
    exact: tuple[float, ...]
    tensors: dict[str, tuple[float, ...]]

    @classmethod
    def of(cls, container: Container, catalog: Catalog) -> Shares:
        """Divide all chunks of a container."""
        users: dict[tuple[int, bytes], list[_User]] = defaultdict(list)
        lengths: dict[tuple[int, bytes], int] = {}
        for stored in catalog.everything():
            for layer in range(stored.record.layers):
                for block, place in enumerate(stored.places(layer)):
                    if place is None or place is SHARED:
                        continue
                    entry = container.entry(place.page, place.chunk)
                    start, stop = stored.geometry.block_range(block)
                    lengths[entry.tier, entry.id] = entry.length
                    users[entry.tier, entry.id].append((stored, stop - start))
        return cls._divide(len(container.tiers), users, lengths)

    @classmethod
    def _divide(
        cls,
        tiers: int,
        users: dict[tuple[int, bytes], list[_User]],
        lengths: dict[tuple[int, bytes], int],
    ) -> Shares:
        quantized, exact = [0.0] * tiers, [0.0] * tiers
        tensors: dict[str, list[float]] = defaultdict(lambda: [0.0] * tiers)
        for (tier, id_), chunk_users in users.items():
            total = sum(weight for _, weight in chunk_users)
            for stored, weight in chunk_users:
                share = lengths[tier, id_] * weight / total if total else 0.0
                whole = isinstance(stored, StoredFile) or stored.record.quantizer == "opaque"
                (exact if whole else quantized)[tier] += share
                if isinstance(stored, StoredTensor):
                    tensors[stored.record.name][tier] += share
        return cls(
            tuple(quantized),
            tuple(exact),
            {name: tuple(values) for name, values in tensors.items()},
        )


def summarize(
    container: Container, catalog: Catalog, shares: Shares, complete: tuple[str, ...]
) -> Summary:
    """Return the figures of a container."""
    content, header, parent = container.content, container.header, container.encoding.parent
    return Summary(
        root=to_text(header.content_root),
        encoding_root=to_text(header.encoding_root),
        bytes=header.file_length,
        manifest_bytes=header.manifest_length,
        source_bytes=content.totals.source_bytes,
        parameters=content.totals.parameters,
        quantized_parameters=content.totals.quantized,
        tiers=_tiers(container, catalog, shares),
        complete=complete,
        parent=None if parent is None else to_text(parent.root),
        lossy=content.lossy,
        policy=content.policy,
        update=None if content.update is None else UpdateInfo.of(content.update),
    )


def _tiers(container: Container, catalog: Catalog, shares: Shares) -> tuple[TierSummary, ...]:
    known = [
        _tier_figures(tensor.record.parameters, len(container.tiers))
        for tensor in catalog.tensors.values()
    ]
    weights = container.content.totals.quantized
    return tuple(
        TierSummary(
            name=name,
            bytes=_tier_bytes(container, shares, number),
            bits_per_weight=8 * shares.quantized[number] / weights if weights else 0.0,
            exact_bytes=round(shares.exact[number]),
            max_error=max((figures.bound for figures in _at(known, number)), default=0.0),
            rms_error=relative_error(
                (figures.error for figures in _at(known, number)),
                (figures.energy for figures in _at(known, number)),
            ),
        )
        for number, name in enumerate(container.tiers)
    )


@dataclass(frozen=True, slots=True)
class _TierFigures:
    """How far a tensor is off at one tier."""

    bound: float
    error: Scaled
    energy: Scaled


def _tier_figures(parameters: Parameters, tiers: int) -> list[_TierFigures]:
    """Return the figures of a tensor for each tier at which it is not exact."""
    if isinstance(parameters, OpaqueParameters):
        return []
    if isinstance(parameters, BitplaneParameters):
        energy = parameters.energy
        return [_TierFigures(bound(tier.bound), tier.error, energy) for tier in parameters.tiers]
    figures = parameters.figures
    own = _TierFigures(scaled_value(figures.bound), figures.error, figures.energy)
    return [own] * (tiers if parameters.residual is None else parameters.residual)


def _at(known: Sequence[list[_TierFigures]], tier: int) -> list[_TierFigures]:
    """Return those that have an error at this tier: none at the exact one."""
    return [figures[tier] for figures in known if tier < len(figures)]


def _tier_bytes(container: Container, shares: Shares, tier: int) -> int:
    if container.layout is not None:
        return container.layout.tier_bytes[tier]
    return round(shares.quantized[tier] + shares.exact[tier])


def max_errors(stored: StoredTensor) -> tuple[float, ...]:
    """Return the error bound of a tensor at each tier; none for one that travels exactly."""
    return tuple(figures.bound for figures in _of(stored)) + _exact_end(stored)


def rms_errors(stored: StoredTensor) -> tuple[float, ...]:
    """Return the relative error of a tensor at each tier; none for one that travels exactly."""
    errors = (relative_error([figures.error], [figures.energy]) for figures in _of(stored))
    return tuple(errors) + _exact_end(stored)


def _of(stored: StoredTensor) -> list[_TierFigures]:
    return _tier_figures(stored.record.parameters, len(stored.container.tiers))


def _exact_end(stored: StoredTensor) -> tuple[float, ...]:
    """Return the errors at the tiers at which a tensor is exact, if it has others."""
    tiers = len(stored.container.tiers)
    found = len(_of(stored))
    return (0.0,) * (tiers - found) if found else ()
