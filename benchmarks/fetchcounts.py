"""What fetching asks for: requests and bytes, counted at the server."""

from __future__ import annotations

import filecmp
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import p2uformat
from benchmarks.fetchservers import Count, Web, counted
from benchmarks.report import Cell, Check
from p2uformat.artifact.contents import Contents
from p2uformat.artifact.read import stored_tiers
from p2uformat.container import stored_chunks

__all__ = [
    "COLUMNS",
    "Layer",
    "large_tensors",
    "layers",
    "opening",
    "parts",
    "payload",
    "upgrade",
    "whole_tiers",
]

COLUMNS = ("what", "artifact", "requests", "bytes", "needed", "bytes / needed")
RANKS = 5
#: R8: GETs per GB of a tier, and beside.
_GETS_PER_GB, _GETS = 135, 5
_LARGE_TENSOR = 8 << 20
Rows = tuple[list[list[Cell]], list[Check]]


@dataclass(frozen=True, slots=True)
class Layer:
    """One tier of a tensor, as it is stored.

    Parameters
    ----------
    spans
        The half-open element range of each block.
    sizes
        Bytes of each block's chunk.
    """

    spans: tuple[tuple[int, int], ...]
    sizes: tuple[int, ...]

    @property
    def block(self) -> int:
        """Bytes of the largest block: the last of a tensor is smaller than the others."""
        return max(self.sizes)

    def share(self, start: int, stop: int) -> float:
        """Return the bytes of some elements, those of a block spread evenly over it."""
        return sum(
            size * max(0, min(stop, last) - max(start, first)) / (last - first)
            for (first, last), size in zip(self.spans, self.sizes, strict=True)
        )


def layers(path: Path, name: str, tier: str) -> list[Layer]:
    """Return the tiers of a tensor up to one.

    Parameters
    ----------
    path
        An artifact whose blocks of this tensor have chunks of their own.
    name
        The tensor.
    tier
        The highest tier.
    """
    with Contents.open(path) as contents:
        stored = contents.catalog.tensor(name)
        spans = tuple(map(stored.geometry.block_range, range(stored.blocks)))
        found = []
        for number in stored_tiers(stored, contents.tier_number(tier)):
            places = [place for place in stored.places(number) if place is not None]
            sizes = [contents.container.entry(p.page, p.chunk).length for p in places]
            found.append(Layer(spans, tuple(sizes)))
        return found


def payload(path: Path, tier: str, above: str | None = None) -> int:
    """Return the bytes of all chunks up to a tier, without those up to another one.

    Parameters
    ----------
    path
        An artifact.
    tier
        The highest tier.
    above
        The tier that is left out, with those below.
    """
    with Contents.open(path) as contents:
        chunks = stored_chunks(contents.container, contents.tier_number(tier))
        below = contents.tier_number(above) if above else -1
        held = {c.offset for c in stored_chunks(contents.container, below)} if above else set()
        return sum(chunk.length for chunk in chunks if chunk.offset not in held)


def opening(web: Web, names: Sequence[str]) -> Rows:
    """Open artifacts that nobody has read before (R8)."""
    rows: list[list[Cell]] = []
    checks = []
    for name in names:
        with Contents.open(web.folder / name) as contents:
            manifest = contents.container.header.manifest_length
        count = counted(web, partial(_open, f"{web.url}/{name}"))
        rows.append(_row("open", name, count, manifest))
        checks.append(Check(f"requests of opening {name}", count.requests, "<=", 2))
    return rows, checks


def whole_tiers(web: Web, names: Sequence[str], work: Path) -> Rows:
    """Fetch whole tiers (R8)."""
    rows: list[list[Cell]] = []
    checks = []
    for name in names:
        for tier in ("q4", "exact"):
            target = work / "tier.p2u"
            needed = payload(web.folder / name, tier)
            count = counted(web, partial(_fetch, web, name, target, tier))
            target.unlink()
            rows.append(_row(f"fetch {tier}", name, count, needed))
            most = _GETS_PER_GB * needed / 1e9 + _GETS
            what = f"requests of fetching {tier} of {name}"
            checks.append(Check(what, count.requests, "<=", round(most, 1)))
    return rows, checks


def upgrade(web: Web, names: Sequence[str], work: Path) -> Rows:
    """Fetch q4, then the rest (R11)."""
    rows: list[list[Cell]] = []
    checks = []
    for name in names:
        target = work / "upgraded.p2u"
        needed = payload(web.folder / name, "exact", above="q4")
        _fetch(web, name, target, "q4")
        count = counted(web, partial(_fetch, web, name, target, "exact"))
        _compare(target, web.folder / name)
        target.unlink()
        rows.append(_row("upgrade q4 to exact", name, count, needed))
        what = f"upgrade of {name} from q4 to exact, bytes / its layers"
        checks.append(Check(what, count.bytes / needed, "<=", 1.01))
    return rows, checks


