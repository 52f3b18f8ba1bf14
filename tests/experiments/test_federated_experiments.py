"""What the experiments of federated training stand on; and that they can be repeated."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("sklearn")

from experiments import elasticrun, fedlinks, fedlocal, fedrun, fedtasks  # noqa: E402
from experiments.elasticrun import Rule  # noqa: E402
from experiments.fedcarry import Files, Through, Want  # noqa: E402

FACTS = 600  # bytes that a model of a store has more: the number of its round, widths
METHODS = {method.kind: method for method in fedrun.METHODS if method.width is None}


@pytest.fixture(scope="module")
def task():
    return replace(fedtasks.find("digits", None, quick=True), rounds=2, clients=4, steps=2)


def test_rows_are_dealt_out_once_and_unevenly_if_asked(task):
    labels = task.train[1]
    even = fedtasks.dealt(labels, 8, None, 3)
    uneven = fedtasks.dealt(labels, 8, 0.3, 3)
    for rows in (even, uneven):
        assert sorted(np.concatenate(rows)) == list(range(len(labels)))
    assert max(map(len, even)) - min(map(len, even)) <= 1
    assert min(map(len, uneven)) >= 24
    kinds = [len(np.unique(labels[rows])) for rows in uneven]
    assert min(kinds) < 10
    again = fedtasks.dealt(labels, 8, 0.3, 3)
    assert all((a == b).all() for a, b in zip(uneven, again, strict=True))


def test_a_plane_that_is_nearly_empty_is_dropped(task):
    weights = task.fresh(0)
    rng = np.random.default_rng(0)
    full = rng.uniform(-1, 1, weights["0.weight"].shape).astype(np.float32)
    sparse = full * np.float32(0.4)
    sparse[0, 0] = 1
    weights |= {"0.weight": full}
    widths = {"0.weight": 4}
    still = replace(task, rate=0.0)
    rows = np.arange(50)
    lasso = fedlocal.Lasso(strength=0.0)
    kept = fedlocal.learn(still, weights, rows, (0,), lasso, widths)
    assert kept.drops == {"0.weight": 0}
    weights |= {"0.weight": sparse}
    dropped = fedlocal.learn(still, weights, rows, (0,), lasso, widths)
    assert dropped.drops == {"0.weight": 1}
    assert dropped.weights["0.weight"].max() == 0.5
    last = fedlocal.learn(still, weights, rows, (0,), lasso, {"0.weight": 1})
    assert last.drops == {"0.weight": 0}


def test_the_lasso_empties_top_planes(task):
    def inside(strength):
        lasso = fedlocal.Lasso(strength=strength)
        found = fedlocal.learn(
            replace(task, steps=8), task.fresh(0), np.arange(200), (0,), lasso, {"2.weight": 4}
        )
        half = float(abs(task.fresh(0)["2.weight"]).max()) / 2
        layer = torch.from_numpy(found.weights["2.weight"])
        return float(fedlocal.top_plane(layer, half).sum())

    assert inside(1e-2) < 0.8 * inside(0.0)


def test_files_move_what_a_store_moves(task, tmp_path):
    """Widths that grow and shrink, over a chain and a key frame."""
    for name in ("files", "store"):
        (tmp_path / name).mkdir()
    files = Files(tmp_path / "files", key_every=3)
    through = Through(tmp_path / "store", key_every=3)
    weights = task.fresh(0)
    rng = np.random.default_rng(0)
    for widths in (None, dict.fromkeys(weights, 3), dict.fromkeys(weights, 6), None):
        for carrier in (files, through):
            carrier.publish(weights, widths, {} if widths else None)
        for client, width in enumerate((2, 4, 8)):
            want = Want(width, mixed=True)
            one, other = files.receive(client, want), through.receive(client, want)
            assert one.widths == other.widths
            assert 0 <= other.moved - one.moved <= FACTS
            assert one.used == other.used <= 1
            for name, value in other.weights.items():
                np.testing.assert_array_equal(one.weights[name], value)
        weights = {
            name: value + rng.normal(0, 0.01, value.shape).astype(np.float32)
            for name, value in weights.items()
        }


@pytest.mark.parametrize("kind", ["rule", "fixed"])
def test_runs_through_a_store_come_to_the_same(task, tmp_path, kind):
    runs = [
        fedrun.run(task, METHODS[kind], "iid", 1, tmp_path, through=through)
        for through in (False, True)
    ]
    assert runs[0].score == runs[1].score
    assert runs[0].loss == runs[1].loss
    for planned, moved in zip(runs[0].down, runs[1].down, strict=True):
        assert 0 <= moved - planned <= FACTS * task.clients
    assert runs[0].used <= 1


def test_elastic_levels_follow_the_loss_and_runs_are_repeatable(task, tmp_path):
    small = elasticrun.distributed(task, 6)
    rule = Rule("uniform", 2, elastic=True)
    course = elasticrun.run(small, rule, "iid", 0, tmp_path)
    assert course.levels[0] == 2
    assert course.loss == elasticrun.run(small, rule, "iid", 0, tmp_path).loss
    assert (course.over_variance, course.over_bits) == (0, 0)
    assert max(course.share) <= 1
    assert elasticrun.run(small, rule, "iid", 0, tmp_path, 1).up == course.up[:1]
    fixed = elasticrun.run(small, Rule("uniform", 2), "iid", 0, tmp_path)
    assert set(fixed.levels) == {2}


def test_the_simulation_is_arithmetic():
    sizes = {2: (1e5, 1e5), 4: (2e5, 2e5), 6: (3e5, 3e5), 8: (4e5, 4e5), 32: (2e6, 2e6)}
    shown, curves = fedlinks.simulated(fedlinks.Sizes("model", sizes, sizes))
    rows = {row[1]: row for row in shown.rows if row[0] == "later"}
    # The slowest of 1,000 links has 1 Mbit/s: 4 MB take 32 s of it, beside training.
    assert rows["fp32"][5] == pytest.approx(fedlinks.COMPUTE + 32)
    assert rows["4 bits for all"][5] == pytest.approx(fedlinks.COMPUTE + 3.2)
    within = {way: row[6] for way, row in rows.items()}
    assert within["chosen per link"] >= within["4 bits for all"] >= within["fp32"]
    assert 2 <= rows["chosen per link"][2] <= 8
    assert len({row[0] for row in curves.rows}) == len(rows)
    assert fedlinks.simulated(fedlinks.Sizes("model", sizes, sizes))[0] == shown
