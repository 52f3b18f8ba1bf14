"""Every measurement runs once on a tiny input, untimed, so that none of them can rot."""

from __future__ import annotations

import json

import numpy as np
import pytest

import p2uformat
from benchmarks import (
    accuracy,
    calls,
    errors,
    growth,
    memory,
    networks,
    peers,
    plots,
    pruned,
    real,
    report,
    sizes,
    sources,
    speed,
    timing,
)

needs_gguf = pytest.mark.skipif(not peers.has("gguf"), reason="gguf comes with the bench extra")


@pytest.fixture(params=["F32", "F16", "BF16"])
def checkpoint(request, tmp_path):
    return sources.synthetic(tmp_path / "tiny.safetensors", request.param)


@pytest.fixture
def classifier():
    """Weights of a CIFAR ResNet with one block a stage, and a few images."""
    rng = np.random.default_rng(5)
    weights = {"conv1.weight": (16, 3, 3, 3), "linear.weight": (10, 64), "linear.bias": (10,)}
    norms = {"bn1": 16}
    for stage, (before, width) in enumerate(((16, 16), (16, 32), (32, 64)), 1):
        name = f"layer{stage}.0"
        weights[f"{name}.conv1.weight"] = (width, before, 3, 3)
        weights[f"{name}.conv2.weight"] = (width, width, 3, 3)
        norms |= {f"{name}.bn1": width, f"{name}.bn2": width}
    for name, width in norms.items():
        for part in ("weight", "bias", "running_mean", "running_var"):
            weights[f"{name}.{part}"] = (width,)
    values = {k: np.abs(rng.normal(0, 0.1, v)).astype(np.float32) for k, v in weights.items()}
    return values, rng.integers(0, 256, (6, 32, 32, 3), np.uint8)


def test_sizes_of_a_checkpoint_add_up(checkpoint, tmp_path):
    section = sizes.run([checkpoint], tmp_path)
    whole = section.tables[0].rows
    tiers = [row for row in section.tables[1].rows if row[1].startswith("p2u")]
    assert tiers[-1][3] == whole[0][2]
    assert tiers[-1][5] == 0
    assert tiers[0][5] > tiers[1][5] > 0


@needs_gguf
def test_the_error_of_q4_is_compared_with_q4_0(checkpoint, tmp_path):
    section = errors.run([checkpoint], tmp_path)
    (row,) = section.tables[0].rows
    assert row[1] == 96 * 64 + 64 * 128
    assert 0.05 < row[2] < 0.2
    assert len(section.checks) == 4


def test_accuracy_covers_every_variant(classifier, tmp_path):
    weights, images = classifier
    path = sources.write(tmp_path / "resnet.safetensors", weights)
    labels = networks.cifar_resnet(images, weights).argmax(1)
    found = sources.Checkpoint("tiny", path, "F32")
    task = accuracy.Task(found, networks.cifar_resnet, images, labels)
    section = accuracy.run([task], tmp_path)
    (row,) = section.tables[0].rows
    assert row[1] == 100
    assert len(row) == 4 + len(accuracy.VARIANTS)


def test_the_xray_network_gives_two_logits(tmp_path):
    rng = np.random.default_rng(2)
    shapes = {"0": (32, 1, 3, 3), "2": (64, 32, 3, 3), "4": (128, 64, 3, 3)}
    shapes |= {"7": (256, 2048), "9": (2, 256)}
    weights = {f"{k}.weight": rng.normal(0, 0.05, v).astype("f4") for k, v in shapes.items()}
    weights |= {f"{k}.bias": np.zeros(v[0], "f4") for k, v in shapes.items()}
    images = rng.integers(0, 256, (3, 28, 28), np.uint8)
    assert networks.xray_cnn(images, weights).shape == (3, 2)


def test_convolution_agrees_with_its_definition():
    rng = np.random.default_rng(4)
    x = rng.normal(size=(2, 5, 4, 3)).astype("f4")
    kernel = rng.normal(size=(6, 3, 3, 3)).astype("f4")
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    out = networks.conv3x3(x, kernel, 2)
    patch = padded[1, 2:5, 0:3]  # what the output at row 1, column 0 looks at
    expected = np.einsum("hwc,ochw->o", patch, kernel)
    np.testing.assert_allclose(out[1, 1, 0], expected, rtol=1e-4)
    assert out.shape == (2, 3, 2, 6)


