"""ElastiQuant: levels of updates that follow the data and the loss.

Sudharsan et al.: ElastiQuant, SAC 2022 (doi 10.1145/3477314.3507135), by its relatives' formulas:
QSGD, NUQSGD, ALQ and AdaQuantFL.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

import p2uformat
from benchmarks.report import Cell, Check, Section, Table
from benchmarks.sources import Array
from experiments import elasticrun, fedplots, fedtasks
from experiments.elasticrun import FP32, Course, Rule
from experiments.fedlocal import learn
from experiments.fedpool import spread
from experiments.fedtasks import SPLITS, Task
from experiments.setting import Experiment, Setting
from experiments.statistics import mean_of
from p2uformat import Levels

__all__ = ["EXPERIMENT", "run"]

TUNING = 100  # the seed that settings are chosen with; those of the results are others
SETTINGS = {
    "QSGD": [Rule("uniform", s) for s in (1, 2, 4, 8)],
    "elastic, uniform levels": [Rule("uniform", s, elastic=True) for s in (1, 2, 4, 8)],
    "NUQSGD": [Rule("exponential", s) for s in (3, 5)],
    "elastic, fitted tables": [Rule("fitted", s, elastic=True) for s in (1, 2)],
}
ROUNDS, SPENT = 70, 1_200_000  # bytes up of all clients
DRAWS = 60
STEADY = np.linspace(0.5, 1, 13)  # single rounds are noisy: losses are means over these shares
TABLES = (
    *(("uniform", "l2", s) for s in (1, 4, 16, 32)),
    *(("exponential", "l2", s) for s in (4, 6)),
    *(("fitted", "l2", s) for s in (2, 4, 8)),
    *(("uniform", "max", s) for s in (1, 2, 4, 8)),
    *(("fitted", "max", s) for s in (2, 4, 8)),
)
Job = tuple[Rule, str, int]
Place = tuple[tuple[Path | None, bool], Path, int]


def run(setting: Setting) -> Section:
    """Measure all of it."""
    place = setting.data, setting.quick
    spent = SPENT // 24 if setting.quick else SPENT
    try:
        task = elasticrun.known(place, ROUNDS)
    except LookupError:
        return Section("elastiquant", TITLE, [], [], {}, ["Nothing to train: no scikit-learn."])
    sides = {k: v[:1] if setting.quick else v for k, v in SETTINGS.items()}
    where = (place, setting.work, spent)
    every = [(rule, "iid", TUNING) for rules in sides.values() for rule in rules]
    tried = dict(zip(every, spread(_one, every, where, setting), strict=True))
    best = {
        side: min(rules, key=lambda rule: _mean(tried[rule, "iid", TUNING], spent))
        for side, rules in sides.items()
    }
    jobs = [
        (rule, split, seed)
        for split in SPLITS
        for seed in range(setting.seeds)
        for rule in (FP32, *best.values())
    ]
    found = dict(zip(jobs, spread(_one, jobs, where, setting), strict=True))
    compared, checks = _compared(best, found, spent, setting)
    static, more = _tables(task)
    unbiased, also = _unbiased(task, 12 if setting.quick else DRAWS)
    tuned = _tuned(sides, best, tried, spent)
    claims = claims_of(compared, tuned, static)
    tables = [compared, _curves(found), tuned, static, unbiased, claims]
    every_course = [*tried.values(), *found.values()]
    every_check = [*checks, *_bounds(every_course), *more, *also]
    return Section("elastiquant", TITLE, tables, every_check, {}, [_note(task, spent)])


TITLE = "ElastiQuant: levels that follow the data and the loss"


def _note(task: Task, spent: int) -> str:
    return (
        f"Digits, {len(task.train[0]):,} rows to train on and {len(task.test[0]):,} to test; "
        f"{task.clients} clients, {task.steps} step of {task.batch} rows a round at a rate of "
        f"{task.rate:g}, until {spent:,} bytes went up (fp32: {ROUNDS} rounds). Each update is a "
        "file of `pack_update`, all of which counts, 2 kB of manifest too; buckets have 512 "
        "weights. Several steps a round and more clients made the rounding of all of these too "
        "small to matter: the cheapest was then the best."
    )


def _one(job: Job, place: Place) -> Course:
    rule, split, seed = job
    where, work, spent = place
    task = elasticrun.known(where, ROUNDS)
    if where[1]:
        task = elasticrun.distributed(task, 2)
    most = None if rule == FP32 else spent
    return elasticrun.run(task, rule, split, seed, work, most)


def _mean(course: Course, spent: int) -> float:
    return float(np.mean([course.at(spent * share) for share in STEADY]))


def _compared(
    best: dict[str, Rule], found: dict[Job, Course], spent: int, setting: Setting
) -> tuple[Table, list[Check]]:
    rows: list[list[Cell]] = []
    checks: list[Check] = []
    for split in SPLITS:
        plain = [found[best["QSGD"], split, seed] for seed in range(setting.seeds)]
        fp32 = [found[FP32, split, seed] for seed in range(setting.seeds)]
        loss = mean_of([float(np.mean(c.loss[-len(c.loss) // 2 :])) for c in fp32])
        rows.append([split, "fp32", None, loss.value, loss.error, None, None])
        rows[-1] += [fp32[0].up[-1], len(fp32[0].up)]
        for side, rule in best.items():
            mine = [found[rule, split, seed] for seed in range(setting.seeds)]
            loss = mean_of([_mean(course, spent) for course in mine])
            gain = mean_of(
                [
                    100 * (1 - _mean(a, spent) / _mean(b, spent))
                    for a, b in zip(mine, plain, strict=True)
                ]
            )
            counts = f"{mine[0].levels[0]} to {mine[0].levels[-1]}"
            row: list[Cell] = [split, side, counts, loss.value, loss.error]
            if side == "QSGD":
                rows.append([*row, None, None, spent, len(mine[0].up)])
                continue
            rows.append([*row, gain.value, gain.error, spent, len(mine[0].up)])
            if side.startswith("elastic"):
                what = f"lower training loss than QSGD at equal bytes up, {side}, {split}"
                checks.append(Check(f"{what} (± {gain.error or 0:.1f})", gain.value, ">=", 0, "%"))
    columns = (
        *("split", "updates", "levels above 0", "training loss", "±", "lower than QSGD, %", "±"),
        *("bytes up", "rounds (seed 0)"),
    )
    note = (
        "Loss: of all training rows, the mean between half and all of the bytes (fp32: of its "
        "second half of rounds, at far more bytes); mean and standard error over seeds. Lower than "
        "QSGD: of the same seed. Each side with the setting that was best in the trial below."
    )
    return Table("Loss at equal bytes up", columns, rows, note), checks


def _curves(found: dict[Job, Course]) -> Table:
    rows: list[list[Cell]] = [
        [split, rule.name, seed, number + 1, up, loss, score, s]
        for (rule, split, seed), c in found.items()
        for number, (up, loss, score, s) in enumerate(
            zip(c.up, c.loss, c.score, c.levels, strict=True)
        )
    ]
    columns = ("split", "updates", "seed", "round", "bytes up", "loss", "right, %", "levels")
    return Table("Round by round", columns, rows, shown=False)


def _tuned(
    sides: dict[str, list[Rule]], best: dict[str, Rule], tried: dict[Job, Course], spent: int
) -> Table:
    rows: list[list[Cell]] = [
        [
            side,
            rule.s,
            _mean(tried[rule, "iid", TUNING], spent),
            "chosen" if best[side] == rule else "",
        ]
        for side, rules in sides.items()
        for rule in rules
    ]
    note = (
        f"One run each, iid, with a seed ({TUNING}) that no result has: as many settings for QSGD "
        "as for the elastic rule."
    )
    return Table("What was tried", ("updates", "levels above 0, at first", "loss", ""), rows, note)


def claims_of(compared: Table, tuned: Table, static: Table) -> Table:
    """Say what came of what the paper says, from the other tables."""
    rows: list[list[Cell]] = []
    for side in ("elastic, uniform levels", "elastic, fitted tables"):
        for split, _, _, _, _, gain, error, *_ in (row for row in compared.rows if row[1] == side):
            here = _less(float(gain or 0), float(error or 0))
            sure = abs(float(gain or 0)) > 2 * float(error or 0)
            verdict = "no" if float(gain or 0) < 0 else "yes"
            claim = f"2 to 11 % less training loss than QSGD at equal bytes: {side}, {split}"
            rows.append([claim, here, verdict if sure else "not seen here"])
    losses = {(row[0], row[1]): float(row[2] or 0) for row in tuned.rows}
    best = min(loss for (side, _), loss in losses.items() if side == "elastic, uniform levels")
    for (kind, s), loss in losses.items():
        if kind == "QSGD":
            claim = f"the same for the best elastic rule, QSGD fixed at {s} above 0 (one seed)"
            lower = 100 * (1 - best / loss)
            rows.append([claim, _less(lower), "yes" if lower > 0 else "no"])
    found = {
        (row[0], row[1], row[2]): (float(row[3] or 0), float(row[5] or 0)) for row in static.rows
    }
    lower_by = [
        100 * (1 - variance / found["uniform", "max", levels][0])
        for (table, norm, levels), (variance, _) in found.items()
        if (table, norm) == ("fitted", "max") and ("uniform", "max", levels) in found
    ]
    shown = f"{min(lower_by):.0f} to {max(lower_by):.0f} % less"
    rows.append(["4 to 22 % less variance, for as many levels (fitted)", shown, "yes"])
    more = _at_equal_bits(found)
    shown = ", ".join(_less(-each) for each in more)
    verdict = "no" if max(more) > 0 else "yes"
    rows.append(["the same, for as many bits after entropy coding", shown, verdict])
    note = (
        "What a level costs is its entropy here, so levels that are far apart near 0 are nearly "
        "free; and clients' errors average out. Both speak for few levels from the first round to "
        "the last, which is what the trial chose for QSGD."
    )
    return Table("What the paper says, and what came of it", ("claim", "here", ""), rows, note)


def _less(value: float, error: float | None = None) -> str:
    beside = "" if error is None else f" ± {error:.1f}"
    return f"{abs(value):.1f}{beside} % {'less' if value > 0 else 'more'}"


def _at_equal_bits(found: dict[tuple[Cell, Cell, Cell], tuple[float, float]]) -> list[float]:
    """Return how much more variance fitted tables have than uniform ones of as many bits."""
    plain = sorted(
        (bits, variance)
        for (table, norm, _), (variance, bits) in found.items()
        if (table, norm) == ("uniform", "max")
    )
    bits, logs = [each[0] for each in plain], [math.log(each[1]) for each in plain]
    return [
        100 * (variance / math.exp(float(np.interp(at, bits, logs))) - 1)
        for (table, norm, _), (variance, at) in found.items()
        if (table, norm) == ("fitted", "max") and at <= bits[-1]
    ]


def _bounds(courses: Sequence[Course]) -> list[Check]:
    drawn = [value for course in courses for value in course.drawn]
    # A sum of many independent errors is near its mean; of small updates a few are not.
    mean = float(np.mean(drawn))
    share = max(c.share[0] for c in courses), max(c.share[1] for c in courses)
    return [
        Check(
            "updates whose variance is above its bound",
            sum(c.over_variance for c in courses),
            "<=",
            0,
        ),
        Check(
            "updates whose bits are above their bound", sum(c.over_bits for c in courses), "<=", 0
        ),
        Check(f"largest variance / bound, of {len(drawn):,} updates", share[0], "<=", 1),
        Check(f"largest bits / bound, of {len(drawn):,} updates", share[1], "<=", 1),
        Check(
            "measured variance / expected, mean of all updates, off 1 by", abs(mean - 1), "<=", 0.02
        ),
    ]


def _difference(task: Task) -> tuple[dict[str, Array], dict[str, Array]]:
    """Return the weights before and after a client's first round of several steps."""
    before = task.fresh(TUNING)
    rows = fedtasks.dealt(task.train[1], task.clients, None, TUNING)[0]
    return learn(task, before, rows, (TUNING,)).weights, before


