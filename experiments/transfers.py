"""Real transfers over links that let so many bytes a second through."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from statistics import median

import p2uformat
from benchmarks.fetchpeers import get
from benchmarks.fetchservers import link, serving
from experiments.forms import Form, Part

__all__ = ["MBIT", "Arrival", "Rate", "chains", "timed"]

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
    every = [form.parts for form in forms if form.sent]
    return [
        parts
        for parts in every
        if not any(len(other) > len(parts) and other[: len(parts)] == parts for other in every)
    ]


def timed(
    forms: Mapping[str, Sequence[Form]], folder: Path, rate: Rate, work: Path
) -> dict[str, dict[Chain, Arrival]]:
    """Bring every form over a link.

    Parameters
    ----------
    forms
        What to bring, by the name of a folder within `folder` that has its files.
    folder
        What is served.
    rate
        The link.
    work
        For what comes, and for a server's files.

    Returns
    -------
    dict
        The same names -> parts that had come -> when.
    """
    found: dict[str, dict[Chain, list[Arrival]]] = {name: {} for name in forms}
    jobs = [(name, chain) for name, several in forms.items() for chain in chains(several)]
    with ExitStack() as stack:
        held = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=work)))
        web = stack.enter_context(serving(folder, held))
        get(f"{web.url}/{jobs[0][0]}/{jobs[0][1][0].file}", held / "first")  # imports, and starts
        free: SimpleQueue[str] = SimpleQueue()
        for _ in range(rate.together):
            free.put(stack.enter_context(link(web, rate.mbit * MBIT)))

        def bring(job: tuple[str, Chain]) -> list[Arrival]:
            url = free.get()
            try:
                return _arrivals(f"{url}/{job[0]}", job[1], held)
            finally:
                free.put(url)

        workers = stack.enter_context(ThreadPoolExecutor(rate.together))
        again = [job for _ in range(rate.repeats) for job in jobs]
        for (name, chain), arrivals in zip(again, workers.map(bring, again), strict=True):
            for count, arrival in enumerate(arrivals, 1):
                found[name].setdefault(chain[:count], []).append(arrival)
    return {
        name: {parts: _median(arrivals) for parts, arrivals in each.items()}
        for name, each in found.items()
    }


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
    get(source, target)
    return target.stat().st_size


def _median(arrivals: Sequence[Arrival]) -> Arrival:
    return Arrival(arrivals[0].bytes, median(arrival.seconds for arrival in arrivals))
