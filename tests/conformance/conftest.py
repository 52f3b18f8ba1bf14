"""The vectors, and the ways to run them: reference, library, installed command."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
SPEC = REPOSITORY / "spec"
REFERENCE = SPEC / "reference" / "p2u_ref.py"
TIMEOUT = 120


@dataclass(frozen=True, slots=True)
class Vector:
    """One file of spec/vectors with what must come out."""

    name: str
    path: Path
    expected: dict[str, Any]

    @property
    def parents(self) -> list[Path]:
        """The artifacts that it needs."""
        return [self.path.parent / name for name in self.expected.get("parents", ())]

    @property
    def readable(self) -> bool:
        """Whether there is a tier that can be read."""
        return bool(self.expected["valid"] or self.expected["complete"])


def load() -> list[Vector]:
    """Return all vectors; a file without its other half is an error, not a vector less."""
    folder = SPEC / "vectors"
    found = []
    for name in sorted({path.stem for path in folder.iterdir()}):
        path, outcome = folder / f"{name}.p2u", folder / f"{name}.json"
        assert path.is_file(), f"{outcome.name} has no file"
        found.append(Vector(name, path, json.loads(outcome.read_bytes())))
    return found


VECTORS = load()


def pytest_generate_tests(metafunc):
    chosen = {
        "vector": VECTORS,
        "readable": [vector for vector in VECTORS if vector.readable],
        "refused": [vector for vector in VECTORS if not vector.expected["valid"]],
    }
    for fixture, vectors in chosen.items():
        if fixture in metafunc.fixturenames:
            metafunc.parametrize(fixture, vectors, ids=[vector.name for vector in vectors])


@pytest.fixture(scope="session")
def vectors() -> list[Vector]:
    """All of them."""
    return VECTORS


@pytest.fixture(scope="session")
def reference_path() -> Path:
    """Where the reference reader is."""
    return REFERENCE


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the checkout."""
    return REPOSITORY


@pytest.fixture(scope="session")
def reference():
    """The reference reader as a module, from its file: it is not installed."""
    sys.path.insert(0, str(REFERENCE.parent))  # it has two halves
    spec = importlib.util.spec_from_file_location("p2u_ref", REFERENCE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def environment() -> dict[str, str]:
    """The environment without what would change what a command does or says."""
    dropped = {"P2U_THREADS", "P2U_TRACEBACK", "COLUMNS", "FORCE_COLOR", "PYTHONPATH"}
    kept = {name: value for name, value in os.environ.items() if name not in dropped}
    return kept | {"PYTHONUTF8": "1"}


@pytest.fixture(scope="session")
def run() -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """Run a command to its end."""

    def ran(*arguments: "str | Path") -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [os.fspath(argument) for argument in arguments],
            capture_output=True,
            check=False,
            encoding="utf-8",
            env=environment(),
            timeout=TIMEOUT,
        )

    return ran


@pytest.fixture(scope="session")
def installed() -> str:
    """The path of the installed ``p2u`` that belongs to this interpreter."""
    folders = [sysconfig.get_path("scripts"), str(Path(sys.executable).parent)]
    found = shutil.which("p2u", path=os.pathsep.join(folders))
    assert found, "p2u is not installed beside this interpreter"
    return found


# Loads what the installed script loads and runs it once per line of its input, in one process:
# starting Python hundreds of times would take longer than all other checks together.
DRIVER = """
import importlib.metadata, io, json, sys
(entry,) = importlib.metadata.entry_points(group="console_scripts", name="p2u")
main, answers = entry.load(), sys.stdout
for line in sys.stdin:
    sys.argv = ["p2u", *json.loads(line)]
    sys.stdout = io.TextIOWrapper(io.BytesIO(), "utf-8")
    try:
        code = main()
    except SystemExit as ended:
        code = ended.code
    sys.stdout.flush()
    text = sys.stdout.buffer.getvalue().decode()
    print(json.dumps([code, text]), file=answers, flush=True)
"""


@pytest.fixture(scope="session")
def answers(installed) -> dict[str, tuple[int, dict[str, Any]]]:
    """Exit code and JSON document of ``p2u verify --deep --json`` for each vector."""
    lines = []
    for vector in VECTORS:
        parents = [word for path in vector.parents for word in ("--with", str(path))]
        lines.append(json.dumps(["verify", str(vector.path), "--deep", "--json", *parents]))
    done = subprocess.run(
        [sys.executable, "-c", DRIVER],
        input="\n".join(lines),
        capture_output=True,
        check=False,
        encoding="utf-8",
        env=environment(),
        timeout=TIMEOUT,
    )
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    pairs = zip(VECTORS, rows, strict=True)
    return {vector.name: (code, json.loads(text)) for vector, (code, text) in pairs}
