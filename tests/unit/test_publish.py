import errno
import os
import signal
import subprocess
import sys
import threading

import pytest

from p2uformat.errors import DestinationExists, NotFound, StoreUnavailable
from p2uformat.publishing import publish


@pytest.fixture(params=["nameless", "named"])
def way(request, monkeypatch):
    if request.param == "named":
        monkeypatch.delattr(os, "O_TMPFILE", raising=False)
    return request.param


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_it_appears_whole(tmp_path, way):
    target = tmp_path / "f"
    with publish(target) as output:
        output.write(b"ab")
        output.write(memoryview(b"cd"))
        assert not target.exists()
        assert output.reader().read(1, 2) == b"bc"
    assert target.read_bytes() == b"abcd"
    assert names(tmp_path) == ["f"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_nothing_is_left_after_an_error(tmp_path, way, error):
    def interrupted():
        with publish(tmp_path / "f") as output:
            output.write(b"x")
            raise error

    with pytest.raises(error):
        interrupted()
    assert names(tmp_path) == []


def test_a_file_is_not_overwritten(tmp_path, way):
    target = tmp_path / "f"
    target.write_bytes(b"old")
    with pytest.raises(DestinationExists), publish(target):
        pytest.fail("it should be refused before any work")
    assert target.read_bytes() == b"old"


def test_a_file_is_not_overwritten_when_it_comes_meanwhile(tmp_path, way):
    target = tmp_path / "f"

    def raced():
        with publish(target) as output:
            output.write(b"new")
            target.write_bytes(b"other")

    with pytest.raises(DestinationExists):
        raced()
    assert target.read_bytes() == b"other"
    assert names(tmp_path) == ["f"]


def test_a_file_is_overwritten_if_wanted(tmp_path, way):
    target = tmp_path / "f"
    target.write_bytes(b"old")
    with publish(target, overwrite=True) as output:
        output.write(b"new")
        assert target.read_bytes() == b"old"
    assert target.read_bytes() == b"new"
    assert names(tmp_path) == ["f"]


def test_a_new_file_may_be_overwritten_too(tmp_path, way):
    with publish(tmp_path / "f", overwrite=True) as output:
        output.write(b"new")
    assert names(tmp_path) == ["f"]


def test_folders_are_refused(tmp_path, way):
    with pytest.raises(DestinationExists, match="folder"), publish(tmp_path, overwrite=True):
        pass
    with pytest.raises(NotFound), publish(tmp_path / "none" / "f"):
        pass


def test_a_link_that_leads_nowhere_is_taken(tmp_path, way):
    (tmp_path / "f").symlink_to(tmp_path / "none")
    with pytest.raises(DestinationExists), publish(tmp_path / "f"):
        pass


def test_a_full_disk_is_reported(tmp_path, way, monkeypatch):
    def full(descriptor, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    def write():
        with publish(tmp_path / "f") as output, monkeypatch.context() as patch:
            patch.setattr(os, "write", full)
            output.write(b"x")

    with pytest.raises(StoreUnavailable, match="no space left") as caught:
        write()
    assert caught.value.errno == errno.ENOSPC
    assert names(tmp_path) == []


def test_the_mask_is_respected(tmp_path, way):
    old = os.umask(0o027)
    try:
        with publish(tmp_path / "f") as output:
            output.write(b"x")
    finally:
        os.umask(old)
    assert (tmp_path / "f").stat().st_mode & 0o777 == 0o640


def test_only_one_of_many_writers_wins(tmp_path, way):
    barrier = threading.Barrier(4)
    wins = []

    def write(number):
        try:
            with publish(tmp_path / "f") as output:
                output.write(b"%d" % number)
                barrier.wait()
            wins.append(number)
        except DestinationExists:
            pass

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [b"%d" % number for number in wins] == [(tmp_path / "f").read_bytes()]
    assert names(tmp_path) == ["f"]


@pytest.mark.skipif(not hasattr(os, "O_TMPFILE"), reason="needs files without a name")
def test_nothing_is_left_after_a_kill(tmp_path):
    code = (
        "import os, signal, sys\n"
        "from p2uformat.publishing import publish\n"
        "with publish(sys.argv[1]) as output:\n"
        "    output.write(b'x' * 100)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "f"], check=False)
    assert done.returncode == -signal.SIGKILL
    assert names(tmp_path) == []
