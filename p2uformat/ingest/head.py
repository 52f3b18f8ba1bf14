"""The head of a safetensors file: an 8-byte length and a JSON object, checked in full.

What the JSON says decides which bytes are read as what, so everything that two readers could
understand differently is refused: a name twice, a hole, an overlap, a size that contradicts the
shape.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NoReturn

from p2uformat.errors import InvalidSource
from p2uformat.limits import MAX_ELEMENTS, MAX_NAME_BYTES, MAX_RANK
from p2uformat.tensor import ELEMENT_SIZES

__all__ = ["LENGTH_BYTES", "MAX_JSON_BYTES", "Head", "HeadTensor", "build_head", "parse_head"]

LENGTH_BYTES: Final = 8
MAX_JSON_BYTES: Final = 100_000_000  # the official reader's own limit
_METADATA: Final = "__metadata__"
_ALIGNMENT: Final = 8


@dataclass(frozen=True, slots=True)
class HeadTensor:
    """A tensor as the head describes it.

    Parameters
    ----------
    name : str
        Its name.
    dtype : str
        Safetensors dtype name, which may be one that is unknown here.
    shape : tuple of int
        Its shape.
    offset : int
        Where its bytes start, from the start of the file.
    nbytes : int
        How many there are.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    offset: int
    nbytes: int


@dataclass(frozen=True, slots=True)
class Head:
    """A checked head.

    Parameters
    ----------
    tensors : tuple of HeadTensor
        In the order of their bytes, which they cover without a hole.
    names : tuple of str
        In the order of the JSON.
    metadata : dict of str
        The free texts.
    """

    tensors: tuple[HeadTensor, ...]
    names: tuple[str, ...]
    metadata: dict[str, str]


def json_length(prefix: bytes, size: int) -> int:
    """Return the length of the JSON, from the first bytes of a file of `size` bytes.

    Raises
    ------
    InvalidSource
        If there is no such length, or it is longer than the file or the limit.
    """
    if len(prefix) < LENGTH_BYTES:
        raise InvalidSource(f"not a safetensors file: it has only {size} bytes")
    (length,) = struct.unpack_from("<Q", prefix)
    if length > MAX_JSON_BYTES:
        raise InvalidSource(
            f"not a safetensors file: a header of {length} bytes, at most {MAX_JSON_BYTES} allowed"
        )
    if LENGTH_BYTES + length > size:
        raise InvalidSource(
            f"header longer than the file: {LENGTH_BYTES + length} of {size} bytes",
            hint="the file may be cut off",
        )
    return int(length)


def parse_head(head: bytes, size: int) -> Head:
    """Return what the head of a safetensors file says.

    Parameters
    ----------
    head : bytes
        Length and JSON.
    size : int
        Bytes of the whole file.

    Raises
    ------
    InvalidSource
        If it breaks a rule.

    Examples
    --------
    >>> text = b'{"w":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}'
    >>> head = parse_head(len(text).to_bytes(8, "little") + text, len(text) + 10)
    >>> head.tensors[0].offset, head.tensors[0].nbytes
    (61, 2)
    """
    if json_length(head, size) != len(head) - LENGTH_BYTES:
        raise InvalidSource(f"expected a header of {len(head) - LENGTH_BYTES} bytes")
    value = _load(head[LENGTH_BYTES:])
    metadata = _metadata(value.pop(_METADATA, None))
    tensors = [_tensor(name, item, len(head)) for name, item in value.items()]
    names = tuple(tensor.name for tensor in tensors)
    tensors.sort(key=lambda tensor: (tensor.offset, tensor.nbytes))
    _check_cover(tensors, len(head), size)
    return Head(tuple(tensors), names, metadata)


def _load(text: bytes) -> dict[str, object]:
    if text[:1] != b"{":
        raise InvalidSource("not a safetensors file: the header is not a JSON object")
    try:
        value = json.loads(
            text.decode(), object_pairs_hook=_unique, parse_constant=_refuse_constant
        )
    except InvalidSource:
        raise
    except (ValueError, RecursionError, MemoryError) as error:
        reason = type(error).__name__ if isinstance(error, UnicodeError) else str(error).lower()
        raise InvalidSource(f"the header is not JSON: {reason}") from error
    assert isinstance(value, dict)
    return value


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    value = dict(pairs)
    if len(value) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise InvalidSource(f"duplicate name {twice!r} in the header")
    return value


