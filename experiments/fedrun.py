"""A federated run: rounds of a method on a task, and what they cost and came to."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from benchmarks.sources import Array
from experiments.fedcarry import Carrier, Files, Got, Plain, Through, Want, scratch
from experiments.fedlocal import Lasso, Learnt, learn
from experiments.fedtasks import SPLITS, Task, dealt
from p2uformat import Levels
from p2uformat.federated import average_widths

__all__ = ["BUDGETS", "METHODS", "History", "Method", "run"]

BUDGETS = (2, 4, 6, 8)


@dataclass(frozen=True, slots=True)
class Method:
    """How models and updates travel.

    Parameters
    ----------
    name
        What to print.
    kind
        ``fp32``, ``fixed``, ``plan`` or ``rule``.
    width
        Of all clients; None: each has that of its class.
    """

    name: str
    kind: str
    width: int | None = None


METHODS = (
    Method("fp32 FedAvg", "fp32"),
    Method("fixed 2, 4, 6, 8", "fixed"),
    Method("fixed 5 for all", "fixed", 5),
    Method("planned", "plan"),
    Method("pruned and grown", "rule"),
)


@dataclass(slots=True)
class History:
    """What came of each round, and of all.

    Parameters
    ----------
    score, loss
        Of the test, in percent; of all training rows; after each round.
    down, manifests, up
        Bytes of all clients in each round.
    widths
        Of each layer, on average over the clients, in each round.
    used
        The largest share of a budget that anyone used.
    classes
        Bytes down of the first client of each class, in each round.
    updates
        Bytes of its updates.
    dropped
        How many top planes clients dropped in all rounds.
    """

    score: list[float] = field(default_factory=list)
    loss: list[float] = field(default_factory=list)
    down: list[int] = field(default_factory=list)
    manifests: list[int] = field(default_factory=list)
    up: list[int] = field(default_factory=list)
    widths: list[dict[str, float]] = field(default_factory=list)
    used: float = 0.0
    classes: dict[int, list[int]] = field(default_factory=dict)
    updates: dict[int, list[int]] = field(default_factory=dict)
    dropped: int = 0

    @property
    def bytes(self) -> Array:
        """All that moved until the end of each round."""
        each = zip(self.down, self.manifests, self.up, strict=True)
        return np.cumsum([sum(three) for three in each])


def run(
    task: Task, method: Method, split: str, seed: int, work: Path, *, through: bool = False
) -> History:
    """Run all rounds.

    Parameters
    ----------
    task, method, split, seed
        What. The same seed gives the same first weights, rows and batches to every method.
    work
        Folder for files.
    through
        Whether all goes through a store.
    """
    with scratch(work) as held:
        folder = Path(held)
        carrier: Carrier
        if method.kind == "fp32":
            carrier = Plain(folder)
        else:
            carrier = Through(folder) if through else Files(folder)
        return _Run(task, method, dealt(task.train[1], task.clients, SPLITS[split], seed), seed).go(
            carrier
        )


class _Run:
    def __init__(self, task: Task, method: Method, rows: Sequence[Array], seed: int) -> None:
        self.task, self.method, self.rows, self.seed = task, method, rows, seed
        self.history = History()
        self.sensitivity: dict[str, float] = {}
        self.widths: dict[str, int] | None = None
        self.drops: dict[str, int] = {}
        self.rounds = 0

    def go(self, carrier: Carrier) -> History:
        weights = self.task.fresh(self.seed)
        for number in range(self.task.rounds):
            weights = self._round(carrier, weights, number)
            score, loss = self.task.score(weights)
            self.history.score.append(score)
            self.history.loss.append(loss)
        return self.history

    def _round(self, carrier: Carrier, weights: dict[str, Array], number: int) -> dict[str, Array]:
        ruled = self.method.kind == "rule"
        carrier.publish(weights, self.widths if ruled else None, self.drops if ruled else None)
        found: list[tuple[Got, Learnt]] = []
        up = []
        for client, rows in enumerate(self.rows):
            got = carrier.receive(client, self._want(client))
            drawn = self.seed, number, client
            lasso = Lasso() if ruled else None
            learnt = learn(self.task, got.weights, rows, drawn, lasso, got.widths)
            quantizer = self._quantizer(client, got, weights)
            sent = carrier.send(client, learnt.weights, got.weights, quantizer, float(len(rows)))
            found.append((got, learnt))
            up.append(sent.bytes)
        self._note(found, up)
        self._learn_widths(found)
        return carrier.gather()

    def _class(self, client: int) -> int:
        return self.method.width or BUDGETS[client % len(BUDGETS)]

    def _want(self, client: int) -> Want:
        mixed = self.method.kind in {"plan", "rule"}
        return Want(self._class(client), mixed, self.sensitivity)

    def _quantizer(
        self, client: int, got: Got, weights: Mapping[str, Array]
    ) -> dict[str, Levels] | None:
        if self.method.kind == "fp32":
            return None
        return {
            name: _levels(got.widths.get(name, self._class(client)), self.seed)
            for name, value in weights.items()
            if value.ndim > 1
        }

    def _note(self, found: Sequence[tuple[Got, Learnt]], up: Sequence[int]) -> None:
        history = self.history
        gots = [got for got, _ in found]
        history.down.append(sum(got.moved for got in gots))
        history.manifests.append(sum(got.manifest for got in gots))
        history.up.append(sum(up))
        history.used = max(history.used, *(got.used for got in gots))
        names = gots[0].widths
        history.widths.append(
            {name: float(np.mean([got.widths[name] for got in gots])) for name in names}
        )
        for client, width in enumerate(BUDGETS):
            history.classes.setdefault(width, []).append(gots[client].moved)
            history.updates.setdefault(width, []).append(up[client])

    def _learn_widths(self, found: Sequence[tuple[Got, Learnt]]) -> None:
        """Average what clients say of their layers, as the server passes it on."""
        self.rounds += 1
        for name, mean in self._sensitivity(found).items():
            before = self.sensitivity.get(name, mean)
            self.sensitivity[name] = before + (mean - before) / self.rounds
        if self.method.kind == "rule":
            found_rows = list(zip(found, self.rows, strict=True))
            self.history.dropped += sum(sum(learnt.drops.values()) for _, learnt in found)
            reports = [
                ({n: w - learnt.drops[n] for n, w in got.widths.items()}, float(len(rows)))
                for (got, learnt), rows in found_rows
            ]
            self.widths = average_widths(reports)
            lost = [(learnt.drops, float(len(rows))) for (_, learnt), rows in found_rows]
            self.drops = average_widths(lost)

    def _sensitivity(self, found: Sequence[tuple[Got, Learnt]]) -> dict[str, float]:
        """Average over clients; only how layers compare counts, so their sum is 1."""
        shares = np.array([len(rows) for rows in self.rows]) / sum(map(len, self.rows))
        names = list(found[0][0].widths)
        each = [[learnt.sensitivity[name] for name in names] for _, learnt in found]
        means = shares @ np.array(each)
        return dict(zip(names, (means / max(means.sum(), 1e-30)).tolist(), strict=True))


def _levels(width: int, seed: int) -> Levels:
    """Return the levels that a width has codes for: as many on each side of 0."""
    return Levels("uniform", max(1, 2 ** (width - 1) - 1), norm="max", seed=seed)


def at_bytes(history: History, spent: float) -> float:
    """Return the score that so many bytes had bought, between rounds by a straight line."""
    if math.isnan(spent):
        raise ValueError("no bytes")
    return float(np.interp(spent, history.bytes, history.score))
