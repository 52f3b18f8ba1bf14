"""Widths under budgets: never above, the same everywhere, as little lost as can be."""

import itertools
import math
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import p2uformat
from p2uformat import InvalidArgument
from p2uformat.federated import (
    Layer,
    average_widths,
    layers_of,
    plan_widths,
    prune_and_grow,
    used_bits,
)


@st.composite
def layers(draw, most=5):
    made = []
    for number in range(draw(st.integers(1, most))):
        widths = sorted(draw(st.sets(st.integers(1, 8), min_size=1, max_size=5)))
        weights = draw(st.integers(1, 1000))
        sizes = itertools.accumulate(draw(st.integers(0, 3000)) for _ in widths)
        falls = [draw(st.integers(0, 10**6)) for _ in widths]
        errors = list(itertools.accumulate(reversed(falls)))[::-1]
        made.append(
            Layer(
                f"l{number}",
                weights,
                dict(zip(widths, sizes, strict=True)),
                dict(zip(widths, errors, strict=True)),
            )
        )
    return made


def total(made):
    return sum(layer.weights for layer in made)


def least(made):
    return sum(min(layer.bits.values()) for layer in made)


@given(layers(), st.floats(0.01, 20), st.randoms())
@settings(deadline=None)
def test_never_above_and_in_any_order_the_same(made, budget, rng):
    limit = budget * total(made)
    if least(made) > limit:
        with pytest.raises(InvalidArgument, match="the ladder begins at"):
            plan_widths(made, budget)
        return
    widths = plan_widths(made, budget)
    shuffled = list(made)
    rng.shuffle(shuffled)
    assert plan_widths(shuffled, budget) == widths
    assert used_bits(made, widths) <= limit
    for layer in made:
        wider = [w for w in layer.widths if w > widths[layer.name]]
        if wider:
            more = layer.bits[wider[0]] - layer.bits[widths[layer.name]]
            assert used_bits(made, widths) + more > limit


@given(layers(most=3), st.floats(0, 1))
@settings(deadline=None, max_examples=60)
def test_nothing_better_uses_as_little(made, share):
    """A larger loss than the best by no more than one step of one layer."""
    low, high = least(made), sum(max(layer.bits.values()) for layer in made)
    limit = math.ceil(low + share * (high - low))
    widths = plan_widths(made, (limit + 0.5) / total(made))
    by_name = {layer.name: layer for layer in made}

    def lost(chosen):
        return sum(by_name[name].errors[w] for name, w in chosen.items())

    best = min(
        lost(dict(zip(by_name, chosen, strict=True)))
        for chosen in itertools.product(*(layer.widths for layer in made))
        if used_bits(made, dict(zip(by_name, chosen, strict=True))) <= limit
    )
    step = max(max(layer.errors.values()) - min(layer.errors.values()) for layer in made)
    assert best <= lost(widths) <= best + step


@given(layers(), st.floats(0.01, 20), st.data())
@settings(deadline=None)
def test_pruned_and_grown(made, budget, data):
    start = {layer.name: data.draw(st.integers(1, 8)) for layer in made}
    drops = {layer.name: data.draw(st.integers(0, 3)) for layer in made}
    limit = budget * total(made)
    if least(made) > limit:
        with pytest.raises(InvalidArgument, match="the ladder begins at"):
            prune_and_grow(made, start, budget, drops)
        return
    widths = prune_and_grow(made, start, budget, drops)
    assert used_bits(made, widths) <= limit
    assert prune_and_grow(made[::-1], start, budget, drops) == widths
    for layer in made:
        wider = [w for w in layer.widths if w > widths[layer.name]]
        if wider:
            more = layer.bits[wider[0]] - layer.bits[widths[layer.name]]
            assert used_bits(made, widths) + more > limit


def plain(name, weights):
    return Layer(
        name,
        weights,
        {w: w * weights for w in range(1, 9)},
        {w: 8 - w for w in range(1, 9)},
    )


