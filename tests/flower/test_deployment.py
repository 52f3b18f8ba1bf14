"""The example app on a SuperLink and two SuperNodes, which are processes and talk over loopback."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from packaging.version import Version

import p2uformat

APP = Path(__file__).resolve().parents[2] / "examples" / "flower"
PROGRAMS = Path(sys.executable).parent
SECONDS = 120


class Deployment:
    """Programs of Flower's, which are over when this is: they, and all that they started."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / "flwr"
        self.started: list[subprocess.Popen] = []
        self.env = os.environ | {
            "FLWR_HOME": str(self.home),
            "FLWR_TELEMETRY_ENABLED": "0",
            # What the app needs is here already.
            "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
            "PATH": f"{PROGRAMS}{os.pathsep}{os.environ['PATH']}",
            "PYTHONUNBUFFERED": "1",
        }

    def start(self, name: str, program: str, *arguments: object) -> subprocess.Popen:
        with (self.folder / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                [PROGRAMS / program, *map(str, arguments)],
                cwd=self.folder,
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.started.append(process)
        return process

    def wait(self, process: subprocess.Popen) -> None:
        """Wait until one is over; in vain, if others are over before."""
        end = time.monotonic() + SECONDS
        while process.poll() is None:
            assert time.monotonic() < end, "it takes too long"
            others = [one.args for one in self.started if one is not process and one.poll()]
            assert not others, f"over too early: {others}"
            time.sleep(0.1)

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text("utf-8", errors="replace")

    def close(self) -> None:
        for process in self.started:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        # Programs that began a session of their own have this home all the same.
        end = time.monotonic() + SECONDS
        while (left := self.left()) and time.monotonic() < end:
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.1)

    def left(self) -> list[int]:
        mark = f"FLWR_HOME={self.home}".encode()
        found = []
        for path in Path("/proc").glob("[0-9]*/environ"):
            with contextlib.suppress(OSError):
                if mark in path.read_bytes().split(b"\0"):
                    found.append(int(path.parent.name))
        return found


@pytest.fixture
def deployment(tmp_path):
    made = Deployment(tmp_path)
    try:
        yield made
    finally:
        made.close()


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def wait_for(port: int, process: subprocess.Popen) -> None:
    end = time.monotonic() + SECONDS
    while process.poll() is None and time.monotonic() < end:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.1)
    pytest.fail(f"nobody listens on port {port}")


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc to clean up")
@pytest.mark.skipif(
    Version(importlib.metadata.version("flwr")) < Version("1.42"),
    reason="the programs of older Flower take other arguments",
)
def test_two_nodes_and_a_store(deployment, tmp_path):
    app, store = tmp_path / "app", tmp_path / "store"
    shutil.copytree(APP, app, ignore=shutil.ignore_patterns("__pycache__"))
    link, *nodes = free_ports(3)
    deployment.home.mkdir()
    connection = (
        f'[superlink]\ndefault = "local"\n\n[superlink.local]\naddress = "127.0.0.1:{link}"\n'
    )
    (deployment.home / "config.toml").write_text(connection + "insecure = true\n")
    here = ("--insecure", "--host", "127.0.0.1", "--port")
    server = deployment.start("link", "flower-superlink", *here, link)
    wait_for(link, server)
    for number, port in enumerate(nodes):
        config = f"partition-id={number} p2u-budget={2.5 + 2 * number}"
        config += f' p2u-store="{store}" p2u-folder="{tmp_path}/node{number}"'
        to = ("--superlink", f"127.0.0.1:{link}", "--node-config", config)
        deployment.start(f"node{number}", "flower-supernode", *here, port, *to)
    started = deployment.start(
        "run", "flwr", "run", app, "local", "--stream", "--run-config", f'store="{store}"'
    )
    try:
        deployment.wait(started)
    finally:
        for name in ("link", "node0", "node1", "run"):
            print(f"--- {name}\n{deployment.log(name)}")
    assert started.returncode == 0

    # Each round's model, and the last one.
    versions = [one.version for one in p2uformat.Store(store).refs("digits/model")]
    assert versions == [1, 2, 3]
    sys.path.insert(0, str(app))
    try:
        from digits import task
    finally:
        sys.path.remove(str(app))
    values, labels = task.data(2, 3)
    with p2uformat.open(f"{store}#digits/model") as model:
        assert (
            task.right(model.load(), values, labels)
            > task.right(task.fresh(), values, labels) + 0.3
        )
    # What went between the processes: two trainings and two evaluations on each node, both ways.
    for number in range(2):
        sizes = re.findall(
            r"(?:Incoming|Outgoing) message size: (\d+) bytes", deployment.log(f"node{number}")
        )
        assert len(sizes) == 8
        assert max(map(int, sizes)) < 512
        assert list((tmp_path / f"node{number}").rglob("model.p2u"))
    deployment.close()
    assert deployment.left() == []
