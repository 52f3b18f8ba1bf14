"""Each place that a store may lie in does what the store relies on."""

import multiprocessing
import os
import shutil
import subprocess
import sys
from pathlib import Path

import fsspec
import pytest

from p2uformat import InvalidArgument, NotFound, StoreUnavailable
from p2uformat.limits import MAX_PACK_BYTES
from p2uformat.store.local import LocalObjects
from p2uformat.store.objects import Objects
from p2uformat.store.place import open_objects
from p2uformat.testing.stores import ObjectsChecks
from tests.store.conftest import fresh_name
from tests.store.memory import MemoryObjects


class TestLocal(ObjectsChecks):
    race_keys = 200
    many = 1100
    large = MAX_PACK_BYTES

    @pytest.fixture
    def objects(self, tmp_path):
        return LocalObjects(tmp_path / "deep" / "store")

    @pytest.fixture
    def raw(self, tmp_path):
        root = tmp_path / "deep" / "store"

        def read(key):
            path = root / key
            return path.read_bytes() if path.exists() else None

        def write(key, data):
            (root / key).parent.mkdir(parents=True, exist_ok=True)
            (root / key).write_bytes(data)

        return read, write


class TestInMemory(ObjectsChecks):
    """The double that other tests rely on keeps the same rules."""

    @pytest.fixture
    def objects(self):
        return MemoryObjects()

    @pytest.fixture
    def raw(self, objects):
        def read(key):
            return objects.held[key][0] if key in objects.held else None

        def write(key, data):
            objects.held[key] = data, objects.time

        return read, write


class Remote(ObjectsChecks):
    server = ""
    race_keys = 4

    @pytest.fixture
    def where(self, request):
        served = request.getfixturevalue(self.server)
        return f"{served.url}{fresh_name()}", served

    @pytest.fixture
    def objects(self, where):
        return open_objects(where[0], where[1].options)

    @pytest.fixture
    def raw(self, where):
        url, served = where
        # Another instance of the file system: nothing that the first one remembers helps.
        files, root = fsspec.core.url_to_fs(url, skip_instance_cache=True, **served.options)

        def read(key):
            files.invalidate_cache()
            return files.cat_file(f"{root}/{key}") if files.exists(f"{root}/{key}") else None

        def write(key, data):
            files.pipe_file(f"{root}/{key}", data)

        return read, write


class TestMoto(Remote):
    server = "moto"
    many = 1001
    large = MAX_PACK_BYTES


class TestRadosgw(Remote):
    server = "radosgw"
    many = 1001
    large = MAX_PACK_BYTES


class TestAzurite(Remote):
    """Sends a pack in blocks, since it is larger than what is put at once."""

    server = "azurite"
    large = MAX_PACK_BYTES


class TestGoogle(Remote):
    """The emulator ignores conditions."""

    server = "gcs"
    conditions = False
    large = MAX_PACK_BYTES


class TestRclone(Remote):
    """Ignores conditions."""

    server = "rclone"
    conditions = False
    many = 1001
    large = MAX_PACK_BYTES


class TestMemoryFileSystem(ObjectsChecks):
    @pytest.fixture
    def objects(self):
        return open_objects(f"memory://{fresh_name()}")

    @pytest.fixture
    def raw(self, objects):
        files, root = fsspec.core.url_to_fs(objects.address.url)

        def read(key):
            return files.cat_file(f"{root}/{key}") if files.exists(f"{root}/{key}") else None

        return read, lambda key, data: files.pipe_file(f"{root}/{key}", data)


def _race(folder, number, keys, barrier, results):
    objects = LocalObjects(folder)
    barrier.wait(60)
    for key in range(keys):
        if objects.create(f"keys/{key}", b"%d" % number):
            results.put((key, number))


def test_processes_that_race_have_one_winner(tmp_path):
    """Eight processes, two hundred keys (R16)."""
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(8), context.Queue()
    racers = [
        context.Process(target=_race, args=(tmp_path / "s", number, 200, barrier, results))
        for number in range(8)
    ]
    for racer in racers:
        racer.start()
    won = [results.get(timeout=120) for _ in range(200)]
    for racer in racers:
        racer.join(60)
        assert racer.exitcode == 0
    assert results.empty()
    assert sorted(key for key, _ in won) == list(range(200))
    for key, number in won:
        assert (tmp_path / "s" / "keys" / str(key)).read_bytes() == b"%d" % number


