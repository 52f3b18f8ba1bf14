"""Mutation of structured inputs: one item is changed, and the rest is put together again."""

from __future__ import annotations

import struct
from random import Random
from typing import Any

import msgpack

from p2uformat.errors import P2UError
from tests.fuzz.parsers.harness import MUTATE, Form

_RAW_SHARE = 0.25  # of mutations that see bytes only
_MEND_SHARE = 0.8
_DEEPER = 0.85
_INTEGERS = (0, 1, 2, 3, 4, 7, 8, 15, 16, 17, 24, 31, 32, 63, 64, 65, 127, 128, 254, 255, 256, 300,
             1023, 1024, 2000, 2001, 4095, 4096, 65535, 65536, (1 << 19) - 1, 1 << 19,
             (1 << 19) + 1, 1 << 20, 1 << 26, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 32,
             1 << 48, (1 << 48) + 1, (1 << 63) - 1, 1 << 63, (1 << 64) - 1, -1, -33, -2000, -2001,
             -(1 << 31), -(1 << 63))  # fmt: skip
_TEXTS = ("", "exact", "opaque", "bitplane", "F64", "BF16", "F8_E4M3", "I64", "F4", "U8", "plain",
          "safetensors", "checkpoint", "difference", "sha256", "q4", "../a", "a/b", "\0", "é",
          "\ud7ff")  # fmt: skip
_OTHERS = (None, b"", bytes(32), b"\xff" * 32, [], {}, [0], [[]], {"a": 0})
# What says that a value has no such form: an input that was made by hand, or changed too much.
_NO_FORM = (
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    AttributeError,
    RecursionError,
    struct.error,
    msgpack.UnpackException,
    P2UError,
)


def mutated(form: Form | None, data: bytes, most: int, seed: int, mutate: MUTATE) -> bytes:
    """Return other bytes, at most `most` of them."""
    rng = Random(seed)
    if form is not None and rng.random() >= _RAW_SHARE:
        made = _by_form(form, data, rng, mutate)
        if made is not None and len(made) <= most:
            return made
    return mutate(data, most)


def _by_form(form: Form, data: bytes, rng: Random, mutate: MUTATE) -> bytes | None:
    change = form.change or changed
    try:
        value = form.open(data)
        for _ in range(rng.choice((1, 1, 1, 2, 3))):
            value = change(value, rng, mutate)
        if form.mend is not None and rng.random() < _MEND_SHARE:
            value = form.mend(value)
        return form.close(value)
    except _NO_FORM:
        return None


def changed(value: Any, rng: Random, mutate: MUTATE) -> Any:
    """Return a value with one item somewhere in it changed, added or taken out."""
    if isinstance(value, list) and value and rng.random() < _DEEPER:
        at = rng.randrange(len(value))
        return [*value[:at], changed(value[at], rng, mutate), *value[at + 1 :]]
    if isinstance(value, dict) and value and rng.random() < _DEEPER:
        key = rng.choice(list(value))
        return {**value, key: changed(value[key], rng, mutate)}
    if rng.random() < 0.1:
        return _other(rng)
    return _CHANGES.get(type(value), lambda *_: _other(rng))(value, rng, mutate)


def _other(rng: Random) -> Any:
    return rng.choice(rng.choice((_INTEGERS, _TEXTS, _OTHERS)))


def _list(value: list[Any], rng: Random, mutate: MUTATE) -> list[Any]:
    at = rng.randrange(len(value) + 1)
    way = rng.randrange(6)
    if way == 0 or not value:
        return [*value[:at], _other(rng), *value[at:]]
    if way == 1:
        return [*value[:at], rng.choice(value), *value[at:]]
    if way == 2:
        return value[:at] + value[at + 1 :]
    if way == 3:
        return value[:at]
    if way == 4:
        return value[at:] + value[:at]
    return [changed(item, rng, mutate) for item in value]


def _map(value: dict[str, Any], rng: Random, _: MUTATE) -> dict[str, Any]:
    made = dict(value)
    if made and rng.random() < 0.5:
        item = made.pop(rng.choice(list(made)))
        if rng.random() < 0.5:
            made[rng.choice(_TEXTS)] = item
    else:
        made[rng.choice(_TEXTS)] = _other(rng)
    return made


def _integer(value: int, rng: Random, _: MUTATE) -> int:
    way = rng.randrange(4)
    if way == 0:
        return rng.choice(_INTEGERS)
    if way == 1:
        return value ^ (1 << rng.randrange(max(value.bit_length(), 3)))
    return value + rng.choice((-2, -1, 1, 2, 8, 256))


def _bytes(value: bytes, rng: Random, mutate: MUTATE) -> bytes:
    way = rng.randrange(6)
    if way < 3 and value:
        # Most lengths are told elsewhere too: what keeps them gets furthest.
        at, made = rng.randrange(len(value)), bytearray(value)
        made[at] = rng.choice((made[at] ^ 1 << rng.randrange(8), rng.randrange(256), 0, 127, 255))
        return bytes(made)
    if way == 3 and value:
        at = rng.randrange(len(value))
        return value[:at] + value[at + 1 :]
    if way == 4:
        return value + bytes((rng.choice((0, 1, 127, 254, 255)),))
    return mutate(value, len(value) + 16)


def _text(value: str, rng: Random, mutate: MUTATE) -> str:
    if rng.random() < 0.4:
        return rng.choice(_TEXTS)
    return mutate(value.encode("utf-8", "surrogatepass"), len(value) + 8).decode(errors="replace")


_CHANGES: dict[type, Any] = {list: _list, dict: _map, int: _integer, bytes: _bytes, str: _text}


def stand_in(rng: Random) -> MUTATE:
    """Return what mutates bytes where atheris is not at hand; less clever, and deterministic."""

    def mutate(data: bytes, most: int) -> bytes:
        made = bytearray(data)
        at = rng.randrange(len(made) + 1)
        way = rng.randrange(4)
        if way == 0 and made:
            made[at - 1] ^= 1 << rng.randrange(8)
        elif way == 1:
            del made[at : at + rng.randrange(1, 9)]
        elif way == 2:
            made[at:at] = rng.randbytes(rng.randrange(1, 9))
        elif made:
            made[at:at] = made[at : at + rng.randrange(1, 20)]
        return bytes(made[:most])

    return mutate
