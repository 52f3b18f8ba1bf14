"""A flipped bit is found, named, and hurts nothing else; a cut file says what it holds."""

import numpy as np
import pytest

import p2uformat
from p2uformat.errors import (
    DigestMismatch,
    Incomplete,
    Malformed,
    P2UError,
    RootMismatch,
    TierNotFound,
)


@pytest.fixture(scope="module")
def good(small_path):
    with p2uformat.open(small_path) as artifact:
        return {(n, t): artifact.get(n, t).tobytes() for n in artifact for t in artifact.tiers}


def flipped(data, position, path, bit=None):
    changed = bytearray(data)
    changed[position] ^= 1 << (position % 8 if bit is None else bit)
    path.write_bytes(changed)
    return path


def read(artifact, name, tier):
    try:
        return artifact.get(name, tier).tobytes()
    except (DigestMismatch, Malformed) as error:
        return error


def check_the_rest(path, good, report):
    """Read everything; return how much failed, each time with what the report says."""
    hit = {(damage.tensor, damage.tier) for damage in report.damage}
    failed = 0
    with p2uformat.open(path, threads=1) as artifact:
        for (name, tier), want in good.items():
            got = read(artifact, name, tier)
            if isinstance(got, bytes):
                assert got == want
                continue
            failed += 1
            assert (got.tensor, got.artifact) == (name, str(path))
            if got.region == "chunk":
                assert (name, got.tier) in hit
                assert got.elements is not None
        artifact.keys()
        artifact.summary.to_dict()
    return failed


def test_every_byte_of_the_manifest(small_path, good, tmp_path):
    data = small_path.read_bytes()
    with p2uformat.open(small_path) as artifact:
        end = artifact.summary.manifest_bytes
    for position in range(12, end):
        path = flipped(data, position, tmp_path / "f")
        report = p2uformat.verify(path, threads=1)
        assert not report.ok
        (damage,) = report.damage
        assert damage.code == ("malformed" if damage.region == "table" else "digest-mismatch")
        assert damage.offset <= position
        if damage.region in ("header", "root"):
            assert report.root is None
            with pytest.raises(DigestMismatch):
                p2uformat.open(path)
        else:
            failed = check_the_rest(path, good, report)
            assert failed == 0 if damage.region == "table" else failed


