"""The example of docs/federated.md runs as it stands."""

import re
from pathlib import Path

HERE = Path(__file__).resolve().parents[2]


def test_the_example_runs(tmp_path, monkeypatch):
    text = (HERE / "docs" / "federated.md").read_text("utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(compile(blocks[0], "docs/federated.md", "exec"), names)
    assert names["current"].number == 2
