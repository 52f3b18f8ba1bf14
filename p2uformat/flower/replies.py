"""What clients answered: checked before a strategy sees any of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from flwr.app import ArrayRecord, Message, MetricRecord, RecordDict
from numpy.typing import NDArray

from p2uformat import P2UError
from p2uformat.federated import Reader, Rejected, Server
from p2uformat.federated.sums import is_float
from p2uformat.flower.addresses import KEY, Numbers, UpdateAddress
from p2uformat.flower.records import record_of

__all__ = ["Answer", "Base", "Refused", "alone", "answer_of", "like_most", "restored"]

_ARRAYS: Final = ("arrays", ())
Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Base:
    """What updates of a round are read with.

    Parameters
    ----------
    arrays : mapping of str to ndarray
        The round's model, in its order.
    reader : Reader
        Of the round.
    server : Server
        Knows the addresses of content roots.
    weighted_by : str
        Name of the weight among metrics.
    """

    arrays: Arrays
    reader: Reader
    server: Server
    weighted_by: str


@dataclass(frozen=True, slots=True)
class Answer:
    """A reply with content.

    Parameters
    ----------
    node : int
        The node that it came from.
    client : int
        The client's number.
    reply : Message
        The reply.
    update : UpdateAddress or None
        Where the update lies; None if there is none.
    """

    node: int
    client: int
    reply: Message
    update: UpdateAddress | None

    def refused(self, code: str, reason: str, address: str = "") -> Refused:
        """Return that it does not count."""
        return Refused(self.node, Rejected(self.client, address, code, reason))

    def shape(self) -> tuple[object, ...]:
        """Return what strategies expect to be the same in all replies."""
        kinds = [(name, *_kind(one)) for name, one in self.reply.content.items() if name != KEY]
        if self.update is not None:
            kinds.append((self.update.key, *_ARRAYS))
        return tuple(sorted(kinds))


@dataclass(frozen=True, slots=True)
class Refused:
    """A reply that does not count.

    Parameters
    ----------
    node : int
        The node that it came from.
    why : Rejected
        What is wrong with it.
    """

    node: int
    why: Rejected


def answer_of(
    reply: Message, numbers: Numbers, asked: Container[int], addressed: Container[int]
) -> Answer | Refused:
    """Return a reply's client and address; or why it does not count.

    Whoever was sent an address has to reply with one; arrays of others are the strategy's affair.
    """
    node = reply.metadata.src_node_id
    plain = Answer(node, node, reply, None)
    if node not in asked:
        return plain.refused("unknown-client", "this node was not asked")
    content = reply.content
    if KEY not in content:
        if content.array_records and node in addressed:
            return plain.refused("no-update", "it has arrays itself: is store_mod the first mod?")
        return plain
    try:
        update = UpdateAddress.of(content[KEY])
    except P2UError as error:
        return plain.refused(error.code, error.message)
    client = update.client if numbers == "partition-id" else node
    known = Answer(node, client, reply, update)
    if update.key in content:
        return known.refused("records", f"two records are named {update.key!r}")
    return known


def alone(answers: Sequence[Answer]) -> tuple[list[Answer], list[Refused]]:
    """Return the answers of clients that have one, and the others."""
    counts = Counter(one.client for one in answers)
    told = "several replies are this client's"
    return (
        [one for one in answers if counts[one.client] == 1],
        [one.refused("unknown-client", told) for one in answers if counts[one.client] > 1],
    )


def like_most(
    answers: Sequence[Answer], refused: Sequence[Refused] = ()
) -> tuple[list[Answer], list[Refused]]:
    """Return the answers that most others are like, and the others.

    Flower's strategies end the run when one reply has other records than the rest.
    """
    shapes = Counter(one.shape() for one in answers)
    if not shapes:
        return [], list(refused)
    first = min(answers, key=lambda one: (-shapes[one.shape()], one.update is None, one.client))
    usual = first.shape()
    told = "it has other records or metrics than most"
    return (
        [one for one in answers if one.shape() == usual],
        [*refused, *(one.refused("records", told) for one in answers if one.shape() != usual)],
    )


def restored(answer: Answer, base: Base) -> RecordDict | Refused:
    """Return a reply's records as a strategy expects them: with the trained model."""
    if answer.update is None:
        return answer.reply.content
    address = base.server.address(answer.update.root)
    known = base.reader.read(answer.client, address)
    if isinstance(known, Rejected):
        return Refused(answer.node, known)
    weight = known.accepted.weight
    for record in answer.reply.content.values():
        if isinstance(record, MetricRecord) and record.get(base.weighted_by, weight) != weight:
            told = f"its {base.weighted_by} is not the update's weight of {weight}"
            return answer.refused("weight", told, address)
    trained = {name: _moved(array, known.difference[name]) for name, array in base.arrays.items()}
    for name, array in trained.items():
        if is_float(array) and not np.isfinite(array).all():
            return answer.refused("not-finite", f"tensor {name!r} would overflow", address)
    made = RecordDict({answer.update.key: record_of(trained)})
    made.update({name: one for name, one in answer.reply.content.items() if name != KEY})
    return made


def _moved(before: NDArray[Any], difference: NDArray[Any]) -> NDArray[Any]:
    """Return ``before + difference``, rounded once."""
    if not is_float(before):
        return difference
    with np.errstate(over="ignore"):
        return (before.astype(np.float64) + difference.astype(np.float64)).astype(before.dtype)


def _kind(record: object) -> tuple[str, tuple[object, ...]]:
    """Return a record's type; of metrics, their names and how long lists are as well."""
    if isinstance(record, MetricRecord):
        sizes = ((k, len(v) if isinstance(v, list) else -1) for k, v in record.items())
        return "metrics", tuple(sorted(sizes))
    return _ARRAYS if isinstance(record, ArrayRecord) else ("config", ())
