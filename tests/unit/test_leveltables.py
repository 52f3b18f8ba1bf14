"""Tables of levels that are fitted: symmetric, always the same, never worse than uniform ones."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from p2uformat.quant.leveltables import (
    BINS,
    _representatives,
    fit_table,
    magnitude_counts,
    uniform,
)

patiently = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def stochastic_sum(table, values):
    table = np.array(table)
    below = np.clip(np.searchsorted(table, values, "right") - 1, 0, len(table) - 2)
    return float(((values - table[below]) * (table[below + 1] - values)).sum())


def nearest_sum(table, values):
    return float((np.abs(values[:, None] - np.array(table)[None]).min(1) ** 2).sum())


@pytest.mark.parametrize("s", [1, 2, 3, 8, 60, 127])
@pytest.mark.parametrize("kind", ["normal", "laplace", "one", "few", "wide"])
@pytest.mark.parametrize("stochastic", [True, False])
def test_a_fitted_table_is_no_worse_than_uniform(s, kind, stochastic):
    rng = np.random.default_rng(s)
    values = {
        "normal": np.abs(rng.standard_normal(3000)) / 5,
        "laplace": np.abs(rng.laplace(0, 0.03, 3000)),
        "one": np.full(3000, 0.3),
        "few": rng.choice([0.0, 0.01, 0.5, 1.0], 3000),
        "wide": np.exp(rng.uniform(-20, 0, 3000)),
    }[kind].clip(0, 1)
    counts = magnitude_counts(values)
    assert counts.sum() == 3000
    assert len(counts) == BINS
    table = fit_table(counts, s, stochastic=stochastic)
    assert len(table) == 2 * s + 1
    assert list(table) == [-x for x in table[::-1]]
    assert all(b > a for a, b in itertools.pairwise(table))
    assert table == fit_table(counts.copy(), s, stochastic=stochastic)
    if stochastic:
        assert table[-1] == 1
    cost = stochastic_sum if stochastic else nearest_sum
    # What is counted by bins is as good as numbers in their middles.
    middles = np.repeat(np.array(_representatives()) / _representatives()[-1], counts)
    assert cost(table, middles) <= cost(uniform(s), middles) * (1 + 1e-6) + 1e-12


@patiently
@given(
    st.lists(
        st.tuples(
            st.one_of(st.floats(0, 1), st.sampled_from([0.0, 0.25, 1 / 3, 0.5, 2 / 3, 1.0])),
            st.integers(1, 10**6),
        ),
        min_size=1,
        max_size=12,
    ),
    st.integers(1, 9),
    st.booleans(),
)
def test_no_magnitudes_make_a_fitted_table_worse_than_uniform(drawn, s, stochastic):
    counts = np.zeros(BINS, np.int64)
    for value, times in drawn:
        counts += times * magnitude_counts(np.array([value]))
    held = np.flatnonzero(counts)
    middles = np.array(_representatives())[held] / _representatives()[-1]
    sums = []
    for table in (fit_table(counts, s, stochastic=stochastic), uniform(s)):
        levels = np.array(table)
        below = np.clip(np.searchsorted(levels, middles, "right") - 1, 0, len(levels) - 2)
        low, high = middles - levels[below], levels[below + 1] - middles
        each = low * high if stochastic else np.minimum(low * low, high * high)
        sums.append(float((each * counts[held]).sum()))
    assert sums[0] <= sums[1] * (1 + 1e-9) + 1e-20 * counts.sum()
