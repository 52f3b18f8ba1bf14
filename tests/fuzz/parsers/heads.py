"""JSON from outside: the head of a safetensors file, and the index of a folder of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from p2uformat.errors import InvalidSource
from p2uformat.ingest import checkpoint, directory
from p2uformat.ingest.head import build_head, parse_head
from p2uformat.limits import MAX_NAME_BYTES
from tests.fuzz.parsers.files import take_apart
from tests.fuzz.parsers.harness import Form, Harness, expect
from tests.fuzz.parsers.sources import packed, unpacked, vectors

# Bytes behind the head, in front of it: the file's size is checked against what the head says.
_BEHIND = 8


def _head(data: bytes) -> bool:
    head = data[_BEHIND:]
    size = len(head) + int.from_bytes(data[:_BEHIND], "little")
    try:
        found = parse_head(head, size)
    except InvalidSource:
        return False
    expect(sum(tensor.nbytes for tensor in found.tensors) + len(head) == size, "no hole, no rest")
    expect(sorted(found.names) == sorted(t.name for t in found.tensors), "every name has bytes")
    _check_again(found, size - len(head))
    return True


def _check_again(found: Any, behind: int) -> None:
    """What was read can be written, and is read alike."""
    try:
        head = build_head(found.tensors, found.names, found.metadata)
        again = parse_head(head, len(head) + behind)
    except (InvalidSource, UnicodeEncodeError) as error:
        # Texts of the metadata may hold what is no unicode; names were checked.
        lone = any(not text.isprintable() for item in found.metadata.items() for text in item)
        expect(lone, f"a head that was read can be written: {error}")
        return
    rows = [[(t.name, t.dtype, t.shape, t.nbytes) for t in h.tensors] for h in (found, again)]
    expect(rows[0] == rows[1], "tensors are read as they were written")
    expect(again.metadata == found.metadata and again.names == found.names, "and so are texts")


def _open_head(data: bytes) -> Any:
    return [int.from_bytes(data[:_BEHIND], "little"), json.loads(data[_BEHIND + 8 :])]


def _close_head(value: Any) -> bytes:
    text = json.dumps(value[1], separators=(",", ":")).encode()
    return value[0].to_bytes(_BEHIND, "little") + len(text).to_bytes(8, "little") + text


def _mend_head(value: Any) -> Any:
    """Let tensors follow each other, and the file end behind the last."""
    rows = [row for row in value[1].values() if isinstance(row, dict) and "data_offsets" in row]
    at = 0
    for row in sorted(rows, key=lambda row: row["data_offsets"]):
        start, stop = row["data_offsets"]
        row["data_offsets"] = [at, at + max(stop - start, 0)]
        at = row["data_offsets"][1]
    return [at, value[1]]


def _wrapped(text: str, behind: int = 0) -> bytes:
    data = text.encode("utf-8", "surrogatepass")
    return behind.to_bytes(_BEHIND, "little") + len(data).to_bytes(8, "little") + data


def _heads() -> Iterator[bytes]:
    for text in (
        "{}", "[]", "{", '{"a":NaN}', '{"a":1}', '{"a":{},"a":{}}', '{"__metadata__":{"k":"v"}}',
        '{"__metadata__":{"k":1}}', "[" * 2000, '{"\\ud800":{}}',
        '{"__metadata__":{"k":"\\ud800"}}',
    ):  # fmt: skip
        yield _wrapped(text)
    for dtype in ("U8", "F32", "F4", "BOOL", "X"):
        row = {"dtype": dtype, "shape": [4], "data_offsets": [0, 4]}
        last = row | {"data_offsets": [4, 8]}
        yield _wrapped(json.dumps({"a": row, "b": last, "__metadata__": {"k": "v"}}), 8)
        yield _wrapped(json.dumps({"a": row | {"shape": [2**48, 2**48]}}), 4)
    yield (0).to_bytes(_BEHIND, "little") + b"\xff" * 8 + b"{}"
    for name in ("bf16", "names", "odd-shapes", "opaque-dtypes", "metadata"):
        yield from _blobs(vectors()[name])


def _blobs(data: bytes) -> Iterator[bytes]:
    for page in take_apart(data)["chunks"]:
        for _, chunk in page:
            if isinstance(chunk, bytes) and chunk[8:9] == b"{":
                ends = [row["data_offsets"][1] for row in json.loads(chunk[8:]).values()
                        if "data_offsets" in row]  # fmt: skip
                yield max(ends, default=0).to_bytes(_BEHIND, "little") + chunk


def _index(data: bytes) -> bool:
    """Whatever an index file holds, it names files or none."""
    found = directory._shards(data)
    expect(found == sorted(set(found)), "names are sorted and each comes once")
    expect(all(type(name) is str for name in found), "names are texts")
    for name in found:
        expect(isinstance(directory._joined("a", name), str), "a name can be looked for")
    return bool(found)


def _indexes() -> Iterator[bytes]:
    names = {"a.weight": "m-1.safetensors", "b": "m-2.safetensors"}
    for value in ({"metadata": {"total_size": 9}, "weight_map": names}, {"weight_map": {"a": 1}},
                  {"weight_map": [1]}, [], {"weight_map": {"a": "../b"}}):  # fmt: skip
        yield json.dumps(value).encode()
    yield from (b"", b"{", b"\xff\xfe", b"[" * 3000, b'{"weight_map":{"a":"\\u0000"}}', b"1" * 4000)


def _names(data: bytes) -> bool:
    """Each tensor of a folder gets a record's name of its own, or the folder is refused."""
    try:
        files = [(path, list(names)) for path, names in unpacked(data)]
        texts = [text for path, names in files for text in (path, *names)]
        fine = all(type(text) is str and text.encode() for text in texts)
        paths = {path for path, _ in files}
        twice = len(paths) != len(files) or any(len(set(n)) != len(n) for _, n in files)
    except (ValueError, TypeError):
        return False
    if not fine or twice:
        return False  # a file system and a head have no name twice
    try:
        found = checkpoint.record_names(files)
    except InvalidSource:
        return False
    expect(len(set(found)) == len(found), "no two records have one name")
    expect(all(len(name.encode()) <= MAX_NAME_BYTES for name in found), "names are short enough")
    pairs = [(path, name) for path, names in files for name in names]
    known = set(found)
    for (path, name), record in zip(pairs, found, strict=True):
        meant = f"{path}:{name}" if f"{path}:{name}" in known else name
        expect(meant == record, "a reader finds each tensor's record (SPEC.md, 8.3)")
    return True


def _folders() -> Iterator[bytes]:
    for files in (
        [["a", ["w", "x"]], ["b", ["w"]]], [["a", ["b:w", "w"]], ["b", ["w"]]], [["a", []]],
        [["a", ["w", "a:w"]], ["b", ["w"]]], [["a:b", ["c"]], ["a", ["b:c"]]], [],
        [["a", ["b:c:d"]], ["b", ["c:d", "d"]], ["b:c", ["d"]]],
    ):  # fmt: skip
        yield packed(files)


HARNESSES = (
    Harness("head", _head, _heads, 90, Form(_open_head, _close_head, mend=_mend_head)),
    Harness("index", _index, _indexes, 40, Form(json.loads, lambda v: json.dumps(v).encode())),
    Harness("names", _names, _folders, 40, Form(unpacked, packed), 512),
)
