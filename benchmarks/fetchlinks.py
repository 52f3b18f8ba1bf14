"""How long fetching takes: over slow links, over a fast one, over none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import p2uformat
from benchmarks.fetchpeers import casync_extract, get, parallel_copy, unchecked
from benchmarks.fetchservers import Count, Web, link
from benchmarks.report import Cell, Check, Table
from benchmarks.timing import Call, interleaved

__all__ = ["LINKS", "Link", "Runs", "Served", "checking", "slow", "wide"]

CONNECTIONS = 8
GIGABIT = 125e6
COLUMNS = ("link, Mbit/s", "what", "bytes", "requests", "seconds", "MB/s", "of the link")
SLOW_NOTE = (
    "Bytes of bodies as the server counts them. The link is a process that passes on at most so "
    "many bytes a second for all connections together. Each program writes a new file."
)


@dataclass(frozen=True, slots=True)
class Link:
    """A link and what is asked of it.

    Parameters
    ----------
    rate
        Bytes a second.
    target
        Most time that q4 may take, as a share of that of the whole checkpoint as it is.
    repeats
        Timed runs of each, at most.
    every
        Whether casync and all tiers are fetched as well; over a slow link that takes minutes.
    """

    rate: float
    target: float
    repeats: int
    every: bool = True


LINKS = (Link(12.5e6, 0.20, 5), Link(1.25e6, 0.15, 2, every=False))


@dataclass(frozen=True, slots=True)
class Served:
    """Names of what is served, in one folder.

    Parameters
    ----------
    model
        A checkpoint.
    artifact
        The same, packed.
    index
        casync's index of the checkpoint; empty where there is none.
    """

    model: str
    artifact: str
    index: str = ""


@dataclass(slots=True)
class Runs:
    """Timed fetches to one file, counted at the server.

    Parameters
    ----------
    web
        The server.
    target
        The file.
    counts
        What the server answered to each call, by name, the last time.
    """

    web: Web
    target: Path
    counts: dict[str, Count] = field(default_factory=dict)

    def call(self, name: str, run: Callable[[], object]) -> Call:
        """Return a call that starts without the file."""

        def prepare() -> Count:
            self.target.unlink(missing_ok=True)
            return self.web.count()

        def release(before: Count) -> None:
            self.counts[name] = self.web.count() - before

        return Call("fetch", name, lambda _: run(), 0, prepare, release)

    def time(self, calls: Sequence[tuple[str, Callable[[], object]]], repeats: int) -> list[float]:
        """Return the median seconds of each call, run in turns."""
        taken = interleaved([self.call(name, run) for name, run in calls], repeats)
        return [taken[name] for name, _ in calls]


def slow(
    web: Web, served: Served, work: Path, links: Sequence[Link] = LINKS, repeats: int = 5
) -> tuple[Table, list[Check]]:
    """Fetch a checkpoint as it is and tiers of it over slow links.

    Parameters
    ----------
    web
        The server.
    served
        What to fetch from it.
    work
        Folder for what comes.
    links
        The links.
    repeats
        Timed runs of each, at most.
    """
    rows: list[list[Cell]] = []
    checks = []
    for each in links:
        with link(web, each.rate) as url:
            runs = Runs(web, work / "fetched")
            calls = _slow_calls(url, served, runs.target, every=each.every)
            seconds = runs.time(calls, min(each.repeats, repeats))
        mine = [
            _row(each.rate, name, runs.counts[name], taken)
            for (name, _), taken in zip(calls, seconds, strict=True)
        ]
        rows += mine
        label = f"{8 * each.rate / 1e6:g} Mbit/s"
        what = f"q4 of MiniLM over {label}, of the time of its fp32 file"
        checks.append(Check(what, seconds[1] / seconds[0], "<=", each.target))
        share = runs.counts[calls[0][0]].bytes / seconds[0] / each.rate
        checks.append(Check(f"the plain download over {label}, of the link", share, ">=", 0.9))
    return Table("Over slow links", COLUMNS, rows, SLOW_NOTE), checks


def _slow_calls(
    url: str, served: Served, target: Path, *, every: bool
) -> list[tuple[str, Callable[[], object]]]:
    artifact = f"{url}/{served.artifact}"
    calls: list[tuple[str, Callable[[], object]]] = [
        ("fsspec get_file, fp32 safetensors", lambda: get(f"{url}/{served.model}", target)),
        ("p2u fetch, q4", lambda: p2uformat.fetch(artifact, target, tier="q4")),
    ]
    if every:
        calls.append(("p2u fetch, exact", lambda: p2uformat.fetch(artifact, target)))
    if every and served.index:
        calls.append(("casync extract", lambda: casync_extract(url, served.index, target)))
    return calls


def _row(rate: float | None, name: str, count: Count, seconds: float) -> list[Cell]:
    speed = count.bytes / seconds
    share = None if rate is None else speed / rate
    mbit = None if rate is None else 8 * rate / 1e6
    return [mbit, name, count.bytes, count.requests, seconds, speed / 1e6, share]


def wide(web: Web, name: str, work: Path, repeats: int) -> tuple[Table, list[Check]]:
    """Fetch a large artifact over a link of 1 Gbit/s, and over none, beside bare copies.

    Parameters
    ----------
    web
        The server.
    name
        The artifact in its folder.
    work
        Folder for what comes.
    repeats
        Timed runs of each.
    """
    runs = Runs(web, work / "fetched")
    with link(web, GIGABIT) as url:
        capped = _wide_runs(runs, f"{url}/{name}", GIGABIT, repeats)
    free = _wide_runs(runs, f"{web.url}/{name}", None, repeats)
    shares = [float(row[6] or 0) for row in capped]
    taken = [float(row[4] or 0) for row in free]
    checks = [
        Check("fetch over 1 Gbit/s, of the link", shares[0], ">=", 0.9),
        Check("fetch without a cap, of the speed of a bare copy", taken[1] / taken[0], ">=", 0.8),
        Check("fetch without a cap, of a bare copy that hashes", taken[2] / taken[0], ">=", 0.8),
    ]
    note = (
        f"The bare copy asks for the same ranges over the same library, {CONNECTIONS} at once, "
        "checks nothing and writes each part to its place; the second puts all bytes through "
        "BLAKE3 as well, and compares nothing. `connections` is left to the fetch where nothing "
        "is said. Without a cap the client and the server share the processor: what it has to do "
        "decides."
    )
    return Table("Over fast links", COLUMNS, [*capped, *free], note), checks


def _wide_runs(runs: Runs, url: str, rate: float | None, repeats: int) -> list[list[Cell]]:
    target, size = runs.target, (runs.web.folder / url.rpartition("/")[2]).stat().st_size
    calls: list[tuple[str, Callable[[], object]]] = [
        (
            f"p2u fetch, {CONNECTIONS} connections",
            lambda: p2uformat.fetch(url, target, connections=CONNECTIONS),
        ),
        (
            f"bare copy, {CONNECTIONS} connections",
            lambda: parallel_copy(url, target, size, CONNECTIONS),
        ),
        (
            f"bare copy and BLAKE3, {CONNECTIONS} connections",
            lambda: parallel_copy(url, target, size, CONNECTIONS, hashing=True),
        ),
        ("p2u fetch", lambda: p2uformat.fetch(url, target)),
        ("fsspec get_file", lambda: get(url, target)),
    ]
    seconds = runs.time(calls, repeats)
    return [
        _row(rate, name, runs.counts[name], taken)
        for (name, _), taken in zip(calls, seconds, strict=True)
    ]


def checking(web: Web, name: str, work: Path, repeats: int) -> tuple[Table, list[Check]]:
    """Fetch with and without comparing digests.

    Parameters
    ----------
    web
        The server.
    name
        The artifact in its folder.
    work
        Folder for what comes.
    repeats
        Timed runs of each.
    """
    runs = Runs(web, work / "fetched")
    rows: list[list[Cell]] = []
    checks = []
    with link(web, GIGABIT) as capped:
        for label, url in (("over 1 Gbit/s", capped), ("without a cap", web.url)):
            seconds = runs.time(_checking_calls(f"{url}/{name}", runs.target), repeats)
            costs = seconds[0] / seconds[1] - 1
            rows.append([label, *seconds, 100 * costs])
            what = f"verifying while fetching {label}, of the time"
            checks.append(Check(what, 100 * costs, "<=", 5, "%"))
    columns = ["link", "checked, s", "unchecked, s", "checks cost, %"]
    note = (
        "Without checks is the same transfer with the digests taken for right, in this measurement "
        "only."
    )
    return Table("What checks cost", columns, rows, note), checks


def _checking_calls(url: str, target: Path) -> list[tuple[str, Callable[[], object]]]:
    def without() -> None:
        with unchecked():
            p2uformat.fetch(url, target, connections=CONNECTIONS)

    def checked() -> None:
        p2uformat.fetch(url, target, connections=CONNECTIONS)

    return [("checked", checked), ("unchecked", without)]