def _tables(task: Task) -> tuple[Table, list[Check]]:
    after, before = _difference(task)
    weights = sum(value.size for value in before.values() if value.ndim > 1)
    beside = 32 * sum(value.size for value in before.values() if value.ndim == 1)
    rows: list[list[Cell]] = []
    with tempfile.TemporaryDirectory() as folder:
        for table, norm, s in TABLES:
            summary = p2uformat.pack_update(
                *(after, before, Path(folder, "update")),
                base=f"blake3:{0:064x}",
                quantizer=Levels(table, s, norm=norm),
                lossy=True,
                overwrite=True,
                threads=1,
            )
            info = summary.update
            assert info is not None
            assert info.expected is not None
            assert info.bound is not None
            bits = (info.bits - beside) / weights
            row: list[Cell] = [table, norm, 2 * s + 1]
            row += [info.expected / info.energy, info.bound / info.energy]
            rows.append([*row, bits, math.log2(2 * s + 1), summary.bytes])
    found = {(row[0], row[1], row[2]): float(row[3] or 0) for row in rows}
    checks = []
    for s in (2, 4, 8):
        ratio = found["fitted", "max", 2 * s + 1] / found["uniform", "max", 2 * s + 1]
        checks.append(Check(f"variance of {2 * s + 1} levels, fitted / uniform", ratio, "<=", 1))
    columns = (
        "table",
        "norm",
        "levels",
        "variance / energy",
        "its bound",
        "bits of a weight",
        "log2(levels)",
        "bytes",
    )
    note = (
        "One update of the digits. Bits: entropy of the codes and the norms, which files are near. "
        "Fitted tables have by far the least variance for a number of levels, hence for codes of "
        "a fixed length; for a number of bits after entropy coding, more uniform levels, mostly 0, "
        "have less."
    )
    return Table("Tables on a real update", columns, rows, note), checks


