"""Where a folder is unpacked to, and what is damaged."""

import errno
import os
import struct
from pathlib import Path

import pytest

import p2uformat
from p2uformat.container import publish_folder
from p2uformat.container.folder import unsafe_on_windows
from p2uformat.errors import (
    DestinationExists,
    Incomplete,
    LimitExceeded,
    Malformed,
    P2UError,
    StoreUnavailable,
)
from tests.folders import contents, make_model


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("hub") / "model")


@pytest.fixture(scope="module")
def artifact(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("packed") / "m.p2u"
    p2uformat.pack(model, path, sha256=True)
    return path


class TestDestination:
    def test_a_folder_in_use_stays(self, artifact, model, tmp_path):
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "mine").write_bytes(b"precious")
        with pytest.raises(DestinationExists, match="not empty"):
            p2uformat.unpack(artifact, tmp_path / "out")
        assert contents(tmp_path) == {"out/mine": b"precious"}
        p2uformat.unpack(artifact, tmp_path / "out", overwrite=True)
        assert contents(tmp_path / "out") == contents(model)
        assert [path.name for path in tmp_path.iterdir()] == ["out"]

    def test_an_empty_folder_is_filled(self, artifact, model, tmp_path):
        (tmp_path / "out").mkdir()
        p2uformat.unpack(artifact, tmp_path / "out")
        assert contents(tmp_path / "out") == contents(model)

    @pytest.mark.parametrize("overwrite", [False, True])
    def test_what_is_no_folder_stays(self, artifact, tmp_path, overwrite):
        (tmp_path / "file").write_bytes(b"precious")
        (tmp_path / "real").mkdir()
        (tmp_path / "link").symlink_to("real")
        for name in ("file", "link"):
            with pytest.raises(DestinationExists, match="not a folder"):
                p2uformat.unpack(artifact, tmp_path / name, overwrite=overwrite)
        assert contents(tmp_path) == {"file": b"precious"}

    def test_what_is_worked_in_stays(self, artifact, tmp_path, monkeypatch):
        (tmp_path / "a" / "b").mkdir(parents=True)
        monkeypatch.chdir(tmp_path / "a" / "b")
        for name in (".", "..", "../../a", tmp_path / "a"):
            with pytest.raises(DestinationExists):
                p2uformat.unpack(artifact, name, overwrite=True)
        assert list(Path.cwd().iterdir()) == []

    def test_the_artifacts_own_folder_stays(self, artifact, tmp_path):
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "m.p2u").write_bytes(artifact.read_bytes())
        with pytest.raises(DestinationExists, match="holds the artifact itself"):
            p2uformat.unpack(tmp_path / "out" / "m.p2u", tmp_path / "out", overwrite=True)
        assert list(contents(tmp_path)) == ["out/m.p2u"]

    def test_an_interrupt_leaves_nothing(self, artifact, tmp_path):
        def interrupt(progress):
            if progress.done > progress.total // 2:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            p2uformat.unpack(artifact, tmp_path / "out", progress=interrupt)
        assert list(tmp_path.iterdir()) == []

    def test_a_folder_that_is_taken_meanwhile_stays(self, artifact, tmp_path):
        def take(progress):
            (tmp_path / "out").mkdir(exist_ok=True)
            (tmp_path / "out" / "mine").write_bytes(b"precious")

        with pytest.raises(DestinationExists):
            p2uformat.unpack(artifact, tmp_path / "out", progress=take)
        assert contents(tmp_path) == {"out/mine": b"precious"}

    def test_a_full_disk(self, artifact, tmp_path, monkeypatch):
        def full(descriptor, data):
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(os, "write", full)
        with pytest.raises(StoreUnavailable, match="no space left"):
            p2uformat.unpack(artifact, tmp_path / "out")
        assert list(tmp_path.iterdir()) == []


class TestDamage:
    def test_a_damaged_file_is_named(self, artifact, tmp_path):
        data = bytearray(artifact.read_bytes())
        data[-1] ^= 1  # the last chunk: of the file in the last tier, or of weights
        with p2uformat.open(artifact) as opened:
            end = opened.summary.manifest_bytes + opened.summary.tiers[0].bytes
        data[end - 1] ^= 1  # the last chunk of the base tier holds files
        path = tmp_path / "m.p2u"
        path.write_bytes(data)
        report = p2uformat.verify(path, deep=True)
        named = {damage.file for damage in report.damage if damage.file}
        assert {"config.json", "tokenizer.json"} <= named
        assert not report.ok
        with pytest.raises(P2UError) as caught:
            p2uformat.unpack(path, tmp_path / "out")
        assert not (tmp_path / "out").exists()
        assert caught.value.code == "digest-mismatch"

    def test_what_is_cut_off_still_gives_its_tiers(self, artifact, model, tmp_path):
        with p2uformat.open(artifact) as opened:
            summary = opened.summary
        end = summary.manifest_bytes + summary.tiers[0].bytes
        path = tmp_path / "m.p2u"
        path.write_bytes(artifact.read_bytes()[:end])
        p2uformat.unpack(path, tmp_path / "q4", tier="q4")
        assert contents(tmp_path / "q4")["config.json"] == contents(model)["config.json"]
        with pytest.raises(Incomplete):
            p2uformat.unpack(path, tmp_path / "out")
        path.write_bytes(artifact.read_bytes()[: end - 1])
        with pytest.raises(Incomplete):
            p2uformat.unpack(path, tmp_path / "out", tier="q4")
        assert {p.name for p in tmp_path.iterdir()} == {"m.p2u", "q4"}

    def test_too_many_files_are_refused(self, artifact, monkeypatch):
        monkeypatch.setattr("p2uformat.manifest.sequence.MAX_FILES", 6)
        with pytest.raises(LimitExceeded, match="expected at most 6 files, got 7"):
            p2uformat.open(artifact)

    def test_a_damaged_page_of_files_is_not_passed_over(self, artifact, tmp_path):
        data = bytearray(artifact.read_bytes())
        sizes = struct.unpack_from("<II", data, 80)
        data[128 + sum(sizes) + 50] ^= 1
        with pytest.raises(P2UError) as caught:
            p2uformat.unpack(bytes(data), tmp_path / "out", tier="q4")
        assert caught.value.code == "digest-mismatch"
        assert list(tmp_path.iterdir()) == []


class TestPaths:
    """The last line of defence: what a manifest's check let through would end here."""

    @pytest.mark.parametrize("path", ["../x", "/x", "a//b", ".", "a/./b", "a\\b", "a\0b", ""])
    def test_nothing_leaves_the_folder(self, tmp_path, path):
        with (
            pytest.raises(Malformed),
            publish_folder(tmp_path / "out") as folder,
            folder.file(path) as output,
        ):
            output.write(b"x")
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("second", ["a", "a/b"])
    def test_no_file_replaces_another(self, tmp_path, second):
        def write():
            with publish_folder(tmp_path / "out") as folder:
                for path in ("a", second):
                    with folder.file(path) as output:
                        output.write(b"x")

        with pytest.raises(P2UError):
            write()
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize(
        "path", ["c:x", "c:/x", "a/b:c", "CON", "a/lpt1.txt", "a ", "b./x", "a\x01", "a?"]
    )
    def test_what_windows_takes_for_something_else(self, path):
        assert unsafe_on_windows(path)

    def test_what_windows_takes_as_it_is(self):
        for path in ("a/b.json", "console/nul-1", "lpt/com10", ".hidden/a b"):
            assert not unsafe_on_windows(path)
