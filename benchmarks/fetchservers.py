"""Web servers and slow links to fetch through, and what went over them."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from p2uformat.testing import FaultProxy, FaultServer

__all__ = [
    "Count",
    "Fault",
    "Nginx",
    "Web",
    "answers",
    "counted",
    "ending",
    "find_nginx",
    "free_port",
    "link",
    "serving",
]

_READY_SECONDS = 30.0
_STEP_SECONDS = 0.02
_TRIES = 5
_NGINX = """
{user}
daemon off;
worker_processes 1;
pid {here}/nginx.pid;
error_log {here}/error.log;
events {{ worker_connections 256; }}
http {{
  log_format sizes '$request_method $status $body_bytes_sent $uri';
  access_log {here}/access.log sizes;
  default_type application/octet-stream;
  client_body_temp_path {here}/client; proxy_temp_path {here}/proxy;
  fastcgi_temp_path {here}/fastcgi; uwsgi_temp_path {here}/uwsgi; scgi_temp_path {here}/scgi;
  sendfile on;
  tcp_nodelay on;
  server {{ listen 127.0.0.1:{port}; root {folder}; }}
}}
"""
_LINE = re.compile(r"^(\S+) (\d+) (\d+) (\S+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Count:
    """What a server answered.

    Parameters
    ----------
    requests
        Requests with any status.
    bytes
        Bytes of bodies.
    """

    requests: int
    bytes: int

    def __add__(self, other: Count) -> Count:
        return Count(self.requests + other.requests, self.bytes + other.bytes)

    def __sub__(self, other: Count) -> Count:
        return Count(self.requests - other.requests, self.bytes - other.bytes)


class Web(ABC):
    """A folder behind HTTP.

    Parameters
    ----------
    name
        What to print.
    folder
        The files.
    url
        Where they are, without a slash at the end.
    """

    def __init__(self, name: str, folder: Path, url: str) -> None:
        self.name = name
        self.folder = folder
        self.url = url

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(urlsplit(self.url).port or 0)

    @abstractmethod
    def count(self) -> Count:
        """Return what was answered since the server started."""


class Nginx(Web):
    """A running nginx; its log is what counts."""

    def __init__(self, folder: Path, url: str, log: Path) -> None:
        super().__init__("nginx", folder, url)
        self._log = log
        self._marks = 0

    def count(self) -> Count:
        """Return what was answered; one worker notes requests in the order in which they ended."""
        self._marks += 1
        mark = f"/mark-{os.getpid()}-{self._marks}"
        ask(self.url + mark)
        end = time.monotonic() + _READY_SECONDS
        while (text := self._log.read_text(encoding="utf-8", errors="replace")).find(mark) < 0:
            if time.monotonic() > end:
                raise TimeoutError(f"nginx did not note {mark}")
            time.sleep(_STEP_SECONDS)
        lines = [m for m in _LINE.finditer(text) if not m[4].startswith("/mark-")]
        return Count(len(lines), sum(int(m[3]) for m in lines))


class Fault(Web):
    """The Python server of `p2uformat.testing`, where there is no nginx or faults are wanted."""

    def __init__(self, folder: Path, server: FaultServer) -> None:
        super().__init__("the Python server", folder, server.url)
        self._server = server

    def count(self) -> Count:
        """Return what was answered."""
        return Count(len(self._server.requests), self._server.bytes_sent)


def ask(url: str) -> int:
    """Ask by HTTP, whatever proxy the environment names, and return the status."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=5) as answer:
            return int(answer.status)
    except urllib.request.HTTPError as error:
        with error:
            return error.code


def counted(web: Web, call: Callable[[], object]) -> Count:
    """Return what a server answers while `call` runs."""
    before = web.count()
    call()
    return web.count() - before


def find_nginx() -> str | None:
    """Return where nginx is."""
    return shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")


@contextmanager
def serving(folder: Path, work: Path) -> Iterator[Web]:
    """Serve a folder by nginx, or by Python where that is not installed.

    Parameters
    ----------
    folder
        The files.
    work
        Folder for configuration and log.
    """
    program = find_nginx()
    if program is None:
        with FaultServer(folder) as server:
            yield Fault(folder, server)
        return
    here = work / "nginx"
    here.mkdir()
    with ExitStack() as stack:
        url = _started(stack, program, here, folder)
        yield Nginx(folder, url, here / "access.log")


def _started(stack: ExitStack, program: str, here: Path, folder: Path) -> str:
    """Start nginx on a port that is free, and return where it listens."""
    # Workers of a root master would be another user, who may not enter the folder.
    user = "user root;" if getattr(os, "geteuid", lambda: 1)() == 0 else ""
    for _ in range(_TRIES):
        port = free_port()
        text = _NGINX.format(here=here, port=port, user=user, folder=folder)
        (here / "nginx.conf").write_text(text, encoding="utf-8")
        command = [program, "-e", "stderr", "-p", str(here), "-c", str(here / "nginx.conf")]
        with (here / "output.txt").open("ab") as output:
            process = subprocess.Popen(command, stdout=output, stderr=output)
        url = f"http://127.0.0.1:{port}"
        stack.enter_context(ending(process))
        if answers(process, url):
            return url
    raise RuntimeError((here / "output.txt").read_text(encoding="utf-8")[-1000:])


def free_port() -> int:
    """Return a port that nobody listens on now; somebody may a moment later."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def answers(process: subprocess.Popen[bytes], url: str) -> bool:
    """Wait until a server answers; False if it ended instead, because the port was taken."""
    end = time.monotonic() + _READY_SECONDS
    while time.monotonic() < end and process.poll() is None:
        try:
            ask(f"{url}/mark-ready")
        except OSError:
            time.sleep(_STEP_SECONDS)
        else:
            return process.poll() is None
    return False


@contextmanager
def ending(process: subprocess.Popen[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """End a process with the block."""
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def link(web: Web, rate: float) -> Iterator[str]:
    """Put a link of `rate` bytes a second, for all connections together, before a server.

    It runs in a process of its own, so that it takes no turns with the client's threads.

    Returns
    -------
    context manager of str
        The URL of the other end.
    """
    command = [sys.executable, "-m", "benchmarks.fetchservers", str(web.port), str(rate)]
    root = Path(__file__).resolve().parents[1]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=root, bufsize=0
    )
    with ending(process), process:
        assert process.stdout is not None
        yield process.stdout.readline().decode().strip()


def _pass_on(port: int, rate: float) -> None:
    """Be the link until standard input ends, as it does with the parent."""
    with FaultProxy("127.0.0.1", port, rate=rate) as proxy:
        print(proxy.url, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    _pass_on(int(sys.argv[1]), float(sys.argv[2]))
