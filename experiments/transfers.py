"""Real transfers over links that let so many bytes a second through."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import p2uformat
from benchmarks.fetchpeers import get
from benchmarks.fetchservers import Web, link, serving
from experiments.forms import Form, Part

__all__ = ["MBIT", "Arrival", "Rate", "bytes_of", "chains", "timed"]

MBIT = 125_000.0  # bytes a second
Chain = tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Rate:
    """A link, and how it is used.

    Parameters
    ----------
    mbit
        Mbit/s.
    repeats
        Transfers of each form, whose median counts.
    together
        How many are under way at once, each over a link of its own: where a link is slow, the
        processor waits for it nearly all of the time.
    """

    mbit: float
    repeats: int = 1
    together: int = 1


@dataclass(frozen=True, slots=True)
class Arrival:
    """When a form was there.

    Parameters
    ----------
    bytes
        That came for it in all.
    seconds
        Since its first request.
    """

    bytes: int
    seconds: float


def chains(forms: Iterable[Form]) -> list[Chain]:
    """Return the longest lists of parts: on the way through them all other forms come by.

    Examples
    --------
    >>> a, b = Part("m.p2u", "q4"), Part("m.p2u", "exact")
    >>> chains([Form("q4", (a,), None), Form("exact", (a, b), None)]) == [(a, b)]
    True
    """
    every = [form.parts for form in forms]
    return [
        parts
        for parts in every
        if not any(len(other) > len(parts) and other[: len(parts)] == parts for other in every)
    ]


def timed(
    forms: Sequence[Form], folder: Path, rate: Rate, work: Path
) -> dict[Chain, Arrival]:
    """Bring every form over a link.

    Parameters
    ----------
    forms
        What to bring.
    folder
        Where their files are.
    rate
        The link.
    work
        For what comes, and for a server's files.
    """
    found: dict[Chain, list[Arrival]] = {}
    wanted = [chain for _ in range(rate.repeats) for chain in chains(forms)]
    with tempfile.TemporaryDirectory(dir=work) as held, serving(folder, Path(held)) as web:
        with ThreadPoolExecutor(rate.together) as pool:
            for chain, arrivals in pool.map(lambda chain: _brought(web, chain, rate, work), wanted):
                for count, arrival in enumerate(arrivals, 1):
                    found.setdefault(chain[:count], []).append(arrival)
    return {parts: _median(arrivals) for parts, arrivals in found.items()}


def bytes_of(forms: Sequence[Form], folder: Path, work: Path) -> dict[Chain, Arrival]:
    """Return the same without any link: only the bytes say something."""
    found = {}
    for chain in chains(forms):
        for count, arrival in enumerate(_arrivals(str(folder), chain, work), 1):
            found[chain[:count]] = arrival
    return found


def _brought(web: Web, chain: Chain, rate: Rate, work: Path) -> tuple[Chain, list[Arrival]]:
    with link(web, rate.mbit * MBIT) as url:
        return chain, _arrivals(url, chain, work)


def _arrivals(url: str, chain: Chain, work: Path) -> list[Arrival]:
    """Bring a chain to a new folder."""
    with tempfile.TemporaryDirectory(dir=work) as target:
        arrivals, came, begin = [], 0, time.perf_counter()
        for part in chain:
            came += _bring(f"{url}/{part.file}", Path(target) / part.file, part.tier)
            arrivals.append(Arrival(came, time.perf_counter() - begin))
    return arrivals


def _bring(source: str, target: Path, tier: str) -> int:
    if tier:
        return p2uformat.fetch(source, target, tier=tier).received
    if "://" in source:
        get(source, target)
    else:
        shutil.copyfile(source, target)
    return target.stat().st_size


def _median(arrivals: Sequence[Arrival]) -> Arrival:
    return Arrival(arrivals[0].bytes, median(arrival.seconds for arrival in arrivals))
