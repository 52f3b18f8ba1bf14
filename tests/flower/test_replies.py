"""What comes from nodes that lie: each lie is named, and the round is as it is without the liar."""

from __future__ import annotations

import random

import numpy as np
import pytest
from flwr.app import ConfigRecord, Message, MetricRecord, RecordDict
from flwr.serverapp.strategy import FedAvg

import p2uformat
from p2uformat.federated import Rules, Server
from p2uformat.flower import StoreStrategy, store_mod
from tests.federated import mlp
from tests.flower.loopback import NODES, Loopback, app, plain, record

KEY = "p2uformat"
HONEST, LIAR, OTHER = NODES


class Rounds:
    """A round that is over, and the replies to the one behind it."""

    def __init__(self, folder) -> None:
        self.place = str(folder / "store")
        self.folder = folder
        self.strategy = StoreStrategy(FedAvg(), self.place, "run", keep_updates=True)
        (values, labels), _ = mlp.data()
        part = (values[:200], labels[:200])
        mods = [store_mod(self.place, folder=folder / "nodes")]
        self.grid = Loopback({node: app(mods, part, steps=3) for node in NODES})
        random.seed(7)
        replies = self.send(1, record(mlp.fresh()))
        self.first = {one.metadata.src_node_id: one.content[KEY]["root"] for one in replies}
        arrays, _ = self.strategy.aggregate_train(1, replies)
        self.messages = self.strategy.configure_train(2, arrays, ConfigRecord(), self.grid)
        self.replies = {
            one.metadata.src_node_id: one for one in self.grid.send_and_receive(self.messages)
        }

    def send(self, number, arrays):
        messages = self.strategy.configure_train(number, arrays, ConfigRecord(), self.grid)
        return self.grid.send_and_receive(messages)

    def copies(self):
        """Return replies that may be changed."""
        return {
            message.metadata.dst_node_id: Message(
                RecordDict(dict(self.replies[message.metadata.dst_node_id].content)),
                reply_to=message,
            )
            for message in self.messages
        }

    def pushed(self, reply, after, **facts):
        """Store another update, and let the reply say that this is it."""
        server = Server(self.place, "run")
        now = server.current()
        with p2uformat.open(server.address(now.root)) as artifact:
            model = artifact.load()
        facts = {"base": now.root, "round": now.number, "client": LIAR, "weight": 200.0} | facts
        path = self.folder / "lie.p2u"
        path.unlink(missing_ok=True)
        before, after = after(model)
        p2uformat.pack_update(after, before, path, allow_nonfinite=True, **facts)
        result = p2uformat.Store(self.place).push(path, "lies")
        address(reply, root=result.root)


@pytest.fixture(scope="module")
def rounds(tmp_path_factory, identity):
    return Rounds(tmp_path_factory.mktemp("replies"))


@pytest.fixture(scope="module")
def expected(rounds):
    replies = [reply for node, reply in rounds.copies().items() if node != LIAR]
    return rounds.strategy.aggregate_train(2, replies)


def address(reply, **facts):
    reply.content[KEY] = ConfigRecord({**reply.content[KEY], **facts})


def metrics(reply, **values):
    reply.content["metrics"] = MetricRecord({**reply.content["metrics"], **values})


def added(number):
    return lambda model: (model, {name: a + np.float32(number) for name, a in model.items()})


def other_shape(model):
    other = model | {"in.b": np.zeros(7, np.float32)}
    return other, other


def huge(model):
    """Return a finite difference that is too much for the model."""
    least = {name: np.full_like(array, -3e38) for name, array in model.items()}
    return least, {name: np.zeros_like(array) + np.float32(1e37) for name, array in model.items()}


def arrays_in_the_message(rounds, reply):
    del reply.content[KEY]
    reply.content["arrays"] = record(mlp.fresh())


def nothing_in_the_message(rounds, reply):
    del reply.content[KEY]


