"""Mapped windows of a file, and what becomes of them when the file gets shorter."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

import p2uformat
from p2uformat.files import FileReader
from p2uformat.native import native_module

pytestmark = pytest.mark.skipif(native_module() is None, reason="windows need the native module")

SHORTER = """
import os, sys
from p2uformat.files import FileReader
with FileReader(sys.argv[1]) as file:
    with file.window(5, 99_000) as window:
        assert bytes(window.data[:3]) == b"xxx"
        os.truncate(sys.argv[1], 10)
        assert bytes(window.data[-40_000:]) == bytes(40_000)
    with file.window(0, 10) or open(os.devnull):
        pass
print("alive")
"""


def test_a_window_shows_the_file(tmp_path):
    path = tmp_path / "f"
    data = np.random.default_rng(1).bytes(300_000)
    path.write_bytes(data)
    with FileReader(path) as file:
        for offset, length in ((0, 300_000), (1, 5), (4095, 9000), (290_001, 9_999)):
            with file.window(offset, length) as window:
                assert bytes(window.data) == data[offset : offset + length]
        assert file.window(0, 300_001) is None
        assert file.window(7, 0) is None


def test_many_windows_are_open_at_once(tmp_path):
    path = tmp_path / "f"
    path.write_bytes(b"y" * 5000)
    with FileReader(path) as file:
        windows = [file.window(0, 5000) for _ in range(600)]
        known = [window for window in windows if window is not None]
        assert 100 < len(known) < 600  # there is a limit, and then files are read
        for window in known:
            assert window.data[4999] == ord("y")
            window.close()
            window.close()
        with file.window(0, 5000) as again:
            assert again.data[0] == ord("y")


@pytest.mark.skipif(sys.platform == "win32", reason="a mapped file keeps its length there")
def test_a_file_that_gets_shorter_does_not_end_the_process(tmp_path):
    path = tmp_path / "f"
    path.write_bytes(b"x" * 100_000)
    done = subprocess.run(
        [sys.executable, "-c", SHORTER, os.fspath(path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "alive\n", "")


def test_verify_reports_what_is_lost_while_it_looks(tmp_path, monkeypatch):
    path = tmp_path / "m.p2u"
    weights = np.random.default_rng(2).standard_normal((800, 400)).astype(np.float32)
    p2uformat.pack({"w": weights}, path)
    size = path.stat().st_size
    window = FileReader.window

    def shrinking(self, offset, length):
        made = window(self, offset, length)
        os.truncate(self.path, size - 300_000)
        return made

    monkeypatch.setattr(FileReader, "window", shrinking)
    report = p2uformat.verify(path)
    assert not report.ok
    assert {(damage.tensor, damage.tier) for damage in report.damage} == {("w", "exact")}
