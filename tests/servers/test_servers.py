"""What the real servers do with a read, so that other tests may lean on it."""

import random

import fsspec

DATA = random.Random(7).randbytes(300_000)


def test_reads_whole_and_in_part(any_served):
    any_served.put("servers/whole.bin", DATA)
    fs, path = fsspec.core.url_to_fs(f"{any_served.url}servers/whole.bin", **any_served.options)
    assert fs.cat_file(path) == DATA
    with fs.open(path, "rb", block_size=65536) as file:
        file.seek(123_456)
        assert file.read(1000) == DATA[123_456:124_456]
    part = fs.cat_file(path, start=1000, end=2000)
    assert part == DATA[1000:2000]
