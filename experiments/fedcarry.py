"""How models come down and updates go up: through a store, or as files with its sizes."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np

import p2uformat
from benchmarks.sources import Array
from p2uformat import Levels, UpdateInfo
from p2uformat.federated import (
    Client,
    Layer,
    Names,
    Server,
    layers_of,
    plan_widths,
    prune_and_grow,
    used_bits,
)

__all__ = ["KEY_EVERY", "TIERS", "Carrier", "Files", "Got", "Plain", "Sent", "Through", "Want"]

TIERS = "q1,q2,q3,q4,q5,q6,q7,q8,exact"
KEY_EVERY = 5  # not the usual 12: chains are read again and again here
Arrays = dict[str, Array]
Quantizer = Mapping[str, Levels] | None


@dataclass(frozen=True, slots=True)
class Want:
    """What a client wants of the model.

    Parameters
    ----------
    width
        Bits of its class. What all layers take at this width is what it takes at most.
    mixed
        Whether each layer has a width of its own, within that.
    sensitivity
        By layer, how much its error counts.
    """

    width: int
    mixed: bool
    sensitivity: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Got:
    """What a client has of a round's model.

    Parameters
    ----------
    weights
        By name.
    widths
        Of the layers of the ladder.
    moved
        Bytes of chunks that came, for ancestors as well.
    manifest
        Bytes of the manifest, beside them.
    used
        Bits of the layers at these widths over what the budget allows.
    """

    weights: Arrays
    widths: dict[str, int]
    moved: int
    manifest: int
    used: float


@dataclass(frozen=True, slots=True)
class Sent:
    """An update.

    Parameters
    ----------
    bytes
        Its size as a file.
    info
        What it says of itself; None of what went plainly.
    """

    bytes: int
    info: UpdateInfo | None = None


class Carrier(Protocol):
    """What a run needs."""

    def publish(
        self,
        weights: Arrays,
        widths: Mapping[str, int] | None = None,
        drops: Mapping[str, int] | None = None,
    ) -> None:
        """Begin a round."""

    def receive(self, client: int, want: Want) -> Got:
        """Bring a client what it wants."""

    def send(
        self, client: int, after: Arrays, before: Arrays, quantizer: Quantizer, weight: float
    ) -> Sent:
        """Send what became of it."""

    def gather(self) -> Arrays:
        """Return the next model."""


class _Averaging:
    """The sum of differences, as servers make it: in binary64, in the order of clients."""

    def __init__(self, model: Arrays) -> None:
        self._model = model
        self._sums = {name: np.zeros(value.shape) for name, value in model.items()}
        self._weight = 0.0

    def add(self, difference: Mapping[str, Array], weight: float) -> None:
        self._weight += weight
        for name, total in self._sums.items():
            total += weight * difference[name].astype(np.float64)

    def model(self) -> Arrays:
        return {
            name: (value.astype(np.float64) + self._sums[name] / self._weight).astype(value.dtype)
            for name, value in self._model.items()
        }


class Plain:
    """fp32 down, whole; up plainly, or as updates packed for their size and values."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._round = 0
        self.root = ""

    def publish(
        self,
        weights: Arrays,
        widths: Mapping[str, int] | None = None,  # noqa: ARG002 - of a carrier
        drops: Mapping[str, int] | None = None,  # noqa: ARG002
    ) -> None:
        """Begin a round."""
        self._round += 1
        self.root = f"blake3:{self._round:064x}"  # of a model that nobody packed
        self._weights = weights
        self._average = _Averaging(weights)

    def receive(self, client: int, want: Want) -> Got:  # noqa: ARG002
        """Bring it whole."""
        size = sum(value.nbytes for value in self._weights.values())
        return Got(dict(self._weights), {}, size, 0, 0.0)

    def send(
        self, client: int, after: Arrays, before: Arrays, quantizer: Quantizer, weight: float
    ) -> Sent:
        """Count the difference; without a quantizer it goes as it is."""
        if quantizer is None:
            difference = {name: after[name] - before[name] for name in after}
            self._average.add(difference, weight)
            return Sent(sum(value.nbytes for value in difference.values()))
        path = self._folder / f"{client}.update"
        summary = p2uformat.pack_update(
            *(after, before, path),
            base=self.root,
            quantizer=quantizer,
            lossy=True,
            client=client,
            round=self._round,
            weight=weight,
            overwrite=True,
            threads=1,
        )
        with p2uformat.open(path) as artifact:
            self._average.add(artifact.load(), weight)
        return Sent(summary.bytes, summary.update)

    def gather(self) -> Arrays:
        """Return the next model."""
        return self._average.model()


