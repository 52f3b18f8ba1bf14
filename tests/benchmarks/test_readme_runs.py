"""The README's Python examples run as they stand."""

from __future__ import annotations

import re
from pathlib import Path

from benchmarks import sources

README = Path(__file__).resolve().parents[2] / "README.md"


def test_the_python_examples_of_the_readme_run(tmp_path, monkeypatch, capsys):
    examples = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    # That of PyTorch runs where its tests do.
    examples = [text for text in examples if "import torch" not in text]
    assert len(examples) == 2
    source = sources.synthetic(tmp_path / "model.safetensors").path
    monkeypatch.chdir(tmp_path)
    exec(compile("".join(examples), "README.md", "exec"), {})
    assert (tmp_path / "again.safetensors").read_bytes() == source.read_bytes()
    assert "('q4', 'q8', 'exact')" in capsys.readouterr().out
