"""The measurements of versions run once on tiny made-up chains, untimed."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from benchmarks import peers, plots, report, sources, versioncopies, versionpeers, versions

HEAD = "layer.bias"


def moved(path, source, names, scale=1e-3):
    """Write a copy of a checkpoint of which some tensors differ a little."""
    rng = np.random.default_rng(3)
    tensors = sources.read(source)
    for name in names:
        noise = rng.standard_normal(tensors[name].shape, dtype=np.float32)
        tensors[name] = tensors[name] + noise * np.float32(scale)
    return sources.write(path, tensors)


@pytest.fixture
def files(tmp_path):
    first = sources.synthetic(tmp_path / "v0.safetensors").path
    head = moved(tmp_path / "v1.safetensors", first, [HEAD])
    every = moved(tmp_path / "v2.safetensors", first, ["embed.weight", "layer.weight", HEAD])
    last = moved(tmp_path / "v3.safetensors", every, ["embed.weight", "layer.weight"], 1e-4)
    return first, head, every, last


@pytest.fixture
def tiny(files):
    first, head, every, last = files
    return [
        versions.Chain("head", (first, head), head_only=True),
        versions.Chain("steps", (first, every, last), follow=3.0),
    ]


def test_every_update_is_held_against_its_targets(tiny, files, tmp_path):
    arrays = sources.read(files[0])
    copy = ("copy", arrays, versioncopies.renamed(arrays))
    section = versions.run((tiny, ["gone: no weights here"]), ([copy], []), tmp_path, None)
    tables = {table.title: table.rows for table in section.tables}
    whole = tables["Updates"]
    assert [row[0] for row in whole] == ["head", "steps, step 1", "steps, step 2"]
    assert all(0 < row[1] < row[2] for row in whole)
    assert len(tables["Updates tier by tier"]) == 2 * len(whole)
    assert ["gone: no weights here"] in tables["Left out"]
    said = [check.what for check in section.checks]
    assert sum("update / fresh" in what for what in said) == 2
    assert sum("following at q4" in what for what in said) == 2
    assert sum("one-shot" in what for what in said) == 4
    assert [what for what in said if what.startswith("head")] == [
        "head: payload / chunks of the changed tensors",
        "head: pages, of those on the path + 8 KiB",
    ]
    (copied,) = tables["The same weights in two containers"]
    assert copied[3] < copied[2] / 4


def test_nothing_fails_where_nothing_is_installed(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda command: None)
    section = versions.run((tiny, []), ([], []), tmp_path, None)
    assert all(row[3:6] == [None, None, None] for row in section.tables[0].rows)
    assert not any("patch" in check.what for check in section.checks)
    left_out = section.tables[-1].rows
    assert left_out == [["zstd: not installed"], ["casync: not installed"]]


def test_nothing_is_plotted_without_chains(tmp_path):
    found, lines = versions.chains(None, tmp_path)
    assert found == []
    section = versions.run((found, lines), versioncopies.found(None, None), tmp_path, None)
    assert section.checks == []
    assert [t.title for t in section.tables] == ["Updates", "Left out"]
    assert plots.draw(tmp_path, [section]) == []
    assert "MiniLM" in report.section_markdown(section)


def test_chains_are_left_out_file_by_file(tmp_path, monkeypatch):
    folder = tmp_path / "pneumonia"
    folder.mkdir()
    for number in range(3, 7):
        sources.synthetic(folder / f"epoch{number}.safetensors")
    found, lines = versions.chains(tmp_path, tmp_path)
    assert [chain.name for chain in found] == ["X-ray CNN, epochs 3 to 6"]
    assert len(lines) == 6
    (tmp_path / "fer").mkdir()
    for names in versions._XCEPTION:
        for name in names:
            (tmp_path / "fer" / f"fer2013_mini_XCEPTION.{name}.hdf5").touch()
    monkeypatch.setattr(peers, "has", lambda package: False)
    _, lines = versions.chains(tmp_path, tmp_path)
    assert sum(line.endswith("the package h5py is not installed") for line in lines) == 2


def test_keras_weights_come_without_the_optimizer(tmp_path):
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "model.hdf5", "w") as file:
        file["model_weights/conv/conv/kernel:0"] = np.ones((3, 3), np.float32)
        file["optimizer_weights/conv/kernel:0"] = np.zeros((3, 3), np.float32)
    arrays = sources.read(versions.from_hdf5(tmp_path / "model.hdf5", tmp_path))
    assert {name: array.sum() for name, array in arrays.items()} == {"conv/conv/kernel:0": 9}


def test_silero_is_left_out_without_its_package(tmp_path, monkeypatch):
    (tmp_path / "silero").mkdir()
    for name in versioncopies._SILERO:
        (tmp_path / "silero" / f"{name}.onnx").touch()
    monkeypatch.setattr(peers, "has", lambda package: False)
    _, lines = versioncopies.found(tmp_path, None)
    assert "Silero in two ONNX files: the package onnx is not installed" in lines


def test_initialisers_of_subgraphs_are_found(tmp_path):
    onnx = pytest.importorskip("onnx")
    helper, numpy_helper = onnx.helper, onnx.numpy_helper
    inner = helper.make_graph([], "g", [], [], [numpy_helper.from_array(np.ones(2, "f4"), "b")])
    node = helper.make_node("If", ["c"], ["y"], name="if", then_branch=inner)
    outer = helper.make_graph([node], "g", [], [], [numpy_helper.from_array(np.ones(3), "a")])
    onnx.save(helper.make_model(outer), tmp_path / "m.onnx")
    found = versioncopies.initialisers(tmp_path / "m.onnx")
    assert {name: array.size for name, array in found.items()} == {"a": 3, "if/then_branch/b": 2}


def test_packing_a_child_is_timed_beside_packing_afresh(files, tmp_path):
    table, checks = versioncopies.packing(files[0], tmp_path, repeats=1, smallest=1)
    assert [row[0] for row in table.rows] == [1, 2]
    assert all(0 < row[1] <= 10 and row[2] > 0 and row[3] > 0 for row in table.rows)
    assert len(checks) == 2


def test_the_path_leaves_out_pages_in_which_nothing_changed(tmp_path):
    rng = np.random.default_rng(6)
    arrays = {f"t{i:04}": rng.standard_normal(8, dtype=np.float32) for i in range(900)}
    first = sources.write(tmp_path / "a.safetensors", arrays)
    second = moved(tmp_path / "b.safetensors", first, ["t0000"])
    (update,) = versions.updates(versions.Chain("c", (first, second)), versions.TIERS, tmp_path)
    one = versions.path_bytes(update.fresh, {"t0000"})
    assert one < versions.path_bytes(update.fresh, set(arrays))
    assert versions.path_bytes(update.fresh, set(arrays)) == update.fresh_summary.manifest_bytes
    assert versions.changed_tensors(first, second) == {"t0000"}


def test_an_update_that_does_not_come_back_is_not_measured(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(
        versions.p2uformat, "unpack", lambda path, back, **_: back.write_bytes(b"other")
    )
    with pytest.raises(AssertionError, match="head did not come back"):
        versions.updates(tiny[0], versions.TIERS, tmp_path)


def test_the_one_shot_difference_follows_its_definition():
    old = {"w": np.array([1.0, 2.0, -3.0, 0.0], np.float32)}
    words = old["w"].view(np.uint32) + np.array([0, 1, 0, 2], np.uint32)
    new = {"w": words.view(np.float32)}
    # zigzagged: 0, 2, 0, 4; bit lengths 0, 2, 0, 3: 1.5 bits each, and 0, 1, 0, 2 raw.
    assert versionpeers.one_shot(old, new, ["w"]) == (4 * 1.5 + 3) / 4
    assert versionpeers.one_shot(old, old, ["w"]) == 0
    assert versionpeers.one_shot({}, new, ["w"]) is None
    assert versionpeers.one_shot(old, new, []) is None
    order = np.array([-np.inf, -1, -0.0, 0.0, 1e-40, 1, np.inf], np.float16)
    assert (np.diff(versionpeers.integer_codes(order)) >= 0).all()


@pytest.mark.skipif(shutil.which("casync") is None, reason="casync is not installed")
def test_casync_stores_a_file_once(files, tmp_path):
    assert versionpeers.casync(files[0], files[0], tmp_path) == 0
    assert versionpeers.casync(files[0], files[2], tmp_path) > 0


def test_updates_are_drawn(tmp_path):
    pytest.importorskip("matplotlib")
    rows = [["a", 10, 30, None, None, None, 0.3], ["b", 20, 30, 25, None, 0.8, 0.7]]
    table = report.Table("Updates", versions.COLUMNS, rows)
    assert plots.draw(tmp_path, [report.Section("versions", "", [table])]) == ["updates.png"]
