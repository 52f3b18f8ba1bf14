"""Real processes that are killed, race, fork, or meet a full disk."""

from __future__ import annotations

import asyncio
import errno
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import p2uformat
from p2uformat.container.partial import PartialFile
from p2uformat.testing import FaultServer

FETCH = "import sys, p2uformat; p2uformat.fetch(sys.argv[1], sys.argv[2])"
CONNECTIONS = 8
SOAK = os.environ.get("P2U_SOAK") == "1"


def start(*arguments: object) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", FETCH, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def largest_chunk(path: Path) -> int:
    with p2uformat.open(path) as artifact:
        container = artifact._contents.container
        return max(chunk.length for page in container.pages for chunk in page.encoding.chunks)


@pytest.fixture(scope="module")
def big(tmp_path_factory) -> Path:
    """An artifact of some 25 MB, in a soak 120, in chunks of up to 1 MB."""
    rng = np.random.default_rng(3)
    path = tmp_path_factory.mktemp("big") / "m.p2u"
    count = 70 if SOAK else 14
    weights = {f"l.{i}": rng.standard_normal((2048, 256), np.float32) for i in range(count)}
    p2uformat.pack(weights, path)
    return path


@pytest.mark.skipif(os.name == "nt", reason="no kill -9")
def test_killed_at_any_moment_it_goes_on(big, tmp_path):
    """Each restart asks again for at most the chunks that were underway (R1)."""
    data, target = big.read_bytes(), tmp_path / "a.p2u"
    chunk = largest_chunk(big)
    chosen = random.Random(1)
    kills = 50 if SOAK else 8
    with FaultServer({"m.p2u": data}, rate=4e6) as server:
        for _ in range(kills):
            before = server.bytes_sent
            process = start(server.url_of("m.p2u"), target)
            # The interpreter starts first; then anything between the first byte and the last.
            deadline = time.monotonic() + 30
            while server.bytes_sent == before and time.monotonic() < deadline:
                time.sleep(0.01)
            time.sleep(chosen.random())
            process.kill()
            process.communicate()
            if target.exists() and target.stat().st_size == len(data):
                break
        result = p2uformat.fetch(server.url_of("m.p2u"), target)
        sent = server.bytes_sent
    assert target.read_bytes() == data
    assert result.present > 0
    # What was on its way to a process that was killed: chunks, and what the sockets held.
    underway = CONNECTIONS * (chunk + (1 << 17)) + (1 << 16)
    assert sent <= len(data) + kills * underway
    assert [path.name for path in tmp_path.iterdir()] == ["a.p2u"]


def test_four_processes_fill_one_file(big, tmp_path):
    """No locks, and exact every time (R3)."""
    data = big.read_bytes()
    for attempt in range(10 if SOAK else 2):
        target = tmp_path / f"{attempt}.p2u"
        with FaultServer({"m.p2u": data}, rate=len(data) / 1.0) as server:
            running = [start(server.url_of("m.p2u"), target) for _ in range(4)]
            outputs = [process.communicate(timeout=60)[0] for process in running]
        assert [process.returncode for process in running] == [0] * 4, outputs
        assert target.read_bytes() == data
    assert len(list(tmp_path.iterdir())) == (10 if SOAK else 2)


def test_many_threads_fill_one_file_and_read_from_one_artifact(whole, model, tmp_path):
    def work(_):
        p2uformat.fetch(url, tmp_path / "a.p2u")
        return np.array_equal(artifact.get("wide"), model["wide"])

    with FaultServer({"m.p2u": whole.read_bytes()}) as server:
        url = server.url_of("m.p2u")
        with p2uformat.open(url) as artifact, ThreadPoolExecutor(6) as pool:
            assert list(pool.map(work, range(6))) == [True] * 6
    assert (tmp_path / "a.p2u").read_bytes() == whole.read_bytes()


def _child(artifact, url, folder, queue):
    values = artifact.get("wide", "q4")
    result = p2uformat.fetch(url, Path(folder, "child.p2u"))
    queue.put((values.sum(), result.whole))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_after_a_fork_the_child_has_connections_of_its_own(whole, tmp_path):
    with (
        FaultServer({"m.p2u": whole.read_bytes()}) as server,
        p2uformat.open(server.url_of("m.p2u")) as artifact,
    ):
        expected = artifact.get("wide", "q4")
        context = multiprocessing.get_context("fork")
        queue = context.Queue()
        child = context.Process(
            target=_child, args=(artifact, server.url_of("m.p2u"), tmp_path, queue)
        )
        child.start()
        total, complete = queue.get(timeout=30)
        child.join(30)
        # The parent goes on with its own.
        again = artifact.get("wide", "q4")
    assert (total, complete, child.exitcode) == (expected.sum(), True, 0)
    assert np.array_equal(again, expected)


