"""StoreStrategy and store_mod around Flower's own strategies and apps, in one process."""

from __future__ import annotations

import importlib.metadata
import random

import numpy as np
import pytest
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.clientapp.mod import fixedclipping_mod
from flwr.serverapp.strategy import (
    DifferentialPrivacyClientSideFixedClipping,
    FedAdam,
    FedAvg,
    FedMedian,
    FedProx,
    QFedAvg,
)
from packaging.version import Version

import p2uformat
from p2uformat import InvalidArgument, Levels
from p2uformat.federated import Server
from p2uformat.flower import StoreStrategy, store_mod
from tests.federated import mlp
from tests.flower.loopback import NODES, Loopback, app, plain, record

KEY = "p2uformat"
# Strategies of an older Flower fail with arrays that have no dimensions.
OLD = Version(importlib.metadata.version("flwr")) < Version("1.42")
COUNTER = (1,) if OLD else ()


@pytest.fixture(scope="module")
def digits():
    (values, labels), test = mlp.data()
    parts = np.array_split(np.arange(len(values)), len(NODES))
    return [(values[part], labels[part]) for part in parts], test


@pytest.fixture
def run(place, tmp_path, digits):
    """Return what runs rounds: through a store, or as Flower does it."""
    parts, _ = digits

    def start(strategy, rounds, *, stored=True, arrays=None, how=None, app_how=None, **options):
        how = how or {}
        mods = [store_mod(place, folder=tmp_path / "nodes", **how)] if stored else []
        apps = {
            node: app(mods, part, **(app_how or {}))
            for node, part in zip(NODES, parts, strict=True)
        }
        grid = Loopback(apps, **options)
        random.seed(7)
        result = strategy.start(
            grid, record(mlp.fresh()) if arrays is None else arrays, num_rounds=rounds
        )
        return grid, result

    return start


def wrapped(place, strategy, **how):
    return StoreStrategy(strategy, place, "run", **({"tiers": "q4,q8,exact"} | how))


def metrics(result):
    return result.train_metrics_clientapp, result.evaluate_metrics_clientapp


STRATEGIES = {
    "FedAvg": FedAvg,
    "FedAdam": lambda: FedAdam(eta=0.01),
    "FedProx": lambda: FedProx(proximal_mu=0.1),
    "QFedAvg": lambda: QFedAvg(client_learning_rate=0.1, train_loss_key="loss"),
    "FedMedian": FedMedian,
    "clipping": lambda: DifferentialPrivacyClientSideFixedClipping(FedAvg(), 0.0, 1.0, 3),
}


@pytest.mark.parametrize("name", STRATEGIES)
def test_as_without_a_store(place, run, digits, name):
    """With exact updates: what a strategy makes is what it makes alone, to float32 rounding."""
    _, expected = run(STRATEGIES[name](), 2, stored=False)
    strategy = wrapped(place, STRATEGIES[name]())
    grid, result = run(strategy, 2)
    assert strategy.rejected == ()
    assert grid.errors == []
    assert max(grid.sizes) < 512
    ours, theirs = plain(result.arrays), plain(expected.arrays)
    assert list(ours) == list(theirs)
    for key, array in ours.items():
        assert array.dtype == theirs[key].dtype
        assert np.abs(array - theirs[key]).max() < 3e-6 * max(1, np.abs(theirs[key]).max())
    for one, other in zip(metrics(result), metrics(expected), strict=True):
        assert set(one) == set(other) == {1, 2}
        for number in one:
            assert dict(one[number]) == pytest.approx(dict(other[number]), rel=1e-3)
    # One model for each round, and one that was evaluated last.
    assert Server(place, "run").current().number == 3
    assert mlp.loss(ours, *digits[1]) < mlp.loss(mlp.fresh(), *digits[1])


