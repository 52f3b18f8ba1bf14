"""A client: takes what its budget allows of a round's model, and sends what it learned."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from numpy.typing import NDArray

import p2uformat
from p2uformat import (
    Affine,
    Artifact,
    FetchResult,
    InvalidArgument,
    Levels,
    Minifloat,
    NotFound,
    P2UError,
    Store,
)
from p2uformat.federated.rounds import MOST_CLIENT, Names, Round, metrics_to
from p2uformat.federated.widths import layers_of, plan_widths, prune_and_grow

__all__ = ["Client", "Received", "Sent"]

_NAME_DIGITS: Final = 32
Arrays = Mapping[str, NDArray[Any]]
Form = Levels | Affine | Minifloat | str
Quantizer = Form | Mapping[str, Form] | None


@dataclass(frozen=True, slots=True)
class Received:
    """A round's model as a client has it.

    Parameters
    ----------
    round : Round
        The round.
    weights : dict of ndarray
        By name; each tensor at the tier that the client took.
    widths : dict of str to int
        Bits of those tensors that have widths; empty for a client that takes a whole tier.
    fetched : FetchResult
        What was moved.
    metadata : dict of str to str
        What the server said of the model beside.
    """

    round: Round
    weights: dict[str, NDArray[Any]]
    widths: dict[str, int]
    fetched: FetchResult
    metadata: dict[str, str]

    @property
    def moved(self) -> int:
        """Bytes of chunks that came from the store, for the parents as well."""
        return self.fetched.fetched + sum(one.fetched for one in self.fetched.beside)


@dataclass(frozen=True, slots=True)
class Sent:
    """An update that was sent.

    Parameters
    ----------
    address : str
        Where it lies.
    bytes : int
        Its size as a file.
    added : int
        Bytes of packs that were written for it.
    root : str
        Its content root.
    """

    address: str
    bytes: int
    added: int
    root: str


class Client:
    """One client of a run.

    What it has stays in a folder: a later round brings what changed, and what its widths lack of
    earlier ones. Whatever ends a call, the next one goes on from there.

    Parameters
    ----------
    store : str or os.PathLike
        The store.
    run : str
        The run's name.
    number : int
        The client, from 0 on, below 2^64.
    folder : str or os.PathLike
        Where it keeps the model; made if it is not there. No other client uses it.
    budget : float, optional
        Bits per weight, on average over the tensors of the ladder, that it takes down.
    tier : str, optional
        Instead, the tier of all tensors; without either it is all of the model.
    sensitivity : mapping of str to float, optional
        How much the error of a tensor counts in planning; see `layers_of`.
    storage_options : mapping, optional
        For URLs, as fsspec's file systems take them.

    Raises
    ------
    InvalidArgument
        If both a budget and a tier are given, or the number is out of range.
    """

    def __init__(
        self,
        store: str | os.PathLike[str],
        run: str,
        number: int,
        folder: str | os.PathLike[str],
        *,
        budget: float | None = None,
        tier: str | None = None,
        sensitivity: Mapping[str, float] | None = None,
        storage_options: Mapping[str, Any] | None = None,
    ) -> None:
        if not 0 <= number <= MOST_CLIENT:
            raise InvalidArgument(f"client {number}", hint="clients count from 0, below 2^64")
        if budget is not None and tier is not None:
            raise InvalidArgument("a budget and a tier", hint="give one of the two")
        self.number = number
        self.names = Names(run)
        self._store = Store(store, storage_options=storage_options)
        self._options = storage_options
        self._folder = Path(folder)
        self._budget = budget
        self._tier = tier
        self._sensitivity = sensitivity
        self._last: Received | None = None

    @property
    def path(self) -> Path:
        """The file with the model of the last round that was received."""
        return self._folder / "model.p2u"

    def receive(self, root: str | None = None) -> Received:
        """Bring the model of a round.

        Parameters
        ----------
        root : str, optional
            Its content root; the current round by default.

        Raises
        ------
        NotFound
            If there is no round yet.
        InvalidArgument
            If the budget is below what the ladder begins at.
        P2UError
            What `p2uformat.fetch` raises; what was verified is kept.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        if root is None:
            root = self._current()
        last = self._set_aside(root)
        others = sorted(set(self._aside.glob("*.p2u")) - set(last))
        widths: dict[str, int] = {}

        def choose(artifact: Artifact) -> dict[str, str] | None:
            if self._budget is None:
                return None
            widths.update(self._plan(artifact))
            tiers = {name: f"q{width}" for name, width in widths.items()}
            return dict.fromkeys(artifact.keys(), artifact.tiers[0]) | tiers

        fetched = p2uformat.fetch(
            self._store.address(root),
            self.path,
            tier=self._tier,
            tensors=choose,
            seeds=last,
            parents=others,
            expect=root,
            storage_options=self._options,
        )
        with p2uformat.open(self.path) as artifact:
            self._prune(artifact.parent)
            weights = {
                name: artifact.get(name, tier=f"q{widths[name]}" if name in widths else None)
                for name in artifact
            }
            self._last = Received(
                Round.of(artifact), weights, widths, fetched, dict(artifact.metadata)
            )
        return self._last

    def _current(self) -> str:
        """Return the root of the current round's model."""
        for info in self._store.names(self.names.model):
            if info.name == self.names.model and info.root is not None:
                return info.root
        raise NotFound(
            f"{self._store.name!r} has no round of {self.names.run!r} yet",
            hint="Server.publish makes the first one",
        )

    def send(
        self,
        after: Arrays,
        *,
        weight: float,
        quantizer: Quantizer = None,
        lossy: bool | None = None,
        metrics: Mapping[str, float] | None = None,
    ) -> Sent:
        """Send what training made of the model that was received last.

        Parameters
        ----------
        after : mapping of str to ndarray
            All of its tensors, trained.
        weight : float
            What it counts: the number of examples, say.
        quantizer : Levels, Affine, Minifloat, str, or mapping of str to one of them, optional
            What the difference is stored with, as in `pack_update`; exactly by default.
        lossy : bool, optional
            Whether to send the quantized difference alone; by default if there is a quantizer.
        metrics : mapping of str to float, optional
            What else the server should know: the loss, say.

        Raises
        ------
        InvalidArgument
            If nothing was received yet, the tensors are others, or the difference is not finite.
            Nothing is sent then.
        """
        if self._last is None:
            raise InvalidArgument("nothing was received yet", hint="call receive first")
        number = self._last.round.number
        with tempfile.TemporaryDirectory(dir=self._folder) as folder:
            path = Path(folder, "update.p2u")
            summary = p2uformat.pack_update(
                after,
                self._last.weights,
                path,
                base=self._last.round.root,
                quantizer=quantizer,
                lossy=quantizer is not None if lossy is None else lossy,
                client=self.number,
                round=number,
                weight=weight,
                metadata=metrics_to(metrics or {}),
            )
            result = self._store.push(path, self.names.update(number, self.number))
        return Sent(result.address, summary.bytes, result.added, result.root)

    @property
    def _aside(self) -> Path:
        """Where `open` looks for what differences need."""
        return Path(f"{self.path}.parents")

    def _plan(self, artifact: Artifact) -> dict[str, int]:
        assert self._budget is not None
        round_ = Round.of(artifact)
        layers = layers_of(artifact, self._sensitivity)
        if round_.widths is None:
            return plan_widths(layers, self._budget)
        return prune_and_grow(layers, round_.widths, self._budget, round_.drops)

    def _set_aside(self, root: str) -> list[Path]:
        """Move the file, if it is of another round, to where the next one finds it."""
        try:
            with p2uformat.open(self.path) as mine:
                if mine.root == root:
                    return []
                name = mine.root.removeprefix("blake3:")[:_NAME_DIGITS]
        except P2UError:
            self.path.unlink(missing_ok=True)
            return []
        self._aside.mkdir(exist_ok=True)
        return [self.path.replace(self._aside / f"{name}.p2u")]

    def _prune(self, parent: str | None) -> None:
        """Delete the models that are not needed any more."""
        known: dict[str, tuple[Path, str | None]] = {}
        for path in self._aside.glob("*.p2u"):
            with suppress(P2UError), p2uformat.open(path) as other:
                known[other.root] = path, other.parent
        needed = set()
        while parent is not None and parent in known:
            path, parent = known.pop(parent)
            needed.add(path)
        for path in set(self._aside.glob("*.p2u")) - needed:
            path.unlink()
