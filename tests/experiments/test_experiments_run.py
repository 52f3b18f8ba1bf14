"""The quick run, end to end, on what needs no data; and that its numbers can be repeated."""

from __future__ import annotations

import json

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("sklearn")

from benchmarks import report  # noqa: E402
from experiments import __main__ as program  # noqa: E402
from experiments import forms, models, omcformats, omcjobs, p2u, transfers  # noqa: E402
from experiments.registry import EXPERIMENTS  # noqa: E402
from experiments.setting import Setting  # noqa: E402


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    arguments = ["--quick", "--workers", "1", "--data", "nowhere", "--output", str(folder)]
    assert program.main(arguments) == 0
    return folder


@pytest.fixture(scope="module")
def sections(results):
    document = json.loads((results / "results.json").read_text(encoding="utf-8"))
    return {section["key"]: section for section in document["sections"]}


def table(section, title):
    return next(each["rows"] for each in section["tables"] if each["title"] == title)


def test_every_experiment_is_in_the_report_with_its_plots(results, sections):
    assert list(sections) == [experiment.key for experiment in EXPERIMENTS]
    text = (results / "RESULTS.md").read_text(encoding="utf-8")
    for experiment in EXPERIMENTS:
        for name in experiment.plots:
            assert (results / name).stat().st_size > 10_000
            assert f"![{name}]({name})" in text


def test_checks_that_hang_on_no_chance_are_met(sections):
    checks = [check for section in sections.values() for check in section["checks"]]
    # Some hang on a clock, and some on few steps of training or on hairbreadths of bytes.
    loose = ("time of a step", "first answer", "points lost", "bytes of p2u from q2")
    loose += ("above fixed precision", "lower training loss", "all budgets by one ladder")
    loose += ("bytes down at q4",)
    steady = [check for check in checks if not check["what"].startswith(loose)]
    assert len(steady) >= 9
    assert [check["what"] for check in steady if not check["passed"]] == []


def test_bytes_that_came_are_those_that_were_counted(sections):
    """But for the first answer, which has 64 KiB of a smaller tier, and 128 for each upgrade."""
    section = sections["p2u"]
    said = {row[1]: row[2] for row in table(section, "Tier by tier")}
    came = {row[1]: row[2] for row in table(section, "Seconds on a link")}
    for name, count in came.items():
        if name.startswith("p2u from q2"):
            continue
        assert said[name] <= count <= said[name] + 256, name
    assert set(came) == {name for name in said if "every matrix" not in name}


def test_a_stream_goes_through_all_tiers_and_answers_at_once(sections):
    rows = table(sections["live"], "When each tier is there")
    assert [row[3] for row in rows] == ["q4", "q8", "exact", "plain"]
    assert rows[0][5] < rows[3][5]
    assert all(row[8] > 0 for row in rows[2:])
    ordered = [row[4] for row in rows[:3]]
    assert ordered == sorted(ordered)


def test_memory_falls_and_named_formats_are_what_they_are_called(sections):
    rows = table(sections["omc"], "What it costs")
    assert all(row[5] == pytest.approx(row[4], rel=0.01) for row in rows)
    assert all(row[4] == 0 for row in table(sections["omc"], "Formats that have other names"))


def test_numbers_that_are_no_times_are_the_same_again(sections, tmp_path):
    tiers = p2u.run(Setting(None, tmp_path, quick=True)).tables
    first = sections["p2u"]["tables"]
    for number in (0, 2, 3):  # all but the seconds
        assert [list(row) for row in tiers[number].rows] == first[number]["rows"]


def test_one_experiment_alone_leaves_the_others_in_the_report(results, tmp_path, monkeypatch):
    for name in ("results.json", "RESULTS.md"):
        (tmp_path / name).write_bytes((results / name).read_bytes())
    kept = EXPERIMENTS[0]
    section = report.Section(kept.key, "New", [], [], {}, ["said anew"])
    other = type(kept)(kept.key, lambda _: section)
    monkeypatch.setattr(program, "EXPERIMENTS", (other, *EXPERIMENTS[1:]))
    program.main(["--only", kept.key, "--data", "nowhere", "--output", str(tmp_path)])
    text = (tmp_path / "RESULTS.md").read_text(encoding="utf-8")
    assert "said anew" in text
    assert "What it costs" in text