def test_bit_for_bit(place, run):
    """Where no difference needs rounding, nothing does."""
    model = {name: np.round(array * 64) / 64 for name, array in mlp.fresh().items()}
    model = {name: array.astype(np.float32) for name, array in model.items()}

    def trained(after):
        return {name: np.round(array * 4096) / np.float32(4096) for name, array in after.items()}

    how = {"arrays": record(model), "app_how": {"trained": trained}}
    _, expected = run(FedAvg(), 1, stored=False, **how)
    _, result = run(wrapped(place, FedAvg()), 1, **how)
    ours, theirs = plain(result.arrays), plain(expected.arrays)
    assert all(np.array_equal(ours[name], theirs[name]) for name in theirs)
    assert any((ours[name] != model[name]).any() for name in model)


def test_it_learns_with_budgets_and_quantizers(place, run, digits):
    """Lossy both ways, a budget for each node by its configuration."""
    strategy = wrapped(place, FedAvg(), tiers="q2,q3,q4,q6,q8,exact")
    config = {NODES[0]: {"p2u-budget": 2.5}, NODES[1]: {"p2u-budget": 8}}
    how = {"budget": 4.0, "quantizer": Levels("uniform", 4, bucket=512)}
    grid, result = run(strategy, 4, how=how, config=config, app_how={"steps": 40})
    assert (grid.errors, strategy.rejected) == ([], ())
    assert max(grid.sizes) < 512
    assert mlp.score(plain(result.arrays), *digits[1]) > 0.8
    store = p2uformat.Store(place)
    # Updates of rounds that are over have no names any more.
    names = [info.name for info in store.names() if info.version]
    assert names == ["run/model"]


def test_draws_are_those_of_client_and_round(place, run):
    strategy = wrapped(place, FedAvg(), keep_updates=True, numbers="partition-id")
    how = {"quantizer": Levels("uniform", 4, seed=5), "numbers": "partition-id"}
    grid, _ = run(strategy, 2, how=how)
    assert (grid.errors, strategy.rejected) == ([], ())
    for number in (1, 2):
        for client in range(3):
            with p2uformat.open(f"{place}#run/updates/{number:09d}/{client}") as update:
                assert (update.update.client, update.update.round) == (client, number)
                form = update.info("in.w").quantizer.split(":")
                assert {"seed=5", f"round={number}"} <= set(form)
                assert client == 0 or f"client={client}" in form
    assert len([i for i in p2uformat.Store(place).names("run/updates") if i.version]) == 6


def test_whoever_missed_a_round_comes_back(place, run):
    """It fetches what it lacks, and counts again."""
    counted = {}
    away = NODES[2]

    class Absent(FedAvg):
        def configure_train(self, server_round, arrays, config, grid):
            grid.silent = {away} if server_round == 2 else set()
            return super().configure_train(server_round, arrays, config, grid)

        def aggregate_train(self, server_round, replies):
            counted[server_round] = sorted(one.metadata.src_node_id for one in replies)
            return super().aggregate_train(server_round, replies)

    strategy = wrapped(place, Absent())
    grid, _ = run(strategy, 3)
    assert (grid.errors, strategy.rejected) == ([], ())
    assert counted == {1: sorted(NODES), 2: sorted(set(NODES) - {away}), 3: sorted(NODES)}


def lists(strategy, place, folder, how=None):
    """Run an app that takes arrays as a list, and counts its calls in an integer."""
    seen = []
    made = ClientApp(mods=[store_mod(place, folder=folder, **(how or {}))])

    @made.train()
    def train(message, context):
        arrays = message.content["arrays"].to_numpy_ndarrays()
        seen.append([array.shape for array in arrays])
        after = [np.asarray(array + 1) for array in arrays]
        after[1] = after[1].astype(np.int64)
        after[2] = after[2].astype(np.float32)
        metric = MetricRecord({"num-examples": 2})
        content = RecordDict({"arrays": ArrayRecord(after), "metrics": metric})
        return Message(content, reply_to=message)

    grid = Loopback(dict.fromkeys(NODES[:2], made))
    arrays = [np.zeros((3, n + 1), np.float32) for n in range(12)]
    arrays[1] = np.full(COUNTER, 5, np.int64)
    return grid, strategy.start(grid, ArrayRecord(arrays), num_rounds=3), seen


