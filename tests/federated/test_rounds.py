"""Rounds through a store: what clients take, what they send, what counts."""

from __future__ import annotations

import json
import os
import pathlib

import numpy as np
import pytest

import p2uformat
from p2uformat import InvalidArgument, Levels, NotFound, VersionConflict
from p2uformat.federated import Client, Names, Round, Rules, Server, layers_of
from tests.federated import mlp

NAMES = Names("run")


@pytest.fixture(scope="module")
def digits():
    return mlp.data()


def client(place, tmp_path, number, **how):
    return Client(place, "run", number, tmp_path / f"client{number}", **how)


def moved(weights, by):
    """Return weights with something added to each matrix."""
    rng = np.random.default_rng(by)
    return {
        name: (array + 0.001 * rng.standard_normal(array.shape)).astype(array.dtype)
        for name, array in weights.items()
    }


def test_the_average_by_weight(place, tmp_path):
    server = Server(place, "run")
    model = mlp.fresh()
    assert server.current() is None
    first = server.publish(model)
    assert (first.number, server.current()) == (1, first)
    sent = {}
    for number, weight in ((0, 1.0), (7, 3.0)):
        one = client(place, tmp_path, number)
        mine = one.receive()
        assert all((mine.weights[name] == model[name]).all() for name in model)
        sent[number] = moved(model, number)
        one.send(sent[number], weight=weight)
    gathered = server.gather(first)
    assert [(one.client, one.weight) for one in gathered.accepted] == [(0, 1.0), (7, 3.0)]
    assert gathered.rejected == ()
    for name, array in gathered.weights.items():
        assert array.dtype == model[name].dtype
        expected = (sent[0][name].astype(float) + 3 * sent[7][name].astype(float)) / 4
        assert np.abs(array - expected).max() < 1e-6
    half = server.gather(first, rate=0.5).weights
    assert np.abs(half["in.w"] - (model["in.w"] + gathered.weights["in.w"]) / 2).max() < 1e-6
    second = server.publish(gathered.weights)
    assert (second.number, Server(place, "run").current()) == (2, second)
    with p2uformat.open(f"{place}#run/model") as artifact:
        assert artifact.parent == first.root


@pytest.mark.parametrize("budget", [2, 3.3, 4, 6, 8])
def test_budgets_are_kept_to(place, tmp_path, budget):
    """By what is moved, in the first round and in later ones."""
    server = Server(place, "run")
    model = mlp.fresh()
    server.publish(model)
    mine = client(place, tmp_path, 1, budget=budget)
    whole = {"in.w": model["in.w"].size, "mid.w": model["mid.w"].size}
    first = 0
    for step in range(3):
        got = mine.receive()
        assert set(got.widths) == set(whole)
        with p2uformat.open(f"{place}#run/model") as artifact:
            exact = sum(
                artifact.info(name).stored[0] for name in artifact if name not in got.widths
            )
            layers = layers_of(artifact)
            for name, width in got.widths.items():
                assert (got.weights[name] == artifact.get(name, tier=f"q{width}")).all()
            for name in set(model) - set(whole):
                assert (got.weights[name] == artifact.get(name)).all()
        if step == 0:
            used = sum(layer.bits[got.widths[layer.name]] for layer in layers)
            assert used <= budget * sum(whole.values())
            assert got.moved <= used / 8 + exact + 400  # the head
            first = got.moved
        else:
            assert got.moved < 0.9 * first
        model = moved(model, step)
        server.publish(model)


def test_what_was_here_is_not_moved_again(place, tmp_path):
    """Wider later: what earlier rounds lack comes too. And what is not needed goes."""
    server = Server(place, "run", key_every=4)
    model = mlp.fresh()
    server.publish(model)
    folder = tmp_path / "client1"
    assert client(place, tmp_path, 1, budget=3).receive().moved
    assert client(place, tmp_path, 1, budget=3).receive().moved == 0
    narrow = client(place, tmp_path, 1, budget=3)
    for step in range(2):
        model = moved(model, step)
        server.publish(model)
        assert not sum(one.fetched for one in narrow.receive().fetched.beside)
    assert len(list((folder / "model.p2u.parents").iterdir())) == 2
    wide = client(place, tmp_path, 1, budget=6).receive()
    assert sum(one.fetched for one in wide.fetched.beside)
    with p2uformat.open(f"{place}#run/model") as artifact:
        for name, width in wide.widths.items():
            assert (wide.weights[name] == artifact.get(name, tier=f"q{width}")).all()
    for step in range(2):
        model = moved(model, 10 + step)
        server.publish(model)
    # The fifth round is stored as it is.
    client(place, tmp_path, 1, budget=6).receive()
    assert list((folder / "model.p2u.parents").iterdir()) == []


