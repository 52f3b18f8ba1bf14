"""The forms in which a model can travel: the ladder, naive P2U, GGUF's blocks, lossless files."""

from __future__ import annotations

import lzma
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import p2uformat
from benchmarks import peers, sources
from benchmarks.sources import Array
from experiments.naive import Naive

__all__ = ["BITS", "LADDERS", "PLAIN", "Form", "Part", "best_lossless", "made"]

PLAIN = "plain file"
#: Name -> tiers. The second has a tier for each width of naive P2U.
LADDERS: Mapping[str, tuple[str, ...]] = {
    "p2u": ("q4", "q8", "exact"),
    "p2u from q2": ("q2", "q4", "q8", "exact"),
}
BITS = (2, 4, 8)
EVERYWHERE = 4
_LARGE = 8 << 20  # bytes, beyond which the slowest compressors are left out


@dataclass(frozen=True, slots=True)
class Part:
    """Something to bring over a link.

    Parameters
    ----------
    file
        Its name at the server.
    tier
        Of an artifact, what to bring it up to; empty for a whole file.
    """

    file: str
    tier: str = ""


@dataclass(frozen=True, slots=True)
class Form:
    """A model as it is once some parts have come.

    Parameters
    ----------
    name
        What to print.
    parts
        What has to come, in order.
    values
        The tensors that it gives; None if they are the original's, bit for bit.
    sent
        Whether it is worth a transfer.
    scored
        Whether its score can differ from the original's by more than rounding.
    """

    name: str
    parts: tuple[Part, ...]
    values: Mapping[str, Array] | None
    sent: bool = True
    scored: bool = True

    def bytes(self, folder: Path) -> int:
        """Return how many bytes of the files in a folder it takes: what a fetch moves."""
        return sum(_bytes(folder / part.file, part.tier) for part in _last_of_each(self.parts))


def _last_of_each(parts: Iterable[Part]) -> Iterable[Part]:
    return {part.file: part for part in parts}.values()


def _bytes(path: Path, tier: str) -> int:
    if not tier:
        return path.stat().st_size
    with p2uformat.open(path) as artifact:
        summary, count = artifact.summary, artifact.tiers.index(tier) + 1
    return summary.manifest_bytes + sum(each.bytes for each in summary.tiers[:count])


def made(path: Path, folder: Path) -> list[Form]:
    """Bring a float32 checkpoint into every form.

    Parameters
    ----------
    path
        The checkpoint.
    folder
        Receives the files to be served.
    """
    tensors = sources.read(path)
    plain = folder / "plain.safetensors"
    plain.write_bytes(path.read_bytes())
    return [
        Form(PLAIN, (Part(plain.name),), None),
        best_lossless(plain, folder),
        *(form for name in LADDERS for form in _ladder(name, plain, folder)),
        *(form for bits in BITS for form in _naive(tensors, bits, folder)),
        _naive_everywhere(tensors, EVERYWHERE, folder),
        *_gguf(tensors, folder),
    ]


def best_lossless(path: Path, folder: Path) -> Form:
    """Return the smallest of what one-shot compressors make of a file; each gives it back."""
    data = path.read_bytes()
    found = [(peer.name, peer.compress(data), peer.decompress) for peer in peers.lossless("F32")]
    if len(data) <= _LARGE:
        slow = peers.zstd(19)
        found.append((slow.name, slow.compress(data), slow.decompress))
        found.append(("xz -9", lzma.compress(data, preset=9), lzma.decompress))
    name, packed, back = min(found, key=lambda one: len(one[1]))
    if back(packed) != data:
        message = f"{name} did not give {path.name} back"
        raise AssertionError(message)
    (folder / "lossless.bin").write_bytes(packed)
    return Form(f"one-shot lossless ({name})", (Part("lossless.bin"),), None)


def _ladder(name: str, path: Path, folder: Path) -> Iterator[Form]:
    file = f"{name.replace(' ', '-')}.p2u"
    tiers = LADDERS[name]
    p2uformat.pack(path, folder / file, tiers=tiers)
    with p2uformat.open(folder / file) as artifact:
        for count, tier in enumerate(tiers, 1):
            parts = tuple(Part(file, each) for each in tiers[:count])
            values = None if tier == "exact" else artifact.load(tier=tier)
            yield Form(f"{name}: {tier}", parts, values)


def _naive(tensors: Mapping[str, Array], bits: int, folder: Path) -> Iterator[Form]:
    """Yield the base, and base and difference, of the tensors that a `.p2u` quantizes too."""
    split = Naive.of(tensors, bits, sources.quantized(tensors))
    base, difference = f"naive-{bits}.safetensors", f"naive-{bits}.difference"
    sources.write(folder / base, split.base)
    (folder / difference).write_bytes(split.difference)
    yield Form(f"naive, {bits} bits", (Part(base),), split.rough)
    both = Part(base), Part(difference)
    yield Form(f"naive, {bits} bits and difference", both, split.whole, scored=False)


def _naive_everywhere(tensors: Mapping[str, Array], bits: int, folder: Path) -> Form:
    """Return the base where small matrices become integers as well."""
    matrices = {name for name, value in tensors.items() if value.ndim > 1}
    split = Naive.of(tensors, bits, matrices)
    file = f"naive-{bits}-everywhere.safetensors"
    sources.write(folder / file, split.base)
    return Form(f"naive, {bits} bits, every matrix", (Part(file),), split.rough, sent=False)


def _gguf(tensors: Mapping[str, Array], folder: Path) -> Iterator[Form]:
    """Yield GGUF's blocks of 32, in a plain container: its own wants rows that 32 divides."""
    if not peers.has("gguf"):
        return
    big = sources.quantized(tensors)
    for kind in ("Q4_0", "Q8_0"):
        values = peers.gguf_model(tensors, kind)
        stored = {
            name: peers.gguf_encode(value, kind)[0] if name in big else value
            for name, value in tensors.items()
        }
        file = f"{kind}.safetensors"
        sources.write(folder / file, stored)
        yield Form(f"GGUF {kind}", (Part(file),), values)