def test_every_form_gives_what_it_says(tmp_path):
    model = models.digits(tmp_path, steps=5)
    (tmp_path / "forms").mkdir()
    original = models.state_of(model.path)
    found = {form.name: form for form in forms.made(model.path, tmp_path / "forms")}
    assert found["p2u: exact"].values is None
    for form in found.values():
        for name, value in (form.values or original).items():
            assert value.shape == original[name].shape
            assert np.abs(np.asarray(value) - original[name]).max() < 0.5
    chains = transfers.chains(found.values())
    assert sum(part.file.endswith(".p2u") for chain in chains for part in chain[:1]) == 2


def test_training_is_repeatable_and_a_model_is_found_again(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    one, other = (models.digits(tmp_path / name, 3, steps=5) for name in "ab")
    assert one.path.read_bytes() == other.path.read_bytes()
    again = models.find("digits-3", None, tmp_path / "a")
    assert again.path == one.path
    with pytest.raises(LookupError):
        models.find("resnet20-none", None, tmp_path)
    with pytest.raises(LookupError):
        omcjobs.find("none", None, quick=True)


def test_networks_have_the_names_and_answers_of_the_plain_ones():
    """The modules here against the forward passes in numpy, on random weights."""
    from benchmarks import networks as plain
    from experiments import networks

    rng = np.random.default_rng(0)
    torch.manual_seed(0)
    for net, forward, shape in (
        (networks.CifarResNet(1), plain.cifar_resnet, (4, 32, 32, 3)),
        (networks.xray_net(), plain.xray_cnn, (4, 28, 28)),
    ):
        net.eval()
        images = rng.integers(0, 256, shape, np.uint8)
        weights = {name: value.numpy() for name, value in net.state_dict().items()}
        channels = images.transpose(0, 3, 1, 2) if images.ndim == 4 else images[:, None]
        with torch.no_grad():
            ours = net(torch.from_numpy(channels.copy())).numpy()
        np.testing.assert_allclose(ours, forward(images, weights), rtol=1e-3, atol=1e-4)


def test_the_lstm_is_that_of_its_equations():
    from experiments import networks

    torch.manual_seed(0)
    net = networks.CharacterLSTM(7, width=4)
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    text = torch.tensor([[1, 5, 2]])
    held = {name: value.detach().numpy() for name, value in net.named_parameters()}
    x = held["embedding"][[1, 5, 2]]
    for layer in range(2):
        name = f"rnnlm/multi_rnn_cell/cell_{layer}/basic_lstm_cell"
        state = hidden = np.zeros(4)
        out = []
        for row in x:
            i, j, f, o = np.split(
                np.concatenate([row, hidden]) @ held[f"{name}/kernel"] + held[f"{name}/bias"], 4
            )
            state = state / (1 + np.exp(-f - 1)) + np.tanh(j) / (1 + np.exp(-i))
            hidden = np.tanh(state) / (1 + np.exp(-o))
            out.append(hidden)
        x = np.array(out)
    logits = x @ held["rnnlm/softmax_w"] + held["rnnlm/softmax_b"]
    with torch.no_grad():
        np.testing.assert_allclose(net(text)[0].T.numpy(), logits, rtol=1e-4, atol=1e-5)


def test_an_artifact_of_small_floats_is_small():
    rng = np.random.default_rng(0)
    arrays = {f"{i}.w": rng.normal(size=(64, 100)).astype("f4") for i in range(3)}
    share = omcformats.artifact_share(arrays, "S1E3M7", fit=True, seed=0)
    assert 25 < share < 60
    assert omcformats.artifact_share(arrays, None, fit=True, seed=0) == 100
