"""Write the corpus that fuzzing starts from: `python -m tests.fuzz.make_corpus`.

It is kept, so that a new version of numpy or of the zstd library does not change what is tested.
"""

from __future__ import annotations

from typing import Any

import msgpack
import numpy as np

from p2uformat.floats import FORMATS
from tests.chunk_cases import chunks_of
from tests.fuzz.driver import CORPUS
from tests.kernel_cases import LADDERS, PLANES, Block
from tests.kernel_damage import random_block
from tests.zstd_cases import contents, frames, in_blocks


def _item(block: Block, row: int) -> dict[str, Any]:
    spec = block.spec
    return {
        "format": spec.format.name,
        "weights": spec.weights,
        "segment": spec.segment,
        "planes": spec.planes,
        "digits": spec.digits,
        "deltas": spec.deltas,
        "layers": chunks_of(block, row),
    }


def _matrix(rng: np.random.Generator, name: str, *, columns: bool) -> Block:
    """Return a matrix that is cut into units of rows or columns."""
    fmt = FORMATS[name]
    scale = 2.0 ** rng.uniform(-8, -3, (1, 80) if columns else (80, 1))
    words = (rng.standard_normal((80, 80)) * scale).astype(fmt.numpy).view(fmt.word).reshape(-1)
    words[::13] = 0
    return Block.of(fmt, words, [-9, -10], 4000, (0, 4), sparse=columns, planes=PLANES[name][-1])


def blocks() -> list[dict[str, Any]]:
    """Return blocks of every format and ladder."""
    rng = np.random.default_rng(20)
    made = [_item(random_block(rng, name, 600), 64) for name in FORMATS for _ in LADDERS]
    for name in ("F32", "BF16", "F16"):
        made += [_item(_matrix(rng, name, columns=columns), 80) for columns in (False, True)]
    return made


def library_frames() -> list[tuple[bytes, int]]:
    """Return short frames of every make."""
    made = set()
    for data in contents(np.random.default_rng(21)).values():
        made |= {(frame, len(data[:1500])) for frame in frames(data[:1500])}
        for size in (400, 2000):
            part = data[:size]
            made |= {(in_blocks(part, level, size // 4), len(part)) for level in (1, 12)}
    return sorted(made, key=lambda item: (item[1], item[0]))


if __name__ == "__main__":
    CORPUS.mkdir(exist_ok=True)
    (CORPUS / "blocks.msgpack").write_bytes(msgpack.packb(blocks()))
    (CORPUS / "frames.msgpack").write_bytes(msgpack.packb(library_frames()))
