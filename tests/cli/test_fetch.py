"""``p2u fetch`` and ``p2u get``, against a web server on loopback."""

import json
import os
import subprocess
import time
from itertools import pairwise

import numpy as np
import pytest

import p2uformat
from p2uformat.testing import FaultServer


@pytest.fixture(scope="module")
def packed(p2u, make_model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("fetched")
    source = make_model(folder / "m.safetensors", rows=16_384)
    assert p2u("pack", source, folder / "m.p2u").code == 0
    return folder / "m.p2u"


@pytest.fixture
def server(packed):
    with FaultServer({"m.p2u": packed.read_bytes()}) as served:
        yield served


def events(result):
    return [json.loads(line) for line in result.out.splitlines()]


def test_a_tier_and_then_the_rest(p2u, server, packed, tmp_path):
    first = p2u("fetch", server.url_of("m.p2u"), "a.p2u", "--tier", "q4", cwd=tmp_path)
    assert (first.code, first.err) == (0, "")
    assert "holds    q4 (partial)\n" in first.out
    assert "self-consistent, not authenticated" in first.out
    shown = p2u("inspect", "a.p2u", cwd=tmp_path)
    assert "complete q4 (not whole here: q8, exact)" in shown.out
    root = p2uformat.open(packed).root
    rest = p2u("fetch", server.url_of("m.p2u"), "a.p2u", "--expect", root, cwd=tmp_path)
    assert "holds    q4, q8, exact (whole)\n" in rest.out
    assert "every chunk checked; authenticated" in rest.out
    assert "here     " in rest.out
    assert (tmp_path / "a.p2u").read_bytes() == packed.read_bytes()


def test_json_is_a_document_a_line(p2u, server, packed, tmp_path):
    result = p2u("fetch", server.url_of("m.p2u"), tmp_path / "a.p2u", "--json")
    assert (result.code, result.err) == (0, "")
    found = events(result)
    assert {event["event"] for event in found[:-1]} == {"progress"}
    done = found[-1]
    assert (done["event"], done["whole"], done["complete"]) == ("done", True, ["q4", "q8", "exact"])
    assert done["verified"] == done["total"] == done["fetched"]
    transfer = [event for event in found[:-1] if event["phase"] == "fetch"]
    assert {event["total"] for event in transfer} == {done["total"]}
    assert transfer[-1]["done"] == done["total"]
    assert {"reused", "rebuilt", "present", "requests", "bytes_per_second"} <= set(transfer[-1])
    again = p2u("fetch", server.url_of("m.p2u"), tmp_path / "a.p2u", "--json")
    assert events(again)[-1]["present"] == done["total"]


def test_progress_at_least_each_second(start, packed, tmp_path):
    """Lines come while bytes flow, and say how fast and how long (R20)."""
    data = packed.read_bytes()
    with FaultServer({"m.p2u": data}, rate=len(data) / 4) as server:
        process = start(
            "fetch", server.url_of("m.p2u"), tmp_path / "a.p2u", "--json", stdout=subprocess.PIPE
        )
        times, found = [], []
        with process:
            for line in process.stdout:
                times.append(time.monotonic())
                found.append(json.loads(line))
    assert process.returncode == 0
    assert len(found) >= 5
    assert max(b - a for a, b in pairwise(times)) < 1.5
    middle = found[len(found) // 2]
    assert 0 < middle["done"] < middle["total"]
    assert middle["bytes_per_second"] > 0
    assert middle["seconds_left"] > 0


def test_a_bar_on_a_terminal(start, open_terminal, packed, tmp_path):
    data = packed.read_bytes()
    terminal = open_terminal(120)
    with FaultServer({"m.p2u": data}, rate=len(data) / 2) as server:
        process = start(
            "fetch",
            server.url_of("m.p2u"),
            tmp_path / "a.p2u",
            stdout=subprocess.PIPE,
            stderr=terminal.slave,
        )
        process.communicate(timeout=60)
    text = terminal.close()
    assert process.returncode == 0
    assert "fetching" in text
    assert "MB/s" in text or "kB/s" in text


def test_a_dry_run_writes_nothing(p2u, server, tmp_path):
    text = p2u("fetch", server.url_of("m.p2u"), "a.p2u", "--dry-run", cwd=tmp_path)
    assert (text.code, text.err) == (0, "")
    assert "to fetch " in text.out
    (plan,) = events(
        p2u("fetch", server.url_of("m.p2u"), "a.p2u", "--dry-run", "--json", cwd=tmp_path)
    )
    assert plan["event"] == "plan"
    assert plan["fetched"] == plan["total"] > 0
    assert list(tmp_path.iterdir()) == []


def test_tensors_and_rows(p2u, server, packed, tmp_path):
    done = p2u(
        "fetch",
        server.url_of("m.p2u"),
        "a.p2u",
        *("--tensors", "layer.0.weight", "--rows", "0:100", "--tier", "q8"),
        cwd=tmp_path,
    )
    assert "holds    none (partial)" in done.out
    shown = p2u("get", "a.p2u", "layer.0.weight", "--rows", "0:3", "-o", "x.npy", cwd=tmp_path)
    assert (shown.code, shown.err) == (0, "")
    assert "tier     q8, no value further off than " in shown.out
    with p2uformat.open(packed) as artifact:
        expected = artifact.get("layer.0.weight", "q8", (0, 3))
    assert np.array_equal(np.load(tmp_path / "x.npy"), expected)
    beyond = p2u("get", "a.p2u", "layer.0.weight", "--rows", "16000:", cwd=tmp_path)
    assert beyond.code == 6


def test_get_from_far_away(p2u, server, packed, tmp_path):
    result = p2u("get", server.url_of("m.p2u"), "layer.1.weight", "--json")
    assert (result.code, result.err) == (0, "")
    assert result.document["shape"] == [256, 128]
    assert (result.document["dtype"], result.document["tier"]) == ("float16", "exact")
    taken = p2u("get", packed, "layer.1.weight", "-o", packed, cwd=tmp_path)
    assert (taken.code, "exists already" in taken.err) == (2, True)
    missing = p2u("get", packed, "layer.1.weigth")
    assert missing.code == 4
    assert "did you mean 'layer.1.weight'" in missing.err


def test_a_dtype_that_npy_cannot_name(p2u, tmp_path):
    import ml_dtypes

    values = np.arange(8192).astype(ml_dtypes.bfloat16).reshape(128, 64)
    p2uformat.pack({"w": values}, tmp_path / "m.p2u")
    done = p2u("get", tmp_path / "m.p2u", "w", "-o", tmp_path / "w.npy")
    assert (done.code, done.err) == (0, "")
    saved = np.load(tmp_path / "w.npy")
    assert saved.dtype == np.float32
    assert np.array_equal(saved, values.astype(np.float32))


def test_seeds_and_options(p2u, server, packed, tmp_path):
    result = p2u(
        "fetch",
        server.url_of("m.p2u"),
        tmp_path / "a.p2u",
        *("--seed", packed, "--option", "headers.X-Token=abc", "--json"),
    )
    done = events(result)[-1]
    assert (done["fetched"], done["reused"]) == (0, done["total"])
    assert all(record.headers["x-token"] == "abc" for record in server.requests)


FAILURES = {
    "not there": ("404...", 4, "not-found"),
    "forbidden": ("403...", 4, "access-denied"),
    "never well": ("500...", 4, "transfer-failed"),
    "no ranges in the middle": ("ok 200*50", 4, "ranges-ignored"),
    "not the same object": ("ok 412*50", 4, "source-changed"),
}


@pytest.mark.parametrize(("script", "code", "name"), FAILURES.values(), ids=FAILURES)
def test_failures_have_codes(p2u, server, tmp_path, script, code, name):
    server.script = script
    where = (server.url_of("m.p2u"), tmp_path / "a.p2u", "--timeout", "0.4")
    text = p2u("fetch", *where)
    assert text.code == code
    assert text.err.startswith("error: ")
    assert "\nhint: " in text.err or name == "not-found"
    server.script = script
    told = events(p2u("fetch", *where, "--json"))[-1]
    assert told["error"]["code"] == name


def test_another_root_and_another_file(p2u, server, tmp_path):
    url = server.url_of("m.p2u")
    assert p2u("fetch", url, tmp_path / "a.p2u", "--expect", "blake3:" + "1" * 64).code == 3
    (tmp_path / "other").write_bytes(b"mine")
    result = p2u("fetch", url, tmp_path / "other")
    assert (result.code, (tmp_path / "other").read_bytes()) == (2, b"mine")


def test_every_command_takes_a_url(p2u, server, packed, tmp_path):
    url = server.url_of("m.p2u")
    assert p2u("inspect", url, "--tensors").code == 0
    assert p2u("verify", url, "--deep").code == 0
    assert p2u("diff", url, packed).code == 0
    assert p2u("unpack", url, tmp_path / "m.safetensors").code == 0
    assert p2u("squash", url, tmp_path / "s.p2u").code == 0
    assert (
        p2u("pack", packed.with_suffix(".safetensors"), tmp_path / "c.p2u", "--parent", url).code
        == 0
    )
    assert p2u("inspect", url, "--plot", tmp_path / "m.html").code == 0
    near = packed.with_suffix(".safetensors").read_bytes()
    assert (tmp_path / "m.safetensors").read_bytes() == near
    server.replace("m.safetensors", near)
    assert p2u("pack", server.url_of("m.safetensors"), tmp_path / "p.p2u").code == 0
    with p2uformat.open(tmp_path / "p.p2u") as artifact, p2uformat.open(packed) as other:
        assert artifact.root == other.root


def test_wrong_options(p2u, tmp_path):
    for arguments in (
        ("fetch", "a", "b", "--rows", "1-2"),
        ("fetch", "a", "b", "--option", "novalue"),
        ("fetch", "a", "b", "--option", "a=1", "--option", "a.b=2"),
        ("fetch", "a", "b", "--connections", "0"),
        ("get", "a", "b", "--rows", "x:y"),
    ):
        result = p2u(*arguments, cwd=tmp_path)
        assert (result.code, result.out) == (2, "")


@pytest.mark.skipif(os.name == "nt", reason="POSIX permissions")
def test_local_file_urls(p2u, packed, tmp_path):
    assert p2u("fetch", f"file://{packed}", tmp_path / "a.p2u", "--tier", "q4").code == 0
    assert p2u("verify", f"file://{packed}").code == 0


def test_tiers_of_tensors(p2u, server, packed, tmp_path):
    source = server.url_of("m.p2u")
    with p2uformat.open(packed) as artifact:
        names = [name for name in artifact if artifact.info(name).quantizer == "bitplane"]
    patterns = [f"{names[0]}=q4", f"{names[1]}=q8"]
    options = [word for text in patterns for word in ("--tensors", text)]
    assert p2u("fetch", source, "a.p2u", *options, cwd=tmp_path).code == 0
    with p2uformat.open(tmp_path / "a.p2u") as mine:
        mine.get(names[1], tier="q8")
        assert mine.tier_for(names[1]) == "q8"
    mixed = p2u("fetch", source, "a.p2u", *options, "--tensors", "*", cwd=tmp_path)
    assert mixed.code != 0
    assert "with a tier and without" in mixed.err