def _unbiased(task: Task, draws: int) -> tuple[Table, list[Check]]:
    """Compare the mean of many draws with what was rounded, along two directions."""
    after, before = _difference(task)
    rows: list[list[Cell]] = []
    for table, s in (("uniform", 1), ("uniform", 4), ("exponential", 4), ("fitted", 3)):
        worst = 0.0
        for name in ("0.weight", "4.weight"):
            worst = max(worst, *_off(after[name] - before[name], table, s, draws))
        rows.append([table, 2 * s + 1, worst])
    note = (
        f"{draws} draws of two matrices; the error along itself and along a fixed random direction "
        "should be 0 in the mean. The largest distance from 0 of both, in standard errors."
    )
    columns = ("table", "levels", "off, in standard errors")
    most = max(float(row[2] or 0) for row in rows)
    check = Check("mean error of updates, in standard errors", most, "<=", 4)
    return Table("Without bias", columns, rows, note), [check]


def _off(value: Array, table: str, s: int, draws: int) -> list[float]:
    form = p2uformat.quantize(value, Levels(table, s)).quantizer
    assert isinstance(form, Levels)
    fixed = Levels(form.levels)  # a table is fitted once
    other = np.random.default_rng(0).standard_normal(value.size)
    errors = []
    for number in range(draws):
        drawn = Levels(fixed.table, round=number)
        made = p2uformat.dequantize(p2uformat.quantize(value, drawn)).astype(np.float64)
        error = (made - value).ravel()
        errors.append((error @ value.ravel(), error @ other))
    found = np.array(errors)
    return [float(off) for off in abs(found.mean(0)) / (found.std(0, ddof=1) / math.sqrt(draws))]


EXPERIMENT = Experiment("elastiquant", run, {"elastiquant.png": fedplots.elastic})
