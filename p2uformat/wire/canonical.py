"""Canonical msgpack: one encoding per value (SPEC.md, section 3).

Decoding encodes again and compares: whatever the msgpack package would let pass (a long prefix, a
key out of order, a key twice) shows up as a difference, so no rule has to be checked by hand twice.
"""

from __future__ import annotations

from collections.abc import Collection
from itertools import pairwise
from typing import Final

import msgpack

from p2uformat.errors import InvalidArgument, LimitExceeded, NonCanonical
from p2uformat.limits import MAX_NESTING

__all__ = ["decode", "encode"]

_SCALARS: Final = frozenset({type(None), int, str, bytes})
# What the msgpack package raises on bad bytes; its own classes derive from ValueError.
_FOREIGN: Final = (
    ValueError,
    TypeError,
    OverflowError,
    RecursionError,
    msgpack.OutOfData,
    msgpack.UnpackException,
)


def encode(value: object) -> bytes:
    """Return the one encoding of `value`.

    Parameters
    ----------
    value : None, int, str, bytes, list, tuple or dict
        Nested at most `MAX_NESTING` deep, with str keys in any order.

    Raises
    ------
    InvalidArgument
        If there is no encoding for it.

    Examples
    --------
    >>> encode({"b": 1, "a": [None, b"x"]}).hex()
    '82a16192c0c40178a16201'
    """
    try:
        packed = msgpack.packb(_ordered(value, 0), use_bin_type=True)
    except UnicodeEncodeError as error:
        raise InvalidArgument("a string is not valid unicode") from error
    except OverflowError as error:
        raise InvalidArgument("an integer does not fit 64 bits") from error
    return bytes(packed)


def decode(data: bytes) -> object:
    r"""Return the value that `data` encodes.

    Raises
    ------
    NonCanonical
        Unless `data` is the canonical encoding of a value, with nothing behind it.
    LimitExceeded
        If it is nested deeper than `MAX_NESTING`.

    Examples
    --------
    >>> decode(bytes.fromhex("82a16192c0c40178a16201"))
    {'a': [None, b'x'], 'b': 1}
    >>> decode(b"\xcc\x01")
    Traceback (most recent call last):
    p2uformat.errors.NonCanonical: value is not in its one encoding
    """
    _check_structure(data)
    try:
        value = msgpack.unpackb(data, raw=False, strict_map_key=True)
    except _FOREIGN as error:
        raise NonCanonical(f"not canonical msgpack: {_reason(error)}") from error
    _check_types(value, 0)
    if msgpack.packb(value, use_bin_type=True) != data:
        raise NonCanonical("value is not in its one encoding")
    return value  # type: ignore[no-any-return, unused-ignore]


def _check_structure(data: bytes) -> None:
    """Walk the bytes without building anything.

    A prefix may claim a million items and nest; only once all of them are known to be there does
    building them cost no more than a small multiple of what came in.
    """
    unpacker = msgpack.Unpacker(max_buffer_size=max(len(data), 1))
    try:
        unpacker.feed(data)
        unpacker.skip()
    except msgpack.StackError as error:
        raise _too_deep() from error
    except _FOREIGN as error:
        raise NonCanonical(f"not canonical msgpack: {_reason(error)}") from error
    if unpacker.tell() != len(data):
        trailing = len(data) - unpacker.tell()
        raise NonCanonical(f"expected the end of the value, got {trailing} bytes behind it")


def _too_deep() -> LimitExceeded:
    return LimitExceeded(f"nested deeper than {MAX_NESTING}")


def _reason(error: Exception) -> str:
    if isinstance(error, msgpack.OutOfData):
        return "it ends early"
    return str(error).lower() or type(error).__name__.lower()


def _check_types(value: object, depth: int) -> None:
    kind = type(value)
    if kind in _SCALARS:
        return
    if depth == MAX_NESTING:
        raise _too_deep()
    if kind is dict:
        assert isinstance(value, dict)
        _check_keys(value)
        _check_items(value.values(), depth)
    elif kind is list:
        assert isinstance(value, list)
        _check_items(value, depth)
    else:
        raise NonCanonical(f"a value of type {kind.__name__.lower()} has no place here")


def _check_items(items: Collection[object], depth: int) -> None:
    if _SCALARS.issuperset(map(type, items)):
        return
    for item in items:
        if type(item) not in _SCALARS:
            _check_types(item, depth + 1)


def _check_keys(value: dict[object, object]) -> None:
    if not all(type(key) is str for key in value):
        raise NonCanonical("a map key is not a string")
    keys = [str(key).encode() for key in value]
    if any(after <= before for before, after in pairwise(keys)):
        raise NonCanonical("map keys are not in ascending order")


def _ordered(value: object, depth: int) -> object:
    """Return `value` with its maps in the order of their keys' bytes."""
    if type(value) in _SCALARS:
        return value
    if depth == MAX_NESTING:
        raise InvalidArgument(f"nested deeper than {MAX_NESTING}")
    if isinstance(value, list | tuple):
        if _SCALARS.issuperset(map(type, value)):
            return value
        return [_ordered(item, depth + 1) for item in value]
    if isinstance(value, dict) and all(type(key) is str for key in value):
        pairs = sorted(value.items(), key=lambda pair: str(pair[0]).encode())
        return {key: _ordered(item, depth + 1) for key, item in pairs}
    raise InvalidArgument(f"a value of type {type(value).__name__} has no encoding")
