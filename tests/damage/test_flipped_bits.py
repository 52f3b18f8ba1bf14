"""Every flipped bit is found, is named, and spoils nothing else.

A small artifact has every bit flipped, a larger one a bit of every byte; `make soak` flips every
bit of the larger one, and ten thousand of a big one.
"""

from __future__ import annotations

import os
import shutil
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest

import p2uformat

SOAK = pytest.mark.skipif(not os.environ.get("P2U_SOAK"), reason="long; `make soak` runs it")
WORKERS = os.cpu_count() or 1
REGIONS = {"header", "root", "page", "table", "chunk"}


def _pack(path: Path, shapes: dict[str, tuple[int, ...]]) -> Path:
    rng = np.random.default_rng(0)
    arrays = {
        name: (rng.standard_normal(shape) * 0.02).astype(np.float16)
        for name, shape in shapes.items()
    }
    p2uformat.pack(arrays, path)
    return path


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an artifact of about 4 KiB."""
    shapes = {"a": (40,), "b": (30, 50)}
    path = _pack(tmp_path_factory.mktemp("small") / "m.p2u", shapes)
    assert 2048 < path.stat().st_size < 6144
    return path


@pytest.fixture(scope="module")
def larger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an artifact of about 64 KiB, with ladders and exact tensors."""
    shapes = {"a": (100, 100), "b": (160, 130), "c": (64,), "d": (70, 60)}
    path = _pack(tmp_path_factory.mktemp("larger") / "m.p2u", shapes)
    assert 50_000 < path.stat().st_size < 80_000
    return path


def _told(path: str) -> list[tuple[str, str | None, str | None, int]] | str:
    """Return what verification says: the damage, or the code of the error."""
    try:
        report = p2uformat.verify(path, threads=1)
    except p2uformat.P2UError as error:
        return error.code
    if report.ok:
        return []
    found = [(d.region, d.tensor, d.tier, d.offset) for d in report.damage]
    # Damage in a chunk is named by tensor, tier and rows; whatever else is hit, by its region.
    for damage in report.damage:
        assert damage.region in REGIONS
        if damage.region == "chunk":
            assert damage.tier is not None
            assert damage.elements is not None or damage.tensor is None
            assert damage.expected != damage.got
    return found or "missing"


def flip_all(job: tuple[Path, list[tuple[int, int]]]) -> list[str]:
    """Flip each bit of a copy in turn, and return what went unnoticed or was named wrongly."""
    source, bits = job
    path = source.with_name(f"{source.stem}-{os.getpid()}.p2u")
    shutil.copy(source, path)
    with p2uformat.open(source) as art:
        manifest = art.summary.manifest_bytes
    wrong = []
    with path.open("r+b", buffering=0) as file:
        for place, bit in bits:
            file.seek(place)
            byte = file.read(1)[0]
            file.seek(place)
            file.write(bytes([byte ^ 1 << bit]))
            told = _told(os.fspath(path))
            if not told:
                wrong.append(f"bit {bit} of byte {place}: not found")
            elif place >= manifest and (
                isinstance(told, str) or any(row[0] != "chunk" for row in told)
            ):
                wrong.append(f"bit {bit} of byte {place}: {told}")
            file.seek(place)
            file.write(bytes([byte]))
    path.unlink()
    return wrong


def _run(path: Path, bits: list[tuple[int, int]]) -> None:
    jobs = [(path, bits[worker::WORKERS]) for worker in range(WORKERS)]
    with ProcessPoolExecutor(WORKERS, mp_context=get_context("spawn")) as pool:
        wrong = [line for lines in pool.map(flip_all, jobs) for line in lines]
    assert not wrong, wrong[:5]


def test_every_bit_of_a_small_artifact(small: Path) -> None:
    _run(small, [(place, bit) for place in range(small.stat().st_size) for bit in range(8)])


