"""What every test of the command line needs: the installed command, and small real files."""

import json
import os
import shutil
import struct
import subprocess
import sys
import sysconfig
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

TIMEOUT = 120


@dataclass(frozen=True, slots=True)
class Result:
    """What one run of the command left behind."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        """The one JSON document of standard output; anything else there is a failure."""
        return json.loads(self.out)

    @property
    def error(self) -> dict[str, Any]:
        """The error of a failed run with ``--json``."""
        assert list(self.document) == ["error"]
        return self.document["error"]


Run = Callable[..., Result]


@pytest.fixture(scope="session")
def installed() -> str:
    """The path of the installed ``p2u`` that belongs to this interpreter."""
    scripts = sysconfig.get_path("scripts")
    found = shutil.which("p2u", path=os.pathsep.join([scripts, str(Path(sys.executable).parent)]))
    assert found, "p2u is not installed beside this interpreter"
    return found


def environment(**changes: str) -> dict[str, str]:
    """The environment without what would change the output, and with `changes`."""
    dropped = {"P2U_THREADS", "P2U_TRACEBACK", "COLUMNS", "FORCE_COLOR", "PYTHONPATH"}
    kept = {name: value for name, value in os.environ.items() if name not in dropped}
    return kept | {"PYTHONUTF8": "1"} | changes


# A test run in the background inherits an ignored SIGINT, and so would its children.
INTERRUPTIBLE = (
    "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); "
    "os.execv(sys.argv[1], sys.argv[1:])"
)


@pytest.fixture(scope="session")
def start(installed: str) -> Callable[..., "subprocess.Popen[bytes]"]:
    """Start the installed command so that Ctrl-C can reach it, and return the running process."""

    def started(*arguments: "str | os.PathLike[str]", **streams: Any) -> "subprocess.Popen[bytes]":
        line = [sys.executable, "-c", INTERRUPTIBLE, installed, *map(os.fspath, arguments)]
        env = environment(TERM="xterm")
        return subprocess.Popen(line, stdin=subprocess.DEVNULL, env=env, **streams)

    return started


@pytest.fixture(scope="session")
def p2u(installed: str) -> Run:
    """Run the installed command and return code, standard output and standard error."""

    def run(*arguments: "str | os.PathLike[str]", cwd: Path | None = None, **env: str) -> Result:
        done = subprocess.run(
            [installed, *map(os.fspath, arguments)],
            capture_output=True,
            check=False,
            cwd=cwd,
            env=environment(**env),
            stdin=subprocess.DEVNULL,
            timeout=TIMEOUT,
        )
        out, err = done.stdout.decode(), done.stderr.decode()
        assert "Traceback" not in err or env.get("P2U_TRACEBACK"), err
        return Result(done.returncode, out, err)

    return run


class Terminal:
    """A pseudo-terminal of some width that remembers everything written to it."""

    def __init__(self, columns: int) -> None:
        pty = pytest.importorskip("pty", reason="needs a POSIX terminal")
        termios, fcntl = pytest.importorskip("termios"), pytest.importorskip("fcntl")
        self._master, self.slave = pty.openpty()
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
        self._written = b""
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        try:
            while chunk := os.read(self._master, 65536):
                self._written += chunk
        except OSError:
            # How Linux says that nobody holds the other end any more.
            return

    @property
    def text(self) -> str:
        """What was written until now."""
        return self._written.decode(errors="replace").replace("\r\n", "\n")

    def close(self) -> str:
        """Close both ends and return what was written."""
        os.close(self.slave)
        self._reader.join(60)
        os.close(self._master)
        return self.text


@pytest.fixture(scope="session")
def open_terminal() -> type[Terminal]:
    """What opens a pseudo-terminal of so many columns."""
    return Terminal


def weights(*shape: int, seed: int = 1) -> np.ndarray:
    """Weights as trained networks have them: normal, small."""
    return (np.random.default_rng(seed).standard_normal(shape) * 0.04).astype(np.float32)


def model(path: Path, *, rows: int = 512, seed: int = 1) -> Path:
    """Write a small model: two matrices, a vector, integers, an empty tensor, a scalar."""
    tensors = {
        "layer.0.weight": weights(rows, 256, seed=seed),
        "layer.1.weight": weights(256, 128, seed=seed + 1).astype(np.float16),
        "layer.0.bias": weights(256, seed=seed + 2),
        "positions": np.arange(77, dtype=np.int64),
        "empty": np.zeros((0, 4), np.float32),
        "scale": np.array(0.125, np.float32),
    }
    save_file(tensors, path, metadata={"format": "np", "made by": "a test"})
    return path


@pytest.fixture(scope="session")
def make_model() -> Callable[..., Path]:
    """The function that writes a small model."""
    return model


@dataclass(frozen=True, slots=True)
class Packed:
    """A source, its artifact, and what ``pack --json`` said of it."""

    source: Path
    artifact: Path
    document: dict[str, Any]

    @property
    def ends(self) -> dict[str, int]:
        """Where each tier ends in the file: tiers follow the manifest, base first."""
        end, ends = self.document["manifest_bytes"], {}
        for tier in self.document["tiers"]:
            end += tier["bytes"]
            ends[tier["name"]] = end
        return ends

    def cut(self, path: Path, size: int) -> Path:
        """Write the first `size` bytes of the artifact to `path`."""
        path.write_bytes(self.artifact.read_bytes()[:size])
        return path

    def flip(self, path: Path, offset: int) -> Path:
        """Write the artifact with one bit of the byte at `offset` flipped to `path`."""
        content = bytearray(self.artifact.read_bytes())
        content[offset] ^= 0x10
        path.write_bytes(content)
        return path


@pytest.fixture(scope="session")
def packed(p2u: Run, tmp_path_factory: pytest.TempPathFactory) -> Packed:
    """A small model, packed once; tests copy it before they damage it."""
    folder = tmp_path_factory.mktemp("packed")
    source, artifact = model(folder / "m.safetensors"), folder / "m.p2u"
    result = p2u("pack", source, artifact, "--json")
    assert result.code == 0, result.err or result.out
    return Packed(source, artifact, result.document)
