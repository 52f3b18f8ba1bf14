"""Speed of everything beside its peers: on one core, and on all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from benchmarks import calls
from benchmarks.report import Cell, Check, Section, Table
from benchmarks.sources import Checkpoint
from benchmarks.timing import Call, cores, interleaved, memory_folder, one_core

#: dtype -> exact decode over zipnn's decompression, at least.
EXACT = {"BF16": 0.65, "F16": 0.55, "F32": 0.9}
#: What has to gain from a second thread.
GAINS = ("pack", "exact", "q4", "q8", "verify")


@dataclass(frozen=True, slots=True)
class Run:
    """One interleaved run over one checkpoint: median seconds of every call."""

    model: str
    dtype: str
    calls: Sequence[Call]
    seconds: Mapping[str, float]

    def rate(self, name: str) -> float:
        """Return GB/s of a call."""
        size = next(call.size for call in self.calls if call.name == name)
        return size / self.seconds[name] / 1e9

    def ratio(self, name: str, peer: str) -> float | None:
        """Return how many times as fast as a peer a call is; None where the peer is absent."""
        return self.rate(name) / self.rate(peer) if peer in self.seconds else None


def run(checkpoints: Sequence[Checkpoint], work: Path, repeats: int = 5) -> Section:
    """Measure every checkpoint, on one core and on all of them."""
    if not checkpoints:
        return Section("speed", "Speed")
    alone, together, in_memory = _measure(checkpoints, work, repeats)
    tables = [_table("One core, one thread", alone, _note(repeats, in_memory=in_memory))]
    tables.append(_levels_table(alone))
    note = f"The same on {cores()} cores. Peers that know threads use all of them, memcpy one."
    tables.append(_table("All cores", together, note))
    checks = [check for each in alone for check in one_core_checks(each)]
    return Section("speed", "Speed", tables, checks + _gains(together))


def _measure(
    checkpoints: Sequence[Checkpoint], work: Path, repeats: int
) -> tuple[list[Run], list[Run], bool]:
    needed = 6 * max(checkpoint.path.stat().st_size for checkpoint in checkpoints)
    alone, together = [], []
    with memory_folder(work, needed) as (folder, in_memory):
        for checkpoint in checkpoints:
            subject = calls.Subject.make(checkpoint, folder)
            # All cores first: a pool that a tool starts on one core would stay there for good.
            together.append(all_cores_run(subject, repeats))
            alone.append(one_core_run(subject, repeats))
    return alone, together, in_memory


def one_core_run(subject: calls.Subject, repeats: int) -> Run:
    """Time everything on one thread and one core."""
    listed = calls.limits(subject, 1) + calls.ours(subject, 1) + calls.theirs(subject, 1)
    return timed(subject, listed + calls.alone(subject) + calls.levels(subject), repeats, pin=True)


def all_cores_run(subject: calls.Subject, repeats: int) -> Run:
    """Time ours on one, two and all threads, and the peers on all; no core is left out."""
    listed = calls.limits(subject, cores())
    for threads in sorted({1, 2, cores()}):
        listed += calls.ours(subject, threads, _suffix(threads))
    return timed(subject, listed + calls.theirs(subject, cores()), repeats, pin=False)


def _suffix(threads: int) -> str:
    return f", {threads} thread{'s' * (threads > 1)}"


def timed(subject: calls.Subject, listed: Sequence[Call], repeats: int, *, pin: bool) -> Run:
    """Time calls on one subject in one interleaved run, on one core or on all."""
    with one_core() if pin else nullcontext():
        seconds = interleaved(listed, repeats)
    return Run(subject.name, subject.dtype, listed, seconds)


def _note(repeats: int, *, in_memory: bool) -> str:
    files = "kept in memory by the system" if in_memory else "on a disk, in the page cache"
    return (
        f"GB/s, medians of {repeats} interleaved runs: each call in turn, then all again. Files "
        f"are {files}. Every tool allocates its own output inside the timing, on fresh pages, and "
        "it is freed outside; compressed input is in memory for all, save where a row says "
        "`from the file`, and what a tool spoils is copied for it outside. `p2u exact` "
        "checks every chunk, and so do `q4` and `q8`; an artifact is opened anew for each run, "
        "outside the timing, and what opening takes is a row of its own. `pack` plans, splits, "
        "codes and digests."
    )


def _table(title: str, runs: Sequence[Run], note: str) -> Table:
    rows: list[list[Cell]] = []
    for group, meaning in calls.GROUPS.items():
        names = _names(runs, group)
        if names and group != "kernels":
            rows.append([f"**{meaning}**", *("" for _ in runs)])
            rows += [[name, *(_cell(each, name) for each in runs)] for name in names]
    return Table(title, ["what", *(each.model for each in runs)], rows, note)


def _names(runs: Sequence[Run], group: str) -> list[str]:
    """List the calls of a group, in order; a peer may be absent from some of the runs."""
    return list(dict.fromkeys(c.name for each in runs for c in each.calls if c.group == group))


def _cell(each: Run, name: str) -> Cell:
    if name not in each.seconds:
        return None
    size = next(call.size for call in each.calls if call.name == name)
    return each.rate(name) if size else f"{each.seconds[name] * 1e3:.3g} ms"


def _levels_table(runs: Sequence[Run]) -> Table:
    rows: list[list[Cell]] = [
        [name, *(each.rate(name) for each in runs)] for name in _names(runs, "kernels")
    ]
    columns = ["what", *(each.model for each in runs)]
    note = "GB/s of output, one thread; the slowest kernels first. From the same run."
    return Table("Each level of kernels", columns, rows, note)


def one_core_checks(each: Run) -> list[Check]:
    """Hold one run on one core against its targets; what has no peer here is left out."""
    beside = [
        ("exact / zipnn decompress", "p2u exact", "zipnn decompress", EXACT[each.dtype], 1.0),
        ("exact / zipnn + BLAKE3", "p2u exact", "zipnn decompress + BLAKE3", 1.0, None),
        ("pack / zipnn compress", "p2u pack", "zipnn compress", 0.5, 1.0),
        ("q4 to fp32 / GGUF Q4_0", "p2u q4", "GGUF Q4_0 (numpy)", 3.0, 5.0),
        ("verify / BLAKE3 of the file", "p2u verify", "BLAKE3 of the file", 0.7, 0.9),
        ("verify / BLAKE3 in memory", "p2u verify", "BLAKE3, stored bytes in memory", 0.7, 0.9),
    ]
    checks = [
        Check(f"{what}, {each.model}", ratio, ">=", target, "x", aim)
        for what, name, peer, target, aim in beside
        if (ratio := each.ratio(name, peer)) is not None
    ]
    slower = each.seconds["p2u q8"] / each.seconds["p2u q4"]
    plain = each.rate("p2u exact, numpy")
    return [
        *checks,
        Check(f"q4 to fp32, {each.model}", each.rate("p2u q4"), ">=", 4.0, "GB/s"),
        Check(
            f"q4 to fp32, arrays given, {each.model}",
            each.rate("p2u q4, arrays given"),
            ">=",
            4.0,
            "GB/s",
        ),
        Check(f"time of q8 / time of q4, {each.model}", slower, "<=", 1.5, "x"),
        Check(f"exact with numpy alone, {each.model}", plain, ">=", 0.3, "GB/s"),
    ]


def _gains(runs: Sequence[Run]) -> list[Check]:
    """Hold two threads against one, where there are two cores."""
    if cores() < 2:
        return []
    return [
        Check(f"two threads / one, {what}, {each.model}", gain, ">=", 1.6, "x", 1.9)
        for each in runs
        for what in GAINS
        if (gain := each.ratio(f"p2u {what}{_suffix(2)}", f"p2u {what}{_suffix(1)}")) is not None
    ]
