"""Versions of a model as updates of the one before, beside zstd, casync and packing afresh."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

import p2uformat
from benchmarks import peers, sources, versioncopies, versionpeers
from benchmarks.report import Cell, Check, Section, Table
from p2uformat.container import HEADER_BYTES, Container
from p2uformat.manifest import FileRecord

__all__ = ["Chain", "Update", "chains", "path_bytes", "run", "updates"]

TIERS = "q4,q8,exact"
FINE = "q4,q8,q16,exact"
#: What the pages of an update of few tensors may take beyond those on their path.
SLACK = 8192
COLUMNS = ("chain", "update", "fresh", "zstd -19 patch", "casync", "update / patch", "/ fresh")
TIER_COLUMNS = (
    *("chain", "tiers", "quantized weights", "bits/weight by tier", "sum"),
    *("one-shot difference", "sum / one-shot"),
)
NOTE = (
    "Bytes of whole files. The patch is `zstd -19 --long=27 --patch-from` between the safetensors "
    "files; casync's are the chunks that the newer file adds to a store that has the older. Every "
    "update was unpacked and compared with its source."
)
TIER_NOTE = (
    "Bits that an update stores per weight of the quantized tensors. The one-shot difference, "
    "without tiers, is that of integers in the order of the values: bit lengths entropy coded, "
    "the rest raw."
)
_T = TypeVar("_T")
Found = tuple[list[_T], list[str]]
"""What is here, and a line for each thing that is not."""
_XCEPTION = (("10-0.58_396749", "11-0.58_9b1540"), ("32-0.62_edde74", "37-0.62_c9adac"))


@dataclass(frozen=True, slots=True)
class Chain:
    """Consecutive versions of one model.

    Parameters
    ----------
    name
        What it is.
    files
        Safetensors files, oldest first.
    head_only
        Whether few tensors changed, so that the update is held against those.
    follow
        Most bits per weight of the base tier of an update, where there is such a target.
    """

    name: str
    files: tuple[Path, ...]
    head_only: bool = False
    follow: float | None = None


@dataclass(frozen=True, slots=True)
class Update:
    """One version as a child of the one before.

    Parameters
    ----------
    label
        Its chain, and its number where that has several.
    old, new
        The safetensors files of both versions.
    path
        The child.
    parents
        Artifacts of the versions before, oldest first.
    fresh
        The newer version packed without a parent.
    summary, fresh_summary
        What packing returned.
    """

    label: str
    old: Path
    new: Path
    path: Path
    parents: tuple[Path, ...]
    fresh: Path
    summary: p2uformat.Summary
    fresh_summary: p2uformat.Summary


def chains(folder: Path | None, work: Path) -> Found[Chain]:
    """Return the chains that are present, and a line for each that is not.

    Parameters
    ----------
    folder
        Where the real weights are.
    work
        Folder for those of other containers as safetensors.
    """
    if folder is None:
        return [], ["all chains: no weights here"]
    tuned = folder / "cifar10-resnet" / "chain"
    base, head = tuned / "v0-base.safetensors", tuned / "v1-head-only.safetensors"
    first, second = (tuned / f"v2-full-ft-epoch{number}.safetensors" for number in (1, 2))
    xray = tuple(folder / "pneumonia" / f"epoch{number}.safetensors" for number in range(1, 7))
    wanted = [
        Chain("ResNet20, head only", (base, head), head_only=True),
        Chain("ResNet20, full fine-tune", (base, first)),
        Chain("ResNet20, epoch 1 to 2", (first, second), follow=0.3),
        Chain("X-ray CNN, epochs 3 to 6", xray[2:], follow=0.8),
        Chain("X-ray CNN, epochs 1 to 6", xray),
    ]
    present = [chain for chain in wanted if all(file.is_file() for file in chain.files)]
    lines = [f"{chain.name}: no weights here" for chain in wanted if chain not in present]
    more, missing = _keras_chains(folder / "fer", work)
    return present + more, lines + missing


def _keras_chains(folder: Path, work: Path) -> Found[Chain]:
    found, lines = [], []
    for names in _XCEPTION:
        label = f"mini-XCEPTION, epoch {names[0][:2]} to {names[1][:2]}"
        files = [folder / f"fer2013_mini_XCEPTION.{name}.hdf5" for name in names]
        if not all(file.is_file() for file in files):
            lines.append(f"{label}: no weights here")
        elif not peers.has("h5py"):
            lines.append(f"{label}: the package h5py is not installed")
        else:
            found.append(Chain(label, tuple(from_hdf5(file, work) for file in files)))
    return found, lines


def from_hdf5(path: Path, work: Path) -> Path:
    """Write the weights of a Keras file as safetensors, without the optimizer's state."""
    import h5py

    arrays: dict[str, sources.Array] = {}

    def visit(name: str, item: object) -> None:
        if isinstance(item, h5py.Dataset):
            arrays[name] = np.asarray(item)

    with h5py.File(path) as file:
        file.get("model_weights", file).visititems(visit)
    return sources.write(work / f"{path.stem}.safetensors", arrays)


