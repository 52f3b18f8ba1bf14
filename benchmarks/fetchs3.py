"""Fetching from an object store: moto, a simulation of S3 that runs without a container."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import p2uformat
from benchmarks import peers
from benchmarks.fetchpeers import get
from benchmarks.fetchservers import answers, ending, free_port
from benchmarks.report import Cell, Table
from benchmarks.timing import Call, interleaved

__all__ = ["absent", "from_s3"]

_NEEDED = ("moto", "flask", "flask_cors", "s3fs")
_BUCKET = "bench"
_GET = re.compile(r"GET /bench/\S+ HTTP/1")


def absent() -> str:
    """Return why there is no moto; nothing if there is."""
    missing = [name for name in _NEEDED if not peers.has(name)]
    return f"without {', '.join(missing)}; the extra `servers` has them" if missing else ""


@contextmanager
def _moto(work: Path) -> Iterator[tuple[dict[str, Any], Path]]:
    """Run moto, and yield s3fs's options and the log."""
    import s3fs

    port, log = free_port(), work / "moto.log"
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    url = f"http://127.0.0.1:{port}"
    with log.open("wb") as output, ending(subprocess.Popen(command, stderr=output)) as process:
        if not answers(process, url):
            raise RuntimeError(log.read_text(encoding="utf-8")[-1000:])
        where = {"endpoint_url": url, "region_name": "eu-central-1"}
        options = {"key": "p2u", "secret": "bench", "client_kwargs": where}
        s3fs.S3FileSystem(**options).mkdir(_BUCKET)
        yield options, log


def from_s3(artifact: Path, work: Path, repeats: int) -> Table:
    """Fetch an artifact through s3fs, and have s3fs get it.

    Parameters
    ----------
    artifact
        The artifact.
    work
        Folder for files.
    repeats
        Timed runs of each.
    """
    import s3fs

    url, target = f"s3://{_BUCKET}/{artifact.name}", work / "s3.p2u"
    with _moto(work) as (options, log):
        s3fs.S3FileSystem(**options).put(str(artifact), url)
        runs: dict[str, Callable[[object], object]] = {
            "p2u fetch, q4": lambda _: p2uformat.fetch(
                url, target, tier="q4", storage_options=options
            ),
            "p2u fetch, exact": lambda _: p2uformat.fetch(url, target, storage_options=options),
            "fsspec get_file, the artifact": lambda _: get(url, target, **options),
        }
        asked = {name: _gets(log, partial(run, None), target) for name, run in runs.items()}
        calls = [
            Call("s3", name, run, 0, lambda: target.unlink(missing_ok=True))
            for name, run in runs.items()
        ]
        seconds = interleaved(calls, repeats)
    rows: list[list[Cell]] = [[name, asked[name], seconds[name]] for name in runs]
    note = "moto serves from memory, one Python process: its speed is what this table shows most."
    return Table("From S3", ["what", "GETs", "seconds"], rows, note)


def _gets(log: Path, run: Callable[[], object], target: Path) -> int:
    """Return the GETs of a run, as moto's log has them; it notes each before it is answered."""
    before = len(_GET.findall(log.read_text(encoding="utf-8")))
    target.unlink(missing_ok=True)
    run()
    return len(_GET.findall(log.read_text(encoding="utf-8"))) - before
