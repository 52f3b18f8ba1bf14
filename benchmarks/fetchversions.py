"""Following a version over HTTP: bytes to the newer one, where the older one is here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import p2uformat
from benchmarks import sources, versioncopies
from benchmarks.fetchpeers import absent, casync_extract, casync_store, get
from benchmarks.fetchservers import Web, counted
from benchmarks.report import Cell, Check, Table

__all__ = ["COLUMNS", "Step", "following", "steps"]

COLUMNS = (
    *("step", "tier", "child", "alone, --seed", "alone, no seed"),
    *("casync --seed", "fsspec get_file", "child / casync"),
)
NOTE = (
    "Bytes of bodies at the server, of requests for indices and manifests too. `child`: the newer "
    "version, packed with the older as parent, which is here; `alone`: packed without, the older "
    "one given with `--seed` or not. casync and fsspec move the safetensors file: they know no "
    "tiers. Everything that came was compared with its source, or verified."
)
Step = tuple[str, Path, Path]
"""A name, the older and the newer safetensors file."""


def steps(
    folder: Path | None, minilm: Path | None, work: Path, smallest: int = 100_000
) -> list[Step]:
    """Return the steps that are present.

    Parameters
    ----------
    folder
        Where the real weights are.
    minilm
        MiniLM's safetensors file, of which a tenth is changed.
    work
        Folder for what is made.
    smallest
        Fewest weights of a tensor of MiniLM that is changed.
    """
    found: list[Step] = []
    if minilm is not None:
        made: Mapping[str, sources.Array] = versioncopies.changed(
            sources.read(minilm), 0.1, smallest
        )
        newer = sources.write(work / "minilm-next.safetensors", made)
        found.append(("MiniLM, a tenth of the weights moved", minilm, newer))
    if folder is not None:
        tuned, xray = folder / "cifar10-resnet" / "chain", folder / "pneumonia"
        wanted = [
            ("ResNet20, head only", tuned / "v0-base", tuned / "v1-head-only"),
            ("ResNet20, full fine-tune", tuned / "v0-base", tuned / "v2-full-ft-epoch1"),
            ("X-ray CNN, epoch 5 to 6", xray / "epoch5", xray / "epoch6"),
        ]
        pairs = [(name, _file(old), _file(new)) for name, old, new in wanted]
        found += [pair for pair in pairs if pair[1].is_file() and pair[2].is_file()]
    return found


def _file(path: Path) -> Path:
    return path.with_name(f"{path.name}.safetensors")


def following(web: Web, found: Sequence[Step], work: Path) -> tuple[Table, list[Check]]:
    """Fetch the newer version of each step.

    Parameters
    ----------
    web
        A server; what it serves is put into its folder.
    found
        The steps.
    work
        Folder for what comes.
    """
    rows: list[list[Cell]] = []
    checks = []
    for number, step in enumerate(found):
        served = web.folder / f"step{number}"
        served.mkdir()
        older = work / f"older{number}.p2u"
        p2uformat.pack(step[1], older)
        p2uformat.pack(step[2], served / "child.p2u", parent=older)
        p2uformat.pack(step[2], served / "alone.p2u")
        mine = _step(web, served.name, step, older, work)
        rows += mine
        exact = mine[-1]
        if exact[5] is not None:
            what = f"{step[0]}: bytes to follow at exact, of casync's"
            checks.append(Check(what, float(exact[2] or 0) / float(exact[5]), "<=", 1))
        what = f"{step[0]}: bytes to follow at q4, of the plain download"
        checks.append(Check(what, float(mine[0][2] or 0) / float(mine[0][6] or 1), "<=", 0.15))
    return Table("Following a version", COLUMNS, rows, NOTE), checks


def _step(web: Web, at: str, step: Step, older: Path, work: Path) -> list[list[Cell]]:
    name, old, new = step
    casync = None if absent() else _casync(web, at, (old, new), work)
    plain = _plain(web, at, new, work)
    rows: list[list[Cell]] = []
    for tier in ("q4", "exact"):
        child = _fetched(web, f"{at}/child.p2u", work, tier, older, parents=True)
        seeded = _fetched(web, f"{at}/alone.p2u", work, tier, older)
        alone = _fetched(web, f"{at}/alone.p2u", work, tier, None)
        ratio = None if casync is None else child / casync
        rows.append([name, tier, child, seeded, alone, casync, plain, ratio])
    return rows


def _fetched(
    web: Web, name: str, work: Path, tier: str, older: Path | None, *, parents: bool = False
) -> int:
    """Return the bytes of a fetch; what came is verified, with the older version where needed."""
    target = work / "followed.p2u"
    seeds = () if older is None else older
    above = older if parents and older is not None else ()
    count = counted(
        web,
        lambda: p2uformat.fetch(f"{web.url}/{name}", target, tier=tier, seeds=seeds, parents=above),
    )
    report = p2uformat.verify(target, tier=tier, parents=above)
    if not report.ok or tier not in report.complete_tiers:
        raise AssertionError(f"{name} did not come whole at {tier}: {report}")
    target.unlink()
    return count.bytes


def _plain(web: Web, at: str, new: Path, work: Path) -> int:
    served = web.folder / at / "plain.safetensors"
    served.write_bytes(new.read_bytes())
    target = work / "plain.safetensors"
    count = counted(web, lambda: get(f"{web.url}/{at}/{served.name}", target))
    target.unlink()
    return count.bytes


def _casync(web: Web, at: str, pair: tuple[Path, Path], work: Path) -> int:
    """Return what casync moves to the newer file, the older one given as seed."""
    old, new = pair
    index = casync_store(new, web.folder / at)
    target = work / "casync.safetensors"
    count = counted(web, lambda: casync_extract(f"{web.url}/{at}", index.name, target, seed=old))
    if target.read_bytes() != new.read_bytes():
        raise AssertionError(f"casync did not bring {new}")
    target.unlink()
    return count.bytes
