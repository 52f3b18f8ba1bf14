"""Runs harnesses under atheris, a process each, and adds up what came of it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

from tests.fuzz.parsers import corpus
from tests.fuzz.parsers.harness import Harness

_ROOT = Path(__file__).resolve().parents[3]
# An input that takes longer hangs: the slowest sound one takes a fraction of a second.
_LIMITS = ("-timeout=25", "-rss_limit_mb=4096", "-print_final_stats=1", "-reload=0")
# atheris keeps every array that instrumented code compares: processes end before that hurts.
_LONGEST = 100.0
_MOST_TOLD = 4000
_STATUS = re.compile(r"^#(\d+)\s.*?cov: (\d+) ft: (\d+) corp: (\d+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a harness.

    Parameters
    ----------
    name : str
        The harness.
    executions, seconds : number
        Done.
    cov, features, inputs : int
        Edges and features reached, and inputs that reach them, as libFuzzer counts.
    failed : bool
        Whether there was a finding.
    log : str
        The end of what the process wrote.
    """

    name: str
    executions: int = 0
    seconds: float = 0.0
    cov: int = 0
    features: int = 0
    inputs: int = 0
    failed: bool = False
    log: str = field(default="", repr=False)

    def line(self) -> str:
        """Return a row of the table."""
        rate = self.executions / self.seconds if self.seconds else 0.0
        return (
            f"{self.name:<20}{self.executions:>12,}{self.seconds:>9.0f}{rate:>10,.0f}"
            f"{self.cov:>7}{self.features:>8}{self.inputs:>8}  {'FINDING' if self.failed else 'ok'}"
        )


HEAD = "harness               executions  seconds     per s    cov      ft  inputs"


def shares(harnesses: Iterable[Harness], total: int) -> dict[str, int]:
    """Return how many of all executions each harness gets, by its weight, rounded up."""
    chosen = list(harnesses)
    weights = sum(harness.weight for harness in chosen)
    return {h.name: -(-total * h.weight // weights) for h in chosen}


@dataclass(frozen=True, slots=True)
class Session:
    """Where inputs and findings lie while harnesses run.

    Parameters
    ----------
    folder : Path
        For inputs that turn up meanwhile.
    findings : Path
        For inputs that break a rule; outside of the repository.
    seed : int
        Of the first process of each harness.
    deadline : float, optional
        When to begin no more work, by `time.monotonic`.
    """

    folder: Path
    findings: Path
    seed: int
    deadline: float | None = None

    def prepare(self, harness: Harness) -> Path:
        """Return a folder with what is kept for a harness."""
        place = self.folder / harness.name
        corpus.spread(corpus.load(harness.name), place)
        corpus.spread((data for data in harness.seeds() if len(data) <= harness.most), place)
        return place

    def run(self, harness: Harness, executions: int) -> Result:
        """Run one harness, in as many processes as it takes."""
        place, result = self.prepare(harness), Result(harness.name)
        number = 0
        while result.executions < executions and not result.failed and not self._is_over():
            one = self._process(harness, place, executions - result.executions, number)
            result = replace(
                one,
                executions=result.executions + one.executions,
                seconds=result.seconds + one.seconds,
            )
            number += 1
        return result

    def _is_over(self) -> bool:
        return self.deadline is not None and time.monotonic() > self.deadline

    def _process(self, harness: Harness, place: Path, executions: int, number: int) -> Result:
        self.findings.mkdir(parents=True, exist_ok=True)
        start = time.monotonic()
        done = command(
            harness.name,
            f"-runs={executions}",
            f"-max_total_time={_LONGEST:.0f}",
            f"-seed={self.seed + number}",
            f"-keep_seed={int(harness.blind)}",
            f"-artifact_prefix={self.findings}/{harness.name}-",
            os.fspath(place),
        )
        seconds = time.monotonic() - start
        found = _STATUS.findall(done.stderr)
        counts = [int(text) for text in found[-1]] if found else [0, 0, 0, 0]
        said = re.findall(r"stat::number_of_executed_units:\s*(\d+)", done.stderr)
        ran = int(said[-1]) if said else counts[0]
        # Without a single execution nothing was tried, whatever the exit code says.
        failed = done.returncode != 0 or not ran
        log = _told(done) if failed else ""
        return Result(harness.name, ran, seconds, *counts[1:], failed=failed, log=log)


def _told(done: subprocess.CompletedProcess[str]) -> str:
    """Return what went wrong: the exception from one stream, libFuzzer's verdict from the other."""
    noise = ("#", "INFO: ", "WARNING: ")
    verdict = [line for line in done.stderr.splitlines() if not line.startswith(noise)]
    return "\n".join((done.stdout[-_MOST_TOLD:].strip(), *verdict))[-2 * _MOST_TOLD :]


def command(name: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Run the engine to its end."""
    return subprocess.run(
        [sys.executable, "-m", "tests.fuzz.parsers.engine", name, *_LIMITS, *options],
        cwd=_ROOT,
        env={**os.environ, "PYTHONHASHSEED": "0"},
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )


def run_all(
    session: Session,
    harnesses: list[Harness],
    executions: dict[str, int],
    jobs: int,
    tell: Callable[[str], None],
) -> list[Result]:
    """Run harnesses, several at a time, those that take longest first; tell of each as it ends."""
    order = sorted(harnesses, key=lambda harness: harness.weight)

    def run(harness: Harness) -> Result:
        result = session.run(harness, executions[harness.name])
        tell(result.line())
        return result

    with ThreadPoolExecutor(jobs) as pool:
        return list(pool.map(run, order))


def grown(harness: Harness, executions: int, seed: int) -> list[bytes]:
    """Return the fewest inputs that reach all that vectors, kept inputs and new ones reach."""
    folder = Path(tempfile.mkdtemp(prefix="p2u-fuzz-"))
    try:
        session = Session(folder / "found", folder / "findings", seed)
        result = session.run(harness, executions)
        place = session.folder / harness.name
        if result.failed:
            raise RuntimeError(result.log)
        (folder / "merged").mkdir()
        done = command(harness.name, "-merge=1", os.fspath(folder / "merged"), os.fspath(place))
        if done.returncode or not any((folder / "merged").iterdir()):
            raise RuntimeError(done.stderr[-4000:])
        return corpus.gathered(folder / "merged")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
