"""Ctrl-C half-way: one line, exit code 130, and nothing under the final name."""

import json
import re
import signal
import subprocess
import time

import pytest

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs POSIX signals")

# 48 MiB: long enough to be interrupted half-way, short enough to wait for.
ROWS = 49_152


@pytest.fixture(scope="module")
def big(make_model, tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("big") / "m.safetensors", rows=ROWS)


@pytest.fixture(scope="module")
def big_artifact(p2u, big):
    artifact = big.with_suffix(".p2u")
    result = p2u("pack", big, artifact)
    assert result.code == 0, result.err
    return artifact


@pytest.fixture
def interrupt(start, open_terminal):
    """Return a function that runs a command and sends Ctrl-C once it is at work in `phase`."""

    def run(phase, *arguments):
        terminal = open_terminal(100)
        process = start(*arguments, stdout=subprocess.PIPE, stderr=terminal.slave)
        deadline = time.monotonic() + 60
        while phase not in terminal.text:
            assert process.poll() is None, "ended before it could be interrupted"
            assert time.monotonic() < deadline, f"never came to {phase}"
            time.sleep(0.005)
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=60)
        return process.returncode, out.decode(), terminal.close()

    return run


def lines(screen):
    """The lines that stay on the screen: what progress drew is erased again."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen.rpartition("\x1b[2K")[2]).split("\n")


@pytest.mark.parametrize("phase", ["planning", "encoding"])
def test_pack_leaves_nothing(interrupt, big, tmp_path, phase):
    code, out, screen = interrupt(phase, "pack", big, tmp_path / "m.p2u")
    assert (code, out) == (130, "")
    assert lines(screen) == ["error: interrupted", ""]
    assert list(tmp_path.iterdir()) == []


def test_pack_keeps_what_it_would_have_replaced(interrupt, big, tmp_path):
    destination = tmp_path / "m.p2u"
    destination.write_bytes(b"precious")
    code, _, _ = interrupt("encoding", "pack", big, destination, "--overwrite")
    assert code == 130
    assert destination.read_bytes() == b"precious"
    assert [path.name for path in tmp_path.iterdir()] == ["m.p2u"]


def test_unpack_leaves_nothing(interrupt, big_artifact, tmp_path):
    code, out, screen = interrupt("unpacking", "unpack", big_artifact, tmp_path / "m.safetensors")
    assert (code, out) == (130, "")
    assert lines(screen) == ["error: interrupted", ""]
    assert list(tmp_path.iterdir()) == []


def test_json_tells_it_in_one_document(interrupt, big, tmp_path):
    code, out, screen = interrupt("encoding", "pack", big, tmp_path / "m.p2u", "--json")
    assert code == 130
    assert json.loads(out)["error"]["code"] == "interrupted"
    assert "interrupted" not in screen