LIES = {
    "replayed": (lambda rounds, reply: address(reply, root=rounds.first[LIAR]), "other-round"),
    "another's": (
        lambda rounds, reply: address(reply, root=rounds.replies[OTHER].content[KEY]["root"]),
        "other-client",
    ),
    "the model": (
        lambda rounds, reply: address(reply, root=Server(rounds.place, "run").current().root),
        "no-update",
    ),
    "nothing": (lambda rounds, reply: address(reply, root="blake3:" + "0" * 64), "not-found"),
    "a path": (lambda rounds, reply: address(reply, root="/etc/passwd"), "malformed"),
    "a name": (lambda rounds, reply: address(reply, root="run/model"), "malformed"),
    "a number": (lambda rounds, reply: address(reply, root=7), "malformed"),
    "no client": (lambda rounds, reply: address(reply, client="9" * 5000), "malformed"),
    "a large client": (lambda rounds, reply: address(reply, client=str(2**64)), "malformed"),
    "no key": (lambda rounds, reply: address(reply, key=""), "malformed"),
    "a taken key": (lambda rounds, reply: address(reply, key="metrics"), "records"),
    "another key": (lambda rounds, reply: address(reply, key="weights"), "records"),
    "another record": (
        lambda rounds, reply: reply.content.update({KEY: MetricRecord({"root": 1})}),
        "malformed",
    ),
    "arrays": (arrays_in_the_message, "no-update"),
    "no arrays": (nothing_in_the_message, "records"),
    "more records": (
        lambda rounds, reply: reply.content.update({"more": MetricRecord({"a": 1})}),
        "records",
    ),
    "more arrays": (
        lambda rounds, reply: reply.content.update({"more": record(mlp.fresh())}),
        "records",
    ),
    "other metrics": (lambda rounds, reply: metrics(reply, extra=1.0), "records"),
    "a list": (lambda rounds, reply: metrics(reply, loss=[1.0]), "records"),
    "another weight": (lambda rounds, reply: metrics(reply, **{"num-examples": 10**9}), "weight"),
    "a weight of NaN": (
        lambda rounds, reply: metrics(reply, **{"num-examples": float("nan")}),
        "weight",
    ),
    "a heavy update": (lambda rounds, reply: rounds.pushed(reply, added(1), weight=1e9), "weight"),
    "NaN": (lambda rounds, reply: rounds.pushed(reply, added(np.nan)), "not-finite"),
    "infinity": (lambda rounds, reply: rounds.pushed(reply, added(np.inf)), "not-finite"),
    "another base": (
        lambda rounds, reply: rounds.pushed(reply, added(1), base="blake3:" + "1" * 64),
        "other-model",
    ),
    "another shape": (lambda rounds, reply: rounds.pushed(reply, other_shape), "tensors"),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_lie(rounds, expected, lie, caplog):
    tell, code = LIES[lie]
    replies = rounds.copies()
    tell(rounds, replies[LIAR])
    arrays, known = rounds.strategy.aggregate_train(2, replies.values())
    assert [(one.client, one.code) for one in rounds.strategy.rejected] == [(LIAR, code)]
    ours, theirs = plain(arrays), plain(expected[0])
    assert all(np.array_equal(ours[name], theirs[name]) for name in theirs)
    assert dict(known) == dict(expected[1])
    # Flower's own log has the reason too, since the strategy got an error reply.
    assert f"what node {LIAR} sent does not count: p2uformat: {code}" in caplog.text
    assert f"Received error in reply from node {LIAR}: p2uformat: {code}" in caplog.text


def test_the_order_of_replies_does_not_matter(rounds):
    first, _ = rounds.strategy.aggregate_train(2, rounds.copies().values())
    assert rounds.strategy.rejected == ()
    second, _ = rounds.strategy.aggregate_train(2, [*rounds.copies().values()][::-1])
    ours, theirs = plain(first), plain(second)
    assert all(np.array_equal(ours[name], theirs[name]) for name in theirs)


def test_rules_count(rounds):
    strategy = rounds.strategy
    strategy._rules = Rules(weights={HONEST: 200, OTHER: 3})
    try:
        strategy.aggregate_train(2, rounds.copies().values())
    finally:
        strategy._rules = None
    assert {one.client: one.code for one in strategy.rejected} == {LIAR: "weight", OTHER: "weight"}


def test_two_nodes_say_that_they_are_one_client(rounds):
    strategy = rounds.strategy
    strategy._numbers = "partition-id"
    replies = rounds.copies()
    address(replies[LIAR], client=str(OTHER))
    try:
        strategy.aggregate_train(2, replies.values())
    finally:
        strategy._numbers = "node-id"
    assert [one.code for one in strategy.rejected] == ["unknown-client"] * 2


def test_a_node_that_was_not_asked(rounds, expected):
    replies = [*rounds.copies().values()]
    stranger = Message(RecordDict(dict(replies[0].content)), 1, "train")
    replies.append(Message(stranger.content, reply_to=stranger))
    replies[-1].metadata.__dict__["_src_node_id"] = 12345
    rounds.strategy.aggregate_train(2, replies)
    assert [(one.client, one.code) for one in rounds.strategy.rejected] == [
        (12345, "unknown-client")
    ]