def test_the_pruned_tensor_keeps_its_kind_of_zero(tmp_path):
    weights = np.linspace(-1, 1, 1000)
    mask = pruned.masks(weights, np.random.default_rng(0))["by magnitude"]
    product = pruned.prune(weights, mask, keep_sign=True)
    zeros = product[product == 0]
    assert np.signbit(zeros).sum() == zeros.size / 2 == 450
    assert not np.signbit(pruned.prune(weights, mask, keep_sign=False)[50:950]).any()
    section = pruned.run(tmp_path, rows=64, columns=128)
    assert len(section.checks) == len(section.tables[0].rows) == 4


def test_speed_measures_everything_it_names(checkpoint, tmp_path):
    section = speed.run([checkpoint], tmp_path, repeats=1)
    one, levels, every = ({row[0]: row[1] for row in t.rows} for t in section.tables)
    ours = {"pack", "exact", "q4", "q8", "verify", "verify --deep", "open"}
    assert {f"p2u {what}" for what in ours} | {"BLAKE3 of the file", "zstd -3 compress"} <= set(one)
    assert {"p2u exact, 1 thread", "p2u q4, 1 thread", "safetensors load"} <= set(every)
    assert len(levels) == 2 * len(p2uformat.available_kernels())
    assert all(
        value > 0 for value in [*levels.values(), one["p2u exact"], every["p2u pack, 1 thread"]]
    )
    assert one["p2u open"].endswith(" ms")


def test_speed_is_held_against_the_peers_that_are_here(checkpoint, tmp_path, monkeypatch):
    monkeypatch.setattr(peers, "has", lambda package: False)
    checks = speed.run([checkpoint], tmp_path, repeats=1).checks
    assert not any("zipnn" in check.what or "GGUF" in check.what for check in checks)
    assert any("BLAKE3" in check.what for check in checks)
    assert any("numpy alone" in check.what for check in checks)


def test_speed_says_nothing_without_a_checkpoint(tmp_path):
    assert speed.run([], tmp_path).tables == ()
    assert real.run([], tmp_path).tables == []


def test_a_subject_that_does_not_come_back_is_not_measured():
    good, bad = {"w": np.zeros(2)}, {"w": np.ones(2)}
    calls._compare(good, good)
    with pytest.raises(AssertionError, match="'w' did not come back"):
        calls._compare(good, bad)


def test_calls_take_turns_and_their_inputs_are_made_and_freed_outside():
    seen = []

    def call(name):
        return timing.Call(
            "g",
            name,
            lambda argument: seen.append((name, argument)),
            1,
            lambda: seen.append("made") or 7,
            lambda argument: seen.append(("freed", argument)),
        )

    seconds = timing.interleaved([call("a"), call("b")], 2)
    turn = [["made", (name, 7), ("freed", 7)] for name in "ab"]
    assert seen == [step for _ in range(2) for steps in turn for step in steps]
    assert set(timing.rates([call("a")], seconds)) == {"a"}


def test_other_kernels_are_used_for_a_while_only():
    before = p2uformat.kernels_in_use()
    seen = []

    def fail(_):
        seen.append(p2uformat.kernels_in_use())
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        timing.once(timing.Call("g", "n", fail, 1, kernels="numpy"))
    assert seen == ["numpy"]
    assert p2uformat.kernels_in_use() == before


def test_files_are_kept_in_memory_only_where_there_is_room(tmp_path):
    with timing.memory_folder(tmp_path, 1 << 60) as (folder, in_memory):
        assert folder.parent == tmp_path
        assert not in_memory
    assert not folder.exists()


def test_real_weights_are_one_model_of_each_family(checkpoint, tmp_path):
    models = {"a/x": 10, "a/y": 20, "b/z": 5, "c/u": 1}
    found = []
    for name, size in models.items():
        path = tmp_path / name.replace("/", "-")
        path.write_bytes(bytes(size))
        found.append(sources.Checkpoint(name, path, "F32"))
    assert [c.name for c in real.largest(found, most=2)] == ["a/y", "b/z"]
    (row,) = real.run([checkpoint], tmp_path, repeats=1).tables[0].rows
    assert row[0] == checkpoint.name
    assert all(rate > 0 for rate in row[3:8])


def test_growth_is_measured_in_processes_of_their_own(tmp_path):
    section = growth.run(tmp_path, [2 << 20, 4 << 20], hold_from=4 << 20)
    rows = section.tables[0].rows
    assert [row[0] for row in rows] == 2 * list(memory.COMMANDS)
    assert all(row[2] > 0 and 10 < row[3] < 1000 for row in rows)
    assert len(section.checks) == len(memory.COMMANDS)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
