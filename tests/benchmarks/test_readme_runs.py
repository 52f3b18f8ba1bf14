"""The README's Python example runs as it stands."""

from __future__ import annotations

import re
from pathlib import Path

from benchmarks import sources

README = Path(__file__).resolve().parents[2] / "README.md"


def test_the_python_example_of_the_readme_runs(tmp_path, monkeypatch, capsys):
    examples = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    # That of PyTorch runs where its tests do.
    (example,) = [text for text in examples if "import torch" not in text]
    source = sources.synthetic(tmp_path / "model.safetensors").path
    monkeypatch.chdir(tmp_path)
    exec(compile(example, "README.md", "exec"), {})
    assert (tmp_path / "again.safetensors").read_bytes() == source.read_bytes()
    assert "('q4', 'q8', 'exact')" in capsys.readouterr().out
