"""Fuzz the parsers with atheris, guided by coverage: ``python -m tests.fuzz.run all``.

What is found is left as a file outside the tree; ``--replay FILE`` runs it again, without atheris.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

# Parsers that take long get a smaller part of the executions.
SHARES = {"artifact": 1, "file": 3, "index_json": 3, "layers": 10, "difference": 10}
USUAL = 30
TIMEOUT = 20  # seconds of one execution
MEMORY = 2048  # MiB


def main() -> int:
    """Run what the arguments ask for, each parser in a process of its own."""
    options = _arguments()
    if options.replay:
        from tests.fuzz.parsers import call

        print("taken" if call(options.parser, Path(options.replay).read_bytes()) else "refused")
        return 0
    if options.parser != "all":
        return _fuzz(options)
    from tests.fuzz.parsers import PARSERS

    whole = sum(SHARES.get(name, USUAL) for name in PARSERS)
    failed = []
    for name in PARSERS:
        count = max(options.executions * SHARES.get(name, USUAL) // whole, 1)
        command = [sys.executable, "-m", "tests.fuzz.run", name, "--executions", str(count)]
        command += ["--seed", str(options.seed), "--finds", options.finds]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        lines = [line for line in done.stderr.splitlines() if "DONE" in line]
        print(f"{name}: {count} executions, {'ok' if not done.returncode else 'FOUND SOMETHING'}")
        print(f"  {lines[-1].strip()}" if lines else "", flush=True)
        if done.returncode:
            failed.append(name)
            print(done.stdout[-4000:], done.stderr[-6000:])
            print(f"replay: python -m tests.fuzz.run {name} --replay {options.finds}/FILE")
    return 1 if failed else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parser", help="one of tests/fuzz/parsers.py, or all")
    parser.add_argument("--executions", type=int, default=100_000, help="of all together")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--finds", default=str(Path(tempfile.gettempdir()) / "p2u-finds"))
    parser.add_argument("--replay", metavar="FILE", help="run one input and say what came of it")
    return parser.parse_args()


def _fuzz(options: argparse.Namespace) -> int:
    import atheris

    with atheris.instrument_imports(include=["p2uformat"]):
        from tests.fuzz.make_parser_corpus import load
        from tests.fuzz.parsers import call

    finds = Path(options.finds)
    finds.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        for number, data in enumerate(load()[options.parser]):
            Path(folder, f"{number:03}").write_bytes(data)

        def test(data: bytes) -> None:
            call(options.parser, data)

        arguments = [
            f"-runs={options.executions}",
            f"-seed={options.seed}",
            f"-timeout={TIMEOUT}",
            f"-rss_limit_mb={MEMORY}",
            f"-artifact_prefix={finds}/{options.parser}-",
            "-max_len=4096",
            "-print_final_stats=1",
        ]
        atheris.Setup([sys.argv[0], *arguments, folder], test)
        atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
