"""Fetching to a file: tiers, tensors, rows, resuming, seeds, and what stands in the way."""

from __future__ import annotations

import numpy as np
import pytest

import p2uformat
from p2uformat.testing import FaultServer


@pytest.fixture
def served(whole):
    with FaultServer({"m.p2u": whole.read_bytes()}) as server:
        yield server


def url(server) -> str:
    return server.url_of("m.p2u")


def payload(path, tier: str) -> int:
    with p2uformat.open(path) as artifact:
        names = artifact.tiers[: artifact.tiers.index(tier) + 1]
        return sum(t.bytes for t in artifact.summary.tiers if t.name in names)


def test_all_of_it_is_the_file_at_the_source(served, whole, tmp_path):
    result = p2uformat.fetch(url(served), tmp_path / "a.p2u")
    assert (tmp_path / "a.p2u").read_bytes() == whole.read_bytes()
    assert (result.whole, result.complete) == (True, ("q4", "q8", "exact"))
    assert result.total == result.fetched == result.verified == payload(whole, "exact")
    assert (result.present, result.reused, result.rebuilt, result.retries) == (0, 0, 0, 0)
    assert result.requests == len(served.requests)
    assert [path.name for path in tmp_path.iterdir()] == ["a.p2u"]


def test_a_tier_is_an_artifact_that_says_what_it_holds(served, whole, model, tmp_path):
    path = tmp_path / "a.p2u"
    result = p2uformat.fetch(url(served), path, tier="q4")
    assert (result.whole, result.complete, result.total) == (False, ("q4",), payload(whole, "q4"))
    assert path.stat().st_blocks * 512 < 1.1 * served.bytes_sent  # the rest takes no space
    with p2uformat.open(path) as part, p2uformat.open(whole) as full:
        assert part.complete == ("q4",)
        assert np.array_equal(part.get("wide"), full.get("wide", "q4"))
        with pytest.raises(p2uformat.Incomplete):
            part.get("wide", "q8")
    report = p2uformat.verify(path)
    assert (report.ok, report.damage, report.complete_tiers) == (False, (), ("q4",))
    assert p2uformat.verify(path, tier="q4").ok
    with pytest.raises(p2uformat.Incomplete):
        p2uformat.unpack(path, tmp_path / "a.safetensors")


def test_an_upgrade_moves_the_layer_and_no_more(served, whole, tmp_path):
    path = tmp_path / "a.p2u"
    for tier, below in (("q4", None), ("q8", "q4"), ("exact", "q8")):
        before = served.bytes_sent
        result = p2uformat.fetch(url(served), path, tier=tier)
        layer = payload(whole, tier) - (payload(whole, below) if below else 0)
        assert result.fetched == layer
        assert result.present == (payload(whole, below) if below else 0)
        if below:
            assert served.bytes_sent - before <= 1.01 * layer
    assert path.read_bytes() == whole.read_bytes()


def test_what_is_whole_is_checked_and_not_moved(served, whole, tmp_path):
    path = tmp_path / "a.p2u"
    path.write_bytes(whole.read_bytes())
    before = served.bytes_sent
    result = p2uformat.fetch(url(served), path)
    assert (result.fetched, result.present, result.whole) == (0, result.total, True)
    assert served.bytes_sent - before < 1000


def test_one_tensor_and_some_rows_of_it(served, whole, model, tmp_path):
    result = p2uformat.fetch(url(served), tmp_path / "a.p2u", tensors="wide", rows=(0, 100))
    assert 0 < result.total < 0.6 * payload(whole, "exact")
    with p2uformat.open(tmp_path / "a.p2u") as part:
        assert part.complete == ()
        assert part.tier_for("wide", (0, 100)) == "exact"
        assert np.array_equal(part.get("wide", rows=(0, 100)), model["wide"][:100])
        with pytest.raises(p2uformat.Incomplete):
            part.get("wide", "exact")
        with pytest.raises(p2uformat.Incomplete):
            part.get("layer.0")
    more = p2uformat.fetch(url(served), tmp_path / "a.p2u", tensors=["wide", "layer.*"])
    assert more.present == result.total
    with p2uformat.open(tmp_path / "a.p2u") as part:
        assert np.array_equal(part.get("wide"), model["wide"])
        assert "steps" not in part.complete_tensors("exact")


