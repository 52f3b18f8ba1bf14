"""The demonstration runs from end to end on a tiny model."""

from __future__ import annotations

import pytest

from benchmarks import sources

pytest.importorskip("sklearn")
pytest.importorskip("matplotlib")


def test_the_demo_packs_rebuilds_and_draws(tmp_path, capsys):
    from examples.demo.__main__ import main

    model = sources.synthetic(tmp_path / "tiny.safetensors").path
    out = tmp_path / "out"
    assert main(["--output", str(out), "--model", str(model), "--iterations", "3"]) == 0
    assert (out / "tiny-exact.safetensors").read_bytes() == model.read_bytes()
    assert (out / "tiers.png").stat().st_size > 1000
    shown = capsys.readouterr().out
    assert "byte for byte" in shown
    assert all(tier in shown for tier in ("q2", "q3", "q4", "q8", "exact"))
