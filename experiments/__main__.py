"""Run the experiments and write tables, checks and plots into ``experiments/results``."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from benchmarks import peers, report, sources, timing
from benchmarks.environment import environment_of
from benchmarks.report import Section
from experiments.registry import EXPERIMENTS
from experiments.setting import Experiment, Setting

HERE = Path(__file__).resolve().parent
KEYS = tuple(experiment.key for experiment in EXPERIMENTS)
PACKAGES = ("torch", "numpy", "scikit-learn", "zstandard", "zipnn", "pcodec", "blosc2", "gguf")


def main(argv: Sequence[str] | None = None) -> int:
    """Run what the arguments ask for; with --strict return 1 when a figure is missed."""
    options = _arguments(argv)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as held:
        setting = Setting(options.data, Path(held), options.quick, options.workers)
        wanted = [one for one in EXPERIMENTS if one.key in options.only]
        measured = [_timed(one, setting) for one in wanted]
    _write(options.output, measured)
    checks = [check for section in measured for check in section.checks]
    print(report.markdown_table(report.CHECK_COLUMNS, report.check_rows(checks)))
    print(report.tally(checks))
    return 1 if options.strict and not all(check.passed for check in checks) else 0


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m experiments", description=__doc__)
    parser.add_argument(
        "--only",
        nargs="+",
        choices=KEYS,
        default=KEYS,
        help="experiments to run; the report keeps what it says of the others",
    )
    parser.add_argument("--quick", action="store_true", help="digits only, few steps: a minute")
    parser.add_argument(
        "--data",
        type=Path,
        default=sources.data_folder(),
        help="folder of real weights; by default that of the benchmarks, P2U_BENCH_DATA",
    )
    parser.add_argument("--output", type=Path, default=HERE / "results", help="for the report")
    parser.add_argument("--workers", type=int, default=timing.cores(), help="processes at once")
    parser.add_argument("--strict", action="store_true", help="fail when a figure is missed")
    options = parser.parse_args(argv)
    if options.data is not None and not options.data.is_dir():
        options.data = None
    return options


def _timed(experiment: Experiment, setting: Setting) -> Section:
    start = time.perf_counter()
    section = experiment.run(setting)
    print(f"{experiment.key}: {time.perf_counter() - start:.0f} s", file=sys.stderr)
    return section


def _write(folder: Path, measured: Sequence[Section]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    environment = environment_of(PACKAGES)
    if len(measured) < len(KEYS) and (before := report.known_environment(folder)):
        here = {} if before == environment else environment
        measured = [replace(section, environment=here) for section in measured]
        environment = before
    known = {section.key: section for section in (*report.known(folder), *measured)}
    sections = [known[key] for key in KEYS if key in known]
    drawn = _drawn(folder, known) if peers.has("matplotlib") else []
    report.write(folder, sections, _preface(drawn, environment), environment)


def _drawn(folder: Path, known: dict[str, Section]) -> list[str]:
    """Draw what there is, and return the names of the files."""
    return [
        name
        for experiment in EXPERIMENTS
        if experiment.key in known
        for name, plot in experiment.plots.items()
        if plot(folder / name, known[experiment.key].tables)
    ]


def _preface(drawn: Sequence[str], environment: dict[str, str]) -> str:
    text = (
        "Written by `make experiments`: what the papers behind the format claim, tried with models "
        "trained here from fixed seeds and with real ones that are no part of the repository. "
        f"{report.facts(environment)}.\n\n"
        "`±` is one standard error: of the mean of paired differences over the items of a test, or "
        "over seeds. Times are of one shared machine; compare with what stands beside them. What "
        "missed its figure stands in the first table as what it is."
    )
    return "\n\n".join([text, *(f"![{name}]({name})" for name in drawn)])


if __name__ == "__main__":
    sys.exit(main())
