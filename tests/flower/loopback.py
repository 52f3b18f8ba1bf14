"""Flower in one process: a grid that calls a real ClientApp, and an app that trains digits."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
from flwr.app import Array, ArrayRecord, Context, Error, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid

from tests.federated import mlp

# As large as Flower's own.
NODES = (2**64 - 5, 2**63 + 11, 4873284778935297552)


class Loopback(Grid):
    """Nodes that answer at once; each with a configuration and a state that it keeps.

    `tamper` may change what a node replies, as a node's owner can.
    """

    def __init__(
        self,
        apps: dict[int, ClientApp],
        *,
        config: dict[int, dict] | None = None,
        tamper: Callable[[Message, int], Message] | None = None,
    ) -> None:
        self.apps = apps
        self.tamper = tamper
        self.sizes: list[int] = []
        self.texts: list[str] = []
        self.errors: list[str] = []
        self.silent: set[int] = set()
        self.contexts = {
            node: Context(
                1, node, {"partition-id": place} | (config or {}).get(node, {}), RecordDict(), {}
            )
            for place, node in enumerate(apps)
        }

    def set_run(self, run) -> None:
        raise NotImplementedError

    @property
    def run(self):
        raise NotImplementedError

    def create_message(self, content, message_type, dst_node_id, group_id, ttl=None):
        return Message(content, dst_node_id, message_type, group_id=group_id, ttl=ttl)

    def get_node_ids(self) -> Iterable[int]:
        return list(self.apps)

    def push_messages(self, messages):
        raise NotImplementedError

    def pull_messages(self, message_ids):
        raise NotImplementedError

    def note(self, message: Message) -> None:
        self.sizes.append(sum(record.count_bytes() for record in message.content.values()))
        self.texts.append(repr(dict(message.content)))

    def send_and_receive(self, messages, *, timeout=None):
        replies = []
        for message in messages:
            node = message.metadata.dst_node_id
            if node in self.silent:
                continue
            self.note(message)
            # What a node gets is a copy of its own.
            copy = Message(RecordDict(dict(message.content)), node, message.metadata.message_type)
            try:
                reply = self.apps[node](copy, self.contexts[node])
            except Exception as error:  # noqa: BLE001 - as a node does
                reply = Message(Error(2, str(error)), reply_to=copy)
            if self.tamper is not None:
                reply = self.tamper(reply, node)
            if reply.has_error():
                self.errors.append(reply.error.reason)
            else:
                self.note(reply)
            replies.append(reply)
        return sorted(replies, key=lambda reply: reply.metadata.src_node_id)


def app(mods, part, *, steps=5, trained=None, name="arrays") -> ClientApp:
    """Return an app that trains digits; it knows nothing of stores."""
    made = ClientApp(mods=mods)
    values, labels = part

    def weights(message):
        return {key: array.numpy() for key, array in message.content["arrays"].items()}

    @made.train()
    def train(message: Message, context: Context) -> Message:
        number = int(message.content["config"]["server-round"])
        model = weights(message)
        after = mlp.trained(model, values, labels, steps, seed=number)
        if trained is not None:
            after = trained(after)
        metrics = {"num-examples": len(labels), "loss": mlp.loss(model, values, labels)}
        content = RecordDict(
            {
                name: ArrayRecord({key: _array(array) for key, array in after.items()}),
                "metrics": MetricRecord(metrics),
            }
        )
        return Message(content, reply_to=message)

    @made.evaluate()
    def evaluate(message: Message, context: Context) -> Message:
        right = mlp.score(weights(message), values, labels)
        metrics = MetricRecord({"num-examples": len(labels), "right": right})
        return Message(RecordDict({"metrics": metrics}), reply_to=message)

    return made


def _array(array) -> Array:
    return Array(np.asarray(array))


def record(arrays) -> ArrayRecord:
    return ArrayRecord({name: _array(array) for name, array in arrays.items()})


def plain(record: ArrayRecord) -> dict[str, np.ndarray]:
    return {name: array.numpy() for name, array in record.items()}
