"""Versions in a store, beside programs that keep versions of files; and marking a large one."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

import numpy as np

import p2uformat
from benchmarks import memory, sources, storepeers, versionpeers
from benchmarks.report import Cell, Check, Section, Table
from benchmarks.sources import Array
from benchmarks.timing import memory_folder

__all__ = ["MARKED_CHUNKS", "changed_tensors", "run"]

MARKED_CHUNKS = 1_000_000
NOTE = (
    "Each step is a process of its own, start included; medians of the runs, in turns, with files "
    "in memory. `zstd` is the sum of `zstd -3 v1` and of `zstd -3 --patch-from=v1 v2`, which can "
    "restore `v2` with `v1` only."
)


def changed_tensors(arrays: dict[str, Array], count: int, total: int) -> dict[str, Array]:
    """Return weights of which some tensors, about `total` bytes, are others entirely.

    Parameters
    ----------
    arrays
        The weights.
    count
        How many tensors.
    total
        About how many bytes they have together.
    """
    rng = np.random.default_rng(7)
    wanted = total / count
    names = sorted(arrays, key=lambda name: abs(arrays[name].nbytes - wanted))[:count]
    newer = dict(arrays)
    for name in names:
        old = arrays[name]
        noise = np.asarray(rng.standard_normal(old.shape) * old.std())
        newer[name] = noise.astype(old.dtype)
    return newer


def run(minilm: Path | None, work: Path, repeats: int = 5, chunks: int = MARKED_CHUNKS) -> Section:
    """Measure a store beside its peers, and how a large one is marked.

    Parameters
    ----------
    minilm
        MiniLM's safetensors file; None leaves its figures out.
    work
        Folder for files.
    repeats
        Timed runs of each step.
    chunks
        Chunks to be marked.
    """
    tables, checks = [], []
    if minilm is not None:
        table, more = _beside(minilm, work, repeats)
        tables.append(table)
        checks += more
    table, more = _marking(work, chunks)
    tables.append(table)
    checks += more
    if storepeers.absent():
        tables.append(Table("Left out", ["what"], [[line] for line in storepeers.absent()]))
    return Section("stores", "Stores", tables, checks)


def _beside(minilm: Path, work: Path, repeats: int) -> tuple[Table, list[Check]]:
    arrays = dict(sources.read(minilm))
    rows: list[list[Cell]] = []
    with memory_folder(work, 12 * minilm.stat().st_size) as (folder, _):
        files = [
            sources.write(folder / "v1.safetensors", arrays),
            sources.write(folder / "v2.safetensors", changed_tensors(arrays, 10, 4_730_000)),
        ]
        taken: dict[str, list[list[float]]] = {}
        sizes: dict[str, tuple[int, int]] = {}
        for number in range(repeats):
            for keeper in storepeers.keepers():
                at = folder / f"{keeper.command}-{number}"
                at.mkdir()
                steps, sizes[keeper.name] = _keep(keeper(at), files)
                taken.setdefault(keeper.name, []).append(steps)
                shutil.rmtree(at)
        for name, runs in taken.items():
            rows.append([name, *sizes[name], *map(median, zip(*runs, strict=True))])
        patch = _zstd(files, folder)
    if patch is not None:
        rows.append(["zstd", *patch, None, None, None])
    columns = ["", "v1, bytes", "v1 and v2", "add v1, s", "add v2, s", "restore v2, s"]
    table = Table("MiniLM and a version with 10 of 104 tensors changed", columns, rows, NOTE)
    return table, _checks({str(row[0]): row for row in rows})


def _keep(keeper: storepeers.Keeper, files: list[Path]) -> tuple[list[float], tuple[int, int]]:
    """Add two versions and restore the second; return seconds, and sizes after each."""
    keeper.prepare()
    seconds, sizes = [], []
    for number, file in enumerate(files, 1):
        seconds.append(keeper.run(keeper.adding(file, number)))
        sizes.append(storepeers.size_of(keeper.store))
    target = keeper.folder / "back.safetensors"
    seconds.append(keeper.run(keeper.restoring(2, target)))
    if keeper.name == "p2u" and target.read_bytes() != files[1].read_bytes():
        message = "the second version did not come back"
        raise AssertionError(message)
    return seconds, (sizes[0], sizes[1])


def _zstd(files: list[Path], folder: Path) -> tuple[int, int] | None:
    if any(line.startswith("zstd") for line in versionpeers.absent()):
        return None
    first, second = folder / "v1.zst", folder / "v2.zst"
    start = ["zstd", "-q", "-f", "-3"]
    subprocess.run([*start, str(files[0]), "-o", str(first)], check=True)
    patch = [*start, "--long=27", f"--patch-from={files[0]}", str(files[1]), "-o", str(second)]
    subprocess.run(patch, check=True)
    return first.stat().st_size, first.stat().st_size + second.stat().st_size


def _checks(rows: dict[str, list[Cell]]) -> list[Check]:
    def value(name: str, column: int) -> float:
        found = rows[name][column]
        assert isinstance(found, int | float)
        return float(found)

    checks = []
    for name, target in (("casync", 0.85), ("zstd", 0.92)):
        if name in rows:
            share = value("p2u", 2) / value(name, 2)
            checks.append(Check(f"two versions of MiniLM in a store / {name}", share, "<=", target))
    if "restic" in rows:
        for column, what in ((3, "adding v1"), (4, "adding v2"), (5, "restoring v2")):
            share = value("p2u", column) / value("restic", column)
            checks.append(Check(f"{what}, time / restic's", share, "<=", 1))
    return checks


def _marking(work: Path, chunks: int) -> tuple[Table, list[Check]]:
    """Mark a store whose records have many extents that do not touch."""
    arguments = [sys.executable, "-m", "benchmarks.stores", str(work), str(chunks)]
    root = Path(__file__).resolve().parents[1]
    done = subprocess.run(arguments, check=True, capture_output=True, text=True, cwd=root)
    seconds, used = map(float, done.stdout.split())
    row: list[Cell] = [chunks, seconds, used / chunks]
    table = Table(
        "Marking by gc",
        ["chunks, each an extent of its own", "seconds", "bytes of memory a chunk"],
        [row],
        "In a process of its own; the memory is what its peak is above that before.",
    )
    scale = MARKED_CHUNKS / chunks
    return table, [
        Check("marking a million chunks, seconds", seconds * scale, "<=", 60),
        Check("marking, bytes of memory for each chunk", used / chunks, "<=", 100),
    ]


def _mark(work: Path, chunks: int) -> None:
    """Make a store of records alone, mark it, and print seconds and bytes of memory."""
    from p2uformat.store.local import LocalObjects
    from p2uformat.store.marking import mark

    objects = LocalObjects(work / f"marked-{time.time_ns()}")
    _make_records(objects, chunks, min(chunks, 10_000))
    before = memory.peak_bytes()
    start = time.perf_counter()
    marks = mark(objects, objects.now())
    seconds = time.perf_counter() - start
    used = max(memory.peak_bytes() - before, 0)
    assert marks.versions == -(-chunks // min(chunks, 10_000))
    print(seconds, used)


def _make_records(objects: object, chunks: int, each: int) -> None:
    from p2uformat.container.header import Header
    from p2uformat.store.keys import PackId, new_id, record_key, ref_key
    from p2uformat.store.local import LocalObjects
    from p2uformat.store.records import Blob, Extent, Placed, Record
    from p2uformat.store.refs import Ref

    assert isinstance(objects, LocalObjects)
    writer = new_id()
    for number in range(-(-chunks // each)):
        root = number.to_bytes(32, "big")
        packs = tuple(PackId(writer, number * 16 + n) for n in range(16))
        extents = tuple(Extent(n % 16, n // 16 * 4096, 4000) for n in range(each))
        header = Header(root, root, 1, 1, 130, 130 + 4000 * each, 0)
        placed = Placed(header.encode(), (Blob(0, 0, 1), Blob(0, 1, 1)), extents)
        record = Record(writer, (placed,), (writer,), packs)
        objects.create(record_key(root, 0), record.encode())
        ref = Ref(writer, 0, None, (), root, root, 0)
        objects.create(ref_key(f"m{number}", 1), ref.encode())


if __name__ == "__main__":
    _ = p2uformat.__version__
    _mark(Path(sys.argv[1]), int(sys.argv[2]))
