"""The kept corpus: one small file for each harness, unpacked into a folder when it is fuzzed."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import msgpack
import zstandard
from blake3 import blake3

CORPUS = Path(__file__).resolve().parents[1] / "corpus" / "parsers"
_LEVEL = 19


def load(name: str) -> list[bytes]:
    """Return the inputs that are kept for a harness; none if it is new."""
    path = CORPUS / f"{name}.zst"
    if not path.exists():
        return []
    found: list[bytes] = msgpack.unpackb(zstandard.decompress(path.read_bytes()))
    return found


def save(name: str, inputs: Iterable[bytes]) -> int:
    """Keep inputs, each once and in order, so that the same inputs make the same file."""
    kept = sorted(set(inputs), key=lambda data: (len(data), data))
    CORPUS.mkdir(parents=True, exist_ok=True)
    packed = zstandard.ZstdCompressor(level=_LEVEL).compress(msgpack.packb(kept))
    (CORPUS / f"{name}.zst").write_bytes(packed)
    return len(kept)


def spread(inputs: Iterable[bytes], folder: Path) -> None:
    """Write inputs into a folder, a file each, as fuzzers want them."""
    folder.mkdir(parents=True, exist_ok=True)
    for data in inputs:
        (folder / blake3(data).hexdigest(16)).write_bytes(data)


def gathered(folder: Path) -> list[bytes]:
    """Return what a folder of inputs holds."""
    return [path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()]
