"""Folders that cannot be packed."""

import json
import os
import socket
from pathlib import Path

import pytest

import p2uformat
from p2uformat.errors import InvalidArgument, InvalidSource, LimitExceeded, StoreUnavailable
from p2uformat.ingest import directory
from tests.folders import FIRST, SECOND, contents, make_model


class TestRefused:
    """Nothing is left behind, and the message names what is wrong."""

    @pytest.fixture
    def source(self, tmp_path):
        return make_model(tmp_path / "source")

    def refuse(self, source, error, *words):
        with pytest.raises(error) as caught:
            p2uformat.pack(source, source.parent / "m.p2u")
        for word in words:
            assert word in str(caught.value)
        assert [path.name for path in source.parent.iterdir()] == ["source"]
        return caught.value

    def test_missing_shards(self, source):
        (source / SECOND).unlink()
        error = self.refuse(source, InvalidSource, SECOND, "model.safetensors.index.json")
        assert FIRST not in str(error)
        assert error.hint == "download the missing shards, or remove the index"

    @pytest.mark.parametrize("name", ["../model.safetensors", "/etc/passwd", ".", "x\0y"])
    def test_an_index_that_leads_elsewhere(self, source, name):
        (source.parent / "source").mkdir(exist_ok=True)
        (source / "x.index.json").write_text(json.dumps({"weight_map": {"w": FIRST, "v": name}}))
        self.refuse(source, InvalidSource, "x.index.json")

    @pytest.mark.parametrize(
        "text",
        ["{", "[]", "null", '{"weight_map": 3}', '{"weight_map": {"w": 5}}', "[" * 99999, "\udcff"],
    )
    def test_an_odd_index_is_a_file(self, source, tmp_path, text):
        (source / "x.index.json").write_bytes(text.encode("utf-8", "surrogateescape"))
        p2uformat.pack(source, tmp_path / "m.p2u")
        p2uformat.unpack(tmp_path / "m.p2u", tmp_path / "out")
        assert contents(tmp_path / "out") == contents(source)

    def test_the_index_of_what_was_not_downloaded(self, source, tmp_path):
        index = {"weight_map": {"w": "pytorch_model-00001-of-00002.bin"}}
        (source / "pytorch_model.bin.index.json").write_text(json.dumps(index))
        assert p2uformat.pack(source, tmp_path / "m.p2u")

    def test_a_broken_link(self, source):
        (source / "lost.json").symlink_to("../blobs/gone")
        self.refuse(source, InvalidSource, "lost.json", "leads nowhere")

    def test_a_link_to_itself(self, source):
        (source / "loop").symlink_to("loop")
        self.refuse(source, InvalidSource, "loop", "circle")

    def test_a_folder_in_itself(self, source):
        (source / "onnx" / "again").symlink_to("..")
        self.refuse(source, InvalidSource, "again", "leads to a folder that it is in")

    def test_a_pipe(self, source):
        os.mkfifo(source / "pipe.safetensors")
        self.refuse(source, InvalidSource, "pipe", "neither a file nor a folder")

    def test_a_socket(self, source, monkeypatch):
        monkeypatch.chdir(source)
        with socket.socket(socket.AF_UNIX) as server:
            server.bind("s")
            self.refuse(source, InvalidSource, "neither a file nor a folder")

    @pytest.mark.parametrize("name", [b"a\\b", b"\xff\xfe"])
    def test_names_that_cannot_be_kept(self, source, name):
        Path(os.fsdecode(os.fsencode(source) + b"/" + name)).write_bytes(b"x")
        self.refuse(source, InvalidSource, "rename it")

    def test_a_path_that_is_too_long(self, source, monkeypatch):
        monkeypatch.setattr(directory, "MAX_NAME_BYTES", 50)
        (source / "onnx" / ("x" * 50)).write_bytes(b"x")
        self.refuse(source, InvalidSource, "expected at most 50 bytes, got 55")

    def test_too_many_files(self, source, monkeypatch):
        monkeypatch.setattr(directory, "MAX_FILES", 6)
        error = self.refuse(source, LimitExceeded, "expected at most 6 files")
        assert error.code == "limit-exceeded"

    def test_links_that_multiply_folders(self, source, monkeypatch):
        monkeypatch.setattr(directory, "MAX_FILES", 100)
        for level in range(9):
            (source.parent / "source" / f"d{level}").mkdir()
        for level in range(8):
            for name in "ab":
                (source / f"d{level}" / name).symlink_to(f"../d{level + 1}")
        self.refuse(source, LimitExceeded, "folders")

    def test_an_unsound_shard(self, source):
        (source / SECOND).write_bytes((source / SECOND).read_bytes()[:-1])
        self.refuse(source, InvalidSource, SECOND, "cut off")

    def test_a_pointer_of_git_lfs(self, source):
        text = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n"
        (source / SECOND).write_text(text)
        assert "git lfs pull" in self.refuse(source, InvalidSource, SECOND).hint

    def test_an_empty_folder(self, tmp_path):
        (tmp_path / "source").mkdir()
        self.refuse(tmp_path / "source", InvalidSource, "no files")

    def test_its_own_past(self, source):
        p2uformat.pack(source, source / "m.p2u")
        with pytest.raises(InvalidArgument, match="one of the files to pack"):
            p2uformat.pack(source, source / "m.p2u", overwrite=True)

    @pytest.mark.parametrize("name", [SECOND, "tokenizer.json", "onnx/model.onnx"])
    def test_a_file_that_changes(self, source, name):
        def change(progress):
            if progress.phase == "encode":
                (source / name).write_bytes((source / name).read_bytes()[:-1] + b"~")

        with pytest.raises(StoreUnavailable, match="changed while it was read"):
            p2uformat.pack(source, source.parent / "m.p2u", progress=change, threads=1)
        assert not (source.parent / "m.p2u").exists()
