import os

import pytest

from p2uformat.errors import InvalidArgument, NotFound, StoreUnavailable
from p2uformat.files import FileReader


def test_it_reads_by_offset(tmp_path):
    path = tmp_path / "f"
    path.write_bytes(bytes(range(100)))
    with FileReader(path) as file:
        assert file.size == 100
        assert file.read(10, 5) == bytes(range(10, 15))
        assert file.read(98, 5) == b"bc"
        assert file.read(200, 5) == b""
        assert file.read(0, 1 << 40) == bytes(range(100))
        buffer = memoryview(bytearray(8))
        assert file.readinto(95, buffer) == 5


def test_it_is_closed_for_good(tmp_path):
    path = tmp_path / "f"
    path.write_bytes(b"x")
    file = FileReader(path)
    file.close()
    file.close()
    with pytest.raises(InvalidArgument, match="closed"):
        file.read(0, 1)


def test_what_is_no_file_is_refused(tmp_path):
    with pytest.raises(NotFound):
        FileReader(tmp_path / "none")
    with pytest.raises(StoreUnavailable, match="folder"):
        FileReader(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(StoreUnavailable, match="not a file"):
        FileReader(tmp_path / "pipe")


@pytest.mark.parametrize("path", ["", "a\0b", 7, None])
def test_what_is_no_path_is_refused(path):
    with pytest.raises(InvalidArgument):
        FileReader(path)
