"""What each tier is worth in use: accuracy of real image classifiers rebuilt at every precision."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import p2uformat
from benchmarks import networks, peers
from benchmarks.report import Cell, Check, Section, Table
from benchmarks.sources import Array, Checkpoint, read


@dataclass(frozen=True, slots=True)
class Variant:
    """One lossy form of a model: a ladder, a budget, and the tier to read."""

    label: str
    tiers: tuple[str, ...]
    tier: str
    base_bits: float | None = None


VARIANTS = (
    Variant("q8", ("q4", "q8", "exact"), "q8"),
    Variant("q4, 4.0 bits", ("q4", "q8", "exact"), "q4"),
    Variant("q4, 3.5 bits", ("q4", "q8", "exact"), "q4", 3.5),
    Variant("q3, 3.0 bits", ("q3", "exact"), "q3"),
)

#: Label -> whether small tensors are quantized too.
Q4_0 = {"Q4_0, same tensors": False, "Q4_0, every matrix": True}


@dataclass(frozen=True, slots=True)
class Task:
    """A model with the images it is tested on."""

    checkpoint: Checkpoint
    forward: Callable[[networks.Bytes, networks.Weights], networks.Floats]
    images: networks.Bytes
    labels: networks.Labels

    def score(self, weights: Mapping[str, Array]) -> float:
        """Return the accuracy in percent with these weights."""
        wide = {name: np.asarray(v, np.float32) for name, v in weights.items()}
        return networks.accuracy(self.forward, wide, self.images, self.labels)


def tasks(folder: Path | None) -> list[Task]:
    """List the classifiers that are present under the folder of real weights."""
    if folder is None:
        return []
    nets, rays = folder / "cifar10-resnet", folder / "pneumonia"
    found = _tasks(sorted(nets.glob("resnet[25][06]-????????.safetensors")), nets / "test2000.npz")
    return found + _tasks(sorted(rays.glob("epoch?.safetensors")), rays / "test624.npz")


def _tasks(paths: Sequence[Path], test: Path) -> list[Task]:
    if not test.is_file():
        return []
    with np.load(test) as held:
        images, labels = held["x"], held["y"].ravel().astype(np.int64)
    forward = networks.cifar_resnet if images.ndim == 4 else networks.xray_cnn
    return [
        Task(Checkpoint(f"{path.parent.name}/{path.stem}", path, "F32"), forward, images, labels)
        for path in paths
    ]


def rebuilt(checkpoint: Checkpoint, variant: Variant, work: Path) -> dict[str, Array]:
    """Pack a checkpoint and read every tensor back at the variant's tier."""
    destination = work / "accuracy.p2u"
    p2uformat.pack(
        checkpoint.path,
        destination,
        tiers=variant.tiers,
        base_bits=variant.base_bits,
        overwrite=True,
    )
    with p2uformat.open(destination) as artifact:
        return {name: artifact.get(name, tier=variant.tier) for name in artifact}


def run(found: Sequence[Task], work: Path) -> Section:
    """Score every task at every variant and with GGUF Q4_0."""
    columns = ["model", "original", *Q4_0, *(v.label for v in VARIANTS)]
    rows: list[list[Cell]] = []
    checks: list[Check] = []
    for task in found:
        scores = score(task, work)
        rows.append([task.checkpoint.name, *scores.values()])
        if task.forward is networks.cifar_resnet:
            checks += _checks(task.checkpoint.name, scores)
    note = (
        "Accuracy in percent; CIFAR-10 on 2,000 test images, chest X-rays on 624. Q4_0 is applied "
        "to the tensors that a `.p2u` quantizes (2,048 elements or more, vectors 4,096), and to "
        "every matrix and kernel, as conversions to GGUF do. On 2,000 images one point is about "
        "one standard error: differences below it say little."
    )
    return Section("accuracy", "Accuracy", [Table("", columns, rows, note)] if rows else [], checks)


def score(task: Task, work: Path) -> dict[str, float | None]:
    """Return what -> accuracy in percent, None where a package is absent."""
    original = read(task.checkpoint.path)
    scores: dict[str, float | None] = {"original": task.score(original)}
    for label, every_matrix in Q4_0.items():
        scores[label] = None
        if peers.has("gguf"):
            blocks = peers.gguf_model(original, "Q4_0", every_matrix=every_matrix)
            scores[label] = task.score(blocks)
    for variant in VARIANTS:
        scores[variant.label] = task.score(rebuilt(task.checkpoint, variant, work))
    return scores


def _checks(name: str, scores: Mapping[str, float | None]) -> list[Check]:
    lost = (scores["original"] or 0) - (scores["q4, 4.0 bits"] or 0)
    checks = [Check(f"accuracy lost at q4, {name}", lost, "<=", 0.6, "points")]
    for label in Q4_0:
        blocks = scores[label]
        if blocks is not None:
            gain = (scores["q3, 3.0 bits"] or 0) - blocks
            what = f"accuracy at q3 above that of {label}, {name}"
            checks.append(Check(what, gain, ">=", 0.0, "points"))
    return checks
