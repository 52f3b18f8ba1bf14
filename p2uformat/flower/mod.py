"""What a client app needs: a mod that brings the model, and sends the update."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from flwr.app import ArrayRecord, Context, Error, Message, MetricRecord, RecordDict

from p2uformat import InvalidArgument, P2UError, RootMismatch
from p2uformat.federated import Client, Received
from p2uformat.federated.client import Quantizer
from p2uformat.flower.addresses import KEY, ModelAddress, Numbers, UpdateAddress
from p2uformat.flower.records import arrays_of, fitted, in_order, record_of

__all__ = ["store_mod"]

_FAILED: Final = 6  # what Flower calls MOD_FAILED_PRECONDITION
_RUN_DIGITS: Final = 16
_SHORTEST_SECRET: Final = 4

App = Callable[[Message, Context], Message]
Mod = Callable[[Message, Context, App], Message]


@dataclass(frozen=True, slots=True)
class _Setup:
    """What was given, with what the node's own configuration says in its place."""

    store: str | None
    folder: Path
    budget: float | None
    tier: str | None
    quantizer: Quantizer
    lossy: bool | None
    sensitivity: Mapping[str, float] | None
    numbers: Numbers
    weighted_by: str
    storage_options: Mapping[str, Any] | None


def store_mod(
    store: str | os.PathLike[str] | None = None,
    *,
    folder: str | os.PathLike[str],
    budget: float | None = None,
    tier: str | None = None,
    quantizer: Quantizer = None,
    lossy: bool | None = None,
    sensitivity: Mapping[str, float] | None = None,
    numbers: Numbers = "node-id",
    weighted_by: str = "num-examples",
    storage_options: Mapping[str, Any] | None = None,
) -> Mod:
    """Return a mod that lets models and updates travel through a store.

    It goes first in the list of mods, so that all others see arrays. Messages of a server without
    `StoreStrategy` pass it as they are. What goes wrong with the store, or with what the app
    returned, becomes an error reply.

    Parameters
    ----------
    store : str or os.PathLike, optional
        The store. Without it, the server's word counts (`StoreStrategy(tell=...)`): it decides then
        where this client reads and writes.
    folder : str or os.PathLike
        Where models are kept from round to round, in a folder for each node and run.
    budget : float, optional
        Bits per weight that are taken down, as in `p2uformat.federated.Client`.
    tier : str, optional
        Instead, the tier of all tensors; without either it is all of the model.
    quantizer : Levels, Affine, Minifloat, str, or mapping of str to one of them, optional
        What the update is stored with; exactly by default. It draws from the client and the round.
    lossy : bool, optional
        Whether to send the quantized difference alone; by default if there is a quantizer.
    sensitivity : mapping of str to float, optional
        How much the error of a tensor counts in planning widths.
    numbers : {'node-id', 'partition-id'}
        Which number a client has: the id that Flower gave the node, or the `partition-id` of its
        configuration, which stays the same from one deployment to the next. `StoreStrategy` has to
        say the same.
    weighted_by : str
        What counts as the update's weight among the app's metrics; 1 without it.
    storage_options : mapping, optional
        For URLs, as fsspec's file systems take them. They never are in a message.

    Returns
    -------
    callable
        For `ClientApp(mods=[...])`.

    Raises
    ------
    InvalidArgument
        If both a budget and a tier are given, or `numbers` is unknown.

    Notes
    -----
    What a node's configuration has as ``p2u-store``, ``p2u-folder``, ``p2u-budget`` or ``p2u-tier``
    counts before what is given here: nodes that run one app have budgets of their own
    (``flower-supernode --node-config 'p2u-budget=4.0'``).
    """
    if budget is not None and tier is not None:
        raise InvalidArgument("a budget and a tier", hint="give one of the two")
    if numbers not in ("node-id", "partition-id"):
        raise InvalidArgument(f"numbers {numbers!r}", hint="give 'node-id' or 'partition-id'")
    given = _Setup(
        None if store is None else os.fspath(store),
        Path(folder),
        budget,
        tier,
        quantizer,
        lossy,
        sensitivity,
        numbers,
        weighted_by,
        storage_options,
    )

    def mod(message: Message, context: Context, app: App) -> Message:
        if not message.has_content() or KEY not in message.content:
            return app(message, context)
        try:
            address = ModelAddress.of(message.content[KEY])
            setup = _configured(given, context.node_config)
            client = _client(setup, address, context)
            received = client.receive(address.root)
            message.content = _with_arrays(message.content, address, received)
        except (P2UError, OSError) as error:
            return _failed(message, "the model did not come", error, given.storage_options)
        reply = app(message, context)
        if reply.has_error() or message.metadata.message_type.partition(".")[0] != "train":
            return reply
        try:
            reply.content = _with_update(reply.content, address, setup, client, received)
        except (P2UError, OSError) as error:
            return _failed(message, "the update was not sent", error, given.storage_options)
        return reply

    return mod


