"""Artifacts behind URLs, read as they lie: few requests, few bytes, every one checked."""

from __future__ import annotations

import subprocess
import sys

import fsspec
import numpy as np
import pytest

import p2uformat
from p2uformat.testing import FaultServer


@pytest.fixture
def server(whole):
    with FaultServer({"m.p2u": whole.read_bytes()}) as served:
        yield served


@pytest.fixture(scope="module")
def tall(tmp_path_factory):
    """One tensor of 8 MiB in each of its tiers, beside a small one."""
    rng = np.random.default_rng(5)
    path = tmp_path_factory.mktemp("tall") / "tall.p2u"
    weights = {"t": rng.standard_normal((16 * 2048, 512), np.float32), "s": np.ones(5000, "f4")}
    p2uformat.pack(weights, path)
    return path, weights


def stored(path, name: str, tier: str) -> int:
    with p2uformat.open(path) as artifact:
        number = artifact.tiers.index(tier) + 1
        return sum(artifact.info(name).stored[:number])


def test_opening_takes_two_requests_at_most(server, tall, tmp_path):
    with p2uformat.open(server.url_of("m.p2u")) as artifact:
        assert artifact.complete == ("q4", "q8", "exact")
        assert len(artifact.summary.tiers) == 3
    assert len(server.requests) == 1
    # A manifest that is longer than the first answer comes with the second.
    many = {f"layer.{i}.weight": np.full((64, 64), i, np.float32) for i in range(1500)}
    p2uformat.pack(many, tmp_path / "many.p2u")
    server.replace("many.p2u", (tmp_path / "many.p2u").read_bytes())
    before = len(server.requests)
    with p2uformat.open(server.url_of("many.p2u")) as artifact:
        assert artifact.summary.manifest_bytes > 1 << 16
        assert len(server.requests) - before == 2
        assert np.array_equal(artifact.get("layer.7.weight"), many["layer.7.weight"])


@pytest.mark.parametrize("tier", ["q4", "q8", "exact"])
def test_a_tensor_costs_its_bytes(tall, tier):
    path, _ = tall
    with FaultServer({"t.p2u": path.read_bytes()}) as server:
        with p2uformat.open(server.url_of("t.p2u")) as artifact:
            opened = server.bytes_sent
            values = artifact.get("t", tier)
        assert server.bytes_sent - opened <= 1.02 * stored(path, "t", tier)
        assert len(server.requests) < 30
    with p2uformat.open(path) as local:
        assert np.array_equal(values, local.get("t", tier))


def test_rows_cost_their_blocks(tall):
    path, weights = tall
    blocks = 32
    with FaultServer({"t.p2u": path.read_bytes()}) as server:
        with p2uformat.open(server.url_of("t.p2u")) as artifact:
            opened = server.bytes_sent
            values = artifact.get("t", rows=(5000, 5300))
        # Its rows and at most two blocks a tier.
        assert server.bytes_sent - opened <= 2 * 1.1 * stored(path, "t", "exact") / blocks
    assert np.array_equal(values, weights["t"][5000:5300])


def test_everything_at_once(server, model, whole):
    with p2uformat.open(server.url_of("m.p2u")) as artifact:
        opened = server.bytes_sent
        loaded = artifact.load()
        assert all(np.array_equal(loaded[name], model[name]) for name in model)
    assert server.bytes_sent - opened <= 1.02 * whole.stat().st_size


def test_every_reader_takes_a_url(server, whole, next_version, model, tmp_path):
    url = server.url_of("m.p2u")
    assert p2uformat.verify(url, deep=True).ok
    p2uformat.unpack(url, tmp_path / "far.safetensors")
    p2uformat.unpack(whole, tmp_path / "near.safetensors")
    far, near = tmp_path / "far.safetensors", tmp_path / "near.safetensors"
    assert far.read_bytes() == near.read_bytes()
    for name, path in next_version.items():
        server.replace(name, path.read_bytes())
    report = p2uformat.diff(url, server.url_of("alone"))
    assert {t.name for t in report.tensors if t.status == "changed"} == {"wide"}
    with p2uformat.open(server.url_of("child"), parents=url) as child:
        assert p2uformat.anatomy(child).summary.parent is not None
        assert child.get("wide").shape == (5000, 256)
    summary = p2uformat.squash(server.url_of("child"), tmp_path / "s.p2u", parents=url)
    assert (summary.parent, (tmp_path / "s.p2u").stat().st_size) == (None, summary.bytes)
    packed = p2uformat.pack({**model, "wide": model["wide"] + 1}, tmp_path / "p.p2u", parent=url)
    with p2uformat.open(whole) as parent:
        assert packed.parent == parent.root


