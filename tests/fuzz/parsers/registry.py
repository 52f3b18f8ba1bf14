"""All harnesses. A new one is one entry in its module, and a new module one line here.

Where the next parsers go: another codec, its streams in `chunks` and its numbers in
`differences`; another quantizer in `codes`; another kind of page or root in `manifest`; another
file form in `container`; JSON from outside in `heads`; what a whole file may do in `artifacts`.
"""

from __future__ import annotations

from typing import Final

from tests.fuzz.parsers import (
    artifacts,
    blocks,
    chunks,
    codes,
    container,
    differences,
    heads,
    manifest,
    rebuilt,
    wire,
    zstd,
)
from tests.fuzz.parsers.harness import Harness

HARNESSES: Final[dict[str, Harness]] = {
    harness.name: harness
    for module in (
        wire,
        manifest,
        container,
        zstd,
        chunks,
        blocks,
        rebuilt,
        differences,
        codes,
        heads,
        artifacts,
    )
    for harness in module.HARNESSES
}