def _configured(setup: _Setup, config: Mapping[str, Any]) -> _Setup:
    """Return what counts on this node.

    Raises
    ------
    InvalidArgument
        If its configuration is of no use.
    """
    store, folder = config.get("p2u-store"), config.get("p2u-folder")
    budget, tier = config.get("p2u-budget"), config.get("p2u-tier")
    for name, value, kind in (
        ("p2u-store", store, str),
        ("p2u-folder", folder, str),
        ("p2u-budget", budget, (int, float)),
        ("p2u-tier", tier, str),
    ):
        if value is not None and (isinstance(value, bool) or not isinstance(value, kind)):
            raise InvalidArgument(f"the node's {name} is {value!r}")
    made = replace(setup, store=store or setup.store, folder=Path(folder or setup.folder))
    if budget is None and tier is None:
        return made
    return replace(made, budget=budget, tier=tier)


def _client(setup: _Setup, address: ModelAddress, context: Context) -> Client:
    place = setup.store or address.store
    if not place:
        raise InvalidArgument(
            "no store is known", hint="store_mod(STORE), p2u-store, or StoreStrategy(tell=STORE)"
        )
    partition = context.node_config.get("partition-id")
    known = isinstance(partition, int) and not isinstance(partition, bool)
    if setup.numbers == "partition-id" and not known:
        raise InvalidArgument(
            "the node's configuration has no number as partition-id",
            hint="give it, or numbers='node-id'",
        )
    # A node has another id when it comes back; what it keeps should still be found.
    mine = f"partition-{partition}" if known else f"node-{context.node_id}"
    # The run's name comes from a message.
    run = hashlib.sha256(address.run.encode()).hexdigest()[:_RUN_DIGITS]
    return Client(
        place,
        address.run,
        int(partition) if setup.numbers == "partition-id" else context.node_id,
        setup.folder / mine / run,
        budget=setup.budget,
        tier=setup.tier,
        sensitivity=setup.sensitivity,
        storage_options=setup.storage_options,
    )


def _with_arrays(content: RecordDict, address: ModelAddress, received: Received) -> RecordDict:
    """Return a message's records as the app expects them."""
    if received.round.number != address.round:
        raise RootMismatch(
            f"expected the model of round {address.round}, got {received.round.number}"
        )
    made = RecordDict({name: record for name, record in content.items() if name != KEY})
    if address.key in made:
        raise InvalidArgument(f"the message has a record {address.key!r} beside the address")
    made[address.key] = record_of(in_order(received.weights, received.metadata))
    return made


def _with_update(
    content: RecordDict,
    address: ModelAddress,
    setup: _Setup,
    client: Client,
    received: Received,
) -> RecordDict:
    """Send an app's arrays, and return its reply with an address in their place."""
    if KEY in content:
        raise InvalidArgument(f"the app's reply has a record {KEY!r}", hint="name it otherwise")
    key = _trained(content, address)
    if key is None:
        return content
    sent = client.send(
        fitted(arrays_of(content[key]), received.weights),
        weight=_weight(content, setup.weighted_by),
        quantizer=setup.quantizer,
        lossy=setup.lossy,
    )
    made = RecordDict({name: record for name, record in content.items() if name != key})
    made[KEY] = UpdateAddress(client.number, sent.root, key).record()
    return made


def _trained(content: RecordDict, address: ModelAddress) -> str | None:
    """Return the name of the record with the trained model; None if the app returned none."""
    names = [name for name, record in content.items() if isinstance(record, ArrayRecord)]
    if len(names) <= 1:
        return names[0] if names else None
    if address.key in names:
        return address.key
    raise InvalidArgument(
        f"which of the records {', '.join(names)} is the model?",
        hint=f"name it {address.key!r}",
    )


def _weight(content: RecordDict, weighted_by: str) -> float:
    for record in content.values():
        if isinstance(record, MetricRecord) and weighted_by in record:
            value = record[weighted_by]
            if isinstance(value, int | float):
                return float(value)
            raise InvalidArgument(f"{weighted_by!r} is no number")
    return 1.0


def _failed(
    message: Message, what: str, error: Exception, options: Mapping[str, Any] | None
) -> Message:
    """Return an error reply; without secrets, wherever the error has its words from."""
    code = error.code if isinstance(error, P2UError) else "store-unavailable"
    reason = f"p2uformat: {what}: {code}: {error}"
    for secret in _texts(options):
        if len(secret) >= _SHORTEST_SECRET:
            reason = reason.replace(secret, "***")
    return Message(Error(_FAILED, reason), reply_to=message)


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for one in value.values():
            yield from _texts(one)
