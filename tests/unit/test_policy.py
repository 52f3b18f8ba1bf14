"""Policies: which tensors, how much of them is kept, and drawn from what."""

from __future__ import annotations

import dataclasses
import json
import struct

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from p2uformat import InvalidArgument
from p2uformat.quant.policy import Candidate, Policy

LAYERS = [
    Candidate(f"layer.{i}.{part}", 2, size)
    for i in range(12)
    for part, size in (("q", 147456), ("mlp", 589824))
]


def test_matrices_and_globs():
    policy = Policy(only=("a.*", "b.*"), skip=("*.norm",))
    assert policy.covers(Candidate("a.w", 2, 9))
    assert not policy.covers(Candidate("a.w", 1, 9))
    assert not policy.covers(Candidate("a.norm", 2, 9))
    assert not policy.covers(Candidate("c.w", 2, 9))
    assert not policy.covers(Candidate("a.w", 2, 0))
    assert Policy(matrices=False).covers(Candidate("c.w", 1, 9))


def test_the_generator_is_that_of_the_specification():
    names = [f"w{i}" for i in range(40)]
    policy = Policy(keep=0.5, seed=300, client=2, round=1)

    def drawn(name):
        # Canonical msgpack of ["p2u keep", 300, 2, 1, name], by hand.
        message = (
            b"\x95\xa8p2u keep\xcd\x01\x2c\x02\x01" + bytes([0xA0 + len(name)]) + name.encode()
        )
        return struct.unpack("<Q", blake3(message).digest()[:8])[0]

    expected = set(sorted(names, key=drawn)[:20])
    assert policy.kept([Candidate(name, 2, 10) for name in names]) == expected


def test_draws_change_with_seed_client_and_round():
    base = Policy(keep=0.1, seed=1, client=1, round=1)
    drawn = base.kept(LAYERS)
    assert base.kept(LAYERS[::-1]) == drawn
    for name in ("seed", "client", "round"):
        assert dataclasses.replace(base, **{name: 2}).kept(LAYERS) != drawn


def test_the_share_is_one_of_weights():
    total = sum(tensor.weights for tensor in LAYERS)
    seen = set()
    for seed in range(50):
        kept = Policy(keep=0.1, seed=seed).kept(LAYERS)
        seen |= kept
        share = sum(tensor.weights for tensor in LAYERS if tensor.name in kept) / total
        assert abs(share - 0.1) <= 147456 / 2 / total
    assert seen == {tensor.name for tensor in LAYERS}


@given(
    st.lists(st.integers(1, 10**6), max_size=30), st.integers(0, 10**6), st.integers(0, 2**64 - 1)
)
def test_the_share_is_missed_by_less_than_any_other_tensor_would_mend(sizes, millionths, seed):
    tensors = [Candidate(str(i), 2, size) for i, size in enumerate(sizes)]
    kept = Policy(keep=millionths / 10**6, seed=seed).kept(tensors)
    target = sum(sizes) * millionths // 10**6
    have = sum(size for i, size in enumerate(sizes) if str(i) in kept)
    for i, size in enumerate(sizes):
        if str(i) not in kept:
            assert abs(have + size - target) >= abs(have - target)


def test_keeping_none_and_all():
    assert Policy().kept(LAYERS) == frozenset()
    assert Policy(keep=1.0).kept(LAYERS) == {tensor.name for tensor in LAYERS}


def test_policies_become_json_and_come_back():
    policy = Policy(matrices=False, only=("a", "b"), skip="c", keep=0.123456, seed=2**64 - 1)
    assert Policy.from_dict(json.loads(json.dumps(policy.to_dict()))) == policy
    assert policy.skip == ("c",)
    assert hash(policy) == hash(dataclasses.replace(policy))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"keep": -0.1}, "share"),
        ({"keep": 1.1}, "share"),
        ({"keep": 0.12345678}, "share"),
        ({"generator": "mt19937"}, "unknown generator 'mt19937'"),
        ({"seed": -1}, "seed"),
        ({"client": 1 << 64}, "client"),
        ({"round": 1.5}, "round"),
        ({"only": ()}, "names no tensor"),
    ],
)
def test_policies_that_make_no_sense(options, words):
    with pytest.raises(InvalidArgument, match=words):
        Policy(**options)


def test_dicts_that_are_no_policy():
    for value in ({"kept": 1}, {"keep": "x"}, {"only": 5}, {"keep": None}):
        with pytest.raises(InvalidArgument):
            Policy.from_dict(value)
