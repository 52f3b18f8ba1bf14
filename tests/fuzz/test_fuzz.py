"""Fuzzing in bounded time: a little of it in every run of the tests, more under sanitizers."""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path

import pytest

from tests.fuzz.driver import Fuzz, load, stored
from tests.kernel_cases import LEVELS, Block, check_equal, numpy_in_use

EXECUTIONS = int(os.environ.get("P2U_FUZZ_EXECUTIONS", "6000"))
SEED = int(os.environ.get("P2U_FUZZ_SEED", "1"))
SOAK = pytest.mark.skipif(not os.environ.get("P2U_SOAK"), reason="long; `make soak` runs it")
pytestmark = pytest.mark.skipif(not LEVELS, reason="nothing is compiled here")


@pytest.fixture(autouse=True)
def _by_numpy():
    with numpy_in_use():
        yield


def _fuzz(executions, seed):
    fuzz = Fuzz(seed)
    fuzz.run(executions)
    print(f"seed {seed}: runs {dict(fuzz.runs)}, of which accepted {dict(fuzz.accepted)}")
    assert fuzz.runs.total() == executions
    for name, runs in fuzz.runs.items():
        # Mutations that are never accepted, or always, try only half of the rules.
        assert runs // 50 < fuzz.accepted[name] < runs * 19 // 20, name


@pytest.mark.parametrize("part", range(4))
def test_mutations(part):
    _fuzz(EXECUTIONS // 4, 1000 * SEED + part)


@SOAK
@pytest.mark.soak
@pytest.mark.parametrize("seed", range(20))
def test_many_mutations(seed):
    _fuzz(100_000, 1_000_000 + seed)


def test_the_corpus_is_sound():
    blocks = [stored(item)[0] for item in load("blocks.msgpack")]
    assert len(blocks) > 40
    assert all(isinstance(block, Block) and check_equal(block, tiers=False) for block in blocks)


@pytest.mark.skipif(not os.environ.get("P2U_SANITIZED"), reason="only in `make sanitize`")
def test_these_are_the_sanitized_kernels():
    path = Path(import_module("p2uformat._native").__file__)
    assert path.is_relative_to(os.environ["P2U_SANITIZED"])
    assert b"__asan_report" in path.read_bytes()
    assert b"__ubsan_handle" in path.read_bytes()