@pytest.mark.parametrize("keep", [False, True])
def test_lists_integers_and_dtypes(place, tmp_path, keep):
    """Arrays come in the server's order, ``10`` behind ``9``; integers whose average is a float."""
    strategy = wrapped(place, FedAdam(eta=1, fraction_evaluate=0), keep_dtypes=keep)
    grid, result, seen = lists(strategy, place, tmp_path)
    assert (grid.errors, strategy.rejected) == ([], ())
    shapes = [(3, n + 1) for n in range(12)]
    shapes[1] = COUNTER
    assert seen == [shapes] * 6
    assert result.arrays["2"].numpy().max() > 0
    with p2uformat.open(f"{place}#run/model") as model:
        assert model.info("2").dtype == ("F32" if keep else "F64")
        assert model.info("1").dtype == ("I64" if keep else "F64")


@pytest.mark.parametrize("alike", [True, False])
def test_a_strategy_with_models_of_its_own(place, run, alike):
    """What is for one node only stays in its message, and in the reply."""
    own, seen = NODES[1], {}

    class Own(FedAvg):
        def configure_train(self, server_round, arrays, config, grid):
            messages = list(super().configure_train(server_round, arrays, config, grid))
            for message in messages:
                if message.metadata.dst_node_id == own:
                    other = {name: array * 2 for name, array in plain(arrays).items()}
                    message.content = RecordDict({"arrays": record(other), "config": config})
            return messages

        def aggregate_train(self, server_round, replies):
            for reply in replies:
                seen[reply.metadata.src_node_id] = plain(reply.content["arrays"])
            return super().aggregate_train(server_round, replies)

    strategy = wrapped(place, Own(fraction_evaluate=0), alike=alike)
    grid, _ = run(strategy, 1, app_how={"steps": 0})
    assert (grid.errors, strategy.rejected) == ([], ())
    assert sum(size < 512 for size in grid.sizes) == 4
    for node in NODES:
        factor = 2 if node == own else 1
        assert all((seen[node][name] == a * factor).all() for name, a in mlp.fresh().items())


# What goes wrong on a node


@pytest.mark.parametrize(
    ("trained", "told"),
    [
        (lambda after: after | {"more": np.zeros(3, np.float32)}, "after only"),
        (lambda after: {"in.w": after["in.w"]}, "before only"),
        (lambda after: after | {"in.b": np.zeros(7, np.float32)}, "in.b"),
        (lambda after: after | {"in.b": after["in.b"].astype(np.float64) + 1e-9}, "F64"),
        (lambda after: after | {"in.b": after["in.b"] * np.float32(np.nan)}, "NaN"),
    ],
)
def test_an_app_that_changes_its_model(place, run, trained, told):
    strategy = wrapped(place, FedAvg())
    grid, result = run(strategy, 1, app_how={"trained": trained})
    assert all("p2uformat: the update was not sent: invalid-argument" in one for one in grid.errors)
    assert len(grid.errors) == 3
    assert told in grid.errors[0]
    # Flower's own answer to a round without results: the model stays.
    assert not result.arrays
    assert Server(place, "run").current().number == 1


@pytest.mark.parametrize(
    ("config", "how", "told"),
    [
        ({"p2u-budget": 0.5}, {}, "the ladder begins at"),
        ({"p2u-budget": "4"}, {}, "p2u-budget"),
        ({"p2u-tier": "q5000"}, {}, "q5000"),
        ({"p2u-store": "memory://elsewhere"}, {}, "store"),
        ({"partition-id": "one"}, {"numbers": "partition-id"}, "partition-id"),
    ],
)
def test_a_node_that_is_set_up_wrongly(place, run, config, how, told):
    """It is left out; the others are enough."""
    strategy = wrapped(place, FedAvg(), numbers=how.get("numbers", "node-id"))
    grid, result = run(strategy, 1, how=how, config={NODES[0]: config})
    assert len(grid.errors) == 2
    assert told in grid.errors[0]
    assert result.train_metrics_clientapp[1]["loss"] > 0