def test_widths_by_the_rule(place, tmp_path):
    server = Server(place, "run")
    model = mlp.fresh()
    server.publish(model, widths={"in.w": 8, "mid.w": 8}, drops={"mid.w": 3})
    got = client(place, tmp_path, 1, budget=7.3).receive()
    assert got.widths == {"in.w": 8, "mid.w": 7}
    assert got.round.widths == {"in.w": 8, "mid.w": 8}
    with pytest.raises(InvalidArgument, match="the ladder begins at"):
        client(place, tmp_path, 2, budget=1).receive()


def test_what_does_not_count(place, tmp_path):
    """Lies and mistakes are named, and change nothing."""
    server = Server(place, "run")
    model = mlp.fresh()
    first = server.publish(model)
    honest = client(place, tmp_path, 0)
    honest.receive()
    honest.send(moved(model, 1), weight=10)
    store = p2uformat.Store(place)
    store_name = NAMES.update(1, 0)
    old = p2uformat.Store(place).address(store_name)
    alone = server.gather(first)
    second = server.publish(alone.weights)
    honest.receive()
    honest.send(moved(alone.weights, 2), weight=10)
    expected = server.gather(second)
    model = {name: np.array(array) for name, array in alone.weights.items()}

    def update(number, after=None, before=None, push_as=None, **how):
        path = tmp_path / f"liar{number}.p2u"
        facts = {"base": second.root, "round": 2, "client": number, "weight": 1.0} | how
        p2uformat.pack_update(
            moved(model, number) if after is None else after,
            model if before is None else before,
            path,
            **facts,
        )
        store.push(path, NAMES.update(2, number))

    store.push(old, NAMES.update(2, 1))  # replayed
    update(2, base=first.root)
    update(3, client=4)
    update(4, round=1)
    update(5, weight=1e9)
    fewer = {name: array for name, array in model.items() if name != "out.b"}
    update(6, after=moved(fewer, 1), before=fewer)
    more = model | {"extra": np.zeros(3, np.float32)}
    update(7, after=moved(more, 1), before=more)
    other = model | {"out.b": np.zeros(11, np.float32)}
    update(8, after=moved(other, 1), before=other)
    halves = {name: array.astype(np.float16) for name, array in model.items()}
    update(9, after=moved(halves, 1), before=halves)
    broken = moved(model, 1) | {"in.b": np.full(128, np.nan, np.float32)}
    update(10, after=broken, allow_nonfinite=True)
    broken = moved(model, 1) | {"in.w": np.full((64, 128), np.inf, np.float32)}
    update(11, after=broken, allow_nonfinite=True)
    p2uformat.pack(model, tmp_path / "model.p2u")
    store.push(tmp_path / "model.p2u", NAMES.update(2, 12))
    update(13)
    store.push(tmp_path / "liar13.p2u", NAMES.updates(2) + "/thirteen")
    update(14)
    damage(place, NAMES.update(2, 14))
    update(15)
    damage_ref(place, NAMES.update(2, 15))

    gathered = server.gather(second)
    assert [one.client for one in gathered.accepted] == [0, 13]
    codes = {one.client: one.code for one in gathered.rejected}
    assert codes == {
        1: "other-round",
        2: "other-model",
        3: "other-client",
        4: "other-round",
        5: "weight",
        6: "tensors",
        7: "tensors",
        8: "tensors",
        9: "tensors",
        10: "not-finite",
        11: "not-finite",
        12: "no-update",
        14: "damaged",
    }
    only = server.gather(second, clients=[0])
    assert all((only.weights[name] == expected.weights[name]).all() for name in model)
    assert {one.code for one in only.rejected} == {"unknown-client"}
    strict = server.gather(second, rules=Rules(weights={0: 10, 13: 2}))
    assert [one.client for one in strict.accepted] == [0]
    small = server.gather(second, rules=Rules(most_bytes=100))
    assert {one.code for one in small.rejected} >= {"too-large"}
    assert all((small.weights[name] == model[name]).all() for name in model)


