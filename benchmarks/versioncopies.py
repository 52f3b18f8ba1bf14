"""Children that hold what the parent holds: a tenth changed, and other containers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

import p2uformat
from benchmarks import peers, sources
from benchmarks.report import Cell, Check, Table
from benchmarks.sources import Array
from benchmarks.timing import Call, interleaved, memory_folder, one_core

__all__ = ["Copy", "changed", "copies", "found", "initialisers", "packing", "renamed"]

Copy = tuple[str, Mapping[str, Array], Mapping[str, Array]]
"""A name, the weights in one container, the weights in another."""

_SILERO = ("silero_vad_half", "silero_vad_16k_op15_0607")


def packing(
    model: Path, work: Path, repeats: int, smallest: int = 100_000
) -> tuple[Table, list[Check]]:
    """Time packing a child of which a tenth changed beside packing it afresh.

    Parameters
    ----------
    model
        The parent's safetensors file.
    work
        Folder for files, where there is no room for them in memory.
    repeats
        Timed runs of each.
    smallest
        Fewest weights of a tensor that is changed.
    """
    rows: list[list[Cell]] = []
    checks = []
    arrays = sources.read(model)
    tensors = changed(arrays, 0.1, smallest)
    moved = sum(v.size for k, v in tensors.items() if v is not arrays[k])
    share = 100 * moved / sum(v.size for v in arrays.values())
    with memory_folder(work, 6 * model.stat().st_size) as (folder, _):
        child = sources.write(folder / "child.safetensors", tensors)
        p2uformat.pack(model, folder / "parent.p2u")
        for threads in (1, 2):
            fresh, update = _seconds(child, folder, threads, repeats)
            rows.append([threads, share, fresh, update, fresh / update])
            what = f"packing a child with 90 % unchanged, {_threads(threads)}, times as fast"
            checks.append(Check(what, fresh / update, ">=", 3))
    columns = ["threads", "weights changed, %", "fresh, s", "child, s", "times as fast"]
    note = f"Medians of {repeats}, in turns; one thread on one core."
    return Table("Packing MiniLM, a tenth of which changed", columns, rows, note), checks


def _threads(count: int) -> str:
    return f"{count} thread" if count == 1 else f"{count} threads"


def _seconds(child: Path, folder: Path, threads: int, repeats: int) -> tuple[float, float]:
    """Return the seconds of packing afresh and of packing with the parent."""
    size = child.stat().st_size

    def pack(name: str, parent: Path | None = None) -> Call:
        def run(_: object) -> object:
            target = folder / f"{name}.p2u"
            return p2uformat.pack(child, target, parent=parent, overwrite=True, threads=threads)

        return Call("pack", name, run, size)

    calls = [pack("fresh"), pack("update", parent=folder / "parent.p2u")]
    if threads == 1:
        with one_core():
            taken = interleaved(calls, repeats)
    else:
        taken = interleaved(calls, repeats)
    return taken["fresh"], taken["update"]


def changed(arrays: Mapping[str, Array], share: float, smallest: int) -> dict[str, Array]:
    """Move the weights of whole tensors that hold about a share of all, by a little noise.

    Parameters
    ----------
    arrays
        The tensors.
    share
        Most of their weights that may change, from 0 to 1.
    smallest
        Fewest weights of a tensor that is changed.
    """
    rng = np.random.default_rng(0)
    room = share * sum(array.size for array in arrays.values())
    made = dict(arrays)
    for name in sorted(arrays, key=lambda name: (arrays[name].size, name)):
        array = arrays[name]
        if array.dtype == np.float32 and smallest <= array.size <= room:
            room -= array.size
            noise = rng.standard_normal(array.shape, dtype=np.float32)
            made[name] = array + noise * np.float32(1e-4)
    return made


def renamed(arrays: Mapping[str, Array]) -> dict[str, Array]:
    """Return the same weights under other names, in another order."""
    return {f"model.{name}": arrays[name] for name in reversed(list(arrays))}


def initialisers(path: Path) -> dict[str, Array]:
    """Return the initialisers of an ONNX file, those of its subgraphs too."""
    import onnx
    from onnx import numpy_helper

    def walk(graph: onnx.GraphProto, prefix: str) -> Iterator[tuple[str, Array]]:
        for tensor in graph.initializer:
            yield prefix + tensor.name, np.array(numpy_helper.to_array(tensor))
        for node in graph.node:
            for attribute in node.attribute:
                if attribute.type == onnx.AttributeProto.GRAPH:
                    yield from walk(attribute.g, f"{prefix}{node.name}/{attribute.name}/")

    return dict(walk(onnx.load(path).graph, ""))


def found(folder: Path | None, minilm: Path | None) -> tuple[list[Copy], list[str]]:
    """Return the pairs of containers that are present, and a line for each that is not.

    Parameters
    ----------
    folder
        Where the real weights are.
    minilm
        MiniLM's safetensors file.
    """
    pairs: list[Copy] = []
    lines = []
    files = [folder / "silero" / f"{name}.onnx" for name in _SILERO] if folder else []
    if not files or not all(file.is_file() for file in files):
        lines.append("Silero in two ONNX files: no weights here")
    elif not peers.has("onnx"):
        lines.append("Silero in two ONNX files: the package onnx is not installed")
    else:
        first, second = map(initialisers, files)
        pairs.append(("Silero, initialisers of two ONNX files", first, second))
    if minilm is None:
        lines.append("MiniLM: its package is not installed")
    else:
        arrays = sources.read(minilm)
        pairs.append(("MiniLM, other names and order", arrays, renamed(arrays)))
    return pairs, lines


def copies(pairs: Sequence[Copy], work: Path) -> Table:
    """Pack each pair, the second with the first as parent, and see that it comes back.

    Parameters
    ----------
    pairs
        Weights in two containers.
    work
        Folder for files.
    """
    columns = ["weights", "source bytes", "fresh", "update", "its payload", "its manifest"]
    note = (
        "Payload: all but the manifest. Weights are found by what they hold, whatever their name; "
        "what is left of the payload is the head of the file, in which the names stand, and "
        "tensors that differ."
    )
    rows = [_copy(pair, work) for pair in pairs]
    return Table("The same weights in two containers", columns, rows, note)


def _copy(pair: Copy, work: Path) -> list[Cell]:
    name, first, second = pair
    parent, child = work / "copy-parent.p2u", work / "copy-child.p2u"
    p2uformat.pack(dict(first), parent, overwrite=True)
    file = sources.write(work / "copy.safetensors", second)
    fresh = p2uformat.pack(file, child, overwrite=True)
    update = p2uformat.pack(file, child, parent=parent, overwrite=True)
    back = work / "copy-back.safetensors"
    p2uformat.unpack(child, back, parents=[parent], overwrite=True)
    if back.read_bytes() != file.read_bytes():
        message = f"{name} did not come back"
        raise AssertionError(message)
    payload = update.bytes - update.manifest_bytes
    sizes = [file.stat().st_size, fresh.bytes, update.bytes, payload, update.manifest_bytes]
    return [name, *sizes]
