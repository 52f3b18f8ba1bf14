"""The measurements of stores run once on a tiny model, untimed."""

from __future__ import annotations

from benchmarks import sources, storepeers, stores


def test_versions_are_kept_and_come_back(tmp_path):
    model = sources.synthetic(tmp_path / "m.safetensors").path
    section = stores.run(model, tmp_path, repeats=1, chunks=2000)
    tables = {table.title: table.rows for table in section.tables}
    kept = next(rows for title, rows in tables.items() if title.startswith("MiniLM"))
    assert kept[0][0] == "p2u"
    assert len(kept) >= len(storepeers.keepers())
    assert all(0 < row[1] <= row[2] for row in kept)
    assert tables["Marking by gc"][0][0] == 2000
    assert [check.target for check in section.checks][-2:] == [60, 100]


def test_as_much_changes_as_is_said(tmp_path):
    arrays = dict(sources.read(sources.synthetic(tmp_path / "m.safetensors").path))
    newer = stores.changed_tensors(arrays, 2, 1000)
    assert sum(newer[name] is not arrays[name] for name in arrays) == 2
