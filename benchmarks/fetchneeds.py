"""What a fetch takes of this machine, and of a server that is busy."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import p2uformat
from benchmarks import memory
from benchmarks.fetchpeers import get
from benchmarks.fetchservers import Web
from benchmarks.report import Cell, Check, Table
from p2uformat.testing import FaultServer, parse_script
from p2uformat.transport import Policy

__all__ = ["SEEDS", "busy", "disk_peak", "fair_seeds", "peaks", "succeeds"]

Other = tuple[str, Callable[[Path], object]]
"""A name, and what makes the file whose path it gets."""
SEEDS = 8
_LOOK_SECONDS = 0.002
_SCRIPT = "random(0.2,429,seed={seed}) random(0.2,503,seed={seed})..."


def peaks(
    web: Web,
    names: Sequence[str],
    work: Path,
    others: Sequence[Other],
) -> tuple[Table, list[Check]]:
    """Measure the largest use of disk and of memory (R13, R14).

    Parameters
    ----------
    web
        The server.
    names
        Artifacts in its folder.
    work
        Folder for what comes.
    others
        Names of other programs' fetches of the last one's weights, and the fetches; of these the
        disk is looked at.
    """
    rows: list[list[Cell]] = []
    checks = []
    most = 256 + 16 * Policy().connections
    for name in names:
        url = f"{web.url}/{name}"
        disk = disk_peak(work / "peak", partial(p2uformat.fetch, url))
        mib, _ = memory.in_child("fetch", url, work / "child.p2u")
        beside, _ = memory.in_child("get", url, work / "got.p2u")
        for path in (work / "child.p2u", work / "got.p2u"):
            path.unlink()
        rows += [[f"p2u fetch of {name}", disk, mib], [f"fsspec get_file of {name}", None, beside]]
        checks += [
            Check(f"peak disk of fetching {name}, of the result", disk, "<=", 1.02),
            Check(f"peak memory of fetching {name}", mib, "<=", most, "MiB"),
        ]
    rows += [[label, disk_peak(work / "peak", run), None] for label, run in others]
    columns = ["what", "peak disk / result", "peak memory, MiB"]
    note = (
        "Disk: blocks of all files in the folder of the result, looked at every 2 ms. Memory: of "
        "the whole process, a new interpreter."
    )
    return Table("What a fetch takes", columns, rows, note), checks


def disk_peak(folder: Path, run: Callable[[Path], object]) -> float:
    """Return the most that a folder takes while `run` makes a file in it, of what that has.

    Parameters
    ----------
    folder
        A new folder; it is removed again.
    run
        Makes the file whose path it gets.
    """
    folder.mkdir()
    target = folder / "result"
    with _looking(folder) as seen:
        run(target)
    size = target.stat().st_size
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    return max(seen) / size


@contextmanager
def _looking(folder: Path) -> Iterator[list[int]]:
    """Note what a folder takes, again and again, and once at the end."""
    seen: list[int] = []
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(_LOOK_SECONDS):
            seen.append(_taken(folder))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield seen
    finally:
        ended.set()
        thread.join()
        seen.append(_taken(folder))


def _taken(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        try:
            total += 512 * path.stat().st_blocks
        except FileNotFoundError:  # a temporary file that is gone
            continue
    return total


def busy(folder: Path, name: str, work: Path, seeds: Sequence[int]) -> tuple[Table, list[Check]]:
    """Fetch from a server that answers a fifth of all requests with 429 or 503 (R19).

    Parameters
    ----------
    folder
        What is served.
    name
        An artifact in it.
    work
        Folder for what comes.
    seeds
        Of the draws; one run each.
    """
    with FaultServer(folder) as server:
        calm = _requests(server, name, work)
        rows: list[list[Cell]] = [["no faults", calm, 0, "yes", 1.0]]
        for seed in seeds:
            server.script = script = _SCRIPT.format(seed=seed)
            before = _refused(server)
            asked = _requests(server, name, work)
            refused = _refused(server) - before
            server.script = script
            rows.append([script, asked, refused, succeeds(server, name, work), asked / calm])
    columns = ["the server's script", "requests", "refused", "fsspec get_file succeeds", "ratio"]
    note = (
        "Each file was verified. The draws are the first of which exactly a fifth of the first 30 "
        "refuses. fsspec makes one request, and no second try."
    )
    ratio = sum(float(row[4] or 0) for row in rows[1:]) / len(seeds)
    what = f"requests with 20 % random 429 and 503, mean of {len(seeds)} runs, of those without"
    return Table("From a busy server", columns, rows, note), [Check(what, ratio, "<=", 1.35)]


def fair_seeds(count: int, draws: int = 30) -> list[int]:
    """Return seeds that refuse a fifth of the first requests: few draws are often far from that.

    Parameters
    ----------
    count
        How many seeds.
    draws
        Of how many requests.
    """
    found: list[int] = []
    for seed in itertools.count(1):
        (rule,) = parse_script(_SCRIPT.format(seed=seed)).rules
        if 5 * sum(bool(rule.faults(number)) for number in range(draws)) == draws:
            found.append(seed)
        if len(found) == count:
            break
    return found


def _refused(server: FaultServer) -> int:
    return sum(record.fault != "ok" for record in server.requests)


def _requests(server: FaultServer, name: str, work: Path) -> int:
    """Fetch, compare, and return how many requests that took."""
    before, target = len(server.requests), work / "busy.p2u"
    result = p2uformat.fetch(server.url_of(name), target)
    if not result.whole or not p2uformat.verify(target).ok:
        raise AssertionError(f"{name} did not come whole")
    target.unlink()
    return len(server.requests) - before


def succeeds(server: FaultServer, name: str, work: Path) -> str:
    """Return whether a plain download ends well."""
    import aiohttp

    target = work / "busy.p2u"
    try:
        get(server.url_of(name), target)
    except aiohttp.ClientError:
        return "no"
    finally:
        target.unlink(missing_ok=True)
    return "yes"
