"""The server of a run: publishes a model, gathers updates, and stands on nothing but the store."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

import p2uformat
from p2uformat import InvalidArgument, NotFound, Store
from p2uformat.federated.checks import Rejected, Rules, shapes_of
from p2uformat.federated.reading import Accepted, Reader
from p2uformat.federated.rounds import LADDER, Names, Round
from p2uformat.federated.sums import Sums

__all__ = ["Gathered", "Server"]

_KEY_EVERY: Final = 12
_DEEPEST: Final = 16
_POLL: Final = 0.5
Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Gathered:
    """What became of a round.

    Parameters
    ----------
    weights : dict of ndarray
        The next model: the round's, and the updates' average by weight. Tensors that are no floats
        stay as they were.
    accepted : tuple of Accepted
        In the order of clients.
    rejected : tuple of Rejected
        With the reason for each.
    """

    weights: dict[str, NDArray[Any]]
    accepted: tuple[Accepted, ...]
    rejected: tuple[Rejected, ...]


class Server:
    """The server of a run.

    It keeps nothing: a new one goes on with the round that the store has, and comes to the same
    model from the same updates, whatever ended the last one.

    Parameters
    ----------
    store : str or os.PathLike
        The store; a place that is none becomes one.
    run : str
        The run's name.
    tiers : str or sequence of str
        The ladder that models are packed with.
    chunk_per_tensor : bool
        As `pack` has it: for clients that take each tensor at a width of its own.
    key_every : int
        Every so many rounds the model is stored as it is, not as a difference to the one before; 1
        to 16.
    storage_options : mapping, optional
        For URLs, as fsspec's file systems take them.

    Raises
    ------
    InvalidArgument
        If a value is out of range, or the run has no name that stores take.

    Examples
    --------
    >>> import tempfile, numpy
    >>> folder = tempfile.mkdtemp()
    >>> server = Server(folder + "/store", "demo", tiers="q4,q8,exact")
    >>> weights = numpy.random.default_rng(0).standard_normal((128, 64), numpy.float32)
    >>> round_ = server.publish({"w": weights})
    >>> from p2uformat.federated import Client
    >>> client = Client(folder + "/store", "demo", 0, folder + "/client", tier="q4")
    >>> mine = client.receive()
    >>> sent = client.send({"w": mine.weights["w"] + numpy.float32(0.01)}, weight=100)
    >>> gathered = server.gather(round_)
    >>> [one.client for one in gathered.accepted]
    [0]
    >>> float(abs(gathered.weights["w"] - weights - 0.01).max()) < 1e-6
    True
    """

    def __init__(
        self,
        store: str | os.PathLike[str],
        run: str,
        *,
        tiers: str | tuple[str, ...] = LADDER,
        chunk_per_tensor: bool = True,
        key_every: int = _KEY_EVERY,
        storage_options: Mapping[str, Any] | None = None,
    ) -> None:
        if not 1 <= key_every <= _DEEPEST:
            raise InvalidArgument(f"a whole model every {key_every} rounds", hint="give 1 to 16")
        self.names = Names(run)
        self._store = Store(store, storage_options=storage_options)
        self._options = storage_options
        self._tiers = tiers
        self._apart = chunk_per_tensor
        self._key_every = key_every

    @property
    def store(self) -> str:
        """The store, without secrets."""
        return self._store.name

    def current(self) -> Round | None:
        """Return the round that the store has; None before the first."""
        try:
            known = self._version()
        except NotFound:
            return None
        if known is None:
            return None
        with self._store.open(known[1]) as artifact:
            return Round.of(artifact)

    def publish(
        self,
        weights: Arrays,
        *,
        widths: Mapping[str, int] | None = None,
        drops: Mapping[str, int] | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> Round:
        """Begin the next round with a model.

        Parameters
        ----------
        weights : mapping of str to ndarray
            The model, exactly.
        widths, drops : mapping of str to int, optional
            From which clients plan their own widths, by the rule of FedMPQ; see `prune_and_grow`.
        metadata : mapping of str to str, optional
            What else clients are to know of the model; they find it in `Received.metadata`.

        Raises
        ------
        VersionConflict
            If another server published meanwhile; nothing is published then.
        InvalidArgument
            If a weight is not finite.
        """
        _refuse_infinite(weights)
        last = self.current()
        number = 1 if last is None else last.number + 1
        facts = Round(number, "", widths, drops).facts()
        known = None if last is None else self._version()
        with tempfile.TemporaryDirectory() as folder:
            packed = Path(folder, "model.p2u")
            parent = None
            if known is not None and (number - 1) % self._key_every:
                parent = self._store.address(known[1])
            p2uformat.pack(
                weights,
                packed,
                metadata={**(metadata or {}), **facts},
                tiers=self._tiers,
                chunk_per_tensor=self._apart,
                parent=parent,
                storage_options=self._options,
            )
            result = self._store.push(
                packed,
                self.names.model,
                parents=() if parent is None else (parent,),
                after=0 if known is None else known[0],
            )
        return Round(number, result.root, widths, drops)

    def arrived(self, round_: Round) -> dict[int, str]:
        """Return the clients that sent something in a round, and where that lies."""
        # What cannot be read has not arrived: one client's ref must not stop the others.
        infos = self._store.names(self.names.updates(round_.number), errors=[])
        known = ((self.names.client(info.name), info) for info in infos if info.version)
        return {
            client: self._store.address(f"{info.name}@{info.version}")
            for client, info in known
            if client is not None
        }

    def wait(
        self, round_: Round, clients: Collection[int], seconds: float, *, poll: float = _POLL
    ) -> frozenset[int]:
        """Wait until all of some clients have sent something, or the time is over.

        Returns
        -------
        frozenset of int
            Those that have.
        """
        end = time.monotonic() + seconds
        while True:
            there = frozenset(clients) & self.arrived(round_).keys()
            left = end - time.monotonic()
            if len(there) == len(set(clients)) or left <= 0:
                return there
            time.sleep(min(poll, left))

    def gather(
        self,
        round_: Round,
        *,
        clients: Collection[int] | None = None,
        rules: Rules | None = None,
        rate: float = 1.0,
    ) -> Gathered:
        """Check what was sent in a round, and average it.

        What is late, of another round or model, damaged, of other names, shapes or dtypes, or not
        finite does not count, and is named with its reason.

        Parameters
        ----------
        round_ : Round
            The round.
        clients : collection of int, optional
            Whose updates count; everybody's by default.
        rules : Rules, optional
            What an update must keep to.
        rate : float
            How much of the average is added.

        Raises
        ------
        P2UError
            If the model itself cannot be read.
        """
        accepted, rejected = [], []
        with self._store.open(round_.root) as model:
            sums = Sums(model)
            reader = self._reader(model, round_, clients, rules)
        for client, address in sorted(self.arrived(round_).items()):
            one = reader.read(client, address)
            if isinstance(one, Rejected):
                rejected.append(one)
            else:
                sums.add(one.difference, one.accepted.weight)
                accepted.append(one.accepted)
        return Gathered(sums.model(rate), tuple(accepted), tuple(rejected))

    def reader(
        self,
        round_: Round,
        *,
        clients: Collection[int] | None = None,
        rules: Rules | None = None,
    ) -> Reader:
        """Return what checks and reads updates of a round one by one, as `gather` does all of them.

        Parameters
        ----------
        round_, clients, rules
            As in `gather`.

        Raises
        ------
        P2UError
            If the model itself cannot be read.
        """
        with self._store.open(round_.root) as model:
            return self._reader(model, round_, clients, rules)

    def address(self, root: str) -> str:
        """Return the address of an artifact of the store by its content root."""
        return self._store.address(root)

    def tidy(self, round_: Round) -> int:
        """Remove the updates of rounds before one; `Store.gc` takes their bytes.

        Returns
        -------
        int
            How many names were removed.
        """
        count = 0
        # As in `arrived`: what one client's ref is like must not stop the others.
        for info in self._store.names(f"{self.names.run}/updates", errors=[]):
            number = self.names.round(info.name)
            if info.version and number is not None and number < round_.number:
                with suppress(NotFound):  # another server was here
                    self._store.remove(info.name)
                    count += 1
        return count

    def _reader(
        self,
        model: p2uformat.Artifact,
        round_: Round,
        clients: Collection[int] | None,
        rules: Rules | None,
    ) -> Reader:
        shapes = shapes_of(model)
        return Reader(round_, shapes, clients=clients, rules=rules, storage_options=self._options)

    def _version(self) -> tuple[int, str] | None:
        """Return the last number of the model's name, and the root of its current version."""
        for info in self._store.names(self.names.model):
            if info.name == self.names.model and info.root is not None:
                return info.last, info.root
        return None


def _refuse_infinite(weights: Arrays) -> None:
    for name, array in weights.items():
        if array.dtype.kind in "fV" and not np.isfinite(array.astype(np.float64)).all():
            raise InvalidArgument(
                f"tensor {name!r} has weights that are not finite", hint="nothing was published"
            )
