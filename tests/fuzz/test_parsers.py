"""The parsers' harnesses without a fuzzer: kept inputs, a few mutations, and planted faults."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tracemalloc
from importlib.util import find_spec
from itertools import chain, islice
from pathlib import Path
from random import Random

import numpy as np
import pytest

import p2uformat
from p2uformat.artifact import deep
from p2uformat.chunk import views
from p2uformat.codec import numbers, zstd
from p2uformat.container import header, presence, reader
from p2uformat.ingest import checkpoint, directory, head
from p2uformat.manifest import content, encoding, records
from p2uformat.quant import affine, bitplane, layers
from p2uformat.wire import as_map, canonical, decode
from tests.fuzz.parsers import corpus, files, session
from tests.fuzz.parsers.harness import FindingError
from tests.fuzz.parsers.mutate import mutated, stand_in
from tests.fuzz.parsers.registry import HARNESSES
from tests.fuzz.parsers.sources import is_sound, vectors

MUTATIONS = 150
SLOW = {"artifact": 60, "artifact-reference": 60, "ladder": 60}
MOST_KEPT = 1_000_000
ROOT = Path(__file__).resolve().parents[2]

named = pytest.mark.parametrize("harness", HARNESSES.values(), ids=list(HARNESSES))


def inputs(harness):
    """Return what is kept and what it began with, each once."""
    return list(dict.fromkeys(chain(corpus.load(harness.name), harness.seeds())))


def mutations(harness, seed=1):
    """Yield mutations of inputs, the same ones every time."""
    rng = Random(seed)
    pool = [data for data in inputs(harness) if len(data) <= harness.most]
    while True:
        data = rng.choice(pool)
        for _ in range(rng.choice((1, 1, 2, 3))):
            data = mutated(harness.form, data, harness.most, rng.randrange(1 << 30), stand_in(rng))
        yield data


@named
def test_kept_inputs(harness):
    assert corpus.load(harness.name), "nothing is kept; `python -m tests.fuzz.parsers grow`"
    accepted = [harness.run(data) for data in inputs(harness)]
    # Inputs that are all refused, or all accepted, try only half of the rules.
    assert 0 < sum(accepted) < len(accepted)


@named
def test_mutations(harness):
    for data in islice(mutations(harness), SLOW.get(harness.name, MUTATIONS)):
        harness.run(data)


@named
def test_memory_is_bounded_by_the_input(harness):
    harness.run(next(iter(harness.seeds())))  # tables that are made once do not count
    tracemalloc.start()
    try:
        for data in inputs(harness)[:: 4 if harness.name in SLOW else 1]:
            before, _ = tracemalloc.get_traced_memory()
            tracemalloc.reset_peak()
            harness.run(data)
            _, peak = tracemalloc.get_traced_memory()
            assert peak - before <= harness.room(data), data[:100].hex()
    finally:
        tracemalloc.stop()


def test_the_corpus_is_small_and_every_file_has_a_harness():
    found = sorted(corpus.CORPUS.iterdir())
    assert [path.name for path in found] == sorted(f"{name}.zst" for name in HARNESSES)
    assert sum(path.stat().st_size for path in found) <= MOST_KEPT


def test_inputs_are_kept_in_one_form(tmp_path, monkeypatch):
    monkeypatch.setattr(corpus, "CORPUS", tmp_path)
    assert corpus.save("x", [b"b", b"", b"a", b"b"]) == 3
    first = (tmp_path / "x.zst").read_bytes()
    assert corpus.load("x") == [b"", b"a", b"b"]
    corpus.save("x", [b"", b"b", b"a"])
    assert (tmp_path / "x.zst").read_bytes() == first
    corpus.spread(corpus.load("x"), tmp_path / "x")
    assert sorted(corpus.gathered(tmp_path / "x")) == [b"", b"a", b"b"]


def test_sealing_changes_nothing():
    """A sound vector taken apart is put together as another file that holds the same."""
    done = 0
    for name in filter(is_sound, vectors()):
        data = vectors()[name]
        if b"difference" in data[:2000] or name.startswith(("truncated", "partial")):
            continue
        again = files.put_together(files.take_apart(data))
        assert p2uformat.verify(again, deep=True, threads=1).ok, name
        assert again[16:48] == data[16:48], "the content root does not depend on compression"
        done += 1
    assert done > 40


def test_mutations_get_past_the_digests():
    """Most changed files agree with their digests; some are sound, with other content."""
    rng, opened, sound, total = Random(2), 0, set(), 300
    pool = [vectors()[name] for name in ("bf16", "f32-planes-1", "sparse", "codec-classes")]
    for _ in range(total):
        data = mutated(files.FORM, rng.choice(pool), 8192, rng.randrange(1 << 30), stand_in(rng))
        try:
            p2uformat.open(data, threads=1).close()
        except p2uformat.P2UError:
            continue
        opened += 1
        if p2uformat.verify(data, deep=True, threads=1).ok:
            sound.add(data[16:48])
    assert opened > total // 3
    assert len(sound) > len(pool)


def _lenient_root(data, name, keys, known=None):
    return as_map(decode(data), name)


def _unchecked_chunk(container, page, index, room=None):
    entry = container.entry(page, index)
    return container.file.read(container.offsets[page][index], entry.length)


def _free_runs(runs, found, count):
    symbols = np.zeros(count, np.uint8)
    steps = np.cumsum(np.frombuffer(runs, np.uint8).astype(np.int64) + 1) - 1
    symbols[steps[: len(found)]] = np.frombuffer(found, np.uint8)
    return symbols


def _fewer_widths(*arguments):
    return np.maximum(WIDTHS(*arguments) - 1, 0)


def _nothing(*_, **__):
    return None


WIDTHS = bitplane.remainder_widths
# For each harness a check of the library that is taken out, or done wrongly.
FAULTS = {
    "msgpack": (canonical, "_check_keys", _nothing),
    "msgpack-reference": (canonical, "MAX_NESTING", 15),
    "content-root": (content, "open_root", _lenient_root),
    "encoding-root": (encoding, "open_root", _lenient_root),
    "content-page": (records, "_check_blocks", _nothing),
    "encoding-page": (encoding, "_pair", lambda value, chunks: tuple(value)),
    "header": (header, "_check_digest", _nothing),
    "presence": (presence.Presence, "parse", classmethod(lambda cls, bits, n: cls(bits, n))),
    "container": (reader.Container, "chunk", _unchecked_chunk),
    "zstd": (zstd, "_one_frame", lambda data, size: b""),
    "chunk": (views, "_slot", lambda slot, members: slot),
    "chunk-reference": (views, "accumulate", lambda numbers, **_: [0, *numbers]),
    "block": (layers.BaseLayer, "check", _nothing),
    "block-reference": (bitplane.BlockDecoder, "_check_words", _nothing),
    "ladder": (bitplane, "remainder_widths", _fewer_widths),
    "codes": (affine, "check_dense", _nothing),
    "difference": (numbers, "_from_runs", _free_runs),
    "head": (head, "_check_cover", _nothing),
    "index": (directory, "_shards", lambda data: list(json.loads(data)["weight_map"])),
    "names": (checkpoint, "Counter", lambda names: dict.fromkeys(names, 1)),
    "artifact": (deep.DeepCheck, "run", lambda check, advance: []),
    "artifact-reference": (deep.DeepCheck, "run", lambda check, advance: []),
}


def test_every_harness_has_a_planted_fault():
    assert FAULTS.keys() == HARNESSES.keys()


@named
def test_finds_a_planted_fault(harness, monkeypatch):
    """A harness that nothing can fail would be no test."""
    tried = [*inputs(harness), *islice(mutations(harness), 400)]
    monkeypatch.setattr(*FAULTS[harness.name])
    for data in tried:
        try:
            harness.run(data)
        except (FindingError, ValueError, LookupError, TypeError, AttributeError):
            return
    pytest.fail("the fault was not found")


# What follows runs the fuzzer itself, where it can be installed; a sanitizer is one too many there.

fuzzer = pytest.mark.skipif(
    find_spec("atheris") is None or bool(os.environ.get("P2U_SANITIZED")),
    reason="atheris is not installed, or a sanitizer is loaded",
)

SPOILED = """
import sys
from tests.fuzz.parsers import engine
sound = engine._harnesses
def spoiled(atheris):
    registry = sound(atheris)
    from p2uformat.container import header
    header._check_digest = lambda data: None
    return registry