def damage(place, name):
    """Flip bytes of what was written for a name alone."""
    ref = p2uformat.Store(place).refs(name)[-1]
    packs = sorted(pathlib.Path(place, "packs").rglob("*"), key=os.path.getmtime)
    newest = [path for path in packs if path.is_file()][-1]
    assert ref.added
    newest.chmod(0o644)
    data = bytearray(newest.read_bytes())
    for at in range(len(data) // 2, len(data), 997):
        data[at] ^= 0xFF
    newest.write_bytes(data)


def damage_ref(place, name):
    ref = next(pathlib.Path(place, "refs", name).iterdir())
    ref.chmod(0o644)
    ref.write_bytes(b"nothing")


def test_late_is_too_late(place, tmp_path):
    server = Server(place, "run")
    model = mlp.fresh()
    first = server.publish(model)
    slow = client(place, tmp_path, 1)
    slow.receive()
    second = server.publish(moved(model, 1))
    slow.send(moved(model, 2), weight=1)
    assert server.gather(second).accepted == ()
    assert server.arrived(second) == {}
    assert server.wait(second, [1], 0.2, poll=0.05) == frozenset()
    assert server.wait(first, [1], 5) == frozenset({1})
    assert server.tidy(second) == 1
    assert server.arrived(first) == {}
    assert server.tidy(second) == 0


def test_tidying_goes_on_behind_what_cannot_be_read(place, tmp_path):
    server = Server(place, "run")
    model = mlp.fresh()
    first = server.publish(model)
    for number in (1, 2):
        one = client(place, tmp_path, number)
        one.receive()
        one.send(moved(model, number), weight=1)
    damage_ref(place, NAMES.update(1, 1))
    store = p2uformat.Store(place)
    store.push(tmp_path / "client1" / "model.p2u", "run/updates/1/elsewhere")
    second = server.publish(moved(model, 1))
    assert server.tidy(second) == 1
    assert server.arrived(first) == {}
    assert [info.name for info in store.names("run/updates/1")] == ["run/updates/1/elsewhere"]


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("run/updates/000000007/1", 7),
        ("run/updates/7/1", None),
        ("run/updates/000000000/1", None),
        ("run/updates/\N{SUPERSCRIPT TWO}/1", None),
        ("run/updates/" + "9" * 5000 + "/1", None),
    ],
)
def test_rounds_of_names(name, number):
    assert NAMES.round(name) == number


def test_two_servers(place):
    one, two = Server(place, "run"), Server(place, "run")
    model = mlp.fresh()
    one.publish(model)
    current = two.current
    two.current = lambda: None  # as it was before the other one published
    with pytest.raises(VersionConflict):
        two.publish(model)
    two.current = current
    assert two.current().number == 1


def test_refusals(place, tmp_path):
    server = Server(place, "run")
    model = mlp.fresh()
    with pytest.raises(NotFound):
        client(place, tmp_path, 1).receive()
    with pytest.raises(InvalidArgument, match="not finite"):
        server.publish(model | {"in.b": np.full(128, np.nan, np.float32)})
    assert server.current() is None
    server.publish(model)
    one = client(place, tmp_path, 1)
    with pytest.raises(InvalidArgument, match="call receive first"):
        one.send(model, weight=1)
    one.receive()
    for after in (
        model | {"in.b": np.full(128, np.nan, np.float32)},
        model | {"in.b": np.zeros(127, np.float32)},
        {"in.b": model["in.b"]},
    ):
        with pytest.raises(InvalidArgument):
            one.send(after, weight=1)
    for weight in (0, -1, np.nan, np.inf):
        with pytest.raises(InvalidArgument):
            one.send(model, weight=weight)
    assert server.arrived(server.current()) == {}
    with pytest.raises(InvalidArgument):
        client(place, tmp_path, -1)
    with pytest.raises(InvalidArgument):
        client(place, tmp_path, 1, budget=2, tier="q4")
    with pytest.raises(InvalidArgument):
        Server(place, "run", key_every=0)
    p2uformat.pack(model, f"{place}#other/model")
    with pytest.raises(InvalidArgument, match="no model of a round"):
        Server(place, "other").current()