def test_a_store_that_the_server_tells(place, tmp_path, digits, run):
    parts, _ = digits
    mods = [store_mod(folder=tmp_path / "nodes")]
    grid = Loopback({node: app(mods, part) for node, part in zip(NODES, parts, strict=True)})
    told = wrapped(place, FedAvg(), tell=str(place))
    assert told.start(grid, record(mlp.fresh()), num_rounds=1).arrays
    assert grid.errors == []
    silent = wrapped(place, FedAvg())
    assert not silent.start(grid, record(mlp.fresh()), num_rounds=1).arrays
    assert all("no store is known" in one for one in grid.errors)
    for secret in ("https://me:word@host/store", "s3://bucket/store?key=word"):
        with pytest.raises(InvalidArgument) as caught:
            wrapped(place, FedAvg(), tell=secret)
        assert "word" not in str(caught.value).replace("password", "")


def test_an_object_store(moto, tmp_path, digits):
    """Credentials are each side's own."""
    parts, _ = digits
    url = f"{moto.url}flower"
    how = {"storage_options": moto.options}
    mods = [store_mod(folder=tmp_path, budget=4.0, quantizer=Levels("uniform", 4), **how)]
    nodes = zip(NODES[:2], parts, strict=False)
    grid = Loopback({node: app(mods, part) for node, part in nodes})
    strategy = wrapped(url, FedAvg(), tell=url, **how)
    assert strategy.start(grid, record(mlp.fresh()), num_rounds=2).arrays
    assert (grid.errors, strategy.rejected) == ([], ())
    assert sum(url in text for text in grid.texts) == 8
    assert max(grid.sizes) < 512
    secrets = [moto.options[name] for name in ("key", "secret")]
    assert all(secrets)
    assert not [text for text in grid.texts if any(secret in text for secret in secrets)]


def test_no_secrets_in_replies(place, tmp_path, digits):
    options = {"key": "AKIAEXAMPLE", "client_kwargs": {"endpoint_url": "not a url AKIAEXAMPLE"}}
    mods = [store_mod("s3://bucket/store", folder=tmp_path, storage_options=options)]
    parts, _ = digits
    grid = Loopback({node: app(mods, parts[0]) for node in NODES[:2]})
    wrapped(place, FedAvg()).start(grid, record(mlp.fresh()), num_rounds=1)
    assert len(grid.errors) == 4
    assert all("the model did not come" in one for one in grid.errors)
    assert not any("AKIAEXAMPLE" in one for one in grid.errors)


def test_messages_of_other_servers_pass(place, tmp_path, digits, run):
    """And other mods see arrays."""
    parts, _ = digits
    _, expected = run(FedAvg(), 1, stored=False)
    mods = [store_mod(place, folder=tmp_path)]
    grid = Loopback({node: app(mods, part) for node, part in zip(NODES, parts, strict=True)})
    random.seed(7)
    result = FedAvg().start(grid, record(mlp.fresh()), num_rounds=1)
    ours, theirs = plain(result.arrays), plain(expected.arrays)
    assert all(np.array_equal(ours[name], theirs[name]) for name in theirs)
    clipped = [*mods, fixedclipping_mod]
    grid = Loopback({node: app(clipped, part) for node, part in zip(NODES, parts, strict=True)})
    strategy = DifferentialPrivacyClientSideFixedClipping(FedAvg(fraction_evaluate=0), 0.0, 0.01, 3)
    result = wrapped(place, strategy).start(grid, record(mlp.fresh()), num_rounds=1)
    assert grid.errors == []
    moved = [plain(result.arrays)[name] - array for name, array in mlp.fresh().items()]
    assert 0.001 < np.sqrt(sum((one**2).sum() for one in moved)) < 0.0101


def test_all_replies_are_bad(place, run):
    def tamper(reply, node):
        if not reply.has_error() and KEY in reply.content:
            content = RecordDict(dict(reply.content))
            content[KEY] = ConfigRecord({**reply.content[KEY], "root": "blake3:" + "0" * 64})
            reply.content = content
        return reply

    strategy = wrapped(place, FedAvg())
    _, result = run(strategy, 2, tamper=tamper)
    assert [one.code for one in strategy.rejected] == ["not-found"] * 3
    assert not result.arrays
    assert result.train_metrics_clientapp == {}
    # The model is published again: what was sent for the first round does not count in the second.
    assert Server(place, "run").current().number == 2
