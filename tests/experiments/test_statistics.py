"""Error bars against their definitions."""

from __future__ import annotations

import doctest
import importlib
import math

import numpy as np
import pytest

from experiments.statistics import Mean, Paired, mean_of, paired


def test_the_standard_error_is_that_of_the_mean_of_the_differences():
    rng = np.random.default_rng(0)
    first = rng.normal(5, 3, 400)
    second = first - 0.5 + rng.normal(0, 0.1, 400)
    found = paired(first, second)
    lost = first - second
    assert found.lost.value == pytest.approx(lost.mean())
    assert found.lost.error == pytest.approx(lost.std(ddof=1) / 20)
    # What both have in common adds nothing: unpaired it would be forty times as large.
    assert found.lost.error < 0.05 * math.hypot(first.std() / 20, second.std() / 20)


def test_the_standard_error_covers_the_truth_about_two_times_in_three():
    rng = np.random.default_rng(1)
    inside = 0
    for _ in range(600):
        first, second = rng.random(300) < 0.8, rng.random(300) < 0.75
        found = paired(first.astype(float), second.astype(float)).lost
        inside += abs(found.value - 0.05) <= found.error
    assert 0.62 < inside / 600 < 0.75


def test_items_that_got_worse_and_better_are_counted():
    found = paired(np.array([100.0, 100, 0, 0, 100]), np.array([0.0, 100, 100, 0, 0]))
    assert (found.worse, found.better, found.lost.value) == (2, 1, 20)


@pytest.mark.parametrize(
    ("worse", "better", "chance"),
    [(0, 0, 1.0), (1, 0, 1.0), (5, 0, 2 / 32), (10, 0, 2 / 1024), (6, 2, 2 * 37 / 256), (3, 3, 1)],
)
def test_mcnemar_is_the_binomial_tail(worse, better, chance):
    assert Paired(Mean(0, 0, 9), worse, better).chance == pytest.approx(chance)
    assert Paired(Mean(0, 0, 9), better, worse).chance == pytest.approx(chance)


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(ValueError, match="items"):
        paired(np.zeros(3), np.zeros(4))
    with pytest.raises(ValueError, match="no values"):
        mean_of([])
    assert mean_of([2.0]) == Mean(2.0, None, 1)


@pytest.mark.parametrize("name", ["naive", "statistics"])
def test_examples(name):
    module = importlib.import_module(f"experiments.{name}")
    found = doctest.testmod(module)
    assert found.attempted > 0
    assert found.failed == 0
