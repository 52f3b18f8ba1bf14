"""Fetching over HTTP: time, requests and bytes, beside fsspec's get and casync."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

import p2uformat
from benchmarks import (
    fetchcounts,
    fetchlinks,
    fetchneeds,
    fetchpeers,
    fetchs3,
    fetchversions,
    report,
    sources,
    timing,
)
from benchmarks.fetchservers import Web, serving
from benchmarks.report import Cell, Check, Section, Table
from benchmarks.timing import memory_folder
from p2uformat.digest import digest

__all__ = ["Plan", "run"]

MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Plan:
    """What to measure, and how large.

    Parameters
    ----------
    model
        The checkpoint for slow links, MiniLM where it is installed.
    steps
        Pairs of versions.
    large
        Bytes of the made checkpoint.
    many
        Number of small tensors of an artifact whose manifest is long.
    links
        Slow links.
    repeats
        Timed runs of each call.
    smallest
        Stored bytes that a tensor must have to be read alone.
    faulty
        How often to fetch from a busy server.
    """

    model: Path | None
    steps: Sequence[fetchversions.Step]
    large: int = 256 * MIB
    many: int = 3000
    links: Sequence[fetchlinks.Link] = fetchlinks.LINKS
    repeats: int = 5
    smallest: int = 8 * MIB
    faulty: int = fetchneeds.SEEDS


def run(plan: Plan, work: Path) -> Section:
    """Measure all of it.

    Parameters
    ----------
    plan
        What to measure.
    work
        Folder for files, where there is no room for them in memory.
    """
    tables: list[Table] = []
    checks: list[Check] = []
    with memory_folder(work, 8 * plan.large) as (folder, in_memory), _ready(plan, folder) as web:
        for table, more in _measured(plan, web, folder / "mine"):
            tables.append(table)
            checks += more
        tables.append(_facts(web, in_memory=in_memory, work=work))
    return Section("fetching", "Fetching", tables, checks)


@contextmanager
def _ready(plan: Plan, folder: Path) -> Iterator[Web]:
    """Make what is fetched, and serve it."""
    for name in ("served", "mine", "server"):
        (folder / name).mkdir()
    served = folder / "served"
    large = sources.write_large(folder / "large.safetensors", plan.large)
    p2uformat.pack(large, served / "large.p2u")
    large.unlink()
    tensors = {f"block.{i}.scale": np.full(8, i, np.float32) for i in range(plan.many)}
    p2uformat.pack(tensors, served / "many.p2u")
    if plan.model is not None:
        shutil.copyfile(plan.model, served / "minilm.safetensors")
        p2uformat.pack(plan.model, served / "minilm.p2u")
        if not fetchpeers.absent():
            fetchpeers.casync_store(served / "minilm.safetensors", served)
    with serving(served, folder / "server") as web:
        yield web


def _measured(plan: Plan, web: Web, mine: Path) -> Iterator[tuple[Table, list[Check]]]:
    casync = "" if fetchpeers.absent() else "minilm.caibx"
    if plan.model is not None:
        served = fetchlinks.Served("minilm.safetensors", "minilm.p2u", casync)
        yield fetchlinks.slow(web, served, mine, plan.links, plan.repeats)
        yield _parts_of_q4(web, served), []
    else:
        yield Table("Over slow links", fetchlinks.COLUMNS, [], "MiniLM is not installed."), []
    yield fetchlinks.wide(web, "large.p2u", mine, plan.repeats)
    yield fetchlinks.checking(web, "large.p2u", mine, plan.repeats)
    names = ["large.p2u"] if plan.model is None else ["minilm.p2u", "large.p2u"]
    yield _counts(plan, web, names, mine)
    others = [("casync extract of the fp32 file", partial(_extract, web, casync))]
    yield fetchneeds.peaks(web, names, mine, others if plan.model and casync else [])
    yield fetchneeds.busy(web.folder, "large.p2u", mine, fetchneeds.fair_seeds(plan.faulty))
    if not fetchs3.absent():
        yield fetchs3.from_s3(web.folder / names[0], mine, plan.repeats), []
    yield fetchversions.following(web, plan.steps, mine)


def _extract(web: Web, index: str, target: Path) -> None:
    fetchpeers.casync_extract(web.url, index, target)


def _parts_of_q4(web: Web, served: fetchlinks.Served) -> Table:
    """Return what the bytes of q4 are, as shares of the checkpoint."""
    path, whole = web.folder / served.artifact, (web.folder / served.model).stat().st_size
    with p2uformat.open(path) as artifact:
        manifest = artifact.summary.manifest_bytes
    chunks = fetchcounts.payload(path, "q4")
    rows: list[list[Cell]] = [
        [what, size, 100 * size / whole]
        for what, size in (("manifest", manifest), ("chunks", chunks), ("both", manifest + chunks))
    ]
    return Table("What q4 of MiniLM is made of", ["part", "bytes", "% of the fp32 file"], rows)


def _counts(plan: Plan, web: Web, names: Sequence[str], mine: Path) -> tuple[Table, list[Check]]:
    tensors = fetchcounts.large_tensors(web.folder / "large.p2u", plan.smallest)
    found = [
        fetchcounts.opening(web, [*names, "many.p2u"]),
        fetchcounts.whole_tiers(web, names, mine),
        fetchcounts.upgrade(web, names, mine),
        fetchcounts.parts(web, "large.p2u", tensors),
    ]
    note = (
        "As the server counts them, bytes of bodies. `needed`: the manifest for `open`, else the "
        "stored bytes of what was asked for, of a block that is needed in part that part."
    )
    rows = [row for more, _ in found for row in more]
    checks = [check for _, more in found for check in more]
    return Table("Requests and bytes", fetchcounts.COLUMNS, rows, note), checks


def _digest_rate(size: int = 16 * MIB, repeats: int = 5) -> float:
    """Return bytes a second: what checks cost without a cap follows from it."""
    data = bytes(size)
    seconds = timing.interleaved([timing.Call("", "digest", lambda _: digest(data), 0)], repeats)
    return size / seconds["digest"]


def _facts(web: Web, *, in_memory: bool, work: Path) -> Table:
    """Say how it was measured, and what could not be."""
    rows: list[list[Cell]] = [
        ["server", f"{web.name}, on loopback"],
        ["files", "in memory" if in_memory else f"on the disk of {work}"],
        ["BLAKE3 of 16 MiB, one core", f"{report.number(_digest_rate() / 1e9)} GB/s"],
        ["hf_xet", "left out: it fetches from servers of its own kind, and none can be run here"],
    ]
    for name, why in (("casync", fetchpeers.absent()), ("S3", fetchs3.absent())):
        if why:
            rows.append([name, f"left out: {why}"])
    return Table("How this was measured", ["what", ""], rows)