def test_a_bit_of_every_byte_of_a_larger_one(larger: Path) -> None:
    _run(larger, [(place, place * 5 % 8) for place in range(larger.stat().st_size)])


def test_what_is_not_hit_still_loads(larger: Path, tmp_path: Path) -> None:
    with p2uformat.open(larger) as art:
        good = {(n, t): art.get(n, tier=t).tobytes() for n in art for t in art.tiers}
        start = art.summary.manifest_bytes
    data = larger.read_bytes()
    path = tmp_path / "m.p2u"
    for place in range(start, len(data), 997):
        path.write_bytes(data[:place] + bytes([data[place] ^ 16]) + data[place + 1 :])
        report = p2uformat.verify(path)
        hit = {(d.tensor, d.tier) for d in report.damage}
        with p2uformat.open(path) as art:
            for (name, tier), expected in good.items():
                below = art.tiers[: art.tiers.index(tier) + 1]
                if any((name, t) in hit for t in below):
                    with pytest.raises(p2uformat.CorruptData) as caught:
                        art.get(name, tier=tier)
                    assert caught.value.tensor == name
                    assert (name, caught.value.tier) in hit
                else:
                    assert art.get(name, tier=tier).tobytes() == expected


def test_a_thousand_prefixes_say_what_they_hold(larger: Path, tmp_path: Path) -> None:
    """Each states exactly the complete tensors and tiers, by the chunks that lie in it whole."""
    data = larger.read_bytes()
    rng = np.random.default_rng(1)
    path = tmp_path / "m.p2u"
    with p2uformat.open(larger) as art:
        ends = _ends(larger, art.tiers)
        manifest = art.summary.manifest_bytes
        tiers = art.tiers
        names = art.keys()
    for length in rng.integers(0, len(data), 1000).tolist():
        path.write_bytes(data[:length])
        if length < manifest:
            with pytest.raises((p2uformat.Incomplete, p2uformat.NotAnArtifact)):
                p2uformat.open(path)
            continue
        with p2uformat.open(path) as art:
            for number, tier in enumerate(tiers):
                whole = {
                    name
                    for name in names
                    if all(ends.get((name, t), 0) <= length for t in tiers[: number + 1])
                }
                assert set(art.complete_tensors(tier)) == whole


def _ends(path: Path, tiers: tuple[str, ...]) -> dict[tuple[str, str], int]:
    """Find where each tensor's layers end, by spoiling the file a byte at a time."""
    data = path.read_bytes()
    ends: dict[tuple[str, str], int] = {}
    copy = path.with_name("probe.p2u")
    with p2uformat.open(path) as art:
        place = art.summary.manifest_bytes
    while place < len(data):
        copy.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        damage = p2uformat.verify(copy).damage
        start = damage[0].offset
        low, high = place, len(data)  # the chunk's end, by bisection
        while low + 1 < high:
            middle = (low + high) // 2
            copy.write_bytes(data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :])
            if p2uformat.verify(copy).damage[0].offset == start:
                low = middle
            else:
                high = middle
        for found in damage:
            if found.tensor is not None and found.tier is not None:
                ends[found.tensor, found.tier] = max(ends.get((found.tensor, found.tier), 0), high)
        place = high
    assert {tier for _, tier in ends} == set(tiers)
    return ends


@pytest.mark.soak
@SOAK
def test_every_bit_of_the_larger_one(larger: Path) -> None:
    _run(larger, [(place, bit) for place in range(larger.stat().st_size) for bit in range(8)])


@pytest.mark.soak
@SOAK
def test_ten_thousand_bits_of_a_big_one(tmp_path: Path) -> None:
    path = _pack(tmp_path / "big.p2u", {f"layer.{i}": (1024, 1024) for i in range(4)})
    rng = np.random.default_rng(2)
    places = rng.integers(0, path.stat().st_size, 10_000).tolist()
    _run(path, [(place, place % 8) for place in places])
