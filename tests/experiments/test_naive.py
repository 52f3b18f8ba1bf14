"""Naive P2U: codes come back, and what its float difference loses is known."""

from __future__ import annotations

import numpy as np
import pytest

from experiments.naive import Naive, coded, differing, packed, unpacked


@pytest.mark.parametrize("bits", range(1, 9))
@pytest.mark.parametrize("count", [1, 7, 8, 9, 1000])
def test_codes_of_any_width_come_back(bits, count):
    codes = np.random.default_rng(0).integers(0, 1 << bits, count, np.uint8)
    dense = packed(codes, bits)
    assert dense.size == -(-count * bits // 8)
    assert np.array_equal(unpacked(dense, count, bits), codes)


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_values_are_off_by_half_a_step_at_most(bits):
    tensor = np.random.default_rng(1).normal(0, 0.05, (64, 33)).astype(np.float32)
    made = coded(tensor, bits)
    step = (tensor.max() - tensor.min()) / (2**bits - 1)
    assert np.abs(made.values() - tensor).max() <= 0.5001 * step
    assert made.values().shape == tensor.shape
    assert {tensor.min(), tensor.max()} <= set(made.values().ravel().tolist()) or bits == 8


def test_a_constant_tensor_is_itself():
    tensor = np.full((3, 5), 0.25, np.float32)
    assert np.array_equal(coded(tensor, 4).values(), tensor)


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_base_and_difference_give_the_model_but_for_last_bits(bits):
    rng = np.random.default_rng(2)
    tensors = {
        "w": rng.normal(0, 0.05, (80, 90)).astype(np.float32),
        "b": rng.normal(0, 1, 90).astype(np.float32),
    }
    split = Naive.of(tensors, bits, ["w"])
    assert split.base["w"].size == 80 * 90 * bits // 8
    assert split.base["b"] is tensors["b"]
    largest = np.abs(split.rough["w"]).max()
    assert np.abs(split.whole["w"] - tensors["w"]).max() <= largest * 2.0**-23
    assert differing({"b": tensors["b"]}, split.whole) == 0


def test_the_difference_loses_what_its_rounding_takes_and_the_sign_of_zero():
    # 0.1 lies a step of float32's fraction away from what 1 + (0.1 - 1) is.
    tensors = {"w": np.array([0.1, 1.0], np.float32), "z": np.array([-0.0, 0.5, 1.0], np.float32)}
    split = Naive.of(tensors, 1, ["w", "z"])
    assert split.rough["z"][0] == 0
    assert not np.signbit(split.whole["z"][0])
    assert differing({"z": tensors["z"]}, split.whole) == 1
    rough, original = np.float32(1.0), np.float32(0.1)
    assert rough + (original - rough) != original


def test_weights_are_counted_by_their_bits():
    first = {"a": np.array([0.0, 1.0], np.float32), "b": np.array([3], np.int64)}
    second = {"a": np.array([-0.0, 1.0], np.float32), "b": np.array([4], np.int64)}
    assert differing(first, first) == 0
    assert differing(first, second) == 2
