"""The measurements of fetching run once on a tiny model, over real HTTP, untimed."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

import p2uformat
from benchmarks import (
    fetchcounts,
    fetching,
    fetchlinks,
    fetchneeds,
    fetchpeers,
    fetchs3,
    fetchservers,
    fetchversions,
    plots,
    sources,
    versioncopies,
)
from p2uformat.testing import FaultServer, parse_script

pytest.importorskip("aiohttp")
FAST = fetchlinks.Link(50e6, 1.0, 1)


@pytest.fixture
def web(tmp_path):
    """A server with a checkpoint and the same packed."""
    folder, work = tmp_path / "served", tmp_path / "server"
    folder.mkdir()
    work.mkdir()
    rng = np.random.default_rng(4)
    tensors = {"wide": sources.normal_rows(rng, 5000, 256), "bias": np.arange(9.0)}
    p2uformat.pack(sources.write(folder / "m.safetensors", tensors), folder / "m.p2u")
    with fetchservers.serving(folder, work) as server:
        yield server


@pytest.fixture
def mine(tmp_path):
    (tmp_path / "mine").mkdir()
    return tmp_path / "mine"


def test_servers_count_requests_and_bodies(web, mine):
    size = (web.folder / "m.p2u").stat().st_size
    count = fetchservers.counted(
        web, lambda: fetchpeers.parallel_copy(f"{web.url}/m.p2u", mine / "m", size, 2)
    )
    assert count == fetchservers.Count(1, size)
    assert (mine / "m").read_bytes() == (web.folder / "m.p2u").read_bytes()
    with fetchservers.link(web, 1e9) as url:
        assert (
            fetchservers.counted(web, lambda: fetchpeers.get(f"{url}/m.p2u", mine / "g")).bytes
            == size
        )


def test_fetching_over_links_is_counted(web, mine):
    served = fetchlinks.Served("m.safetensors", "m.p2u")
    table, checks = fetchlinks.slow(web, served, mine, [FAST], 1)
    plain, q4, exact = table.rows
    assert plain[2] == (web.folder / "m.safetensors").stat().st_size
    assert q4[2] < plain[2] / 4 < exact[2] < plain[2]
    assert all(row[4] > 0 for row in table.rows)
    assert len(checks) == 2
    table, checks = fetchlinks.wide(web, "m.p2u", mine, 1)
    assert len(table.rows) == 10
    size = (web.folder / "m.p2u").stat().st_size
    # What the first request cuts comes again.
    assert all(size <= row[2] <= size + (1 << 20) for row in table.rows)
    table, checks = fetchlinks.checking(web, "m.p2u", mine, 1)
    assert [check.unit for check in checks] == ["%", "%"]


def test_a_transfer_without_checks_would_take_anything(web, mine):
    path = web.folder / "m.p2u"
    data = bytearray(path.read_bytes())
    data[-1000] ^= 1
    path.write_bytes(data)
    with pytest.raises(p2uformat.CorruptData):
        p2uformat.fetch(f"{web.url}/m.p2u", mine / "checked.p2u")
    # What came with the manifest is compared by other code, so the byte lies behind that.
    with fetchpeers.unchecked():
        p2uformat.fetch(f"{web.url}/m.p2u", mine / "unchecked.p2u")
    assert (mine / "unchecked.p2u").read_bytes() == data


def test_requests_and_bytes_keep_to_their_bounds(web, mine):
    for rows, checks in (
        fetchcounts.opening(web, ["m.p2u"]),
        fetchcounts.whole_tiers(web, ["m.p2u"], mine),
        fetchcounts.upgrade(web, ["m.p2u"], mine),
        fetchcounts.parts(web, "m.p2u", fetchcounts.large_tensors(web.folder / "m.p2u", 1 << 16)),
    ):
        assert rows
        assert all(row[3] > 0 for row in rows)
        # One tensor of a few MiB may be no exception, but the first 64 KiB come with opening.
        assert all(check.passed for check in checks), checks


def test_layers_are_those_of_the_file(web):
    found = fetchcounts.layers(web.folder / "m.p2u", "wide", "exact")
    with p2uformat.open(web.folder / "m.p2u") as artifact:
        stored = artifact.info("wide").stored
    assert tuple(sum(layer.sizes) for layer in found) == stored
    assert found[0].share(0, 5000 * 256) == stored[0]
    assert fetchcounts.payload(web.folder / "m.p2u", "exact", above="q4") >= sum(stored[1:])


def test_peaks_are_looked_at(web, mine):
    table, checks = fetchneeds.peaks(
        web, ["m.p2u"], mine, [("copy", lambda to: to.write_bytes(b"x"))]
    )
    assert len(table.rows) == 3
    assert [check.passed for check in checks] == [True, True]

    def twice(target):
        target.with_name("other").write_bytes(bytes(1 << 20))
        target.write_bytes(bytes(1 << 20))
        target.with_name("other").unlink()

    assert 1 <= fetchneeds.disk_peak(mine / "twice", twice) <= 2
    assert not list(mine.iterdir())


def test_a_busy_server_is_asked_again(web, mine):
    table, (check,) = fetchneeds.busy(web.folder, "m.p2u", mine, seeds=(1, 2))
    assert [row[0][:6] for row in table.rows] == ["no fau", "random", "random"]
    assert check.measured >= 1


def test_a_busy_server_ends_a_plain_download(tmp_path, mine):
    (tmp_path / "f").write_bytes(b"x")
    with FaultServer(tmp_path, script="503...") as server:
        assert fetchneeds.succeeds(server, "f", mine) == "no"
        server.script = ""
        assert fetchneeds.succeeds(server, "f", mine) == "yes"


def test_following_is_laid_beside_casync(web, mine, tmp_path):
    old = web.folder / "m.safetensors"
    newer = versioncopies.changed(sources.read(old), 1.0, 1)
    new = sources.write(tmp_path / "new.safetensors", newer)
    table, checks = fetchversions.following(web, [("m", old, new)], mine)
    q4, exact = table.rows
    assert q4[2] < q4[6] / 4
    assert exact[4] >= exact[3] > 0
    assert exact[6] == new.stat().st_size
    if not fetchpeers.absent():
        assert exact[5] > 0
        assert len(checks) == 2


def test_nothing_fails_where_nothing_is_installed(mine, monkeypatch, tmp_path):
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    monkeypatch.setattr(fetchs3.peers, "has", lambda package: False)
    plan = fetching.Plan(None, [], large=4 << 20, many=3, repeats=1, smallest=1 << 18, faulty=1)
    section = fetching.run(plan, tmp_path)
    said = {row[0]: row[1] for row in section.tables[-1].rows}
    assert said["server"].startswith("the Python server")
    assert {"hf_xet", "casync", "S3"} <= set(said)
    assert plots.draw(tmp_path, [section]) == []


def test_all_of_it_runs_on_a_tiny_model(tmp_path):
    model = sources.synthetic(tmp_path / "m.safetensors").path
    steps = fetchversions.steps(None, model, tmp_path, smallest=1)
    plan = fetching.Plan(model, steps, 4 << 20, 300, [FAST], 1, 1 << 18, 1)
    section = fetching.run(plan, tmp_path)
    titles = [table.title for table in section.tables]
    assert titles[:2] == ["Over slow links", "What q4 of MiniLM is made of"]
    assert "Following a version" in titles
    assert ("From S3" in titles) == (not fetchs3.absent())


def test_seeds_refuse_as_much_as_is_said():
    seeds = fetchneeds.fair_seeds(3, draws=10)
    assert len(set(seeds)) == 3
    for seed in seeds:
        (rule,) = parse_script(fetchneeds._SCRIPT.format(seed=seed)).rules
        assert [bool(rule.faults(number)) for number in range(10)].count(True) == 2
