"""Fuzz the parsers: `python -m tests.fuzz.parsers run`, `replay FILE...`, `grow`, `list`."""

from __future__ import annotations

import argparse
import platform
import shutil
import sys
import tempfile
import time
import traceback
import warnings
from importlib.util import find_spec
from pathlib import Path

from tests.fuzz.parsers import corpus
from tests.fuzz.parsers.harness import Harness
from tests.fuzz.parsers.registry import HARNESSES
from tests.fuzz.parsers.session import HEAD, Session, grown, run_all, shares

# As the marker of the extra `fuzz` in pyproject.toml.
_BUILT = (
    sys.implementation.name == "cpython"
    and sys.version_info < (3, 14)
    and sys.platform == "linux"
    and platform.machine() == "x86_64"
)


def _chosen(names: list[str]) -> list[Harness]:
    unknown = sorted(set(names) - HARNESSES.keys())
    if unknown:
        raise SystemExit(f"no harness {', '.join(unknown)}; there are {', '.join(HARNESSES)}")
    return [HARNESSES[name] for name in names] if names else list(HARNESSES.values())


def _outside(folder: Path) -> Path:
    """Return a folder for findings, which may hold anything and stay out of the repository."""
    repository = Path(__file__).resolve().parents[3]
    if folder.resolve().is_relative_to(repository):
        raise SystemExit(f"findings go outside of {repository}; choose another --findings")
    return folder


def _run(options: argparse.Namespace) -> int:
    if not _has_atheris():
        return 0
    harnesses = _chosen(options.names)
    wanted = shares(harnesses, options.executions)
    deadline = None if options.minutes is None else time.monotonic() + 60 * options.minutes
    work = Path(tempfile.mkdtemp(prefix="p2u-fuzz-"))
    try:
        session = Session(work, _outside(options.findings), options.seed, deadline)
        print(HEAD, flush=True)
        results = run_all(
            session, harnesses, wanted, options.jobs, lambda line: print(line, flush=True)
        )
    finally:
        shutil.rmtree(work, ignore_errors=True)
    done = sum(result.executions for result in results)
    short = [r.name for r in results if not r.failed and r.executions < wanted[r.name]]
    for result in results:
        if result.failed:
            print(f"\n{result.name}:\n{result.log}")
    failed = [result.name for result in results if result.failed]
    print(f"\n{done:,} executions of {len(results)} harnesses, {len(failed)} with findings")
    if failed:
        print(f"again: python -m tests.fuzz.parsers replay {options.findings}/*")
    if short:
        print(f"time ran out for {', '.join(short)}")
    return 1 if failed or short else 0


def _has_atheris() -> bool:
    """Return whether there is a fuzzer; where one could be installed, that is an error.

    A run without one must not look like one that found nothing.
    """
    if find_spec("atheris") is not None:
        return True
    if _BUILT:
        raise SystemExit("atheris is not installed: make fuzz, or pip install -e '.[fuzz]'")
    print("nothing was fuzzed: atheris has no build for this platform")
    return False


def _harness_of(path: Path, name: str | None) -> Harness:
    """Return the harness of an input: findings begin with its name."""
    names = [name] if name else [n for n in HARNESSES if path.name.startswith(f"{n}-")]
    if not names:
        raise SystemExit(f"{path}: say which harness, --harness NAME")
    return _chosen([max(names, key=len)])[0]


def _replay(options: argparse.Namespace) -> int:
    warnings.simplefilter("error")
    broken = 0
    for path in options.files:
        harness = _harness_of(path, options.harness)
        try:
            accepted = harness.run(path.read_bytes())
        except Exception:  # noqa: BLE001 - whatever comes is what was looked for
            broken += 1
            print(f"{path} ({harness.name}):")
            traceback.print_exc(file=sys.stdout)
        else:
            print(f"{path} ({harness.name}): {'accepted' if accepted else 'refused'}")
    return 1 if broken else 0


def _grow(options: argparse.Namespace) -> int:
    if not _has_atheris():
        return 1
    harnesses = _chosen(options.names)
    wanted = shares(harnesses, options.executions)
    for harness in harnesses:
        kept = corpus.save(harness.name, grown(harness, wanted[harness.name], options.seed))
        size = (corpus.CORPUS / f"{harness.name}.zst").stat().st_size
        print(f"{harness.name:<20}{kept:>6} inputs{size:>9,} bytes", flush=True)
    return 0


def _list(_: argparse.Namespace) -> int:
    for harness in HARNESSES.values():
        kept = corpus.load(harness.name)
        print(f"{harness.name:<20}weight {harness.weight:>4}{len(kept):>6} inputs kept")
    return 0


def main() -> int:
    """Run a command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.parsers", description=__doc__)
    commands = parser.add_subparsers(required=True)
    for word, function in (("run", _run), ("grow", _grow)):
        command = commands.add_parser(word)
        command.set_defaults(function=function)
        command.add_argument("names", nargs="*", metavar="HARNESS")
        command.add_argument("--executions", type=int, default=100_000, help="of all together")
        command.add_argument("--seed", type=int, default=1)
        command.add_argument("--jobs", type=int, default=1, help="processes at a time")
        command.add_argument("--minutes", type=float, help="end earlier, as a failure")
        default = Path(tempfile.gettempdir(), "p2u-findings")
        command.add_argument("--findings", type=Path, default=default)
    command = commands.add_parser("replay")
    command.set_defaults(function=_replay)
    command.add_argument("files", nargs="+", type=Path)
    command.add_argument("--harness")
    commands.add_parser("list").set_defaults(function=_list)
    options = parser.parse_args()
    return int(options.function(options))


if __name__ == "__main__":
    sys.exit(main())