def test_row_parallel_ranks_fetch_the_artifact_and_a_block_each(served, whole, tmp_path):
    with p2uformat.open(whole) as artifact:
        rows = artifact.info("wide").shape[0]
        block = sum(artifact.info("wide").stored) * 2048 / rows  # of 2^19 weights
    single = p2uformat.fetch(url(served), tmp_path / "one.p2u", tensors="wide").total
    ranks, total = 4, 0
    for rank in range(ranks):
        cut = (rank * rows // ranks, (rank + 1) * rows // ranks)
        path = tmp_path / f"{rank}.p2u"
        total += p2uformat.fetch(url(served), path, tensors="wide", rows=cut).total
    # Each rank has the head as well, which is small.
    assert total <= single + (ranks - 1) * 1.01 * block + ranks * 2000


@pytest.mark.parametrize("share", [0.3, 0.7, 0.99])
def test_a_download_that_was_cut_off_goes_on(served, whole, tmp_path, share):
    path, data = tmp_path / "a.p2u", whole.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    result = p2uformat.fetch(url(served), path)
    assert path.read_bytes() == data
    assert 0 < result.present < result.total
    assert result.present > (share - 0.2) * result.total


@pytest.mark.parametrize("length", [1, 127, 128, 3000])
def test_a_download_that_had_just_begun_goes_on(served, whole, tmp_path, length):
    path, data = tmp_path / "a.p2u", whole.read_bytes()
    path.write_bytes(data[:length])
    if length < 8:
        assert p2uformat.fetch(url(served), path).whole
    else:
        assert p2uformat.fetch(url(served), path, tier="q4").complete == ("q4",)
        assert p2uformat.fetch(url(served), path).whole
    assert path.read_bytes() == data


def test_damage_here_is_fetched_again(served, whole, tmp_path):
    path, data = tmp_path / "a.p2u", bytearray(whole.read_bytes())
    data[-100] ^= 1
    path.write_bytes(data)
    result = p2uformat.fetch(url(served), path)
    assert path.read_bytes() == whole.read_bytes()
    assert 0 < result.fetched < result.total / 4


def test_damage_here_in_a_partial_file_is_fetched_again(served, whole, tmp_path):
    path = tmp_path / "a.p2u"
    p2uformat.fetch(url(served), path, tier="q4")
    with p2uformat.open(whole) as artifact:
        first = artifact.summary.manifest_bytes
    with path.open("r+b") as file:
        file.seek(first + 10)
        file.write(b"\0\1\2")
    result = p2uformat.fetch(url(served), path, tier="q4")
    assert 0 < result.fetched < result.total
    assert p2uformat.verify(path, tier="q4").ok


def test_bits_that_lie_cost_nothing_but_a_look(served, whole, tmp_path):
    path = tmp_path / "a.p2u"
    p2uformat.fetch(url(served), path, tier="q4")
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(len(whole.read_bytes()))
        file.write(bytes([255] * (size - file.tell() - 1)))
    result = p2uformat.fetch(url(served), path, tier="q4")
    assert (result.fetched, result.complete) == (0, ("q4",)) or result.present == result.total
    p2uformat.fetch(url(served), path)
    assert path.read_bytes() == whole.read_bytes()


def test_seeds_give_what_they_have(served, whole, next_version, tmp_path):
    served.replace("v2.p2u", next_version["alone"].read_bytes())
    plan = p2uformat.plan_fetch(served.url_of("v2.p2u"), tmp_path / "b.p2u", seeds=whole)
    result = p2uformat.fetch(served.url_of("v2.p2u"), tmp_path / "b.p2u", seeds=whole)
    assert (tmp_path / "b.p2u").read_bytes() == next_version["alone"].read_bytes()
    assert (plan.reused, plan.fetched) == (result.reused, result.fetched)
    assert 0 < result.reused == result.total - result.fetched
    assert result.rebuilt == 0


def test_a_difference_and_its_parent_make_what_else_would_be_fetched(
    served, whole, next_version, tmp_path
):
    served.replace("v2.p2u", next_version["alone"].read_bytes())
    near = {"seeds": [whole, next_version["child"]], "parents": whole}
    plan = p2uformat.plan_fetch(served.url_of("v2.p2u"), tmp_path / "b.p2u", **near)
    result = p2uformat.fetch(served.url_of("v2.p2u"), tmp_path / "b.p2u", **near)
    assert (tmp_path / "b.p2u").read_bytes() == next_version["alone"].read_bytes()
    assert result.rebuilt == plan.rebuilt > 0
    assert result.fetched < 0.1 * result.total


def test_a_damaged_seed_is_not_believed(served, whole, tmp_path):
    spoiled = bytearray(whole.read_bytes())
    spoiled[-50] ^= 1
    (tmp_path / "seed.p2u").write_bytes(spoiled)
    result = p2uformat.fetch(url(served), tmp_path / "a.p2u", seeds=tmp_path / "seed.p2u")
    assert (tmp_path / "a.p2u").read_bytes() == whole.read_bytes()
    assert 0 < result.fetched < result.reused


def test_a_child_says_which_parent_it_needs(served, whole, next_version, tmp_path):
    served.replace("child.p2u", next_version["child"].read_bytes())
    result = p2uformat.fetch(served.url_of("child.p2u"), tmp_path / "c.p2u")
    assert (tmp_path / "c.p2u").read_bytes() == next_version["child"].read_bytes()
    with p2uformat.open(whole) as parent:
        assert result.parent == parent.root
    with p2uformat.open(tmp_path / "c.p2u", parents=whole) as child:
        assert child.get("wide").shape == (5000, 256)


def test_the_plan_writes_nothing_and_comes_true(served, whole, tmp_path):
    plan = p2uformat.plan_fetch(url(served), tmp_path / "a.p2u", tier="q8")
    assert list(tmp_path.iterdir()) == []
    result = p2uformat.fetch(url(served), tmp_path / "a.p2u", tier="q8")
    assert (plan.total, plan.fetched, plan.root) == (result.total, result.fetched, result.root)
    again = p2uformat.plan_fetch(url(served), tmp_path / "a.p2u")
    assert again.present == result.total
    assert again.requests > 0


def test_the_root_is_compared_before_anything_is_written(served, whole, tmp_path):
    with pytest.raises(p2uformat.RootMismatch):
        p2uformat.fetch(url(served), tmp_path / "a.p2u", expect="blake3:" + "0" * 64)
    assert list(tmp_path.iterdir()) == []
    with p2uformat.open(whole) as artifact:
        result = p2uformat.fetch(url(served), tmp_path / "a.p2u", expect=artifact.root)
    assert result.authenticated


def test_progress_has_a_total_that_never_changes(served, whole, tmp_path):
    seen: list[p2uformat.Progress] = []
    p2uformat.fetch(url(served), tmp_path / "a.p2u", tier="q4")
    result = p2uformat.fetch(url(served), tmp_path / "a.p2u", progress=seen.append)
    states = [state for state in seen if isinstance(state, p2uformat.FetchProgress)]
    assert {state.total for state in states} == {result.total}
    assert [s.done for s in states] == sorted(s.done for s in states)
    last = states[-1]
    assert (last.done, last.present, last.fetched) == (last.total, result.present, result.fetched)
    assert last.verified == last.total
    assert any(state.phase == "verify" for state in seen)


DESTINATIONS = {
    "something else": b"not one of ours, but long enough for a header" * 9,
    "an empty file": b"",
}


@pytest.mark.parametrize("data", DESTINATIONS.values(), ids=DESTINATIONS)
def test_a_destination_that_is_something_else_stays(served, tmp_path, data):
    path = tmp_path / "a.p2u"
    path.write_bytes(data)
    with pytest.raises(p2uformat.DestinationExists):
        p2uformat.fetch(url(served), path)
    assert path.read_bytes() == data


def test_a_destination_with_another_artifact_stays(served, next_version, tmp_path):
    path = tmp_path / "a.p2u"
    path.write_bytes(next_version["alone"].read_bytes())
    with pytest.raises(p2uformat.DestinationExists, match="another artifact, blake3:"):
        p2uformat.fetch(url(served), path)
    with pytest.raises(p2uformat.DestinationExists, match="another artifact, blake3:"):
        p2uformat.plan_fetch(url(served), path)
    assert path.read_bytes() == next_version["alone"].read_bytes()


def test_a_destination_that_cannot_be_written(served, tmp_path):
    with pytest.raises(p2uformat.DestinationExists, match="is a folder"):
        p2uformat.fetch(url(served), tmp_path)
    with pytest.raises(p2uformat.NotFound, match="no such file or directory"):
        p2uformat.fetch(url(served), tmp_path / "none" / "a.p2u")
    with pytest.raises(p2uformat.InvalidArgument, match="not a path of this machine"):
        p2uformat.fetch(url(served), "s3://bucket/a.p2u")


def test_wrong_wishes(served, tmp_path):
    path = tmp_path / "a.p2u"
    with pytest.raises(p2uformat.TierNotFound):
        p2uformat.fetch(url(served), path, tier="q5")
    with pytest.raises(p2uformat.TensorNotFound):
        p2uformat.fetch(url(served), path, tensors="nothing.*")
    with pytest.raises(p2uformat.InvalidArgument, match="connections"):
        p2uformat.fetch(url(served), path, connections=0)
    with pytest.raises(p2uformat.InvalidArgument, match="timeout"):
        p2uformat.fetch(url(served), path, timeout=-1)
    with pytest.raises(p2uformat.InvalidArgument, match="rows"):
        p2uformat.fetch(url(served), path, rows=slice(0, 9, 2))
    assert list(tmp_path.iterdir()) == []


def test_a_source_that_holds_a_part_gives_that(served, whole, tmp_path):
    p2uformat.fetch(url(served), tmp_path / "part.p2u", tier="q4")
    served.replace("part.p2u", (tmp_path / "part.p2u").read_bytes())
    served.replace("cut.p2u", whole.read_bytes()[: len(whole.read_bytes()) // 2])
    for name in ("part.p2u", "cut.p2u"):
        target = tmp_path / f"from-{name}"
        assert p2uformat.fetch(served.url_of(name), target, tier="q4").complete == ("q4",)
        with pytest.raises(p2uformat.Incomplete, match="lacks"):
            p2uformat.fetch(served.url_of(name), target)
        assert p2uformat.fetch(url(served), target).whole
        assert target.read_bytes() == whole.read_bytes()


def test_sources_on_this_machine(whole, tmp_path):
    for number, source in enumerate((whole, f"file://{whole}", whole.read_bytes())):
        path = tmp_path / f"{number}.p2u"
        assert p2uformat.fetch(source, path, tier="q4").complete == ("q4",)
        assert p2uformat.fetch(source, path).whole
        assert path.read_bytes() == whole.read_bytes()


def test_damage_at_a_source_on_this_machine_is_named(whole, tmp_path):
    data = bytearray(whole.read_bytes())
    data[-100] ^= 1
    (tmp_path / "bad.p2u").write_bytes(data)
    with pytest.raises(p2uformat.DigestMismatch) as caught:
        p2uformat.fetch(tmp_path / "bad.p2u", tmp_path / "a.p2u")
    assert caught.value.tensor is not None
    assert caught.value.tier == "exact"
    assert p2uformat.verify(tmp_path / "a.p2u", tier="q8").ok


def test_links_are_followed_and_not_made(served, whole, tmp_path):
    real = tmp_path / "real.p2u"
    real.write_bytes(whole.read_bytes()[:5000])
    (tmp_path / "link.p2u").symlink_to(real)
    p2uformat.fetch(url(served), tmp_path / "link.p2u")
    assert (tmp_path / "link.p2u").is_symlink()
    assert real.read_bytes() == whole.read_bytes()


def test_what_came_with_the_manifest_is_not_fetched_again(served, whole, tmp_path):
    """The first chunk sticks out of the first answer: only its rest is asked for."""
    with p2uformat.open(whole) as artifact:
        manifest = artifact.summary.manifest_bytes
    result = p2uformat.fetch(url(served), tmp_path / "a.p2u", tier="q4")
    assert result.received == served.bytes_sent == manifest + payload(whole, "q4")


@pytest.mark.parametrize("rows", [64, 4096])
def test_damage_in_the_first_answer_is_found(rows, tmp_path):
    values = np.random.default_rng(1).standard_normal((rows, 64), np.float32)
    summary = p2uformat.pack({"w": values}, tmp_path / "m.p2u")
    data = bytearray((tmp_path / "m.p2u").read_bytes())
    data[summary.manifest_bytes + 50] ^= 1
    server, mismatch = FaultServer({"m.p2u": bytes(data)}), p2uformat.DigestMismatch
    with server, pytest.raises(mismatch) as caught:
        p2uformat.fetch(url(server), tmp_path / "a.p2u")
    assert (caught.value.tensor, caught.value.tier) == ("w", "q4")


@pytest.mark.parametrize("rows", [64, 4096])
def test_a_first_answer_that_was_spoilt_underway_is_asked_for_again(rows, tmp_path):
    values = np.random.default_rng(1).standard_normal((rows, 64), np.float32)
    summary = p2uformat.pack({"w": values}, tmp_path / "m.p2u")
    data = (tmp_path / "m.p2u").read_bytes()
    script = f"flip@{summary.manifest_bytes + 50} ok"
    with FaultServer({"m.p2u": data}, script=script) as server:
        result = p2uformat.fetch(url(server), tmp_path / "a.p2u")
    assert result.whole
    assert (tmp_path / "a.p2u").read_bytes() == data
