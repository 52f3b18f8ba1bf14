"""The other formats, through their own packages. Each may be absent: then it is left out."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import types
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import zstandard

from benchmarks.sources import DTYPES, Array, is_float, quantized

ZIPNN_DTYPES = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}
PCODEC_DTYPES = {"F32": "<f4", "F16": "<f2", "BF16": "<u2"}


@dataclass(frozen=True, slots=True)
class Lossless:
    """A one-shot lossless compressor for the bytes of a whole checkpoint.

    Parameters
    ----------
    name
        What to print.
    encode, decode
        What the package does, as it does it.
    own
        Makes an input that `encode` or `decode` may write to.
    """

    name: str
    encode: Callable[[Any], Any]
    decode: Callable[[Any], Any]
    own: Callable[[bytes], Any] = lambda data: data

    def compress(self, data: bytes) -> bytes:
        """Compress bytes."""
        return bytes(self.encode(self.own(data)))

    def decompress(self, data: bytes) -> bytes:
        """Return the bytes again."""
        return bytes(self.decode(self.own(data)))


def has(package: str) -> bool:
    """Whether a package can be imported here."""
    return importlib.util.find_spec(package) is not None


def lossless(dtype: str, threads: int = 1) -> list[Lossless]:
    """List the compressors that are installed and know `dtype`, zstd first.

    Those that can use several threads are given `threads`.
    """
    found = [zstd(3, threads if threads > 1 else 0)]
    if has("zipnn") and dtype in ZIPNN_DTYPES:
        found.append(zipnn(dtype, threads))
    if has("pcodec") and dtype in PCODEC_DTYPES:
        found.append(pcodec(dtype))
    if has("blosc2"):
        found.append(blosc2(dtype, threads))
    return found


def zstd(level: int, threads: int = 0) -> Lossless:
    """Return plain zstd at `level`; any number of `threads` but 0 trades a little size for time."""
    return Lossless(
        f"zstd -{level}",
        zstandard.ZstdCompressor(level=level, threads=threads).compress,
        zstandard.ZstdDecompressor().decompress,
    )


def zipnn(dtype: str, threads: int = 1) -> Lossless:
    """Return zipnn on bytes."""
    with _torch_stand_in(), warnings.catch_warnings():
        # A new torch complains about what zipnn does on import; that is not ours to mend.
        warnings.simplefilter("ignore")
        package = importlib.import_module("zipnn")

    def codec() -> Any:  # noqa: ANN401 - zipnn has no types
        return package.ZipNN(
            input_format="byte", bytearray_dtype=ZIPNN_DTYPES[dtype], threads=threads
        )

    # zipnn reorders its input in place: without a fresh buffer a second call sees other bytes.
    return Lossless(
        "zipnn",
        lambda data: codec().compress(data),
        lambda data: codec().decompress(data),
        bytearray,
    )


@contextmanager
def _torch_stand_in() -> Iterator[None]:
    """Let zipnn be imported without torch, which it names everywhere and uses for tensors only."""
    if has("torch") or "zipnn" in sys.modules:
        yield
        return
    torch = mock.MagicMock(name="torch", __spec__=None)
    bridge = types.ModuleType("safetensors.torch")
    bridge.safe_open = None  # type: ignore[attr-defined]
    stand_ins: dict[str, Any] = {"torch": torch, "safetensors.torch": bridge}
    sys.modules.update(stand_ins)
    try:
        yield
    finally:
        for name in stand_ins:
            del sys.modules[name]


def pcodec(dtype: str, level: int = 8) -> Lossless:
    """Return pcodec, over the file as one array; bf16 goes in as 16-bit integers."""
    package = importlib.import_module("pcodec")
    standalone = importlib.import_module("pcodec.standalone")
    width = np.dtype(PCODEC_DTYPES[dtype])
    config = package.ChunkConfig(compression_level=level)

    def compress(data: bytes) -> bytes:
        whole = len(data) - len(data) % width.itemsize
        values = np.frombuffer(data[:whole], width)
        return bytes(standalone.simple_compress(values, config)) + data[whole:]

    return Lossless(f"pcodec level {level}", compress, standalone.simple_decompress)


def blosc2(dtype: str, threads: int = 1) -> Lossless:
    """Return blosc2 with its byte shuffle in front of zstd, at its default level."""
    package = importlib.import_module("blosc2")
    settings = {
        "codec": package.Codec.ZSTD,
        "filters": [package.Filter.SHUFFLE],
        "typesize": DTYPES[dtype].itemsize,
        "nthreads": threads,
    }
    return Lossless(
        "blosc2 zstd",
        lambda data: package.compress2(data, **settings),
        lambda data: package.decompress2(data, nthreads=threads),
    )


def safetensors_load(path: Path) -> Callable[[], object]:
    """Return a call that loads a safetensors file with its own package, as numpy arrays.

    A front-end that knows no bf16 hands out the bytes of the tensors instead.
    """
    package = importlib.import_module("safetensors")
    front = importlib.import_module("safetensors.numpy")
    try:
        front.load_file(path)
    except (KeyError, AttributeError, TypeError, package.SafetensorError):
        return lambda: package.deserialize(path.read_bytes())
    return lambda: front.load_file(path)


def gguf_roundtrip(array: Array, kind: str) -> Array:
    """Quantize a tensor to a GGUF type and back, as float32, in blocks of 32 in C order."""
    quants, types_ = _gguf()
    flat = np.asarray(array, np.float32).ravel()
    padded = np.pad(flat, (0, -flat.size % 32)).reshape(-1, 32)
    stored = quants.quantize(padded, types_[kind])
    values = np.asarray(quants.dequantize(stored, types_[kind]), np.float32)
    return values.ravel()[: flat.size].reshape(array.shape)


def gguf_encode(array: Array, kind: str) -> tuple[Array, Callable[[], Array]]:
    """Quantize to a GGUF type; return what is stored and a call that dequantizes it."""
    quants, types_ = _gguf()
    flat = np.asarray(array, np.float32).ravel()
    stored = quants.quantize(np.pad(flat, (0, -flat.size % 32)).reshape(-1, 32), types_[kind])
    return stored, lambda: quants.dequantize(stored, types_[kind])


def gguf_model(
    tensors: Mapping[str, Array], kind: str, *, every_matrix: bool = False
) -> dict[str, Array]:
    """Return a model whose quantizable tensors went through a GGUF type, the rest untouched.

    Quantizable are the tensors that a `.p2u` quantizes too, or with `every_matrix` all matrices
    and kernels however small, as conversions to GGUF do.
    """
    matrices = [k for k, v in tensors.items() if v.ndim > 1 and is_float(v)]
    chosen = matrices if every_matrix else quantized(tensors)
    return {k: gguf_roundtrip(v, kind) if k in chosen else v for k, v in tensors.items()}


def gguf_file(tensors: Mapping[str, Array], kind: str, path: Path) -> int:
    """Write a real GGUF file and return its size in bytes.

    Tensors that are not quantized are stored as they are, bf16 as fp16 of the same width.
    """
    package = importlib.import_module("gguf")
    quants, types_ = _gguf()
    writer = package.GGUFWriter(path, "bert")
    big = quantized(tensors)
    for name, tensor in tensors.items():
        if name in big and tensor.shape[-1] % 32 == 0:
            stored = quants.quantize(np.asarray(tensor, np.float32), types_[kind])
            writer.add_tensor(name, stored, raw_dtype=types_[kind])
        elif is_float(tensor):
            narrow = np.float32 if tensor.dtype.itemsize > 2 else np.float16
            writer.add_tensor(name, np.ascontiguousarray(tensor.astype(narrow)))
        else:
            writer.add_tensor(name, np.ascontiguousarray(tensor))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path.stat().st_size


def _gguf() -> tuple[Any, Any]:
    package = importlib.import_module("gguf")
    return importlib.import_module("gguf.quants"), package.GGMLQuantizationType