def test_the_rule_by_hand():
    """Pruned from the largest weights times bits lost; grown from the other end."""
    made = [plain("a", 100), plain("b", 200), plain("c", 50)]
    assert prune_and_grow(made, {"a": 8, "b": 8, "c": 8}, 8 - 199 / 350) == {
        "a": 8,
        "b": 7,
        "c": 8,
    }
    # c lost four bits: 50 * 5 is more than 200 * 1.
    assert prune_and_grow(made, {"a": 8, "b": 8, "c": 8}, 8 - 49 / 350, {"c": 4}) == {
        "a": 8,
        "b": 8,
        "c": 7,
    }
    assert prune_and_grow(made, {"a": 4, "b": 4, "c": 4}, 4 + 151 / 350) == {
        "a": 5,
        "b": 4,
        "c": 5,
    }
    assert prune_and_grow(made, {"a": 1, "b": 1, "c": 1}, 8) == {"a": 8, "b": 8, "c": 8}


def test_averages():
    assert average_widths([({"a": 1}, 1), ({"a": 2}, 1)]) == {"a": 2}
    assert average_widths([({"a": 1}, 1.5), ({"a": 2}, 1)]) == {"a": 1}
    for reports in ([], [({"a": 1}, 0)], [({"a": 1}, math.nan)], [({"a": 1}, 1), ({"b": 1}, 1)]):
        with pytest.raises(InvalidArgument):
            average_widths(reports)


def test_refusals():
    for budget in (0, -1, math.nan, math.inf):
        with pytest.raises(InvalidArgument):
            plan_widths([plain("a", 10)], budget)
    with pytest.raises(InvalidArgument, match="no layer"):
        plan_widths([], 4)
    with pytest.raises(InvalidArgument, match="no width for 'a'"):
        prune_and_grow([plain("a", 10)], {}, 4)
    with pytest.raises(InvalidArgument, match="without widths"):
        Layer("a", 10, {}, {})
    with pytest.raises(InvalidArgument, match="smaller"):
        Layer("a", 10, {2: 20, 3: 10}, {2: 1, 3: 0})


def test_layers_of_a_ladder(tmp_path):
    """What is planned is what is fetched: bytes too stay under the budget."""
    rng = np.random.default_rng(0)
    model = {
        f"l{i}": (rng.standard_normal((96, 96)) * 2.0**-i).astype(np.float32) for i in range(6)
    }
    model["bias"] = rng.standard_normal(96).astype(np.float32)
    path = tmp_path / "m.p2u"
    tiers = "q2,q3,q4,q5,q6,q7,q8,exact"
    p2uformat.pack(model, path, tiers=tiers, chunk_per_tensor=True)
    with p2uformat.open(path) as artifact:
        made = layers_of(artifact)
        again = layers_of(artifact, {"l0": 100.0})
        with pytest.raises(InvalidArgument, match="sensitivity"):
            layers_of(artifact, {"l0": -1.0})
        infos = {name: artifact.info(name) for name in artifact}
    assert [layer.name for layer in made] == [f"l{i}" for i in range(6)]
    assert made[0].widths == tuple(range(2, 9))
    assert plan_widths(again, 4.5)["l0"] > plan_widths(made, 4.5)["l0"]
    for budget in (2, 3.3, 4, 6, 8):
        widths = plan_widths(made, budget)
        part = tmp_path / f"{budget}.p2u"
        p2uformat.fetch(path, part, tensors={name: f"q{w}" for name, w in widths.items()})
        stored = sum(sum(infos[name].stored[: width - 1]) for name, width in widths.items())
        assert 8 * stored <= budget * total(made)
        with p2uformat.open(part) as mine:
            assert all(mine.tier_for(name) == f"q{width}" for name, width in widths.items())


def test_a_ladder_without_widths(tmp_path):
    weights = np.random.default_rng(0).standard_normal((96, 96)).astype(np.float32)
    p2uformat.pack({"w": weights}, tmp_path / "m.p2u", quantizer="affine:4")
    with (
        p2uformat.open(tmp_path / "m.p2u") as artifact,
        pytest.raises(InvalidArgument, match="is a width"),
    ):
        layers_of(artifact)


def test_many_layers_are_no_matter():
    rng = random.Random(0)
    made = [plain(f"l{i}", rng.randrange(1, 10**6)) for i in range(2000)]
    widths = plan_widths(made, 4.37)
    assert 4.36 < used_bits(made, widths) / total(made) <= 4.37
