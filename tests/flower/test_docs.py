"""The example of docs/federated.md runs as it stands, and learns."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from flwr.app import Array, ArrayRecord, Message, MetricRecord, RecordDict

from tests.flower.loopback import NODES, Loopback, plain, record

HERE = Path(__file__).resolve().parents[2]


def test_the_example_runs(tmp_path, monkeypatch):
    text = (HERE / "docs" / "federated.md").read_text("utf-8")
    (block,) = re.findall(r"```python\n(from flwr.*?)```", text, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(compile(block, "docs/federated.md", "exec"), names)
    goal = np.random.default_rng(1).standard_normal((128, 64)).astype(np.float32)

    @names["app"].train()
    def train(message, context):
        array = message.content["arrays"]["w"].numpy()
        after = ArrayRecord({"w": Array(array + (goal - array) / 2)})
        metrics = MetricRecord({"num-examples": 1})
        return Message(RecordDict({"arrays": after, "metrics": metrics}), reply_to=message)

    @names["app"].evaluate()
    def evaluate(message, context):
        array = message.content["arrays"]["w"].numpy()
        metrics = MetricRecord({"num-examples": 1, "off": float(np.abs(array - goal).mean())})
        return Message(RecordDict({"metrics": metrics}), reply_to=message)

    grid = Loopback(dict.fromkeys(NODES, names["app"]))
    start = np.random.default_rng(0).standard_normal((128, 64)).astype(np.float32)
    result = names["strategy"].start(grid, record({"w": start}), num_rounds=4)
    assert grid.errors == []
    assert (tmp_path / "rounds.store").is_dir()
    off = np.abs(plain(result.arrays)["w"] - goal).mean()
    assert off < np.abs(start - goal).mean() / 2
