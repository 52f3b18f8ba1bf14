"""What a server app needs: a strategy around any other, whose models travel through a store."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Error, Message, MetricRecord, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Strategy

from p2uformat import InvalidArgument
from p2uformat.federated import LADDER, Rejected, Round, Rules, Server
from p2uformat.flower.addresses import KEY, ModelAddress, Numbers, told_store
from p2uformat.flower.records import arrays_of, order_of, record_of, rounded_to, same
from p2uformat.flower.replies import Answer, Base, Refused, alone, answer_of, like_most, restored

__all__ = ["StoreStrategy"]

_REFUSED: Final = 0  # what Flower calls UNKNOWN
# Below Flower's own logger: what is said appears in the log of the run.
_LOG: Final = logging.getLogger("flwr.p2uformat")


@dataclass(frozen=True, slots=True)
class _Published:
    """A model in the store."""

    round: Round
    record: ArrayRecord


class StoreStrategy(Strategy):
    """A strategy around another one: models and updates travel through a store.

    The wrapped strategy samples, configures and aggregates as it always does. What it sends is
    published once, and messages have its address in place of arrays; what clients reply is an
    address too, and becomes arrays again once the update was read and all of it is sound. An update
    that does not count becomes an error reply with the reason, so the strategy goes on without it.

    Clients have `store_mod` as the first of their mods.

    Parameters
    ----------
    strategy : Strategy
        Any strategy of Flower's Message API.
    store : str or os.PathLike
        The store; a place that is none becomes one.
    run : str
        The run's name in the store. What is there already is gone on from: rounds are counted on.
    tiers : str or sequence of str
        The ladder that models are packed with.
    rules : Rules, optional
        What an update must keep to.
    numbers : {'node-id', 'partition-id'}
        Which number a client has, as `store_mod` was told. A node's id is what Flower says of it,
        so a client cannot take the place of another one; a partition is what the client says.
    weighted_by : str, optional
        Name of the weight among metrics: it has to be what the update says. By default that of the
        wrapped strategy.
    keep_dtypes : bool
        Whether to round models to the dtypes of the first one before they are published. Strategies
        such as FedAdam make float64 of float32, and averages of integers are floats.
    tell : str, optional
        The store as clients reach it, to be named in messages; by default they know it themselves.
    keep_updates : bool
        Whether updates of earlier rounds keep their names in the store.
    alike : bool
        Whether replies with other records or metrics than most do not count. Flower's own
        strategies end the run for such a reply; yours may want them.
    key_every : int
        As `p2uformat.federated.Server` has it.
    storage_options : mapping, optional
        For URLs, as fsspec's file systems take them. They never are in a message.

    Attributes
    ----------
    rejected : tuple of Rejected
        What did not count in the last round, and why.

    Raises
    ------
    InvalidArgument
        If an option makes no sense, or `tell` has a password.
    """

    def __init__(
        self,
        strategy: Strategy,
        store: str | os.PathLike[str],
        run: str,
        *,
        tiers: str | tuple[str, ...] = LADDER,
        rules: Rules | None = None,
        numbers: Numbers = "node-id",
        weighted_by: str | None = None,
        keep_dtypes: bool = False,
        tell: str | None = None,
        keep_updates: bool = False,
        alike: bool = True,
        key_every: int = 12,
        storage_options: Mapping[str, Any] | None = None,
    ) -> None:
        if numbers not in ("node-id", "partition-id"):
            raise InvalidArgument(f"numbers {numbers!r}", hint="give 'node-id' or 'partition-id'")
        self.strategy = strategy
        self.rejected: tuple[Rejected, ...] = ()
        self._server = Server(
            store, run, tiers=tiers, key_every=key_every, storage_options=storage_options
        )
        self._rules = rules
        self._numbers: Numbers = numbers
        known = getattr(strategy, "weighted_by_key", "num-examples")
        self._weighted_by = str(known if weighted_by is None else weighted_by)
        self._dtypes: dict[str, np.dtype[Any]] | None = {} if keep_dtypes else None
        self._tell = told_store(tell) if tell else ""
        self._keep_updates = keep_updates
        self._last: _Published | None = None
        self._training: _Published | None = None
        self._asked: dict[int, Message] = {}
        self._alike = alike

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Publish the model, and return the wrapped strategy's messages with its address.

        Raises
        ------
        P2UError
            If the model cannot be published.
        """
        arrays = self._kept(arrays)
        messages = list(self.strategy.configure_train(server_round, arrays, config, grid))
        self._asked = {message.metadata.dst_node_id: message for message in messages}
        return self._addressed(messages, arrays, train=True)

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Publish the model if it is another one, and return messages with its address.

        Raises
        ------
        P2UError
            If the model cannot be published.
        """
        arrays = self._kept(arrays)
        messages = list(self.strategy.configure_evaluate(server_round, arrays, config, grid))
        return self._addressed(messages, arrays, train=False)

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Check what clients sent, and let the wrapped strategy aggregate what counts.

        Raises
        ------
        P2UError
            If the model itself cannot be read any more.
        """
        failed = []
        addressed = {node for node, message in self._asked.items() if KEY in message.content}
        answers: list[Answer] = []
        refused: list[Refused] = []
        for reply in replies:
            if reply.has_error():
                failed.append(reply)
                continue
            one = answer_of(reply, self._numbers, self._asked, addressed)
            (answers if isinstance(one, Answer) else refused).append(one)  # type: ignore[arg-type]
        answers, others = alone(answers)
        if self._alike:
            answers, others = like_most(answers, others)
        counted, unsound = self._restored(answers)
        refused += [*others, *unsound]
        self.rejected = tuple(one.why for one in refused)
        replies = counted + failed + self._errors(refused)
        made: tuple[ArrayRecord | None, MetricRecord | None]
        made = self.strategy.aggregate_train(server_round, replies)
        return made

    def aggregate_evaluate(
        self, server_round: int, replies: Iterable[Message]
    ) -> MetricRecord | None:
        """Let the wrapped strategy aggregate what clients measured."""
        return self.strategy.aggregate_evaluate(server_round, replies)

    def summary(self) -> None:
        """Log where models go, and what the wrapped strategy has to say."""
        _LOG.info("\t├──> Store: %s, run %s", self._server.store, self._server.names.run)
        self.strategy.summary()

    def _kept(self, arrays: ArrayRecord) -> ArrayRecord:
        """Return arrays in the dtypes that they are published in."""
        if self._dtypes is None:
            return arrays
        known = arrays_of(arrays)
        for name, array in known.items():
            self._dtypes.setdefault(name, array.dtype)
        if all(array.dtype == self._dtypes[name] for name, array in known.items()):
            return arrays
        return record_of(rounded_to(known, self._dtypes))

    def _addressed(
        self, messages: list[Message], arrays: ArrayRecord, *, train: bool
    ) -> list[Message]:
        """Put an address in the place of the round's model, wherever it is."""
        found = [(message, _key(message.content, arrays)) for message in messages]
        if any(key is not None for _, key in found):
            round_ = self._publish(arrays, train=train)
        for message, key in found:
            if key is None:
                # Another model than the round's: for this client only, say.
                _LOG.warning("node %d is sent other arrays", message.metadata.dst_node_id)
                continue
            made = RecordDict({name: one for name, one in message.content.items() if name != key})
            run = self._server.names.run
            made[KEY] = ModelAddress(run, round_.number, round_.root, key, self._tell).record()
            message.content = made
        return messages

    def _publish(self, arrays: ArrayRecord, *, train: bool) -> Round:
        """Return the round whose model some arrays are: a new one, or what was just evaluated.

        What clients trained once is published again, as another round, if it stays the model: what
        they sent for the last one must not count for this one.
        """
        last = self._last
        if last is None or not same(last.record, arrays) or (train and last is self._training):
            known = arrays_of(arrays)
            round_ = self._server.publish(known, metadata=order_of(known))
            if not self._keep_updates:
                self._server.tidy(round_)
            # A record of its own: strategies may change theirs in place.
            last = self._last = _Published(round_, ArrayRecord(dict(arrays)))
        if train:
            self._training = last
        return last.round

    def _restored(self, answers: list[Answer]) -> tuple[list[Message], list[Refused]]:
        """Return replies with arrays, and what is wrong with the others."""
        counted: list[Message] = []
        refused: list[Refused] = []
        base = self._base() if any(one.update is not None for one in answers) else None
        # In the order of clients: sums of the same updates have the same bits.
        for one in sorted(answers, key=lambda one: one.client):
            content = one.reply.content if base is None else restored(one, base)
            if isinstance(content, Refused):
                refused.append(content)
            else:
                one.reply.content = content
                counted.append(one.reply)
        return counted, refused

    def _base(self) -> Base:
        training = self._training
        if training is None:
            raise InvalidArgument("replies to a round that was not begun here")
        return Base(
            arrays_of(training.record),
            self._server.reader(training.round, rules=self._rules),
            self._server,
            self._weighted_by,
        )

    def _errors(self, refused: Iterable[Refused]) -> list[Message]:
        """Return what does not count as error replies, and say so."""
        made = []
        for one in refused:
            told = f"p2uformat: {one.why.code}: {one.why.reason}"
            _LOG.warning("what node %d sent does not count: %s", one.node, told)
            if one.node in self._asked:
                made.append(Message(Error(_REFUSED, told), reply_to=self._asked[one.node]))
        return made


def _key(content: RecordDict, arrays: ArrayRecord) -> str | None:
    """Return the name of the record that is the round's model; None if there is none."""
    if KEY in content:
        raise InvalidArgument(f"a message has a record {KEY!r}", hint="name it otherwise")
    for name, record in content.items():
        if isinstance(record, ArrayRecord) and same(record, arrays):
            return str(name)
    return None
