"""Checking access to decoded values: each asks for one type and one range.

Whoever reads a structure through these gets `Malformed` or `LimitExceeded`, with the field's name,
and never a `KeyError` or a value of another type.
"""

from __future__ import annotations

from typing import Final

from p2uformat.errors import LimitExceeded, Malformed

__all__ = ["as_array", "as_bytes", "as_int", "as_map", "as_text"]

_U64: Final = (1 << 64) - 1


def as_int(
    value: object, name: str, *, low: int = 0, high: int = _U64, limit: int | None = None
) -> int:
    """Return an integer in ``low .. high``, both included, and not above a `limit` of SPEC.md.

    Examples
    --------
    >>> as_int(3, "planes", high=6)
    3
    >>> as_int(9, "planes", high=6)
    Traceback (most recent call last):
    p2uformat.errors.Malformed: planes: expected 0 to 6, got 9
    """
    if type(value) is not int:
        raise _wrong(value, name, "an integer")
    if not low <= value <= high:
        raise Malformed(f"{name}: expected {low} to {high}, got {value}")
    if limit is not None and value > limit:
        raise LimitExceeded(f"{name}: expected at most {limit}, got {value}")
    return value


def as_bytes(value: object, name: str, *, length: int | None = None) -> bytes:
    """Return a byte string, of `length` bytes if given."""
    if type(value) is not bytes:
        raise _wrong(value, name, "a byte string")
    if length is not None and len(value) != length:
        raise Malformed(f"{name}: expected {length} bytes, got {len(value)}")
    return value


def as_text(value: object, name: str, *, limit: int | None = None) -> str:
    """Return a string of at most `limit` bytes of UTF-8.

    Examples
    --------
    >>> as_text("w" * 9, "name", limit=8)
    Traceback (most recent call last):
    p2uformat.errors.LimitExceeded: name: expected at most 8 bytes, got 9
    """
    if type(value) is not str:
        raise _wrong(value, name, "a string")
    if limit is not None and len(value.encode()) > limit:
        raise LimitExceeded(f"{name}: expected at most {limit} bytes, got {len(value.encode())}")
    return value


def as_array(
    value: object, name: str, *, length: int | None = None, limit: int | None = None
) -> list[object]:
    """Return an array, of `length` items if given, of at most `limit` items."""
    if type(value) is not list:
        raise _wrong(value, name, "an array")
    if length is not None and len(value) != length:
        raise Malformed(f"{name}: expected {length} items, got {len(value)}")
    if limit is not None and len(value) > limit:
        raise LimitExceeded(f"{name}: expected at most {limit} items, got {len(value)}")
    return value


def as_map(value: object, name: str, *, keys: frozenset[str] | None = None) -> dict[str, object]:
    """Return a map, with exactly `keys` if given."""
    if type(value) is not dict:
        raise _wrong(value, name, "a map")
    if keys is not None and value.keys() != keys:
        unknown, missing = sorted(value.keys() - keys), sorted(keys - value.keys())
        raise Malformed(f"{name}: unknown keys {unknown}, missing keys {missing}")
    return value


def _wrong(value: object, name: str, expected: str) -> Malformed:
    return Malformed(f"{name}: expected {expected}, got {type(value).__name__.lower()}")
