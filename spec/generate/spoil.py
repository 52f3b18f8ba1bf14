"""Ways to spoil a sound artifact, for the vectors that every reader must refuse.

A fault is put where it belongs and all digests above it are computed again, so that it is met by
the check it is meant for and by no earlier one.
"""

from collections.abc import Callable, Sequence
from typing import Any

from builder import SECTIONS, Group, Key, Recipe
from recipes import members, one, small, three, whole
from source import Tensor
from vector import Vector

VECTORS: list[Vector] = []
MALFORMED, LIMIT, DIGEST = "malformed", "limit-exceeded", "digest-mismatch"
CANONICAL, UNSUPPORTED, INCOMPLETE = "non-canonical", "unsupported-format", "incomplete"


def add(name: str, error: str, spec: str, description: str, make: Callable[[], Recipe]) -> None:
    """Register a vector."""
    VECTORS.append(Vector(name, spec, description, make, error))


def spoiled(stage: str, change: Callable[[Any, Any], Any], **more: Any) -> Callable[[], Recipe]:  # noqa: ANN401
    """Return a maker of the small recipe with one hook."""
    return lambda: small(hooks={stage: change}, **more)


def field(key: str, value: Any) -> Callable[[Any, Any], Any]:  # noqa: ANN401
    """Return a hook that sets one key of a map; a function changes what is there."""
    return lambda old, _: old | {key: value(old[key]) if callable(value) else value}


def item(path: Sequence[int], value: Any) -> Callable[[Any, Any], Any]:  # noqa: ANN401
    """Return a hook that sets one element of nested arrays; a function changes what is there."""

    def change(top: Any, _: object) -> Any:  # noqa: ANN401
        inner = top
        for step in path[:-1]:
            inner = inner[step]
        inner[path[-1]] = value(inner[path[-1]]) if callable(value) else value
        return top

    return change


def flip(data: bytes, at: int = 0) -> bytes:
    """Flip one bit of a byte."""
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def only(key: Key, change: Callable[[bytes], bytes]) -> Callable[[Any, Any], Any]:
    """Return a hook on payloads that changes one of them."""
    return lambda payload, this: change(payload) if this == key else payload


def put(at: int, data: bytes) -> Callable[[bytes], bytes]:
    """Return a change that overwrites bytes."""
    return lambda payload: payload[:at] + data + payload[at + len(data) :]


def record(number: int, index: int, value: Any) -> Callable[[], Recipe]:  # noqa: ANN401
    """Return a maker that changes one field of a record."""
    return spoiled("records", item([number, index], value))


def grouped(*tensors: Tensor, **hooks: Any) -> Callable[[], Recipe]:  # noqa: ANN401
    """Return a maker of tensors whose refinement layers share a chunk of codec `sections`."""
    tensors = tensors or tuple(three())
    names = [tensor.name for tensor in tensors]
    return lambda: whole(*tensors, groups=[Group(SECTIONS, members(1, *names))], hooks=hooks)


def alike() -> list[Tensor]:
    """Return two bitplane tensors of equal shape and different weights."""
    words = [0x3E12, 0x3E33, 0x3E5B, 0x3D99]
    return [one("BF16", words, [-6], name="a"), one("BF16", words[::-1], [-6], name="b")]