def parts(web: Web, name: str, tensors: Sequence[str], ranks: int = RANKS) -> Rows:
    """Read one tensor, rows of one, and all of them by row-parallel ranks (R6, R7).

    Parameters
    ----------
    web
        The server.
    name
        An artifact in its folder.
    tensors
        Its tensors of several blocks; the first is read alone.
    ranks
        How many ranks share the rows.
    """
    rows: list[list[Cell]] = []
    checks = []
    for tier in ("q4", "exact"):
        for more in (_one(web, name, tensors[0], tier), _some_rows(web, name, tensors[0], tier)):
            rows += more[0]
            checks += more[1]
    more = _ranks(web, name, tensors, ranks)
    return rows + more[0], checks + more[1]


def _one(web: Web, name: str, tensor: str, tier: str) -> Rows:
    needed = sum(sum(layer.sizes) for layer in layers(web.folder / name, tensor, tier))
    with p2uformat.open(f"{web.url}/{name}") as artifact:
        count = counted(web, lambda: artifact.get(tensor, tier))
    row = _row(f"one tensor at {tier}, artifact open", name, count, needed)
    what = f"one tensor at {tier}, bytes / payload"
    return [row], [Check(what, count.bytes / needed, "<=", 1.02)]


def _some_rows(web: Web, name: str, tensor: str, tier: str) -> Rows:
    """Read rows that begin and end within blocks, a third of the tensor."""
    stored = layers(web.folder / name, tensor, tier)
    with p2uformat.open(f"{web.url}/{name}") as artifact:
        info = artifact.info(tensor)
        height, width = info.shape[0], info.parameters // info.shape[0]
        start, stop = height // 5 + 1, height // 5 + height // 3
        count = counted(web, lambda: artifact.get(tensor, tier, rows=(start, stop)))
    needed = sum(layer.share(start * width, stop * width) for layer in stored)
    beside = (count.bytes - needed) / sum(layer.block for layer in stored)
    what = f"a third of the rows of one tensor at {tier}, blocks per tier beside them"
    row = _row(f"a third of its rows at {tier}", name, count, round(needed))
    return [row], [Check(what, beside, "<=", 2)]


def _ranks(web: Web, name: str, tensors: Sequence[str], ranks: int) -> Rows:
    """Let each rank open the artifact and read its share of the rows of every tensor."""
    stored = [each for tensor in tensors for each in layers(web.folder / name, tensor, "exact")]
    needed = sum(sum(layer.sizes) for layer in stored)
    read = Count(0, 0)
    for rank in range(ranks):
        with p2uformat.open(f"{web.url}/{name}") as artifact:
            read += counted(web, partial(_share, artifact, tensors, rank, ranks))
    beside = (read.bytes - needed) / sum(layer.block for layer in stored)
    what = f"{ranks} row-parallel ranks, blocks per tensor and tier beside the artifact"
    row = _row(f"{ranks} row-parallel ranks, artifact open", name, read, needed)
    return [row], [Check(what, beside, "<=", ranks - 1)]


def _share(artifact: p2uformat.Artifact, tensors: Sequence[str], rank: int, ranks: int) -> None:
    for tensor in tensors:
        height = artifact.info(tensor).shape[0]
        rows = (rank * height // ranks, (rank + 1) * height // ranks)
        artifact.get(tensor, "exact", rows=rows)


def large_tensors(path: Path, smallest: int = _LARGE_TENSOR) -> list[str]:
    """Return the tensors whose layers take at least so many bytes, the largest first.

    Parameters
    ----------
    path
        An artifact.
    smallest
        Stored bytes of all tiers.
    """
    with p2uformat.open(path) as artifact:
        sizes = {name: sum(artifact.info(name).stored) for name in artifact}
    return sorted((n for n in sizes if sizes[n] >= smallest), key=lambda n: -sizes[n])


def _fetch(web: Web, name: str, target: Path, tier: str) -> None:
    p2uformat.fetch(f"{web.url}/{name}", target, tier=tier)


def _open(url: str) -> None:
    p2uformat.open(url).close()


def _compare(left: Path, right: Path) -> None:
    if not filecmp.cmp(left, right, shallow=False):
        raise AssertionError(f"{left} is not {right}")


def _row(what: str, name: str, count: Count, needed: int) -> list[Cell]:
    ratio = count.bytes / needed if needed else None
    return [what, name, count.requests, count.bytes, needed, ratio]
