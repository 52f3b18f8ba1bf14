import contextlib
import json
import struct

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st

from p2uformat.errors import InvalidSource, NotFound
from p2uformat.ingest import HeadTensor, SafetensorsSource, build_head, parse_head
from p2uformat.ingest.head import MAX_JSON_BYTES


def row(dtype="U8", shape=(2,), offsets=(0, 2)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


def file(text, data=b""):
    raw = text if isinstance(text, bytes) else json.dumps(text).encode()
    return struct.pack("<Q", len(raw)) + raw + data


def parse(whole, data=b""):
    return parse_head(whole[: len(whole) - len(data)], len(whole))


def test_the_official_writer_is_read(tmp_path):
    arrays = {"b": np.arange(6, dtype=np.float32).reshape(2, 3), "a": np.array(7, np.int64)}
    safetensors.numpy.save_file(arrays, tmp_path / "m", metadata={"k": "v"})
    with SafetensorsSource(tmp_path / "m") as source:
        assert source.metadata == {"k": "v"}
        assert set(source.names) == {"a", "b"}
        for tensor in source.tensors:
            assert source.read(tensor.offset, tensor.nbytes) == arrays[tensor.name].tobytes()
        whole = source.head + b"".join(source.read(t.offset, t.nbytes) for t in source.tensors)
    assert whole == (tmp_path / "m").read_bytes()


def test_the_official_reader_reads_ours(tmp_path):
    rows = [HeadTensor("ü", "F32", (2,), 0, 8), HeadTensor("a", "U8", (0, 3), 0, 0)]
    head = build_head(rows, ["a", "ü"], {"k": "v"})
    assert len(head) % 8 == 0
    data = np.array([1, 2], np.float32)
    (tmp_path / "m").write_bytes(head + data.tobytes())
    loaded = safetensors.numpy.load_file(tmp_path / "m")
    assert loaded["ü"].tolist() == [1, 2]
    assert loaded["a"].shape == (0, 3)
    assert parse_head(head, len(head) + 8).names == ("a", "ü")


@pytest.mark.parametrize(
    ("whole", "message"),
    [
        (b"", "only 0 bytes"),
        (b"abc", "only 3 bytes"),
        (struct.pack("<Q", 9) + b"{}", "longer than the file"),
        (struct.pack("<Q", MAX_JSON_BYTES + 1) + b"{}", "at most"),
        (struct.pack("<Q", 2**64 - 1) + b"{}", "at most"),
        (file(b""), "not a JSON object"),
        (file(b"[]"), "not a JSON object"),
        (file(b" {}"), "not a JSON object"),
        (file(b"{"), "not JSON"),
        (file(b"{}x"), "not JSON"),
        (file(b'{"a":NaN}'), "not JSON"),
        (file(b'{"\xff":1}'), "not JSON"),
        (file(b'{"a":' + b"[" * 100_000), "not JSON"),
        (file(b'{"a":' + b"1" * 5000 + b"}"), "not JSON"),
        (file(b'{"a":1,"a":2}'), "duplicate name 'a'"),
        (file({"\ud800": row()}), "not valid unicode"),
        (file({"n" * 4097: row()}), "at most 4096"),
        (file({"a": 1}), "expected dtype"),
        (file({"a": {"dtype": "U8"}}), "expected dtype"),
        (file({"a": {**row(), "dtype": 3}}), "dtype is not a text"),
        (file({"a": {**row(), "shape": 3}}), "shape is not"),
        (file({"a": {**row(), "shape": [-1]}}), "shape is not"),
        (file({"a": {**row(), "shape": [1.0]}}), "shape is not"),
        (file({"a": {**row(), "shape": [True]}}), "shape is not"),
        (file({"a": {**row(), "shape": [1] * 65}}), "at most 64"),
        (file({"a": {**row(), "shape": [2**40, 2**40]}}), "more than"),
        (file({"a": {**row(), "data_offsets": [0]}}), "no range"),
        (file({"a": {**row(), "data_offsets": [2, 0]}}), "no range"),
        (file({"a": row(dtype="F32")}), "expected 8 bytes"),
        (file({"__metadata__": {"a": 1}}), "metadata"),
        (file({"__metadata__": []}), "metadata"),
    ],
)
def test_unsound_heads_are_refused(tmp_path, whole, message):
    (tmp_path / "m").write_bytes(whole)
    with pytest.raises(InvalidSource, match=message):
        SafetensorsSource(tmp_path / "m")


@pytest.mark.parametrize(
    ("rows", "size", "message"),
    [
        ({"a": row(), "b": row(offsets=(1, 3))}, 3, "overlaps"),
        ({"a": row(), "b": row()}, 2, "overlaps"),
        ({"a": row(offsets=(1, 3))}, 3, "hole"),
        ({"a": row(), "b": row(offsets=(3, 5))}, 5, "hole"),
        ({"a": row()}, 1, "cut off"),
        ({"a": row()}, 3, "followed by other data"),
        ({}, 1, "followed by other data"),
    ],
)
def test_bytes_are_covered_once(tmp_path, rows, size, message):
    (tmp_path / "m").write_bytes(file(rows, bytes(size)))
    with pytest.raises(InvalidSource, match=message):
        SafetensorsSource(tmp_path / "m")


def test_unknown_dtypes_and_empty_tensors_pass():
    rows = {
        "z": row(shape=(0,), offsets=(0, 0)),
        "a": row(dtype="F4", shape=(4,), offsets=(0, 2)),
        "e": row(shape=(0, 2**50), offsets=(2, 2)),
    }
    head = parse(file(rows, b"xy"), b"xy")
    assert [tensor.name for tensor in head.tensors] == ["z", "a", "e"]
    assert parse(file({})).tensors == ()


@given(st.binary(max_size=80))
def test_any_bytes_are_read_or_refused(data):
    whole = struct.pack("<Q", len(data)) + data
    with contextlib.suppress(InvalidSource):
        parse_head(whole, len(whole))


@given(st.data())
def test_changed_heads_are_read_or_refused(choice):
    whole = bytearray(file({"a": row(), "b": row("F16", (1, 1), (2, 4))}, b"1234"))
    for _ in range(choice.draw(st.integers(1, 3))):
        whole[choice.draw(st.integers(8, len(whole) - 5))] = choice.draw(st.integers(0, 255))
    with contextlib.suppress(InvalidSource):
        parse(bytes(whole), b"1234")


def test_a_missing_file_is_not_found(tmp_path):
    with pytest.raises(NotFound):
        SafetensorsSource(tmp_path / "none")
