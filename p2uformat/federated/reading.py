"""Updates of a round, read one by one: nothing of them counts before all of it is checked."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

import p2uformat
from p2uformat import P2UError
from p2uformat.federated.checks import Rejected, Rejection, Rules, Shapes, checked
from p2uformat.federated.rounds import Round, metrics_from

__all__ = ["Accepted", "Reader", "Verified"]


@dataclass(frozen=True, slots=True)
class Accepted:
    """An update that counted.

    Parameters
    ----------
    client : int
        Whose it is.
    weight : float
        What it counted.
    bytes : int
        Its size as a file.
    address : str
        Where it lies.
    update : UpdateInfo
        What it says of itself.
    metrics : dict of str to float
        What else the client said.
    """

    client: int
    weight: float
    bytes: int
    address: str
    update: p2uformat.UpdateInfo
    metrics: dict[str, float]


@dataclass(frozen=True, slots=True)
class Verified:
    """An update that counts, and its tensors.

    Parameters
    ----------
    accepted : Accepted
        What is known of it.
    difference : dict of ndarray
        By name, to the round's model; of tensors that are no floats, the new values.
    """

    accepted: Accepted
    difference: dict[str, NDArray[Any]]


class Reader:
    """Reads and checks updates of one round; `Server.reader` makes it.

    Parameters
    ----------
    round_ : Round
        The round.
    shapes : mapping of str to (str, tuple of int)
        Dtype and shape of each of the model's tensors.
    clients : collection of int, optional
        Whose updates count; everybody's by default.
    rules : Rules, optional
        What an update must keep to.
    storage_options : mapping, optional
        For URLs, as fsspec's file systems take them.
    """

    def __init__(
        self,
        round_: Round,
        shapes: Shapes,
        *,
        clients: Collection[int] | None = None,
        rules: Rules | None = None,
        storage_options: Mapping[str, Any] | None = None,
    ) -> None:
        self._round = round_
        self._shapes = shapes
        self._clients = clients
        self._rules = rules or Rules()
        self._options = storage_options

    def read(self, client: int, address: str) -> Verified | Rejected:
        """Return an update if it counts, or why it does not; that is no error.

        Parameters
        ----------
        client : int
            Who is to have sent it.
        address : str
            Where it lies.
        """
        try:
            if self._clients is not None and client not in self._clients:
                raise Rejection("unknown-client", "this client is none of the round's")
            return self._read(client, address)
        except Rejection as why:
            return Rejected(client, address, why.code, why.message)
        except P2UError as error:
            return Rejected(client, address, error.code, str(error))

    def _read(self, client: int, address: str) -> Verified:
        with p2uformat.open(address, storage_options=self._options) as artifact:
            info = checked(artifact, client, self._round, self._shapes, self._rules)
            report = p2uformat.verify(address, deep=True, storage_options=self._options)
            if not report.ok:
                raise Rejection("damaged", str(report.damage[0]))
            metrics = metrics_from(artifact.metadata)
            difference = artifact.load()
            size = artifact.summary.bytes
        for name, array in difference.items():
            if not np.isfinite(array.astype(np.float64)).all():
                raise Rejection("not-finite", f"tensor {name!r} has numbers that are not finite")
        return Verified(Accepted(client, info.weight, size, address, info, metrics), difference)