def _refuse_constant(text: str) -> NoReturn:
    raise InvalidSource(f"the header is not JSON: {text}")


def _metadata(value: object) -> dict[str, str]:
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(isinstance(item, str) for item in value.values()):
        raise InvalidSource("metadata: expected texts by name")
    return value


def _tensor(name: str, value: object, start: int) -> HeadTensor:
    _check_name(name, "tensor name")
    if not isinstance(value, dict) or not {"dtype", "shape", "data_offsets"} <= value.keys():
        raise InvalidSource(f"tensor {name!r}: expected dtype, shape and data_offsets")
    dtype = value["dtype"]
    if not isinstance(dtype, str):
        raise InvalidSource(f"tensor {name!r}: dtype is not a text")
    _check_name(dtype, "dtype")
    shape = _numbers(value["shape"], name, "shape", MAX_RANK)
    offsets = _numbers(value["data_offsets"], name, "data_offsets", 2)
    if len(offsets) != 2 or offsets[0] > offsets[1]:
        raise InvalidSource(f"tensor {name!r}: data_offsets {list(offsets)} are no range")
    tensor = HeadTensor(name, dtype, shape, start + offsets[0], offsets[1] - offsets[0])
    _check_size(tensor)
    return tensor


def _check_name(text: str, what: str) -> None:
    try:
        length = len(text.encode())
    except UnicodeEncodeError as error:
        raise InvalidSource(f"{what} {text[:80]!r} is not valid unicode") from error
    if length > MAX_NAME_BYTES:
        raise InvalidSource(f"{what}: expected at most {MAX_NAME_BYTES} bytes, got {length}")


def _numbers(value: object, name: str, what: str, most: int) -> tuple[int, ...]:
    fine = isinstance(value, list) and all(type(n) is int and 0 <= n < 1 << 64 for n in value)
    if not fine or not isinstance(value, list):
        raise InvalidSource(f"tensor {name!r}: {what} is not a list of sizes")
    if len(value) > most:
        raise InvalidSource(f"tensor {name!r}: {what} has {len(value)} items, at most {most}")
    return tuple(value)


def _check_size(tensor: HeadTensor) -> None:
    elements = math.prod(tensor.shape)
    if elements > MAX_ELEMENTS or tensor.nbytes > 8 * MAX_ELEMENTS:
        raise InvalidSource(f"tensor {tensor.name!r}: more than {MAX_ELEMENTS} elements")
    size = ELEMENT_SIZES.get(tensor.dtype)
    if size is not None and elements * size != tensor.nbytes:
        raise InvalidSource(
            f"tensor {tensor.name!r}: expected {elements * size} bytes for {tensor.dtype}"
            f" {list(tensor.shape)}, got {tensor.nbytes}"
        )


def _check_cover(tensors: Sequence[HeadTensor], start: int, size: int) -> None:
    at = start
    for tensor in tensors:
        if tensor.offset != at:
            what = "overlaps the one before" if tensor.offset < at else "leaves a hole before it"
            raise InvalidSource(
                f"tensor {tensor.name!r} {what}: expected offset {at - start},"
                f" got {tensor.offset - start}"
            )
        at += tensor.nbytes
    if at != size:
        what = "cut off" if at > size else "followed by other data"
        raise InvalidSource(f"the file is {what}: expected {at} bytes, got {size}")


def build_head(
    tensors: Sequence[HeadTensor], names: Sequence[str], metadata: Mapping[str, str]
) -> bytes:
    """Return the head of a safetensors file.

    Parameters
    ----------
    tensors : sequence of HeadTensor
        In the order of their bytes; their offsets are not used.
    names : sequence of str
        The order of the JSON.
    metadata : mapping
        Free texts; left out if empty.
    """
    value: dict[str, object] = {_METADATA: dict(metadata)} if metadata else {}
    rows: dict[str, object] = {}
    at = 0
    for tensor in tensors:
        rows[tensor.name] = {
            "dtype": tensor.dtype,
            "shape": list(tensor.shape),
            "data_offsets": [at, at + tensor.nbytes],
        }
        at += tensor.nbytes
    value.update((name, rows[name]) for name in names)
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    return struct.pack("<Q", len(text)) + text
