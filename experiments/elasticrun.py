"""Distributed training whose updates go up as codes of levels, of a fixed number or a rule's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from benchmarks.sources import Array
from experiments import fedtasks
from experiments.fedcarry import Plain, Want, scratch
from experiments.fedlocal import learn
from experiments.fedtasks import SPLITS, Task, dealt
from p2uformat import Levels
from p2uformat.federated import ElasticLevels

__all__ = ["FP32", "Course", "Rule", "distributed", "run"]

MOMENTUM = 0.8  # of the loss that the rule follows


@dataclass(frozen=True, slots=True)
class Rule:
    """How updates are quantized.

    Parameters
    ----------
    table
        None for fp32.
    s
        Levels above 0, of the first round if it is elastic.
    elastic
        Whether their number follows the loss.
    norm
        Of buckets.
    """

    table: str | None
    s: int = 0
    elastic: bool = False
    norm: str = "l2"

    @property
    def name(self) -> str:
        """What to print."""
        if self.table is None:
            return "fp32"
        if self.table == "fitted":
            return "elastic, fitted tables" if self.elastic else "fitted tables"
        start = "elastic, " if self.elastic else ""
        known = {"uniform": "uniform levels" if self.elastic else "QSGD", "exponential": "NUQSGD"}
        return start + known[self.table]

    def levels(self, s: int, seed: int) -> Levels | None:
        """Return the quantizer of a round."""
        if self.table is None:
            return None
        return Levels(self.table, s, norm=self.norm, seed=seed)


FP32 = Rule(None)


@dataclass(slots=True)
class Course:
    """What became of it.

    Parameters
    ----------
    loss, score
        Of all training rows, and of the test, after each round.
    up
        Bytes of all clients until then.
    levels
        Levels above 0 of each round.
    over_variance, over_bits
        Updates whose expected variance, or whose bits, were above their bound.
    share
        The largest expected variance over its bound, and bits over theirs.
    drawn
        Measured variance over expected, of each update.
    """

    loss: list[float] = field(default_factory=list)
    score: list[float] = field(default_factory=list)
    up: list[int] = field(default_factory=list)
    levels: list[int] = field(default_factory=list)
    over_variance: int = 0
    over_bits: int = 0
    share: tuple[float, float] = (0.0, 0.0)
    drawn: list[float] = field(default_factory=list)

    def at(self, spent: float) -> float:
        """Return the loss that so many bytes had bought, between rounds by a straight line."""
        return float(np.interp(spent, self.up, self.loss))


def distributed(task: Task, rounds: int) -> Task:
    """Return a task as it is trained here: four clients, one step a round."""
    return replace(task, clients=4, steps=1, rate=0.2, rounds=rounds)


def run(
    task: Task, rule: Rule, split: str, seed: int, work: Path, most: int | None = None
) -> Course:
    """Train for the task's rounds, or until so many bytes went up."""
    rows = dealt(task.train[1], task.clients, SPLITS[split], seed)
    course = Course()
    with scratch(work) as folder:
        carrier = Plain(Path(folder))
        weights = task.fresh(seed)
        count = ElasticLevels(max(rule.s, 1), MOMENTUM)
        for number in range(task.rounds):
            carrier.publish(weights)
            s = count.levels if rule.elastic else rule.s
            loss = _round(carrier, task, rule.levels(s, seed), rows, (seed, number), course)
            count = count.after(loss)
            weights = carrier.gather()
            score, train = task.score(weights)
            course.score.append(score)
            course.loss.append(train)
            course.levels.append(s)
            if most is not None and course.up[-1] > most:
                break
    return course


def _round(
    carrier: Plain,
    task: Task,
    quantizer: Levels | None,
    rows: Sequence[Array],
    drawn: tuple[int, int],
    course: Course,
) -> float:
    total, losses = course.up[-1] if course.up else 0, []
    for client, mine in enumerate(rows):
        got = carrier.receive(client, Want(8, mixed=False))
        learnt = learn(task, got.weights, mine, (*drawn, client))
        forms = None
        if quantizer is not None:
            forms = {name: quantizer for name, value in got.weights.items() if value.ndim > 1}
        sent = carrier.send(client, learnt.weights, got.weights, forms, float(len(mine)))
        total += sent.bytes
        losses.append(learnt.loss)
        info = sent.info
        if info is not None and info.expected is not None and info.bound is not None:
            course.over_variance += info.expected > info.bound
            course.over_bits += info.bits > info.most
            shares = info.expected / info.bound, info.bits / info.most
            course.share = max(course.share[0], shares[0]), max(course.share[1], shares[1])
            course.drawn.append(info.variance / info.expected)
    course.up.append(total)
    return float(np.mean(losses))


def known(place: tuple[Path | None, bool], rounds: int) -> Task:
    """Return the digits, as they are trained here.

    Raises
    ------
    LookupError
        Without scikit-learn.
    """
    data, quick = place
    return distributed(fedtasks.find("digits", data, quick=quick), rounds)