def test_bytes_of_the_chunks(small_path, good, tmp_path):
    data = small_path.read_bytes()
    with p2uformat.open(small_path) as artifact:
        end = artifact.summary.manifest_bytes
    for position in range(end, len(data), max(1, (len(data) - end) // 150)):
        path = flipped(data, position, tmp_path / "f")
        report = p2uformat.verify(path, threads=1)
        assert not report.ok
        assert {damage.region for damage in report.damage} == {"chunk"}
        assert all(damage.offset <= position for damage in report.damage)
        assert check_the_rest(path, good, report) < len(good)


def test_the_first_bytes(small_path, tmp_path):
    data = small_path.read_bytes()
    for position in range(10):
        with pytest.raises(P2UError) as caught:
            p2uformat.verify(flipped(data, position, tmp_path / "f"))
        wanted = "not-an-artifact" if position < 8 else "unsupported-format"
        assert caught.value.code == wanted


def test_one_page_of_several(paged_path, tmp_path):
    data = paged_path.read_bytes()
    with p2uformat.open(paged_path) as artifact:
        want = {name: artifact.get(name).tobytes() for name in artifact}
        header = artifact._contents.container.header
        pages = artifact._contents.container.content.pages
    assert len(pages) > 2
    start = 128 + header.content_length + header.encoding_length
    path = flipped(data, start + 5, tmp_path / "f")
    report = p2uformat.verify(path)
    assert [damage.region for damage in report.damage] == ["page"]
    with p2uformat.open(path) as artifact:
        lost = want.keys() - set(artifact)
        assert 0 < len(lost) < len(want) / 2
        assert all(artifact.get(name).tobytes() == want[name] for name in artifact)
        for name in lost:
            with pytest.raises(DigestMismatch) as caught:
                artifact.get(name)
            assert (caught.value.tensor, caught.value.region) == (name, "page")


def test_two_pages_and_the_table(paged_path, tmp_path):
    """With a page gone the table is all there is; a chunk it names wrongly is refused."""
    data = bytearray(paged_path.read_bytes())
    with p2uformat.open(paged_path) as artifact:
        container = artifact._contents.container
        table = container.header.manifest_length - 8 * container.header.entries
        start = 128 + container.header.content_length + container.header.encoding_length
    data[start + 5] ^= 1
    for value in (b"\xff" * 8, b"\x00" * 8, (len(data) - 1).to_bytes(8, "little")):
        data[table + 8 : table + 16] = value  # of the first chunk of the second page
        (tmp_path / "f").write_bytes(data)
        report = p2uformat.verify(tmp_path / "f", deep=True)
        assert report.damage[0].region == "page"
        assert len(report.damage) > 1
        with p2uformat.open(tmp_path / "f") as artifact:
            failed = [
                name for name in artifact if not isinstance(read(artifact, name, None), bytes)
            ]
            assert 0 < len(failed) < len(artifact)


def test_every_prefix_says_what_it_holds(small_path, good, tmp_path):
    data = small_path.read_bytes()
    with p2uformat.open(small_path) as artifact:
        summary = artifact.summary
    ends = np.cumsum([summary.manifest_bytes, *(tier.bytes for tier in summary.tiers)])[1:]
    lengths = {8, 127, 128, 500, summary.manifest_bytes - 1, summary.manifest_bytes}
    lengths |= {int(end) + more for end in ends for more in (-1, 0, 1)} - {len(data), len(data) + 1}
    lengths |= set(range(summary.manifest_bytes, len(data), len(data) // 40))
    path = tmp_path / "f"
    for length in sorted(lengths):
        path.write_bytes(data[:length])
        if length < summary.manifest_bytes:
            for call in (p2uformat.open, p2uformat.verify):
                with pytest.raises(Incomplete):
                    call(path)
            continue
        check_prefix(path, length, ends, summary, good)


def check_prefix(path, length, ends, summary, good):
    names = tuple(tier.name for tier, end in zip(summary.tiers, ends, strict=True) if end <= length)
    report = p2uformat.verify(path, threads=1)
    assert (report.ok, report.damage, report.complete_tiers) == (False, (), names)
    assert report.missing_chunks > 0
    assert p2uformat.verify(path, tier="q4").ok == ("q4" in names)
    with p2uformat.open(path, threads=1) as artifact:
        assert artifact.complete == names
        held = {tier: artifact.complete_tensors(tier) for tier in artifact.tiers}
        for (name, tier), want in good.items():
            if name in held[tier]:
                assert artifact.get(name, tier).tobytes() == want
            else:
                with pytest.raises(Incomplete) as caught:
                    artifact.get(name, tier)
                assert (caught.value.complete, caught.value.tier) == (names, tier)
        if names:
            assert artifact.tier_for("l.0") == names[-1]
        elif "l.0" in held["q4"]:
            assert "l.0" in held[artifact.tier_for("l.0")]
        else:
            with pytest.raises(Incomplete):
                artifact.get("l.0")
    with pytest.raises(Incomplete):
        p2uformat.unpack(path, path.with_name("out"))
    if names:
        p2uformat.unpack(path, path.with_name("out"), tier=names[-1], overwrite=True)
        path.with_name("out").unlink()


def test_bytes_behind_the_end(small_path, tmp_path):
    (tmp_path / "f").write_bytes(small_path.read_bytes() + b"xy")
    report = p2uformat.verify(tmp_path / "f", deep=True)
    assert [(d.region, d.code) for d in report.damage] == [("trailing", "malformed")]
    with pytest.raises(Malformed, match="2 bytes behind the end"):
        p2uformat.open(tmp_path / "f")


def test_a_good_file(artifact_path):
    seen = []
    for deep in (False, True):
        for tier in (None, "q4", "q8"):
            report = p2uformat.verify(artifact_path, deep=deep, tier=tier, progress=seen.append)
            assert report.ok
            assert not report.authenticated
            assert report.to_dict()["damage"] == []
            assert seen[-1].done == seen[-1].total
    with pytest.raises(TierNotFound):
        p2uformat.verify(artifact_path, tier="q5")


def test_the_expected_root(small_path):
    root = p2uformat.verify(small_path).root
    for expect in (root, root.removeprefix("blake3:"), bytes.fromhex(root[7:])):
        assert p2uformat.verify(small_path, expect=expect).authenticated
    with pytest.raises(RootMismatch):
        p2uformat.verify(small_path, expect="00" * 32)
    for expect in ("x", b"x"):
        with pytest.raises(p2uformat.InvalidArgument):
            p2uformat.verify(small_path, expect=expect)


def test_damage_stops_unpacking(small_path, tmp_path):
    path = flipped(small_path.read_bytes(), -1, tmp_path / "f")
    with pytest.raises(DigestMismatch):
        p2uformat.unpack(path, tmp_path / "out")
    p2uformat.unpack(path, tmp_path / "out", tier="q8")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["f", "out"]
