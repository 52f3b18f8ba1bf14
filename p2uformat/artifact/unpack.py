"""From an artifact back to a safetensors file, at any tier."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import numpy as np

from p2uformat.artifact.catalog import StoredTensor
from p2uformat.artifact.contents import Contents
from p2uformat.artifact.formats import float_format, target_format
from p2uformat.artifact.source import SourceFile, blob, source_files
from p2uformat.artifact.types import Progress, UnpackResult
from p2uformat.container import Output, publish
from p2uformat.digest import Hasher
from p2uformat.errors import (
    DigestMismatch,
    Incomplete,
    InvalidArgument,
    Malformed,
    TensorNotFound,
    UnsupportedFormat,
)
from p2uformat.floats import FORMATS, FloatFormat
from p2uformat.ingest import HeadTensor, build_head
from p2uformat.parallel import ordered_map, worker_count
from p2uformat.tensor import dtype_name

__all__ = ["unpack"]

Callback = Callable[[Progress], None]
Buffer = bytes | memoryview


@dataclass(frozen=True, slots=True)
class _Job:
    """One block to decode."""

    stored: StoredTensor
    block: int
    target: FloatFormat | None


def unpack(
    source: str | os.PathLike[str],
    destination: str | os.PathLike[str],
    *,
    tier: str | None = None,
    tensors: str | Sequence[str] | None = None,
    dtype: str | None = None,
    overwrite: bool = False,
    threads: int | None = None,
    progress: Callback | None = None,
) -> UnpackResult:
    """Write a safetensors file from a ``.p2u`` file.

    The whole at the exact tier is the source file, bit for bit, and compared with its digest
    before it gets its name. Anything else is a new safetensors file, with the same names, order
    and metadata.

    Parameters
    ----------
    source : str or os.PathLike
        The ``.p2u`` file.
    destination : str or os.PathLike
        The file to write.
    tier : str, optional
        ``exact`` by default.
    tensors : str or sequence of str, optional
        Patterns as in a shell, case kept: only tensors that match one. All by default.
    dtype : str, optional
        Float dtype to round float tensors to. The source's by default.
    overwrite : bool
        Whether to replace a file of this name.
    threads : int, optional
        How many threads to decode on; the processor's by default, at most 8.
    progress : callable, optional
        Called now and then.

    Returns
    -------
    UnpackResult
        What was written.

    Raises
    ------
    Incomplete
        If the file ends before what was asked for.
    TensorNotFound, TierNotFound
        If a pattern matches nothing, or there is no such tier.
    CorruptData
        If something that is needed is damaged. Nothing is written then.
    DestinationExists, NotFound, StoreUnavailable
        If the destination cannot be written.
    """
    workers = worker_count(threads)
    target = _target(dtype)
    patterns = _patterns(tensors)
    with Contents.open(source) as contents:
        exact = contents.reader.exact
        number = exact if tier is None else contents.tier_number(tier)
        files = source_files(contents.reader, contents.catalog) if contents.catalog.files else []
        whole = patterns is None and target is None and number == exact and len(files) == 1
        pool = _Pool(contents, number, workers, progress)
        with publish(destination, overwrite=overwrite) as output:
            if whole:
                return _rebuild(pool, files[0], output)
            return _convert(pool, files, output, patterns, target)


def _target(dtype: str | None) -> FloatFormat | None:
    if dtype is None:
        return None
    name = dtype_name(dtype)
    if name not in FORMATS:
        raise InvalidArgument(f"cannot round weights to {name}", hint=f"use {', '.join(FORMATS)}")
    return FORMATS[name]


def _patterns(tensors: str | Sequence[str] | None) -> tuple[str, ...] | None:
    if tensors is None:
        return None
    return (tensors,) if isinstance(tensors, str) else tuple(tensors)
