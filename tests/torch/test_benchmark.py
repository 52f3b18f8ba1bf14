"""The measurement of compressed parameters runs once on a tiny model, so that it cannot rot."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from benchmarks import live, livenets


def test_a_peak_is_what_was_there_at_once():
    def step():
        kept = torch.empty(1 << 18)
        del kept
        return torch.empty(1 << 17)

    assert 4 << 18 <= live.peak(step) < 4.1 * (1 << 18)
    assert live.left(step) == 4 << 17


@pytest.mark.parametrize("number", [0, 1, 2])
def test_every_model_is_measured(number, tmp_path):
    draw = torch.Generator().manual_seed(0)
    words = torch.randint(0, 30, (8, 5), generator=draw)
    images, kinds = torch.randn(8, 3, 32, 32, generator=draw), torch.arange(8)
    jobs = [
        livenets.Job(
            "words", lambda: livenets.Net(30, 32), (words, words), (words, words), 4, 2, 0.1
        ),
        livenets.Job("rest", livenets._resnet20, (images, kinds), (images, kinds), 2, 0, 0.1),
    ]
    if number == 2:
        pytest.importorskip("sklearn")
        jobs = [dataclasses.replace(livenets.jobs(None)[0], steps=1)]
    section = live.run([jobs[number % len(jobs)]], 1)
    (row,) = section.tables[0].rows
    assert len(row) == len(section.tables[0].columns)
    assert row[2] < 0.6 * row[1]
    assert row[3] == pytest.approx(100 - 100 * row[2] / row[1])
    assert len(section.checks) == (2 if number == 1 else 3)
