"""The examples of docs/torch.md and of the README run as they stand."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("name", ["docs/torch.md", "README.md"])
def test_the_examples_run(name, tmp_path, monkeypatch, capsys):
    blocks = re.findall(r"```python\n(.*?)```", (HERE / name).read_text("utf-8"), re.DOTALL)
    if name == "README.md":
        blocks = [block for block in blocks if "import torch" in block]
    assert len(blocks) == (1 if name == "README.md" else 4)
    monkeypatch.chdir(tmp_path)
    exec(compile("".join(blocks), name, "exec"), {})
    assert re.search(r"\d+ of \d+ bytes", capsys.readouterr().out)