def run(
    chains_here: Found[Chain],
    copies_here: Found[versioncopies.Copy],
    work: Path,
    minilm: Path | None,
    repeats: int = 5,
) -> Section:
    """Measure every chain, how quickly a child is packed, and copies in other containers.

    Parameters
    ----------
    chains_here, copies_here
        What `chains` and `versioncopies.found` returned.
    work
        Folder for files.
    minilm
        MiniLM's safetensors file; None leaves its figures out.
    repeats
        Timed runs of each call.
    """
    (found, lines), (pairs, missing) = chains_here, copies_here
    tables, checks = _chain_tables(found, work)
    if minilm is not None:
        table, more = versioncopies.packing(minilm, work, repeats)
        tables.append(table)
        checks += more
    if pairs:
        tables.append(versioncopies.copies(pairs, work))
    absent = [*versionpeers.absent(), *lines, *missing]
    if absent:
        tables.append(Table("Left out", ["what, and why"], [[line] for line in absent]))
    return Section("versions", "Versions as differences", tables, checks)


def _chain_tables(found: Sequence[Chain], work: Path) -> tuple[list[Table], list[Check]]:
    whole: list[list[Cell]] = []
    tiers: list[list[Cell]] = []
    checks: list[Check] = []
    for number, chain in enumerate(found):
        for ladder in (TIERS, FINE):
            folder = work / f"chain{number}-{ladder}"
            folder.mkdir()
            for update in updates(chain, ladder, folder):
                row, more = _tier_row(chain, ladder, update)
                tiers.append(row)
                if ladder == TIERS:
                    whole.append(_row(update, folder))
                    more = _checks(chain, update, whole[-1]) + more
                checks += more
    tables = [Table("Updates", COLUMNS, whole, NOTE)]  # the first, even if empty: it is plotted
    if tiers:
        tables.append(Table("Updates tier by tier", TIER_COLUMNS, tiers, TIER_NOTE))
    return tables, checks


def updates(chain: Chain, tiers: str, folder: Path) -> list[Update]:
    """Pack a chain, each version with the one before, and see that each comes back.

    Parameters
    ----------
    chain
        The versions.
    tiers
        The ladder.
    folder
        An empty folder for the artifacts.
    """
    made = [folder / "0.p2u"]
    p2uformat.pack(chain.files[0], made[0], tiers=tiers)
    found = []
    for number, (old, new) in enumerate(zip(chain.files, chain.files[1:], strict=False), 1):
        path, fresh = folder / f"{number}.p2u", folder / f"{number}-fresh.p2u"
        summary = p2uformat.pack(new, path, tiers=tiers, parent=made[-1], parents=made[:-1])
        alone = p2uformat.pack(new, fresh, tiers=tiers)
        label = chain.name + (f", step {number}" if len(chain.files) > 2 else "")
        found.append(Update(label, old, new, path, tuple(made), fresh, summary, alone))
        _check_bytes(found[-1], folder / "back.safetensors")
        made.append(path)
    return found