def test_damage_far_away_is_named_as_at_home(server, whole):
    data = bytearray(whole.read_bytes())
    data[-100] ^= 1
    server.replace("m.p2u", bytes(data))
    report = p2uformat.verify(server.url_of("m.p2u"))
    (damage,) = report.damage
    assert (damage.tier, damage.region, report.ok) == ("exact", "chunk", False)
    with p2uformat.open(server.url_of("m.p2u")) as artifact:
        with pytest.raises(p2uformat.DigestMismatch) as caught:
            artifact.get(damage.tensor, rows=None)
        assert caught.value.offset == damage.offset
        other = next(name for name in artifact.keys() if name != damage.tensor)  # noqa: SIM118
        assert artifact.get(other) is not None


def test_a_prefix_far_away_says_what_it_holds(server, whole):
    server.replace("m.p2u", whole.read_bytes()[: whole.stat().st_size // 4])
    with p2uformat.open(server.url_of("m.p2u")) as artifact:
        assert artifact.complete == ("q4",)
        with pytest.raises(p2uformat.Incomplete):
            artifact.get("wide", "exact")


def test_results_and_sources_behind_urls(model, whole, tmp_path):
    files = fsspec.filesystem("memory")
    try:
        summary = p2uformat.pack(model, "memory://out/m.p2u")
        assert files.cat_file("/out/m.p2u") == whole.read_bytes()
        assert summary.bytes == whole.stat().st_size
        with pytest.raises(p2uformat.DestinationExists):
            p2uformat.pack(model, "memory://out/m.p2u")
        done = p2uformat.unpack("memory://out/m.p2u", "memory://out/m.safetensors")
        assert done.path == "memory://out/m.safetensors"
        again = p2uformat.pack("memory://out/m.safetensors", tmp_path / "again.p2u")
        p2uformat.unpack(tmp_path / "again.p2u", "memory://folder/model/")
        assert files.exists("/folder/model/m.safetensors")
        files.pipe_file("/folder/model/sub/config.json", b"{}")
        folder = p2uformat.pack("memory://folder/model", tmp_path / "folder.p2u")
        with p2uformat.open(tmp_path / "folder.p2u") as artifact:
            assert [file.path for file in artifact.files] == ["m.safetensors", "sub/config.json"]
        assert folder.parameters == again.parameters
        p2uformat.squash("memory://out/m.p2u", "memory://out/s.p2u")
        assert p2uformat.verify("memory://out/s.p2u").ok
    finally:
        files.store.clear()


ABSENT = {
    "no such object": ("memory://none.p2u", p2uformat.NotFound),
    "no such protocol": ("nosuch://a/b.p2u", p2uformat.InvalidArgument),
    "no such server": ("http://127.0.0.1:9/m.p2u", p2uformat.TransferFailed),
    "no url": ("http://", p2uformat.P2UError),
    "a file url of another machine": ("file://far/m.p2u", p2uformat.InvalidArgument),
}


@pytest.mark.parametrize(("url", "kind"), ABSENT.values(), ids=ABSENT)
def test_what_cannot_be_opened_says_why(url, kind):
    with pytest.raises(kind):
        p2uformat.open(url)


def test_storage_options_reach_the_file_system(server):
    with pytest.raises(p2uformat.P2UError):
        p2uformat.open("memory://m.p2u", storage_options={"no_such": 1, "option": 2})
    server.script = "ok"
    options = {"headers": {"X-Token": "abc"}}
    with p2uformat.open(server.url_of("m.p2u"), storage_options=options) as artifact:
        artifact.get("layer.0")
    assert all(record.headers["x-token"] == "abc" for record in server.requests)


def test_a_closed_artifact_reads_no_more(server):
    artifact = p2uformat.open(server.url_of("m.p2u"))
    artifact.close()
    with pytest.raises(p2uformat.InvalidArgument, match="closed"):
        artifact.get("wide")


def test_a_server_that_dies_while_reading_is_told(server):
    with p2uformat.open(server.url_of("m.p2u")) as artifact:
        server.script = "404..."
        with pytest.raises(p2uformat.NotFound):
            artifact.get("wide")
        server.script = ""
        assert artifact.get("wide", "q4").shape == (5000, 256)


@pytest.mark.parametrize(
    ("package", "url", "extra"),
    [("aiohttp", "http://127.0.0.1:9/m.p2u", "http"), ("s3fs", "s3://bucket/m.p2u", "s3")],
)
def test_a_package_that_is_missing_is_named(package, url, extra):
    code = f"""
import sys
sys.modules[{package!r}] = None
import p2uformat
try:
    p2uformat.open({url!r})
except p2uformat.InvalidArgument as error:
    print(error.hint)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert done.stdout == f"pip install 'p2uformat[{extra}]'\n"