engine._harnesses = spoiled
engine.main()
"""


def _run(*arguments):
    return subprocess.run(
        [sys.executable, *map(os.fspath, arguments)],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip


@fuzzer
def test_a_run_says_how_much_it_did(tmp_path):
    words = ("-m", "tests.fuzz.parsers", "run", "header", "names", "--executions", "9000")
    done = _run(*words, "--findings", tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert ",001 executions of 2 harnesses, 0 with findings" in done.stdout
    assert not list(tmp_path.iterdir())


@fuzzer
def test_a_fault_is_found_kept_and_shown_again(tmp_path):
    place = tmp_path / "inputs"
    corpus.spread(HARNESSES["header"].seeds(), place)
    prefix = f"-artifact_prefix={tmp_path}/header-"
    done = _run("-c", SPOILED, "header", "-runs=20000", "-seed=1", prefix, place)
    assert done.returncode == 77, done.stderr[-2000:]
    assert "FindingError: a header encodes to the same bytes" in done.stdout + done.stderr
    (found,) = tmp_path.glob("header-crash-*")
    again = _run("-m", "tests.fuzz.parsers", "replay", found)
    assert again.returncode == 0, "the library as it is has no such fault"
    assert f"{found} (header): refused" in again.stdout


def test_a_finding_is_told_with_its_exception(tmp_path, monkeypatch):
    """Here an engine that fails stands in for one that finds something."""
    broken = "print('FindingError: a rule'); import sys; sys.exit('==1== ERROR: target exited')"
    done = subprocess.run(
        [sys.executable, "-c", broken], capture_output=True, text=True, check=False
    )  # fmt: skip
    monkeypatch.setattr(session, "command", lambda *_: done)
    result = session.Session(tmp_path / "in", tmp_path / "out", 1).run(HARNESSES["names"], 10)
    assert result.failed
    assert result.line().endswith("FINDING")
    assert result.log.splitlines() == ["FindingError: a rule", "==1== ERROR: target exited"]


@fuzzer
def test_findings_stay_out_of_the_repository():
    done = _run("-m", "tests.fuzz.parsers", "run", "names", "--findings", ROOT / "found")
    assert done.returncode == 1
    assert "findings go outside" in done.stderr