def _check_bytes(update: Update, back: Path) -> None:
    p2uformat.unpack(update.path, back, parents=update.parents, overwrite=True)
    if back.read_bytes() != update.new.read_bytes():
        message = f"{update.label} did not come back"
        raise AssertionError(message)


def _row(update: Update, folder: Path) -> list[Cell]:
    own, fresh = update.summary.bytes, update.fresh_summary.bytes
    patch = versionpeers.patch(update.old, update.new, folder)
    stored = versionpeers.casync(update.old, update.new, folder)
    return [update.label, own, fresh, patch, stored, own / patch if patch else None, own / fresh]


def _tier_row(chain: Chain, ladder: str, update: Update) -> tuple[list[Cell], list[Check]]:
    """Return bits by tier beside the one-shot difference, and what is asked of their sum."""
    with p2uformat.open(update.fresh) as artifact:
        infos = [artifact.info(name) for name in artifact.keys()]  # noqa: SIM118 - documented order
    names = [info.name for info in infos if info.quantizer == "bitplane"]
    once = versionpeers.one_shot(sources.read(update.old), sources.read(update.new), names)
    bits = [tier.bits_per_weight for tier in update.summary.tiers]
    share = sum(bits) / once if once else None
    listed = " / ".join(f"{value:.3g}" for value in bits)
    weights = update.summary.quantized_parameters
    row: list[Cell] = [update.label, ladder, weights, listed, sum(bits), once, share]
    if share is None or chain.head_only:
        return row, []
    return row, [Check(f"{update.label}: {ladder} / one-shot difference", share, "<=", 1.06)]


def _checks(chain: Chain, update: Update, row: Sequence[Cell]) -> list[Check]:
    if chain.head_only:
        return _head_checks(update)
    patch, fresh = row[5], row[6]
    checks = [Check(f"{update.label}: update / fresh", float(fresh or 0), "<=", 0.9)]
    if patch is not None:
        checks.insert(0, Check(f"{update.label}: update / zstd patch", float(patch), "<=", 0.9))
    if chain.follow is not None:
        bits = update.summary.tiers[0].bits_per_weight
        what = f"{update.label}: following at q4"
        checks.append(Check(what, bits, "<=", chain.follow, "bits/weight"))
    return checks


def _head_checks(update: Update) -> list[Check]:
    """Hold an update of few tensors against what these take in a file that needs no other."""
    names = changed_tensors(update.old, update.new)
    with p2uformat.open(update.fresh) as artifact:
        alone = sum(sum(artifact.info(name).stored) for name in names)
    pages = update.summary.manifest_bytes
    payload = update.summary.bytes - pages
    most = path_bytes(update.path, names) + SLACK
    what = f"{update.label}: payload / chunks of the changed tensors"
    return [
        Check(what, payload / alone, "<=", 1.05),
        Check(f"{update.label}: pages, of those on the path + 8 KiB", pages, "<=", most, "bytes"),
    ]


def changed_tensors(old: Path, new: Path) -> set[str]:
    """Return the names of the tensors of `new` that `old` does not have to the same bits."""
    before, after = sources.read(old), sources.read(new)
    return {name for name, array in after.items() if not _same(before.get(name), array)}


def _same(old: sources.Array | None, new: sources.Array) -> bool:
    if old is None or (old.dtype, old.shape) != (new.dtype, new.shape):
        return False
    return old.tobytes() == new.tobytes()


def path_bytes(path: Path, names: set[str]) -> int:
    """Return the bytes of a manifest without the pages in which nothing changed.

    Parameters
    ----------
    path
        An artifact.
    names
        The tensors that changed; records of files count as changed.
    """
    with Container.open(path) as container:
        header = container.header
        size = HEADER_BYTES + header.content_length + header.encoding_length + 8 * header.entries
        for page in container.pages:
            reference = container.encoding.pages[page.number]
            if page.content is None or reference is None:
                continue
            if any(
                isinstance(record, FileRecord) or record.key[1].decode() in names
                for record in page.content.records
            ):
                size += container.content.pages[page.number].length + reference.length
    return size
