"""Folders of model files through the installed command."""

import os
import signal
import subprocess
import sys
import time

import pytest
import safetensors.numpy

from tests.folders import FIRST, SECOND, cached, contents, make_model, weights

VECTORS = "spec/vectors"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("hub") / "model")


@pytest.fixture(scope="module")
def artifact(p2u, model, tmp_path_factory):
    path = tmp_path_factory.mktemp("packed") / "m.p2u"
    result = p2u("pack", model, path, "--sha256")
    assert result.code == 0, result.err
    return path


def test_there_and_back(p2u, artifact, model, tmp_path):
    result = p2u("unpack", artifact, tmp_path / "out")
    assert (result.code, result.err) == (0, "")
    assert contents(tmp_path / "out") == contents(model)
    assert "files    7\n" in result.out
    assert "source   identical, bit for bit\n" in result.out
    assert p2u("verify", artifact, "--deep").code == 0


def test_from_a_cache(p2u, artifact, model, tmp_path):
    snapshot = cached(tmp_path / "cache", model)
    assert p2u("pack", snapshot, tmp_path / "m.p2u", "--sha256").code == 0
    assert (tmp_path / "m.p2u").read_bytes() == artifact.read_bytes()


def test_a_lower_tier_says_what_it_leaves_out(p2u, artifact, tmp_path):
    result = p2u("unpack", artifact, f"{tmp_path}/out/", "--tier", "q4")
    assert result.code == 0
    assert "left out onnx/model.onnx\n" in result.out
    again = p2u("unpack", artifact, f"{tmp_path}/out/", "--tier", "q4", "--json", "--overwrite")
    assert again.document["left_out"] == ["onnx/model.onnx"]
    assert again.document["files"] == 6
    assert not again.document["identical"]


def test_inspect_lists_files(p2u, artifact, model):
    text = p2u("inspect", artifact, "--files").out
    for path in contents(model):
        (line,) = (line for line in text.splitlines() if line.startswith(f"{path}  "))
        assert line.split()[1] == ("safetensors" if path in (FIRST, SECOND) else "plain")
        assert "  blake3:" in line
    document = p2u("inspect", artifact, "--json").document
    assert [file["path"] for file in document["files"]] == sorted(contents(model))
    keys = {"path", "layout", "bytes", "digest", "sha256", "tier"}
    assert all(set(file) == keys for file in document["files"])


def test_a_missing_shard_is_one_clear_error(p2u, tmp_path):
    source = make_model(tmp_path / "source")
    (source / SECOND).unlink()
    result = p2u("pack", source, tmp_path / "m.p2u")
    assert (result.code, result.out) == (3, "")
    assert result.err == (
        "error: 'model.safetensors.index.json' names files that are not there: "
        f"'{SECOND}'\nhint: download the missing shards, or remove the index\n"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["source"]
    error = p2u("pack", source, tmp_path / "m.p2u", "--json").error
    assert error["code"] == "invalid-source"


def test_damage_names_the_file(p2u, artifact, tmp_path):
    document = p2u("inspect", artifact, "--json").document
    data = bytearray(artifact.read_bytes())
    data[document["manifest_bytes"] + document["tiers"][0]["bytes"] - 1] ^= 1
    (tmp_path / "m.p2u").write_bytes(data)
    result = p2u("verify", tmp_path / "m.p2u", "--deep")
    assert result.code == 3
    assert "damage: file config.json, tier q4, elements 0 to " in result.out
    result = p2u("unpack", tmp_path / "m.p2u", tmp_path / "out")
    assert result.code == 3
    assert [path.name for path in tmp_path.iterdir()] == ["m.p2u"]


@pytest.mark.parametrize(
    "name",
    ["path-parent", "path-absolute", "path-backslash", "path-nul", "path-in-file", "path-twice"],
)
def test_what_would_escape_writes_nothing(p2u, request, tmp_path, name):
    vector = request.config.rootpath / VECTORS / f"{name}.p2u"
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    result = p2u("unpack", vector, inner / "out", "--json")
    assert result.code == 3
    assert result.error["code"] == "malformed"
    assert [path.name for path in tmp_path.rglob("*")] == ["a", "b"]


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs POSIX signals")
def test_a_kill_leaves_nothing_under_the_name(p2u, installed, tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    for number in range(3):
        tensors = {f"w{number}": weights(4096, 1024, seed=number)}
        safetensors.numpy.save_file(tensors, source / f"{number}.safetensors")
    (source / "config.json").write_text("{}")
    assert p2u("pack", source, tmp_path / "m.p2u").code == 0
    work = tmp_path / "work"
    work.mkdir()
    line = [installed, "unpack", tmp_path / "m.p2u", work / "out", "--threads", "1"]
    process = subprocess.Popen(list(map(os.fspath, line)), stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not any(path.stat().st_size for path in work.rglob("*.safetensors")):
        assert process.poll() is None, "ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.001)
    process.kill()
    process.wait(60)
    assert not (work / "out").exists()
    # What is left does not stand in the way of another run.
    assert p2u("unpack", tmp_path / "m.p2u", work / "out").code == 0
    assert contents(work / "out") == contents(source)


MEASURED = """
import sys
from p2u_cli.app import main
sys.argv = ["p2u", *sys.argv[1:]]
try:
    main()
except SystemExit as ended:
    assert not ended.code, ended.code
# Not getrusage: its figure is that of the parent, if that was larger when this was forked.
(line,) = (line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(int(line.split()[1]) >> 10, file=sys.stderr)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="counts memory as Linux does")
def test_memory_does_not_grow_with_a_file(tmp_path):
    """A plain file of 400 MB passes through a process that never takes so much."""
    source = tmp_path / "source"
    source.mkdir()
    with (source / "big.bin").open("wb") as file:
        for number in range(400):
            file.write(bytes([number % 251]) * 1_000_000)
    for line in (
        ["pack", source, tmp_path / "m.p2u"],
        ["verify", tmp_path / "m.p2u", "--deep"],
        ["unpack", tmp_path / "m.p2u", tmp_path / "out"],
    ):
        done = subprocess.run(
            [sys.executable, "-c", MEASURED, *map(os.fspath, line)],
            capture_output=True,
            check=False,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        assert int(done.stderr.split()[-1]) < 200, line
    assert (tmp_path / "out" / "big.bin").stat().st_size == 400_000_000
