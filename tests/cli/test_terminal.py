"""On a real terminal: progress, folded names, and names that try to act."""

import os
import subprocess

import numpy as np
import pytest
from safetensors.numpy import save_file

NAMES = (
    "\x1b]0;owned\x07title",
    "\x1b[2Jclear",
    "\x9b31mred",
    "two\nerror: forged",
    "back\r\b\b\bspace",
    "\u202egnp.exe",
    "[bold red]markup[/bold red]",
    "[link=file:x]y[/link]",
    "back\\n",
    ":smiley:",
    "very.long." * 30,
)


@pytest.fixture(scope="module")
def hostile(p2u, tmp_path_factory):
    folder = tmp_path_factory.mktemp("hostile")
    rng = np.random.default_rng(3)
    tensors = {name: (rng.standard_normal((128, 64)) * 0.04).astype(np.float32) for name in NAMES}
    metadata = {"format": "np", "\x1b[31mkey": "value\x1b[0m\n\u202e"}
    save_file(tensors, folder / "m.safetensors", metadata=metadata)
    artifact = folder / "evil\x1b[31m.p2u"
    result = p2u("pack", folder / "m.safetensors", artifact)
    assert result.code == 0, result.err
    assert r"evil\x1b[31m.p2u" in result.out
    return artifact


def acts(text):
    return [char for char in text if not char.isprintable() and char != "\n"]


@pytest.mark.parametrize("columns", [60, 100, 400])
def test_nothing_in_a_name_acts_on_a_terminal(start, hostile, open_terminal, columns):
    terminal = open_terminal(columns)
    process = start("inspect", hostile, "--tensors", stdout=terminal.slave, stderr=subprocess.PIPE)
    _, err = process.communicate(timeout=60)
    text = terminal.close()
    assert (process.returncode, err) == (0, b"")
    assert not acts(text)
    assert "\nerror: forged" not in text
    if columns == 400:
        assert "[bold red]markup[/bold red]" in text
        assert "[link=file:x]y[/link]" in text
        assert r"\x1b]0;owned\x07title" in text
        assert ":smiley:" in text
        assert r"\x1b[31mkey = value\x1b[0m\n\u202e" in text
    else:
        # Folded, not cut off.
        assert "very.long." * 30 in "".join(line.split(" ")[0] for line in text.splitlines())


def test_nothing_in_a_name_acts_in_any_output(p2u, hostile, tmp_path):
    size = hostile.stat().st_size
    bad = tmp_path / "bad\x1b[32m.p2u"
    content = bytearray(hostile.read_bytes())
    content[size - 10] ^= 1
    bad.write_bytes(content)
    out = tmp_path / "out\x1b[33m"
    for result in (
        p2u("verify", bad),
        p2u("verify", bad, "--json"),
        p2u("inspect", bad, "--tensors", "--json"),
        p2u("unpack", bad, out),
        p2u("unpack", bad, out, "--json"),
        p2u("unpack", hostile, out),
        p2u("unpack", hostile, out),
        p2u("unpack", hostile, out, "--tensors", "\x1b[35m", "--overwrite"),
        p2u("verify", hostile, "--tier", "\x1b[36m"),
        p2u("inspect", tmp_path / "no\x1b[37m"),
        p2u("\x1b[38m"),
        p2u("pack", "a", "b", "--\x1b[39m"),
    ):
        assert result.out or result.err
        assert not acts(result.out), result.out
        assert not acts(result.err), result.err


def test_names_come_through_json_unchanged(p2u, hostile):
    document = p2u("inspect", hostile, "--tensors", "--json").document
    assert {tensor["name"] for tensor in document["tensors"]} == set(NAMES)
    assert document["metadata"]["\x1b[31mkey"] == "value\x1b[0m\n\u202e"


def test_a_terminal_that_knows_only_ascii_gets_escapes(p2u, hostile, make_model, tmp_path):
    artifact = tmp_path / "größe.p2u"
    source = make_model(tmp_path / "m.safetensors")
    result = p2u("pack", source, artifact, PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert result.code == 0, result.err
    assert r"gr\xf6\xdfe.p2u" in result.out


def test_progress_is_drawn_on_a_terminal_and_vanishes(start, packed, open_terminal, tmp_path):
    terminal = open_terminal(100)
    out = subprocess.PIPE
    process = start(
        "pack", packed.source, tmp_path / "m.p2u", "--json", stdout=out, stderr=terminal.slave
    )
    stdout, _ = process.communicate(timeout=60)
    drawn = terminal.close()
    assert process.returncode == 0
    assert stdout.startswith(b"{")
    assert stdout.rstrip().endswith(b"}")
    assert "encoding" in drawn
    assert "%" in drawn
    # The cursor comes back, and the last thing done is to erase the line.
    assert drawn.count("\x1b[?25l") == drawn.count("\x1b[?25h") == 1
    assert "\x1b[2K" in drawn[drawn.rindex("%") :]


def test_no_progress_without_a_terminal(p2u, packed, tmp_path):
    result = p2u("pack", packed.source, tmp_path / "m.p2u", FORCE_COLOR="1", TTY_COMPATIBLE="1")
    assert (result.code, result.err) == (0, "")
    assert "\x1b" not in result.out


def test_a_reader_that_goes_away_is_no_error(start, hostile):
    read, write = os.pipe()
    os.close(read)
    process = start("inspect", hostile, "--tensors", stdout=write, stderr=subprocess.PIPE)
    os.close(write)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (141, b"")


def test_a_full_disk_behind_standard_output_is_told(start, packed):
    if not os.path.exists("/dev/full"):  # noqa: PTH110
        pytest.skip("needs /dev/full")
    with open("/dev/full", "wb") as full:  # noqa: PTH123
        process = start("inspect", packed.artifact, "--json", stdout=full, stderr=subprocess.PIPE)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 4
    assert err == b"error: no space left on device\n"
