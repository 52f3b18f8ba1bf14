"""Real processes that write to one store, race, and are killed."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import p2uformat
from p2uformat import SeveralWriters
from p2uformat.store import lease as lease_module
from p2uformat.store.keys import new_id, pin_key
from p2uformat.store.pins import Pin
from tests.store.conftest import changed, fresh_name, model_of, same
from tests.store.counting import CountingProxy

ROOT = Path(__file__).parents[2]
PUSH = (
    "import json, sys, p2uformat\n"
    "from p2uformat.store import packs\n"
    "packs.FULL_BYTES = int(sys.argv[4])\n"
    "made = p2uformat.push(sys.argv[1], sys.argv[2], storage_options=json.loads(sys.argv[3]))\n"
    "print(json.dumps(made.to_dict()))\n"
)
COLLECT = (
    "import sys, p2uformat\n"
    "for _ in range(int(sys.argv[2])):\n"
    "    p2uformat.Store(sys.argv[1]).gc(keep=3, grace=0.5, delete=True)\n"
)


def start(code, *arguments):
    command = [sys.executable, "-W", "ignore", "-c", code, *map(str, arguments)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT, text=True
    )


def end(process):
    out, err = process.communicate(timeout=180)
    assert process.returncode == 0, err
    return out


@pytest.fixture(scope="module")
def big(tmp_path_factory):
    """An artifact of 20 MB, in packs of 1 MiB: twenty of them stand for twenty large ones."""
    rng = np.random.default_rng(3)
    path = tmp_path_factory.mktemp("big") / "m.p2u"
    p2uformat.pack(
        {f"w{i:02}": rng.standard_normal((256, 256), np.float32) for i in range(96)}, path
    )
    return path


def test_several_pushes_of_one_name(tmp_path, place):
    """Every one of them becomes a version; the numbers have no gaps."""
    paths = []
    for number in range(4):
        path = tmp_path / f"{number}.p2u"
        p2uformat.pack(model_of(number, layers=2), path)
        paths.append(path)
    racers = [start(PUSH, path, f"{place}#m", "{}", 1 << 26) for path in paths]
    made = [json.loads(end(racer)) for racer in racers]
    assert sorted(one["version"] for one in made) == [1, 2, 3, 4]
    store = p2uformat.Store(place)
    assert {version.root for version in store.refs("m")} == {one["root"] for one in made}
    assert store.verify().ok


@pytest.mark.skipif(os.name == "nt", reason="no kill -9")
def test_a_killed_push_leaves_nothing_and_loses_little(moto, big):
    """The next push sends at most what was on its way again (R9)."""
    endpoint = moto.options["client_kwargs"]["endpoint_url"]
    chance = random.Random(2)
    kills = 4
    pack = 1 << 20
    with CountingProxy(endpoint) as proxy:
        options = {**moto.options, "client_kwargs": dict(moto.options["client_kwargs"])}
        options["client_kwargs"]["endpoint_url"] = proxy.url
        place = f"{moto.url}{fresh_name()}"

        def sent():
            return sum(
                n for method, path, n, _ in proxy.seen if method == "PUT" and "packs" in path
            )

        for _ in range(kills):
            before = sent()
            process = start(PUSH, big, f"{place}#m", json.dumps(options), pack)
            deadline = time.monotonic() + 60
            while sent() - before < pack * chance.randint(1, 4) and time.monotonic() < deadline:
                if process.poll() is not None:
                    break
                time.sleep(0.002)
            process.send_signal(signal.SIGKILL)
            process.communicate()
        store = p2uformat.Store(place, storage_options=moto.options)
        keys = [stat.key for stat in store._objects.scan("refs/")]
        assert len(keys) <= 1
        end(start(PUSH, big, f"{place}#m", json.dumps(options), pack))
        total = sent()
    size = big.stat().st_size
    # What a killed process had underway, and what trailers and half-full packs add.
    assert total <= size + kills * 4 * pack + 2 * pack
    assert store.verify().ok
    assert p2uformat.verify(f"{place}#m", deep=True, storage_options=moto.options).ok


@pytest.mark.skipif(os.name == "nt", reason="no kill -9")
def test_pushes_and_collections_that_are_killed(tmp_path, place):
    """Whatever is killed when: all versions that are there can be read (R15)."""
    chance = random.Random(5)
    model = model_of(1, layers=3)
    p2uformat.pack(model, f"{place}#m")
    store = p2uformat.Store(place)
    for number in range(6):
        model = changed(model, [f"l.{number % 3}.w"], number, by=1.0)
        path = tmp_path / f"{number}.p2u"
        p2uformat.pack(model, path)
        processes = [
            start(PUSH, path, f"{place}#m", "{}", 1 << 26),
            start(COLLECT, place, 3),
            start(COLLECT, place, 3),
        ]
        time.sleep(chance.uniform(0.4, 1.4))
        for process in chance.sample(processes, 2):
            process.kill()
        for process in processes:
            process.communicate(timeout=180)
        assert store.verify().ok
        store.push(path, "m")
        with store.open("m") as artifact:
            assert same(artifact, model)
    time.sleep(0.6)
    store.gc(keep=1, grace=0.5, delete=True)
    time.sleep(0.6)
    store.gc(grace=0.5, delete=True)
    assert store.verify().ok
    temporary = [path for path in Path(place).rglob("*") if path.name.startswith(".")]
    assert temporary == []


def test_one_writer_where_conditions_are_ignored(rclone, packed):
    """A second writer is told to wait; one alone may write (R17)."""
    place = f"{rclone.url}{fresh_name()}"
    store = p2uformat.Store(place, storage_options=rclone.options)
    store.push(packed, "m")
    other = pin_key(new_id(), 0)
    store._objects.create(other, Pin(lease_module.LEASE_SECONDS).encode())
    for write in (
        lambda: store.push(packed, "other"),
        lambda: store.remove("m"),
        lambda: store.gc(keep=1, grace=0, delete=True),
    ):
        with pytest.raises(SeveralWriters, match="ignores conditions"):
            write()
    assert store.gc(grace=0).versions == 1  # a look writes nothing
    assert [one.name for one in store.names()] == ["m"]
    store._objects.delete([other])
    assert store.push(packed, "other").version == 1
    store.remove("m")
    assert store.gc(grace=0, delete=True).versions == 1
    assert not store._objects.scan("pins/")


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="where Linux says so")
def test_memory_of_a_push_is_bounded(tmp_path):
    """256 MiB and 72 for each connection, for any size (R14); here with packs as they are."""
    rng = np.random.default_rng(1)
    path = tmp_path / "m.p2u"
    p2uformat.pack(
        {f"w{i}": rng.standard_normal((2048, 1024), np.float32) for i in range(40)}, path
    )
    code = (
        "import sys, p2uformat\n"
        "p2uformat.push(sys.argv[1], sys.argv[2])\n"
        # Of this address space alone: what getrusage says begins with the parent's.
        "lines = open('/proc/self/status').read().splitlines()\n"
        "print(next(line.split()[1] for line in lines if line.startswith('VmHWM')))\n"
    )
    used = int(end(start(code, path, f"{tmp_path / 'store'}#m"))) << 10
    assert path.stat().st_size > 250 << 20
    assert used <= (256 + 4 * 72) << 20