class Files(Plain):
    """The same files that a store would have, of which clients read what they would fetch.

    Each round's model is packed once, as a child of the last one. What comes down is counted by
    `plan_fetch`: of the new file, and of older ones where a width grew.
    """

    def __init__(self, folder: Path, tiers: str = TIERS, key_every: int = KEY_EVERY) -> None:
        super().__init__(folder)
        self._tiers = tiers
        self._key_every = key_every
        self._chain: list[Path] = []
        self._held: dict[tuple[int, Path], dict[str, int]] = {}
        self._read: dict[tuple[str, str], Array] = {}
        self._sizes: dict[tuple[Path, tuple[int, ...]], int] = {}

    def publish(
        self,
        weights: Arrays,
        widths: Mapping[str, int] | None = None,
        drops: Mapping[str, int] | None = None,
    ) -> None:
        """Pack the model."""
        super().publish(weights)
        if (self._round - 1) % self._key_every == 0:
            for path in self._chain:
                path.unlink()
            self._chain.clear()
            self._held.clear()
            self._sizes.clear()
        path = self._folder / f"model-{self._round}.p2u"
        summary = p2uformat.pack(
            weights,
            path,
            tiers=self._tiers,
            chunk_per_tensor=True,
            parent=self._chain[-1] if self._chain else None,
            parents=self._chain,
            threads=1,
        )
        self.root, self._manifest = summary.root, summary.manifest_bytes
        self._chain.append(path)
        self._read.clear()
        self._widths, self._drops = widths, drops

    def receive(self, client: int, want: Want) -> Got:
        """Read a client's part."""
        with p2uformat.open(self._chain[-1], parents=self._chain[:-1], threads=1) as artifact:
            layers = layers_of(artifact, want.sensitivity)
            budget = budget_of(layers, want.width)
            made = self._planned(layers, budget, want)
            weights = {name: self._tensor(artifact, name, made) for name in artifact}
            moved = self._moved(client, made, list(artifact.keys()))
        used = used_bits(layers, made) / bits_of(layers, want.width)
        return Got(weights, made, moved, self._manifest, used)

    def _planned(self, layers: Sequence[Layer], budget: float, want: Want) -> dict[str, int]:
        if not want.mixed:
            return {layer.name: layer.fitting(want.width) for layer in layers}
        if self._widths is None:
            return plan_widths(layers, budget)
        return prune_and_grow(layers, self._widths, budget, self._drops)

    def _tensor(self, artifact: p2uformat.Artifact, name: str, widths: dict[str, int]) -> Array:
        tier = f"q{widths[name]}" if name in widths else artifact.tiers[-1]
        if (name, tier) not in self._read:
            self._read[name, tier] = artifact.get(name, tier=tier)
        return self._read[name, tier].copy()

    def _moved(self, client: int, widths: dict[str, int], names: list[str]) -> int:
        total = 0
        for path in self._chain:
            held = self._held.get((client, path), {})
            most = {name: max(width, held.get(name, 0)) for name, width in widths.items()}
            if most != held:
                total += self._size(path, names, most)
                total -= self._size(path, names, held) if held else 0
                self._held[client, path] = most
        return total

    def _size(self, path: Path, names: list[str], widths: dict[str, int]) -> int:
        key = path, tuple(widths.values())
        if key not in self._sizes:
            first = self._tiers.partition(",")[0]
            tiers = {n: f"q{widths[n]}" if n in widths else first for n in names}
            plan = p2uformat.plan_fetch(path, f"{path}.none", tensors=tiers)
            self._sizes[key] = plan.total
        return self._sizes[key]


def budget_of(layers: Sequence[Layer], width: int) -> float:
    """Return the bits per weight that all layers take at one width."""
    return bits_of(layers, width) / sum(layer.weights for layer in layers)


def bits_of(layers: Sequence[Layer], width: int) -> int:
    """Return the bits that all layers take at one width."""
    return sum(layer.bits[layer.fitting(width)] for layer in layers)


class Through:
    """All of it through a store: `Server` and `Client`."""

    def __init__(self, folder: Path, tiers: str = TIERS, key_every: int = KEY_EVERY) -> None:
        self._folder = folder
        self._place = str(folder / "store")
        self._server = Server(self._place, "run", tiers=tiers, key_every=key_every)
        self._clients: dict[int, Client] = {}

    def publish(
        self,
        weights: Arrays,
        widths: Mapping[str, int] | None = None,
        drops: Mapping[str, int] | None = None,
    ) -> None:
        """Publish the model."""
        self._round = self._server.publish(weights, widths=widths, drops=drops)
        with p2uformat.Store(self._place).open(self._round.root) as artifact:
            self._layers = layers_of(artifact)
            self._manifest = artifact.summary.manifest_bytes
        self._clients.clear()

    def receive(self, client: int, want: Want) -> Got:
        """Let a client fetch its part."""
        budget = budget_of(self._layers, want.width)
        one = Client(
            *(self._place, Names("run").run, client, self._folder / f"client-{client}"),
            budget=budget if want.mixed else None,
            tier=None if want.mixed else f"q{want.width}",
            sensitivity=want.sensitivity,
        )
        self._clients[client] = one
        mine = one.receive()
        widths = mine.widths or {layer.name: want.width for layer in self._layers}
        used = used_bits(self._layers, widths) / bits_of(self._layers, want.width)
        return Got(mine.weights, widths, mine.moved, self._manifest, used)

    def send(
        self,
        client: int,
        after: Arrays,
        before: Arrays,  # noqa: ARG002 - the client knows what it received
        quantizer: Quantizer,
        weight: float,
    ) -> Sent:
        """Let a client send its update."""
        sent = self._clients[client].send(after, weight=weight, quantizer=quantizer)
        return Sent(sent.bytes)

    def gather(self) -> Arrays:
        """Gather, and see that everything counted."""
        gathered = self._server.gather(self._round)
        if gathered.rejected:
            raise RuntimeError(f"an update that does not count: {gathered.rejected[0]}")
        return gathered.weights


def scratch(folder: Path) -> tempfile.TemporaryDirectory[str]:
    """Return a folder for one run."""
    return tempfile.TemporaryDirectory(dir=folder)
