"""The number of levels from round to round."""

import math

import pytest

from p2uformat import InvalidArgument
from p2uformat.federated import ElasticLevels


@pytest.mark.parametrize(
    ("losses", "levels"),
    [([], 3), ([2.0], 3), ([2.0, 2.0], 3), ([2.0, 0.5], 6), ([2.0, 0.51], 6), ([2.0, 8.0], 2)],
)
def test_the_rule(losses, levels):
    rule = ElasticLevels(start=3)
    for loss in losses:
        rule = rule.after(loss)
    assert rule.levels == levels
    expected = math.ceil(3 * math.sqrt(losses[0] / losses[-1])) if losses else 3
    assert levels == expected


def test_momentum_smooths():
    rule = ElasticLevels(start=2, momentum=0.5).after(4.0).after(0.0)
    assert rule.loss == 2.0
    assert rule.levels == 3


def test_ends():
    assert ElasticLevels(start=2, most=9).after(1.0).after(0.0).levels == 9
    assert ElasticLevels(start=2, most=9).after(1.0).after(1e-9).levels == 9
    assert ElasticLevels(start=2).after(0.0).after(1.0).levels == 2
    assert ElasticLevels(start=2).after(1e-9).after(1e9).levels == 1


@pytest.mark.parametrize(
    "given",
    [
        {"start": 0},
        {"start": 5, "most": 4},
        {"most": 128},
        {"momentum": 1.0},
        {"first": 1.0},
        {"first": math.nan, "loss": 1.0},
        {"unknown": 1},
    ],
)
def test_refusals(given):
    with pytest.raises(InvalidArgument):
        ElasticLevels.from_dict(given)
    for loss in (-1.0, math.nan, math.inf):
        with pytest.raises(InvalidArgument):
            ElasticLevels().after(loss)
