"""What is timed: ours, the peers, and the limits that memory and the digest set to all."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import blake3
import numpy as np

import p2uformat
from benchmarks import peers
from benchmarks.sources import Array, Checkpoint, quantized, read
from benchmarks.timing import Call

#: Name of a group -> what its calls do and which bytes are counted.
GROUPS = {
    "limits": "the limits, bytes that go in",
    "pack": "original bytes in, compressed bytes out; original bytes",
    "exact": "compressed bytes in, original bytes out; original bytes",
    "lossy": "to fp32; bytes that come out",
    "check": "checking what is stored; stored bytes",
    "open": "opening; no bytes",
    "kernels": "each level of kernels; bytes that come out",
}


@dataclass(frozen=True, slots=True)
class Subject:
    """A checkpoint on its way through the tools, packed once, with all files in one folder."""

    name: str
    dtype: str
    path: Path
    packed: Path
    again: Path
    data: bytes
    stored: bytes
    wide: int

    @classmethod
    def make(cls, checkpoint: Checkpoint, folder: Path) -> Subject:
        """Copy the checkpoint into `folder`, pack it, and see that it comes back."""
        path = folder / "speed.safetensors"
        shutil.copyfile(checkpoint.path, path)
        packed = folder / "speed.p2u"
        p2uformat.pack(path, packed, overwrite=True)
        original = read(path)
        with p2uformat.open(packed) as artifact:
            _compare(artifact.load(), original)
            wide = sum(v.nbytes for v in artifact.load("q4", "F32").values())
        data, again = path.read_bytes(), folder / "again.p2u"
        stored = packed.read_bytes()
        return cls(checkpoint.name, checkpoint.dtype, path, packed, again, data, stored, wide)


def _compare(got: dict[str, Array], expected: dict[str, Array]) -> None:
    for name, tensor in expected.items():
        if got[name].tobytes() != tensor.tobytes():
            message = f"{name!r} did not come back"
            raise AssertionError(message)


def ours(subject: Subject, threads: int, suffix: str = "") -> list[Call]:
    """List our own calls on a number of threads."""
    size, stored = len(subject.data), len(subject.stored)
    pack = partial(p2uformat.pack, subject.path, overwrite=True, threads=threads)
    verify = partial(p2uformat.verify, subject.packed, threads=threads)
    return [
        Call("pack", f"p2u pack{suffix}", lambda _: pack(subject.again), size),
        decode(subject, threads, f"p2u exact{suffix}", None),
        decode(subject, threads, f"p2u q4{suffix}", "q4"),
        decode(subject, threads, f"p2u q8{suffix}", "q8"),
        decode(subject, threads, f"p2u exact, from the file{suffix}", None, from_file=True),
        decode(subject, threads, f"p2u q4, from the file{suffix}", "q4", from_file=True),
        decode(subject, threads, f"p2u exact, arrays given{suffix}", None, given=True),
        decode(subject, threads, f"p2u q4, arrays given{suffix}", "q4", given=True),
        decode(subject, threads, f"p2u q8, arrays given{suffix}", "q8", given=True),
        Call("check", f"p2u verify{suffix}", lambda _: verify(), stored),
    ]


def decode(
    subject: Subject,
    threads: int,
    name: str,
    tier: str | None,
    kernels: str | None = None,
    *,
    given: bool = False,
    from_file: bool = False,
) -> Call:
    """Return the call that decodes every tensor: exactly, or at a lossy tier to fp32.

    From bytes in memory, like the peers, or from a file that the system holds in memory. With
    `given` into arrays that are there, as a program does that improves its weights in place.

    Each time the artifact is opened anew, outside the timing: an open one remembers the last
    chunks that it has checked.
    """
    group = "exact" if tier is None else "lossy"
    source = subject.packed if from_file else subject.stored
    out = None
    if given:
        with p2uformat.open(subject.packed) as artifact:
            out = artifact.load(tier, tier and "F32")
    return Call(
        "kernels" if kernels else group,
        name,
        lambda artifact: artifact.load(tier, tier and "F32", out=out),
        len(subject.data) if tier is None else subject.wide,
        lambda: p2uformat.open(source, threads=threads),
        lambda artifact: artifact.close(),
        kernels,
    )


def alone(subject: Subject) -> list[Call]:
    """List what is measured on one thread only: a deep check, and what opening takes."""
    stored = len(subject.stored)
    deep = partial(p2uformat.verify, subject.packed, deep=True, threads=1)
    return [
        Call("check", "p2u verify --deep", lambda _: deep(), stored),
        Call("open", "p2u open", lambda _: p2uformat.open(subject.packed).close(), 0),
    ]


def levels(subject: Subject) -> list[Call]:
    """List the decoders on one thread with each level of kernels."""
    return [
        decode(subject, 1, f"p2u {tier or 'exact'}, {level}", tier, level)
        for level in p2uformat.available_kernels()
        for tier in (None, "q4")
    ]


def theirs(subject: Subject, threads: int) -> list[Call]:
    """List what the peers do with the same bytes."""
    found = [
        call for peer in peers.lossless(subject.dtype, threads) for call in _both(subject, peer)
    ]
    if peers.has("zipnn") and subject.dtype in peers.ZIPNN_DTYPES:
        found.append(_digested(subject, peers.zipnn(subject.dtype, threads), threads))
    read_file = peers.safetensors_load(subject.path)
    found.append(Call("exact", "safetensors load", lambda _: read_file(), len(subject.data)))
    return found + _gguf(subject)


def _both(subject: Subject, peer: peers.Lossless) -> list[Call]:
    data, packed = subject.data, peer.compress(subject.data)
    return [
        Call("pack", f"{peer.name} compress", peer.encode, len(data), lambda: peer.own(data)),
        Call("exact", f"{peer.name} decompress", peer.decode, len(data), lambda: peer.own(packed)),
    ]


def _digested(subject: Subject, peer: peers.Lossless, threads: int) -> Call:
    packed = peer.compress(subject.data)

    def run(argument: Any) -> object:  # noqa: ANN401 - whatever the peer takes
        out = peer.decode(argument)
        return out, blake3.blake3(out, max_threads=threads).digest()

    name = f"{peer.name} decompress + BLAKE3"
    return Call("exact", name, run, len(subject.data), lambda: peer.own(packed))


def _gguf(subject: Subject) -> list[Call]:
    if not peers.has("gguf"):
        return []
    tensors = quantized(read(subject.path))
    size = 4 * sum(v.size for v in tensors.values())
    return [_dequantize(tensors, kind, size) for kind in ("Q4_0", "Q8_0")]


def _dequantize(tensors: dict[str, Array], kind: str, size: int) -> Call:
    blocks = [peers.gguf_encode(v, kind)[1] for v in tensors.values()]
    return Call("lossy", f"GGUF {kind} (numpy)", lambda _: [call() for call in blocks], size)


def hash_file(path: Path) -> str:
    """Hash a file with BLAKE3, read 1 MiB at a time."""
    state = blake3.blake3()
    buffer = bytearray(1 << 20)
    view = memoryview(buffer)
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(buffer):
            state.update(view[:count])
    return state.hexdigest()


def limits(subject: Subject, threads: int) -> list[Call]:
    """List what memory and the digest allow at best."""
    original = np.frombuffer(subject.data, np.uint8)
    stored = subject.stored
    warm = original.copy()

    def digest(data: bytes) -> bytes:
        return blake3.blake3(data, max_threads=threads).digest()

    size = len(subject.data)
    return [
        Call("limits", "memcpy, warm buffer", lambda _: np.copyto(warm, original), size),
        Call("limits", "memcpy, fresh numpy array", lambda _: original.copy(), size),
        Call("limits", "memcpy, fresh bytes", lambda _: original.tobytes(), size),
        Call("limits", "BLAKE3, original bytes", lambda _: digest(subject.data), size),
        Call("check", "BLAKE3, stored bytes in memory", lambda _: digest(stored), len(stored)),
        Call("check", "BLAKE3 of the file", lambda _: hash_file(subject.packed), len(stored)),
    ]
