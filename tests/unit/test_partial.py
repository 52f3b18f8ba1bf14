"""A file that is filled at its place, at every moment at which a process can end."""

from __future__ import annotations

import os

import pytest

import p2uformat
from p2uformat.container import Container, PartialFile
from p2uformat.errors import DestinationExists, StoreUnavailable


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    import numpy as np

    rng = np.random.default_rng(2)
    path = tmp_path_factory.mktemp("whole") / "m.p2u"
    p2uformat.pack({f"l.{i}": rng.standard_normal((512, 256), np.float32) for i in range(3)}, path)
    return path


@pytest.fixture(scope="module")
def source(whole):
    with Container.open(whole) as container:
        yield container


def opened(path, source):
    header = source.header
    return PartialFile(path, header, source.file.read(0, header.manifest_length))


def chunks(source):
    for page in source.pages:
        for index, entry in enumerate(page.encoding.chunks):
            yield page.number, index, entry


def fill(target, source, most=None):
    for count, (page, index, _) in enumerate(chunks(source)):
        if most is not None and count >= most:
            return
        data = memoryview(source.chunk(page, index))
        target.write(source.offsets[page][index], data, [source.entry_number(page, index)])


def test_filled_and_finished_it_is_the_file(source, whole, tmp_path):
    path = tmp_path / "a.p2u"
    with opened(path, source) as target:
        assert not any(map(target.holds, range(source.header.entries)))
        assert next(iter(target.extents()))[0] == 0
        fill(target, source)
        assert not target.holds(0)  # not before it reached the disk
        target.sync()
        assert all(map(target.holds, range(source.header.entries)))
        target.finish()
    assert path.read_bytes() == whole.read_bytes()


def test_at_each_moment_it_is_an_artifact(source, tmp_path):
    path = tmp_path / "a.p2u"
    for count in range(len(list(chunks(source))) + 1):
        with opened(path, source) as target:
            fill(target, source, count)
            target.sync()
        with Container.open(path) as found:
            held = sum(found.held(page, index) for page, index, _ in chunks(found))
            assert held >= count
            assert found.trailing == 0
    assert p2uformat.verify(path).ok  # partial, with all bits set


def test_ended_between_the_steps_of_finishing(source, whole, tmp_path):
    path, data = tmp_path / "a.p2u", whole.read_bytes()
    with opened(path, source) as target:
        fill(target, source)
        target.sync()
        partial = path.read_bytes()
    # The bitmap is cut off, the flag still set: it holds nothing that is noted, and all that is.
    path.write_bytes(partial[: len(data)])
    with Container.open(path) as found:
        assert not any(found.held(page, index) for page, index, _ in chunks(found))
    assert p2uformat.fetch(whole, path).fetched == 0
    assert path.read_bytes() == data
    # Another process set bits behind the end of what was complete.
    path.write_bytes(data + partial[len(data) :])
    with pytest.raises(p2uformat.Malformed, match="behind the end"):
        p2uformat.open(path)
    assert p2uformat.fetch(whole, path).fetched == 0
    assert path.read_bytes() == data


def test_whoever_comes_late_to_a_finished_file_leaves_it_whole(source, whole, tmp_path):
    path = tmp_path / "a.p2u"
    with opened(path, source) as first, opened(path, source) as second:
        fill(first, source)
        first.sync()
        fill(second, source)
        first.finish()
        second.sync()
        assert path.read_bytes() == whole.read_bytes()
        second.finish()
    assert path.read_bytes() == whole.read_bytes()


def test_bits_written_behind_a_finished_file_are_cut_off_again(source, whole, tmp_path):
    path = tmp_path / "a.p2u"
    with opened(path, source) as first, opened(path, source) as second:
        fill(first, source)
        first.sync()
        fill(second, source)
        real = second._write_at

        def late(offset, data):
            # The other finishes after this one looked at the flag, and before it writes.
            first.finish()
            real(offset, data)

        second._write_at = late
        second.sync()
    assert path.read_bytes() == whole.read_bytes()


def test_bits_of_others_are_kept(source, tmp_path):
    path = tmp_path / "a.p2u"
    places = list(chunks(source))
    with opened(path, source) as first, opened(path, source) as second:
        for number, target in ((0, first), (1, second)):
            page, index, _ = places[number]
            data = memoryview(source.chunk(page, index))
            target.write(source.offsets[page][index], data, [source.entry_number(page, index)])
            target.sync()
    with Container.open(path) as found:
        held = [found.held(page, index) for page, index, _ in chunks(found)]
    assert held == [True, True] + [False] * (len(places) - 2)


def test_after_closing_nothing_is_written(source, tmp_path):
    path = tmp_path / "a.p2u"
    with opened(path, source) as target:
        pass
    before = path.read_bytes()
    fill(target, source, 1)
    target.sync()
    assert path.read_bytes() == before


def test_a_manifest_that_is_damaged_here_is_written_again(source, whole, tmp_path):
    path = tmp_path / "a.p2u"
    spoiled = bytearray(whole.read_bytes())
    spoiled[300] ^= 1
    path.write_bytes(spoiled)
    with opened(path, source):
        pass
    assert path.read_bytes() == whole.read_bytes()


def test_another_encoding_of_the_same_content_is_another_file(source, whole, tmp_path):
    path = tmp_path / "a.p2u"
    child = tmp_path / "child.p2u"
    with p2uformat.open(whole) as artifact:
        p2uformat.pack(artifact.load(), child, parent=whole)
    with Container.open(child) as other, opened(path, other):
        pass
    with pytest.raises(DestinationExists, match="stored in another way"):
        opened(path, source)


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write anything")
def test_a_file_that_may_not_be_written(source, whole, tmp_path):
    path = tmp_path / "a.p2u"
    path.write_bytes(whole.read_bytes())
    path.chmod(0o400)
    with pytest.raises(StoreUnavailable, match="permission denied"):
        opened(path, source)
