"""Model folders as hubs lay them out, for the tests of library and command line."""

import hashlib
import json
import os
from pathlib import Path

import numpy as np
import safetensors.numpy

FIRST, SECOND = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"


def weights(*shape, seed=1):
    return (np.random.default_rng(seed).standard_normal(shape) * 0.04).astype(np.float32)


def contents(folder):
    """Return the bytes of each file below a folder, by path; links are followed."""
    found = {}
    for above, folders, names in os.walk(folder, followlinks=True):
        folders.sort()
        for name in names:
            path = Path(above, name)
            found[path.relative_to(folder).as_posix()] = path.read_bytes()
    return found


def make_model(folder):
    """Write two shards with an index, and what lies around them on a hub."""
    folder.mkdir(parents=True, exist_ok=True)
    first = {"embed": weights(300, 200), "norm": weights(64, seed=2)}
    second = {"head": weights(200, 100, seed=3).astype(np.float16), "ids": np.arange(9)}
    safetensors.numpy.save_file(first, folder / FIRST, metadata={"format": "pt"})
    safetensors.numpy.save_file(second, folder / SECOND, metadata={"format": "pt", "part": "2"})
    places = dict.fromkeys(first, FIRST) | dict.fromkeys(second, SECOND)
    index = {"metadata": {"total_size": 7}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "config.json").write_text(json.dumps({"layers": 2, "name": "häßlich"}))
    (folder / "tokenizer.json").write_text(json.dumps({f"token{i}": i for i in range(5000)}))
    (folder / "empty.txt").write_bytes(b"")
    (folder / "onnx").mkdir(exist_ok=True)
    (folder / "onnx" / "model.onnx").write_bytes(bytes(range(256)) * 20)
    return folder


def cached(folder, model):
    """Lay a model out as a hub's cache does: a snapshot of links to blobs with names of digests."""
    blobs, snapshot = folder / "blobs", folder / "snapshots" / "0a1b"
    blobs.mkdir(parents=True)
    for path, data in contents(model).items():
        name = hashlib.sha256(data).hexdigest()
        (blobs / name).write_bytes(data)
        link = snapshot / path
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(os.path.relpath(blobs / name, link.parent))
    return snapshot
