"""The parsers' corpus, and cheap mutations of it: what runs where there is no atheris too."""

from __future__ import annotations

import numpy as np
import pytest

from p2uformat.wire import canonical
from tests.fuzz import parsers
from tests.fuzz.make_parser_corpus import build, load
from tests.kernel_damage import spoiled

RUNS = {"artifact": 20, "file": 40, "index_json": 200}
USUAL = 1500


def test_the_corpus_is_the_one_of_the_vectors():
    assert load() == build()
    assert all(load()[name] for name in parsers.PARSERS)


@pytest.mark.parametrize("name", parsers.PARSERS)
def test_the_corpus_is_taken_or_refused(name):
    taken = [parsers.call(name, data) for data in load()[name]]
    assert any(taken), "nothing here is sound: only refusals are tried"


@pytest.mark.parametrize("name", parsers.PARSERS)
def test_mutations_are_taken_or_refused(name):
    rng = np.random.default_rng(7)
    corpus = load()[name]
    for _ in range(RUNS.get(name, USUAL)):
        data = corpus[int(rng.integers(len(corpus)))]
        for _ in range(int(rng.integers(1, 4))):
            data = spoiled(rng, data) if data else bytes(rng.integers(0, 256, 3, np.uint8))
        parsers.call(name, data)


def test_nothing_at_all():
    for name in parsers.PARSERS:
        parsers.call(name, b"")


def test_a_parser_that_takes_too_much_is_found(monkeypatch):
    """A number that is not in its shortest form encodes to other bytes."""
    data = b"\xcc\x05"
    assert not parsers.call("msgpack", data)
    monkeypatch.setattr(parsers, "decode", lambda _: 5)
    with pytest.raises(AssertionError):
        parsers.call("msgpack", data)
    assert canonical.encode(5) == b"\x05"


def test_an_exception_of_others_is_found(monkeypatch):
    def broken(data):
        raise IndexError(len(data))

    monkeypatch.setitem(parsers.PARSERS, "msgpack", broken)
    with pytest.raises(IndexError):
        parsers.call("msgpack", b"")