@pytest.mark.parametrize(
    "facts",
    [
        "",
        "[]",
        "{}",
        '{"round":0}',
        '{"round":true}',
        '{"round":1,"widths":[]}',
        '{"round":1,"widths":{"a":-1}}',
        '{"round":1,"widths":{"a":1},"drops":{"a":1.5}}',
        "[" * 10_000,
    ],
)
def test_facts_from_elsewhere(place, tmp_path, facts):
    from safetensors.numpy import save_file

    save_file(mlp.fresh(), tmp_path / "m.safetensors", metadata={"p2u.round": facts})
    p2uformat.pack(tmp_path / "m.safetensors", f"{place}#run/model")
    with pytest.raises(p2uformat.Malformed):
        Server(place, "run").current()


def test_facts_there_and_back():
    facts = Round(7, "r", {"a": 3}, {"a": 1}).facts()
    assert json.loads(facts["p2u.round"]) == {"round": 7, "widths": {"a": 3}, "drops": {"a": 1}}


def test_training_comes_along(place, tmp_path, digits):
    """Three clients of two budgets, lossy both ways, and a model that learns."""
    (values, labels), test = digits
    server = Server(place, "run")
    current = server.publish(mlp.fresh())
    parts = np.array_split(np.arange(len(values)), 3)
    budgets = (2.5, 4, 8)
    for number in range(5):
        for which, (part, budget) in enumerate(zip(parts, budgets, strict=True)):
            one = client(place, tmp_path, which, budget=budget)
            mine = one.receive()
            made = mlp.trained(mine.weights, values[part], labels[part], 30, seed=number)
            one.send(
                made,
                weight=len(part),
                quantizer=Levels("uniform", 4, bucket=512),
                metrics={"loss": mlp.loss(made, values[part], labels[part])},
            )
        gathered = server.gather(current)
        assert len(gathered.accepted) == 3
        for one in gathered.accepted:
            assert one.update.expected <= one.update.bound
            assert one.update.bits <= one.update.most
            assert one.metrics["loss"] > 0
        current = server.publish(gathered.weights)
    assert mlp.score(gathered.weights, *test) > 0.9


@pytest.mark.parametrize(
    ("last", "client"),
    [
        ("0", 0),
        (str(2**64 - 1), 2**64 - 1),
        (str(2**64), None),
        ("9" * 5000, None),
        ("01", None),
        ("-1", None),
        ("\N{SUPERSCRIPT TWO}", None),
    ],
)
def test_clients_have_64_bits(last, client):
    assert NAMES.client(f"{NAMES.updates(1)}/{last}") == client


def test_one_update_by_itself(place, tmp_path):
    server = Server(place, "run")
    model = mlp.fresh()
    first = server.publish(model, metadata={"what": "digits"})
    widest = 2**64 - 1
    one = client(place, tmp_path, widest)
    assert one.receive().metadata["what"] == "digits"
    sent = one.send(moved(model, 1), weight=2, quantizer=Levels("uniform", 4))
    with p2uformat.open(server.address(sent.root)) as artifact:
        assert (artifact.update.client, artifact.root) == (widest, sent.root)
    reader = server.reader(first)
    known = reader.read(widest, server.address(sent.root))
    (gathered,) = server.gather(first).accepted
    assert (known.accepted.update, known.accepted.weight) == (gathered.update, 2)
    assert set(known.difference) == set(model)
    assert reader.read(7, server.address(sent.root)).code == "other-client"
    assert reader.read(7, server.address("blake3:" + "0" * 64)).code == "not-found"
    with pytest.raises(InvalidArgument):
        client(place, tmp_path, widest + 1)
