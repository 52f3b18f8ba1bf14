"""What the real servers do with a read, so that other tests may lean on it."""

import os
import random
import sys
import time
import urllib.error
from pathlib import Path

import fsspec
import pytest

from tests.servers.fixtures import SERVERS, Servers, answer
from tests.servers.processes import NotReadyError, Program, free_port, start

DATA = random.Random(7).randbytes(300_000)
PART = DATA[1000:2000]


def test_whole_and_in_part(any_served):
    any_served.put("servers/whole.bin", DATA)
    fs, path = fsspec.core.url_to_fs(f"{any_served.url}servers/whole.bin", **any_served.options)
    assert fs.cat_file(path) == DATA
    assert fs.cat_file(path, start=1000, end=2000) == PART
    with fs.open(path, "rb", block_size=65536) as file:
        file.seek(123_456)
        assert file.read(1000) == DATA[123_456:124_456]


def test_put_again(any_served):
    any_served.put("servers/again.bin", b"first")
    any_served.put("servers/again.bin", DATA)
    where = f"{any_served.url}servers/again.bin"
    with fsspec.open(where, "rb", **any_served.options) as file:
        assert file.read() == DATA


@pytest.fixture(scope="module")
def on_nginx(nginx):
    nginx.put("servers/nginx.bin", DATA)
    return lambda folder, **headers: answer(f"{nginx.url}{folder}servers/nginx.bin", **headers)


def test_nginx_range(on_nginx):
    status, headers, body = on_nginx("", Range="bytes=1000-1999")
    assert (status, body) == (206, PART)
    assert headers["Content-Range"] == f"bytes 1000-1999/{len(DATA)}"


def test_nginx_without_ranges(on_nginx):
    status, headers, body = on_nginx("noranges/", Range="bytes=1000-1999")
    assert (status, body, headers["Content-Range"]) == (200, DATA, None)


def test_nginx_gzip(on_nginx):
    asked = {"Range": "bytes=1000-1999", "Accept-Encoding": "gzip"}
    status, headers, _ = on_nginx("gzip/", **asked)
    assert (status, headers["Content-Encoding"], headers["Content-Length"]) == (200, "gzip", None)
    assert on_nginx("gzip/", Range="bytes=1000-1999")[2] == PART


def test_nginx_private(on_nginx):
    with pytest.raises(urllib.error.HTTPError) as refused:
        on_nginx("private/")
    refused.value.close()
    assert refused.value.code == 403


@pytest.mark.parametrize("name", SERVERS)
def test_missing_server(name):
    servers = Servers(required={name})
    with pytest.raises(pytest.fail.Exception, match=f"{name} is required.*install it"):
        servers.need(name, have=False, install="install it")
    servers = Servers(required=set())
    with pytest.raises(pytest.skip.Exception, match=f"{name} is not installed: install it"):
        servers.need(name, have=False, install="install it")
    assert servers.skipped == {name: "install it"}


def test_failed_start_tells_the_output(tmp_path):
    command = [sys.executable, "-c", "print('no such thing'); raise SystemExit(3)"]
    with pytest.raises(NotReadyError, match="no such thing"):
        start(lambda port: command, lambda port: None, tmp_path / "output.txt")


STUBBORN = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(child.pid, flush=True)
time.sleep(600)
"""


def gone(number):
    """Whether a process ended; nobody may have reaped it where there is no init."""
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return True
    state = Path(f"/proc/{number}/stat")
    return state.exists() and state.read_text().rpartition(")")[2].split()[0] == "Z"


def test_ended_with_children(tmp_path, monkeypatch):
    monkeypatch.setattr("tests.servers.processes.ENDED", 0.2)
    program = Program([sys.executable, "-c", STUBBORN], tmp_path / "output.txt")
    end = time.monotonic() + 30
    while not program.tail().endswith("\n") and time.monotonic() < end:
        time.sleep(0.01)
    child = int(program.tail())
    program.end()
    while not gone(child) and time.monotonic() < end:
        time.sleep(0.01)
    assert gone(child)
    program.end()


def test_unanswered_port_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr("tests.servers.processes.READY", 0.3)
    program = Program([sys.executable, "-c", "import time; time.sleep(600)"], tmp_path / "out")
    try:
        with pytest.raises(NotReadyError, match="no answer on port"):
            program.wait(free_port(), lambda: None)
    finally:
        program.end()
