"""A program that answers from the first tier while the rest arrives, beside one that waits."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

import p2uformat
from benchmarks import sources
from benchmarks.fetchservers import Web, ending, link, serving
from benchmarks.report import Cell, Check, Section, Table
from experiments import models, plots
from experiments.models import Model
from experiments.setting import Experiment, Setting
from experiments.transfers import MBIT
from p2uformat.torch import save_file

__all__ = ["EXPERIMENT", "run"]

FAST, SLOW = 10.0, 1.0  # Mbit/s
MOST_OF_PLAIN = 0.2  # of the time until the plain file answers, at FAST
_WARM = "warm.p2u"
_PARTS = 24  # of the time that a program runs, whose answers are counted together
_ROOT = Path(__file__).resolve().parents[1]
COLUMNS = (
    *("model", "link, Mbit/s", "program", "tier", "here after, s", "first answer, s"),
    *("bytes", "score of all items", "answers", "right, %"),
)
NOTE = (
    "Programs of their own, one thread, that answer ten items at a time in one drawn order, "
    "over and over; the clock starts when they ask for the model, after a small one was "
    "fetched and used, so that imports count for neither. `Here after`: the tier is in the "
    "module. Bytes: chunks of the tiers so far, or the file. Score of all items: what the "
    "module at this tier gets right of the whole test, counted apart; answers and right: "
    "what the program did while it was at this tier. A program goes on for half a second "
    "after it has everything."
)


@dataclass(frozen=True, slots=True)
class _Ran:
    """What a program printed, of one model over one link."""

    model: Model
    mbit: float
    program: str
    lines: list[dict[str, float | str]]
    scores: dict[str, float]

    def arrivals(self) -> list[dict[str, float | str]]:
        return [line for line in self.lines if "came" in line]

    def answers(self, tier: str | None = None) -> list[dict[str, float | str]]:
        mine = [line for line in self.lines if "count" in line]
        return [line for line in mine if tier is None or line["tier"] == tier]

    def first(self) -> float:
        return float(self.answers()[0]["at"])


def run(setting: Setting) -> Section:
    """Run both programs over each link."""
    found = [model for model in [models.digits(setting.work)] if model is not None]
    if not setting.quick:
        found += [model for model in models.real(setting.data) if not model.text]
    with tempfile.TemporaryDirectory(dir=setting.work) as held:
        ran = _ran(found, setting, Path(held))
    tables = [_table(ran), _over_time(ran)]
    notes = [] if len(found) > 1 else ["**Digits only: the real models are not here.**"]
    title = "Answering while the model arrives (`p2uformat.torch.stream`)"
    return Section("live", title, tables, _checks(ran), {}, notes)


def _ran(found: Sequence[Model], setting: Setting, folder: Path) -> list[_Ran]:
    served, mine = folder / "served", folder / "mine"
    served.mkdir()
    mine.mkdir()
    save_file(torch.nn.Linear(64, 64).state_dict(), served / _WARM)
    ran = []
    with serving(served, mine) as web:
        for model in found:
            scores = _packed(model, served)
            ran += _both(model, web, FAST, scores, setting)
        for model in found[-2:-1] if len(found) > 2 else ():
            ran += _both(model, web, SLOW, scores_of(ran, model), setting)
    return ran


def scores_of(ran: Sequence[_Ran], model: Model) -> dict[str, float]:
    """Return the scores of a model that ran already."""
    return next(one.scores for one in ran if one.model is model)


def _packed(model: Model, served: Path) -> dict[str, float]:
    """Lay a model out to be served, and return the score of each tier."""
    original = sources.read(model.path)
    (served / f"{model.key}.safetensors").write_bytes(model.path.read_bytes())
    path = served / f"{model.key}.p2u"
    p2uformat.pack(model.path, path)
    whole = model.score(model.scores(original))
    with p2uformat.open(path) as artifact:
        rough = {t: model.score(model.scores(artifact.load(tier=t))) for t in ("q4", "q8")}
    return {**rough, "exact": whole, "plain": whole}


def _both(
    model: Model, web: Web, mbit: float, scores: dict[str, float], setting: Setting
) -> list[_Ran]:
    ran = []
    for program, ending_, more in (
        ("stream", "p2u", ()),
        ("download, then load", "safetensors", ("--plain",)),
    ):
        with link(web, mbit * MBIT) as url:
            own = f"{url}/{model.key}.{ending_}", f"{url}/{_WARM}"
            lines = _program(model, own, setting, more)
        ran.append(_Ran(model, mbit, program, lines, scores))
    return ran


def _program(
    model: Model, urls: Sequence[str], setting: Setting, more: Sequence[str]
) -> list[dict[str, float | str]]:
    """Run the program and return what it printed."""
    command = [sys.executable, "-m", "experiments.program", model.key, *urls, *more]
    command += ["--work", str(setting.work)]
    command += ["--data", str(setting.data)] if setting.data is not None else []
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=_ROOT)
    with ending(process), process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.readline()
        process.stdin.write(b"go\n")
        process.stdin.flush()
        text = process.stdout.read()
        if process.wait() != 0:
            message = f"the program failed: {process.returncode}"
            raise RuntimeError(message)
    return [json.loads(line) for line in text.splitlines()]


def _table(ran: Sequence[_Ran]) -> Table:
    rows: list[list[Cell]] = []
    for one in ran:
        for arrival in one.arrivals():
            tier = str(arrival["came"])
            answers = one.answers(tier)
            count = sum(int(line["count"]) for line in answers)
            right = sum(int(line["right"]) for line in answers)
            row: list[Cell] = [one.model.name, one.mbit, one.program, tier, float(arrival["at"])]
            row += [float(answers[0]["at"]) if answers else None, int(arrival["bytes"])]
            row += [one.scores[tier], count, 100 * right / count if count else None]
            rows.append(row)
    return Table("When each tier is there", COLUMNS, rows, NOTE)


def _over_time(ran: Sequence[_Ran]) -> Table:
    """Return what was answered in each part of the time; `live.png` shows it."""
    rows: list[list[Cell]] = []
    for one in ran:
        wide = max(float(line["at"]) for line in one.answers()) / _PARTS
        bins: dict[int, list[int]] = {}
        for line in one.answers():
            into = bins.setdefault(int(float(line["at"]) / wide), [0, 0])
            into[0] += int(line["count"])
            into[1] += int(line["right"])
        for number, (count, right) in sorted(bins.items()):
            rows.append([one.model.name, one.mbit, one.program, (number + 1) * wide, count, right])
    columns = ("model", "link, Mbit/s", "program", "until, s", "answers", "right")
    return Table("Answers over time", columns, rows, shown=False)


def _checks(ran: Sequence[_Ran]) -> list[Check]:
    checks = []
    for stream, plain in zip(ran[::2], ran[1::2], strict=True):
        if stream.mbit != FAST:
            continue
        share = stream.first() / plain.first()
        what = f"first answer from q4 / from the plain file, {FAST:g} Mbit/s, {stream.model.name}"
        checks.append(Check(what, share, "<=", MOST_OF_PLAIN))
    return checks


EXPERIMENT = Experiment("live", run, {"live.png": plots.live})