def test_local_writes_leave_nothing_else(tmp_path):
    objects = LocalObjects(tmp_path / "s")
    objects.create("refs/m/1", b"x")
    assert not objects.create("refs/m/1", b"y")
    objects.put("index/1", b"z")
    found = [path.name for path in (tmp_path / "s").rglob("*") if path.is_file()]
    assert sorted(found) == ["1", "1"]


def test_a_place_without_links_is_weak(tmp_path, monkeypatch):
    objects = LocalObjects(tmp_path / "s")
    objects.create("p2u.json", b"{}")

    def refuse(*_arguments, **_named):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    assert not objects.probe("p2u.json", b"{}").conditions


@pytest.mark.skipif(os.name == "nt" or shutil.which("mount") is None, reason="needs tmpfs")
def test_a_full_disk_leaves_nothing_half_written(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("may not mount")
    try:
        objects = LocalObjects(disk / "s")
        assert objects.create("small", b"x" * 1000)
        with pytest.raises(StoreUnavailable, match="space"):
            objects.create("large", bytes(4 << 20))
        assert [stat.key for stat in objects.scan("")] == ["small"]
        assert objects.create("after", b"there is room again")
    finally:
        subprocess.run(["umount", disk], check=True)


def test_a_folder_that_is_a_file(tmp_path):
    (tmp_path / "file").write_bytes(b"x")
    objects = LocalObjects(tmp_path / "file")
    with pytest.raises(StoreUnavailable):
        objects.create("p2u.json", b"{}")
    with pytest.raises((NotFound, StoreUnavailable)):
        objects.get("p2u.json", most=10)


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anything"
)
def test_a_folder_that_may_not_be_written(tmp_path):
    objects = LocalObjects(tmp_path / "s")
    objects.create("a", b"1")
    (tmp_path / "s").chmod(0o500)
    try:
        with pytest.raises(StoreUnavailable):
            objects.create("b", b"2")
        assert objects.get("a", most=9) == b"1"
    finally:
        (tmp_path / "s").chmod(0o700)


def test_no_bucket(moto):
    objects: Objects = open_objects("s3://no-such-bucket/store", moto.options)
    assert objects.scan("refs/") == []
    with pytest.raises(NotFound, match="no such bucket"):
        objects.create("p2u.json", b"{}")


def test_a_web_server_is_read_only(nginx):
    objects = open_objects(f"{nginx.url}store")
    nginx.put("store/refs/a", b"x")
    assert objects.get("refs/a", most=9) == b"x"
    for change in (
        lambda: objects.create("a", b"1"),
        lambda: objects.put("a", b"1"),
        lambda: objects.delete(["a"]),
        lambda: objects.probe("a", b"1"),
    ):
        with pytest.raises(StoreUnavailable, match="read-only"):
            change()


def test_a_place_that_nobody_knows():
    with pytest.raises(InvalidArgument, match="no support"):
        open_objects("nosuchthing://x/y").get("a", most=9)


def test_after_a_fork(moto):
    """A child opens connections of its own."""
    url = f"{moto.url}{fresh_name()}"
    code = (
        "import os, sys, json; from p2uformat.store.place import open_objects\n"
        "objects = open_objects(sys.argv[1], json.loads(sys.argv[2]))\n"
        "assert objects.create('parent', b'1')\n"
        "child = os.fork()\n"
        "if not child:\n"
        "    ok = objects.create('child', b'2') and objects.get('parent', most=9) == b'1'\n"
        "    os._exit(0 if ok else 1)\n"
        "sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))\n"
    )
    import json

    command = [sys.executable, "-W", "ignore", "-c", code, url, json.dumps(moto.options)]
    subprocess.run(command, check=True, timeout=120, cwd=Path(__file__).parents[2])
    assert open_objects(url, moto.options).get("child", most=9) == b"2"
