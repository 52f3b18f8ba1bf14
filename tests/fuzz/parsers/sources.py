"""Where inputs begin: the vectors of the specification, and the reader that knows it alone."""

from __future__ import annotations

import json
import sys
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import msgpack

_SPEC = Path(__file__).resolve().parents[3] / "spec"


class _Held:
    """Bytes where a reader asks for a path."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def read_bytes(self) -> bytes:
        """Return them."""
        return self._data


def _reference() -> Any:
    sys.path.insert(0, str(_SPEC / "reference"))
    module = import_module("p2u_ref")
    module.Path = _Held  # type: ignore[attr-defined]
    return module


reference = _reference()
reference_layers: Any = import_module("p2u_layers")


@cache
def vectors() -> dict[str, bytes]:
    """Return the files of all vectors by name."""
    found = {path.stem: path.read_bytes() for path in sorted((_SPEC / "vectors").glob("*.p2u"))}
    if not found:
        raise FileNotFoundError(_SPEC / "vectors")
    return found


@cache
def parents_of(name: str) -> tuple[str, ...]:
    """Return the names of the vectors that a vector needs."""
    about = json.loads((_SPEC / "vectors" / f"{name}.json").read_bytes())
    return tuple(Path(parent).stem for parent in about.get("parents", ()))


@cache
def is_sound(name: str) -> bool:
    """Return whether a vector is one of those without a fault."""
    about = json.loads((_SPEC / "vectors" / f"{name}.json").read_bytes())
    return bool(about["valid"])


def unpacked(data: bytes) -> Any:
    """Decode msgpack in any form."""
    return msgpack.unpackb(data, raw=False, strict_map_key=False)


def packed(value: Any) -> bytes:
    """Encode as msgpack, maps in the order of their keys, as the format wants them."""
    return bytes(msgpack.packb(_ordered(value), use_bin_type=True))


def _ordered(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_ordered(item) for item in value]
    if isinstance(value, dict):
        keys = sorted(value, key=lambda key: str(key).encode())
        return {key: _ordered(value[key]) for key in keys}
    return value
