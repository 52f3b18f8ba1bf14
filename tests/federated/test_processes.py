"""A server and clients as processes on one store: real ones, that are killed."""

from __future__ import annotations

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

import p2uformat
from p2uformat.federated import Server
from tests.federated import mlp

ROOT = pathlib.Path(__file__).resolve().parents[2]
SECONDS = 90


def start(*arguments):
    return subprocess.Popen(
        [sys.executable, "-m", "tests.federated.worker", *map(str, arguments)],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        text=True,
    )


def lines(process):
    out, _ = process.communicate(timeout=SECONDS)
    assert process.returncode == 0
    return [json.loads(line) for line in out.splitlines()]


@pytest.fixture
def started():
    """Processes that are over when the test is."""
    processes = []
    yield processes
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.communicate()


def test_rounds_of_processes(anywhere, started, tmp_path):
    place, options = anywhere
    how = json.dumps(options)
    clients = [
        start("work", place, how, number, 3, 3, tmp_path / f"c{number}") for number in range(3)
    ]
    server = start("serve", place, how, 3, 3, 30)
    started += [*clients, server]
    told = lines(server)
    assert [one["round"] for one in told] == [1, 2, 3]
    assert all(one["accepted"] == [0, 1, 2] for one in told)
    for process in clients:
        steps = lines(process)
        assert [one["round"] for one in steps] == [1, 2, 3]
        assert all(later["moved"] < steps[0]["moved"] for later in steps[1:])
    with p2uformat.open(f"{place}#run/model", storage_options=options) as artifact:
        assert mlp.score(artifact.load(), *mlp.data()[1]) > 0.85


def test_killed_and_begun_again(place, started, tmp_path):
    """Whoever is killed goes on; who is dead is not waited for longer than patience lasts."""

    def client(number):
        process = start("work", place, "{}", number, 2, 4, tmp_path / f"c{number}")
        started.append(process)
        return process

    def server():
        process = start("serve", place, "{}", 2, 4, 5)
        started.append(process)
        return process

    steady, shaky, leader = client(0), client(1), server()
    for _ in range(4):
        time.sleep(1.3)
        leader.send_signal(signal.SIGKILL)
        leader.wait()
        leader = server()
        shaky.send_signal(signal.SIGKILL)
        shaky.wait()
        shaky = client(1)
    leader.communicate(timeout=SECONDS)
    assert leader.returncode == 0
    assert Server(place, "run").current().number == 5
    lines(steady)
    versions = p2uformat.Store(place).refs("run/model")
    assert [one.version for one in versions] == [1, 2, 3, 4, 5]
    assert p2uformat.Store(place).verify().ok
    for number in range(1, 6):
        with p2uformat.open(f"{place}#run/model@{number}") as artifact:
            assert json.loads(artifact.metadata["p2u.round"])["round"] == number
