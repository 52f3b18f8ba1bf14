"""P2U: what each tier costs and gives, beside what else could be sent.

Tavakoli, Afrabandpey: P2U, Progressive Precision Update, 2025 (arXiv 2506.22871).
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path

import p2uformat
from benchmarks import sources
from benchmarks.errors import relative_rms
from benchmarks.report import Cell, Check, Section, Table
from benchmarks.sources import Array
from experiments import forms, models, plots, transfers
from experiments.forms import BITS, LADDERS, PLAIN, Form, Part
from experiments.models import Model
from experiments.naive import differing
from experiments.scoring import Pool, pool
from experiments.setting import Experiment, Setting
from experiments.statistics import Paired, mean_of, paired
from experiments.transfers import Arrival, Rate

__all__ = ["EXPERIMENT", "run"]

RATES = (Rate(1, together=10), Rate(10, together=4), Rate(100, repeats=3))
QUICK_RATES = (Rate(100, together=2),)
MOST_LOST = 0.6  # points, at q4
_SLOWEST = 60.0  # seconds of the plain file, beyond which a link is left out
FIRST = "p2u: q4"
WHOLE = "p2u: exact"
TIER_COLUMNS = (
    *("model", "form", "bytes", "% of plain", "score", "lost", "±", "items worse", "better"),
    "RMS error",
)
TIER_NOTE = (
    "Bytes are all that has to come until the form can be used, manifest included. Lost: "
    "score of the original minus that of the form, on the same items, with the standard "
    "error of the mean of these differences (of bits per character the other way round, so "
    "that more lost is worse). RMS error is relative, over the tensors that a `.p2u` "
    "quantizes. Naive: integers of one grid a tensor, from its least value to its greatest, "
    "of the same tensors; the difference as float32 behind zstd -19 (-3 for MiniLM). `Every "
    "matrix` quantizes those of fewer than 2,048 weights too, which a `.p2u` keeps exact. "
    "With the difference the weights are the original's but for the last bits, see below: "
    "its score is taken for the original's."
)


@dataclass(slots=True)
class _Subject:
    """A model in all forms, and what is known of them."""

    model: Model
    folder: Path
    forms: list[Form]
    futures: dict[str, Future[Array]] = field(default_factory=dict)
    found: dict[str, Paired] = field(default_factory=dict)
    scores: dict[str, float] = field(default_factory=dict)
    arrivals: dict[float, dict[tuple[Part, ...], Arrival]] = field(default_factory=dict)

    @property
    def label(self) -> str:
        return f"{self.model.name} ({self.model.unit})"

    def bytes(self, name: str) -> int:
        return self.form(name).bytes(self.folder)

    def form(self, name: str) -> Form:
        return next(form for form in self.forms if form.name == name)

    def lossless(self) -> Form:
        return next(form for form in self.forms if "lossless" in form.name)


def run(setting: Setting) -> Section:
    """Measure all of it."""
    found = [model for model in [models.digits(setting.work)] if model is not None]
    if not setting.quick:
        found += models.real(setting.data)
    with tempfile.TemporaryDirectory(dir=setting.work) as held, pool(setting) as scorers:
        subjects = [_subject(model, Path(held) / model.key, scorers) for model in found]
        several = _several(setting, scorers)
        rates = QUICK_RATES if setting.quick else RATES
        _transferred(subjects, rates[:1], Path(held), setting)  # while scores are computed
        for subject in subjects:
            _collect(subject)
        _transferred(subjects, rates[1:], Path(held), setting)
        tables = [
            Table("Tier by tier", TIER_COLUMNS, _tier_rows(subjects), TIER_NOTE),
            _seconds(subjects, rates),
            _kinds(several),
            _returned(subjects, Path(held)),
            *_large(setting, Path(held)),
            _claims(subjects),
        ]
        checks = [check for subject in subjects for check in _checks(subject)]
        checks.append(_all_returned(tables[3]))
    return Section(
        "p2u", "P2U: tiers beside what else could be sent", tables, checks, {}, _notes(setting)
    )


def _notes(setting: Setting) -> list[str]:
    text = [
        (
            "Scores are the share of test items that are right, in percent: 597 digits of "
            "scikit-learn that the net, trained here, has not seen; 2,000 test images of CIFAR-10; "
            "624 chest X-rays. Of the character LSTM they are bits per character, on 120 pieces of "
            "the text that it was trained on."
        )
    ]
    if not setting.quick and not models.real(setting.data):
        text.append("**Left out: the real models, as there is no folder of them (`--data`).**")
    return text


def _subject(model: Model, folder: Path, scorers: Pool) -> _Subject:
    folder.mkdir()
    made = _Subject(model, folder, forms.made(model.path, folder))
    original = sources.read(model.path)
    for form in made.forms:
        if (form.values is not None and form.scored) or form.name == PLAIN:
            values = original if form.values is None else form.values
            made.futures[form.name] = scorers.scores(model, values)
    return made


def _collect(subject: _Subject) -> None:
    plain = subject.futures[PLAIN].result()
    for form in subject.forms:
        future = subject.futures.get(form.name, subject.futures[PLAIN])
        subject.found[form.name] = paired(plain, future.result())
        subject.scores[form.name] = subject.model.score(future.result())


def _transferred(
    subjects: Sequence[_Subject], rates: Iterable[Rate], folder: Path, setting: Setting
) -> None:
    for rate in rates:
        short = [s for s in subjects if s.bytes(PLAIN) <= _SLOWEST * rate.mbit * transfers.MBIT]
        if not short:
            continue
        every = {subject.folder.name: subject.forms for subject in short}
        came = transfers.timed(every, folder, rate, setting.work)
        for subject in short:
            subject.arrivals[rate.mbit] = came[subject.folder.name]


# What becomes of it.


def _tier_rows(subjects: Iterable[_Subject]) -> list[list[Cell]]:
    rows: list[list[Cell]] = []
    for subject in subjects:
        original = sources.read(subject.model.path)
        big = sources.quantized(original)
        plain = subject.bytes(PLAIN)
        for form in subject.forms:
            count, found = form.bytes(subject.folder), subject.found[form.name]
            error = relative_rms(big, form.values or original)
            row: list[Cell] = [subject.label, form.name, count, 100 * count / plain]
            row += [subject.scores[form.name], found.lost.value, found.lost.error]
            rows.append([*row, found.worse, found.better, error])
    return rows


def _seconds(subjects: Iterable[_Subject], rates: Sequence[Rate]) -> Table:
    columns = ["model", "form", "bytes that came"]
    columns += [f"s at {rate.mbit:g} Mbit/s" for rate in rates]
    columns += [f"% of plain at {rate.mbit:g}" for rate in rates]
    rows: list[list[Cell]] = []
    for subject in subjects:
        plain = subject.form(PLAIN).parts
        for form in subject.forms if subject.arrivals else ():
            if not form.sent:
                continue
            taken = [subject.arrivals.get(rate.mbit, {}) for rate in rates]
            came = next(each[form.parts].bytes for each in taken if each)
            seconds = [each[form.parts].seconds if each else None for each in taken]
            shares = [
                100 * each[form.parts].seconds / each[plain].seconds if each else None
                for each in taken
            ]
            rows.append([subject.label, form.name, came, *seconds, *shares])
    note = (
        "From the first request until the last byte is on the disk and checked, new connections; "
        "nothing is decoded yet. A process passes on so many bytes a second and adds no delay of "
        "its own. Tiers come one after the other to one file. Over 100 Mbit/s the median of three, "
        "else one transfer; over 1 Mbit/s ten at a time, over 10 Mbit/s four, each over a link of "
        "its own."
    )
    return Table("Seconds on a link", columns, rows, note)


def _returned(subjects: Iterable[_Subject], work: Path) -> Table:
    rows: list[list[Cell]] = []
    for subject in subjects:
        original = sources.read(subject.model.path)
        weights = sum(value.size for value in original.values())
        digest = hashlib.sha256(subject.model.path.read_bytes()).hexdigest()
        for name in LADDERS:
            back = work / "back.safetensors"
            path = subject.folder / subject.form(f"{name}: exact").parts[0].file
            p2uformat.unpack(path, back, overwrite=True)
            same = hashlib.sha256(back.read_bytes()).hexdigest() == digest
            rows.append([subject.label, f"{name}: exact", "yes" if same else "NO", 0, 0.0])
        for bits in BITS:
            name = f"naive, {bits} bits and difference"
            values = subject.form(name).values
            assert values is not None
            count = differing(original, values)
            same_file = "yes" if not count else "no"
            rows.append([subject.label, name, same_file, count, 100 * count / weights])
    columns = ("model", "form", "the original's sha256", "weights that differ", "%")
    note = (
        "A float32 difference does not lead back: where the rough value is the larger one, the "
        "last bits of the weight are rounded away with the difference."
    )
    return Table("What comes back", columns, rows, note)


def _all_returned(table: Table) -> Check:
    wrong = sum(row[2] != "yes" for row in table.rows if str(row[1]).startswith("p2u"))
    return Check("ladders whose last tier has another sha256 than the original", wrong, "<=", 0)


def _several(setting: Setting, scorers: Pool) -> dict[str, list[dict[str, Future[Array]]]]:
    """Score q4 and q8 of many nets of one kind."""
    trained = [models.digits(setting.work, seed) for seed in range(setting.seeds)]
    kinds = {"digits CNN, trained from several seeds": [net for net in trained if net is not None]}
    if not setting.quick:
        kinds |= models.relatives(setting.data)
    return {
        kind: [_forms_of(model, setting, scorers) for model in found]
        for kind, found in kinds.items()
        if found
    }


def _forms_of(model: Model, setting: Setting, scorers: Pool) -> dict[str, Future[Array]]:
    path = setting.work / "several.p2u"
    p2uformat.pack(model.path, path, overwrite=True)
    with p2uformat.open(path) as artifact:
        rough = {tier: artifact.load(tier=tier) for tier in ("q4", "q8")}
    every = {"plain": sources.read(model.path), **rough}
    return {name: scorers.scores(model, values) for name, values in every.items()}


def _kinds(several: Mapping[str, Sequence[Mapping[str, Future[Array]]]]) -> Table:
    rows: list[list[Cell]] = []
    for kind, nets in several.items():
        row: list[Cell] = [kind, len(nets)]
        means = [float(net["plain"].result().mean()) for net in nets]
        row.append(str(mean_of(means)))
        for tier in ("q4", "q8"):
            lost = [paired(net["plain"].result(), net[tier].result()).lost.value for net in nets]
            row += [str(mean_of(lost)), max(lost)]
        rows.append(row)
    columns = ("models", "how many", "score", "lost at q4", "most", "lost at q8", "most")
    note = "Means and standard errors over the models of a kind, points."
    return Table("Several models of a kind", columns, rows, note)


def _large(setting: Setting, work: Path) -> list[Table]:
    """Lay out bytes and errors of MiniLM, which has no test here."""
    path = None if setting.quick else sources.minilm()
    if path is None:
        return []
    folder = work / "minilm"
    folder.mkdir()
    original = sources.read(path)
    big, plain = sources.quantized(original), path.stat().st_size
    rows: list[list[Cell]] = []
    for form in forms.made(path, folder):
        count = form.bytes(folder)
        error = relative_rms(big, form.values or original)
        rows.append([form.name, count, 100 * count / plain, error])
    columns = ("form", "bytes", "% of plain", "RMS error")
    return [Table("MiniLM, 22.7 M weights: bytes and error", columns, rows)]


def _claims(subjects: Sequence[_Subject]) -> Table:
    """Say what came of what the paper says."""
    images = [subject for subject in subjects if not subject.model.text]
    rows: list[list[Cell]] = []
    for name in ("naive, 4 bits", FIRST):
        lost = {subject.model.name: subject.found[name].lost.value for subject in images}
        worst = max(lost, key=lambda model: lost[model])
        rows.append(
            [
                f"4 bits are of use at once: {name}",
                f"{min(lost.values()):.2f} to {lost[worst]:.2f} points lost",
                "yes" if lost[worst] <= 1 else f"not for {worst}",
            ]
        )
    for name in ("naive, 4 bits and difference", WHOLE):
        shares = [100 * subject.bytes(name) / subject.bytes(PLAIN) for subject in subjects]
        rows.append(
            [
                f"tiers together take no more than the model: {name}",
                f"{min(shares):.1f} to {max(shares):.1f} % of the plain file",
                "yes" if max(shares) <= 100 else "no",
            ]
        )
    columns = ("claim", "here", "")
    return Table("What the paper says, and what came of it", columns, rows)


def _checks(subject: _Subject) -> list[Check]:
    name = subject.model.name
    found = subject.found[FIRST].lost
    checks = []
    if not subject.model.text:
        what = f"points lost at q4, {name} (± {found.error or 0:.2f})"
        checks.append(Check(what, found.value, "<=", MOST_LOST, "points"))
    best = subject.lossless()
    share = subject.bytes(WHOLE) / best.bytes(subject.folder)
    checks.append(Check(f"whole ladder / {best.name}, {name}", share, "<=", 1.0))
    return checks + [check for bits in BITS for check in _against_naive(subject, bits)]


def _against_naive(subject: _Subject, bits: int) -> list[Check]:
    """Hold a tier that is at least as good as naive P2U against its bytes."""
    naive, name = f"naive, {bits} bits", subject.model.name
    tier = _as_good(subject, bits, subject.found[naive].lost.value)
    base = subject.bytes(tier) / subject.bytes(naive)
    both = subject.bytes(WHOLE) / subject.bytes(f"{naive} and difference")
    return [
        Check(f"bytes of {tier} / {naive}, {name}", base, "<=", 1.0),
        Check(f"bytes of {WHOLE} / {naive} and difference, {name}", both, "<=", 1.0),
    ]


def _as_good(subject: _Subject, bits: int, lost: float) -> str:
    """Return the tier of as many bits if it loses no more, else that of fewest bytes that does."""
    tiers = [form.name for form in subject.forms if form.name.startswith("p2u")]
    good = [name for name in tiers if subject.found[name].lost.value <= lost]
    alike = [name for name in good if name.endswith(f": q{bits}")]
    return min(alike or good, key=subject.bytes)


EXPERIMENT = Experiment("p2u", run, {"p2u-tiers.png": plots.tiers})