def test_inside_a_running_event_loop(whole, model, tmp_path):
    async def work(url):
        with p2uformat.open(url) as artifact:
            values = artifact.get("layer.0")
        done = await asyncio.to_thread(p2uformat.fetch, url, tmp_path / "a.p2u")
        return values, done

    with FaultServer({"m.p2u": whole.read_bytes()}) as server:
        values, done = asyncio.run(work(server.url_of("m.p2u")))
    assert np.array_equal(values, model["layer.0"])
    assert done.whole


def test_on_the_loop_that_carries_it_it_says_so(whole):
    from fsspec.asyn import get_loop

    async def work():
        return p2uformat.open("http://127.0.0.1:9/m.p2u")

    future = asyncio.run_coroutine_threadsafe(work(), get_loop())
    with pytest.raises(p2uformat.InvalidArgument, match="event loop"):
        future.result(10)


@pytest.mark.skipif(os.name == "nt", reason="no SIGINT for one process")
def test_interrupted_it_ends_soon_and_keeps_what_came(big, tmp_path):
    data = big.read_bytes()
    with FaultServer({"m.p2u": data}, rate=len(data) / 8) as server:
        command = [sys.executable, "-m", "p2u_cli", "fetch", server.url_of("m.p2u")]
        process = subprocess.Popen(
            [*command, tmp_path / "a.p2u"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        while server.bytes_sent < len(data) / 4:
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=20)
    assert (process.returncode, errors) == (130, b"error: interrupted\n")
    with FaultServer({"m.p2u": data}) as server:
        result = p2uformat.fetch(server.url_of("m.p2u"), tmp_path / "a.p2u")
    assert result.present > 0.1 * result.total
    assert (tmp_path / "a.p2u").read_bytes() == data


def test_a_full_disk_is_told_and_nothing_is_lost(whole, tmp_path, monkeypatch):
    room = [2_000_000]

    def write(self, data, offset):
        if offset >= 4096:
            room[0] -= len(data)
        if room[0] < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return os.pwrite(self._descriptor, data, offset)

    with FaultServer({"m.p2u": whole.read_bytes()}) as server:
        with monkeypatch.context() as patched:
            patched.setattr(PartialFile, "_pwrite", write)
            with pytest.raises(p2uformat.StoreUnavailable, match="no space left") as caught:
                p2uformat.fetch(server.url_of("m.p2u"), tmp_path / "a.p2u")
            assert "free some space" in caught.value.hint
        result = p2uformat.fetch(server.url_of("m.p2u"), tmp_path / "a.p2u")
    # How much depends on how many chunks were on their way at once.
    assert result.present > 100_000
    assert (tmp_path / "a.p2u").read_bytes() == whole.read_bytes()


@pytest.fixture
def small_disk(tmp_path):
    """A real disk of 4 MB, where this process may mount one."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", place]
    if os.name == "nt" or not shutil.which("mount") or os.geteuid() != 0:
        pytest.skip("only root mounts a disk")
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("no disk can be mounted here")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


def test_a_real_disk_that_is_full(whole, small_disk):
    with FaultServer({"m.p2u": whole.read_bytes()}) as server:
        with pytest.raises(p2uformat.StoreUnavailable, match="no space left"):
            # One after the other, in the order of the file: the lower tiers come first.
            p2uformat.fetch(server.url_of("m.p2u"), small_disk / "a.p2u", connections=1)
        result = p2uformat.fetch(server.url_of("m.p2u"), small_disk / "a.p2u", tier="q4")
        assert result.complete[0] == "q4"


def test_a_disk_that_is_read_only(whole, tmp_path, small_disk):
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    with (
        FaultServer({"m.p2u": whole.read_bytes()}) as server,
        pytest.raises(p2uformat.StoreUnavailable, match="read-only"),
    ):
        p2uformat.fetch(server.url_of("m.p2u"), small_disk / "a.p2u")


def test_a_power_cut_loses_no_more_than_was_not_synced(whole, tmp_path, monkeypatch):
    """Bits are set after the bytes reached the disk: drop what came since the last sync (R2)."""
    path = tmp_path / "a.p2u"
    synced: list[bytes] = []
    # One thread writes and syncs by turns: several would write on while one syncs.
    monkeypatch.setattr("p2uformat.container.partial._UNSYNCED_BYTES", 1 << 18)
    real = os.fdatasync

    def sync(descriptor):
        real(descriptor)
        synced.append(path.read_bytes())

    with FaultServer({"m.p2u": whole.read_bytes()}) as server:
        with monkeypatch.context() as patched:
            patched.setattr(os, "fdatasync", sync)
            p2uformat.fetch(server.url_of("m.p2u"), path, threads=1)
        assert len(synced) > 2
        for state in synced:
            path.write_bytes(state)
            # Whatever the bits of that moment say is true.
            report = p2uformat.verify(path)
            assert not report.damage
            assert p2uformat.fetch(server.url_of("m.p2u"), path).whole
            assert path.read_bytes() == whole.read_bytes()