def test_lossless_peers_return_what_they_were_given(dtype, tmp_path):
    data = sources.synthetic(tmp_path / "tiny.safetensors", dtype).path.read_bytes()
    for peer in [*peers.lossless(dtype), *peers.lossless(dtype, threads=2)]:
        assert peer.decompress(peer.compress(data)) == data, peer.name


@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
def test_safetensors_loads_what_it_can(dtype, tmp_path):
    path = sources.synthetic(tmp_path / "tiny.safetensors", dtype).path
    assert len(peers.safetensors_load(path)()) == 4


def test_a_front_end_without_bf16_hands_out_bytes(tmp_path, monkeypatch):
    path = sources.synthetic(tmp_path / "tiny.safetensors", "BF16").path

    def refuse(_):
        raise KeyError("BF16")

    monkeypatch.setattr("safetensors.numpy.load_file", refuse)
    assert len(peers.safetensors_load(path)()) == 4


def test_a_cast_keeps_integers_and_order(tmp_path):
    source = sources.synthetic(tmp_path / "a.safetensors")
    cast = sources.read(sources.cast(source.path, "BF16", tmp_path / "b.safetensors"))
    assert list(cast) == list(sources.read(source.path))
    assert sources.dtype_name(cast["positions"]) == "I64"
    assert sources.dtype_name(cast["embed.weight"]) == "BF16"


def test_real_models_are_found_by_their_number_of_weights(tmp_path):
    sources.synthetic(tmp_path / "tiny.safetensors")
    assert [c.name for c in sources.real_models(tmp_path, smallest=1000)] == ["tiny"]
    assert sources.real_models(tmp_path) == []
    assert sources.real_models(None) == []


def test_the_report_states_each_target_and_whether_it_is_met(tmp_path):
    checks = [
        report.Check("a", 1.0, "<=", 2.0, "%"),
        report.Check("b", 1.0, ">=", 2.0, aim=3.0),
        report.Check("c", 2.5, ">=", 2.0, "x", 3.0),
        report.Check("d", 3.0, ">=", 2.0, "x", 3.0),
    ]
    table = report.Table("T", ["x", "y"], [["n", 0.125]], "a note")
    report.write(tmp_path, [report.Section("k", "K", [table], checks)], "preface", {"python": "3"})
    text = (tmp_path / "RESULTS.md").read_text(encoding="utf-8")
    assert "3 of 4 met; of the 3 that aim further, 1 are there." in text
    assert "| a | <= 2 % |  | 1 % | pass |" in text
    assert "| b | >= 2 | >= 3 | 1 | **miss** |" in text
    assert "| c | >= 2 x | >= 3 x | 2.5 x | pass |" in text
    assert "| d | >= 2 x | >= 3 x | 3 x | aim reached |" in text
    document = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert document["sections"][0]["checks"][1]["passed"] is False


def test_what_was_measured_apart_says_where(tmp_path):
    table = report.Table("T", ["x"], [["n"]])
    apart = report.Section("b", "B", [table], environment={"processor": "other"})
    report.write(tmp_path, [report.Section("a", "A", [table]), apart], "", {"processor": "this"})
    text = (tmp_path / "RESULTS.md").read_text(encoding="utf-8")
    assert text.count("Measured apart from the rest: processor other.") == 1
    assert report.known_environment(tmp_path) == {"processor": "this"}
    assert [section.environment for section in report.known(tmp_path)] == [{}, apart.environment]
    assert report.known_environment(tmp_path / "none") == {}


def test_plots_are_drawn(checkpoint, tmp_path):
    pytest.importorskip("matplotlib")
    sections = [
        sizes.run([checkpoint], tmp_path),
        speed.run([checkpoint], tmp_path, repeats=1),
        growth.run(tmp_path, [2 << 20]),
    ]
    rows = [["m", 1, 0.09, 0.08, 0.9, 4.0, 0.06, 0.7, 4.5]]
    sections.append(report.Section("q4-error", "", [report.Table("", ["model"], rows)]))
    rows = [["chain", 10, 30, 25, None, 0.4, 0.3]]
    sections.append(report.Section("versions", "", [report.Table("", ["chain"], rows)]))
    rows = [[100.0, "p2u fetch, q4", 10, 5, 1.0, 10.0, 0.9], [10.0, "casync", 9, 1, 3.0, 3.0, 1.0]]
    sections.append(report.Section("fetching", "", [report.Table("", ["link"], rows)]))
    assert plots.draw(tmp_path, sections) == list(plots.PLOTS)
    assert all((tmp_path / name).stat().st_size > 1000 for name in plots.PLOTS)
