"""A checkpoint as `pack` reads it: one file, a folder of files, or arrays in memory."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from p2uformat.closing import Closing
from p2uformat.errors import InvalidArgument, InvalidSource
from p2uformat.files import path_text
from p2uformat.ingest.arrays import ArraySource
from p2uformat.ingest.directory import (
    FolderFile,
    check_indexes,
    list_files,
    open_weights,
    read_range,
)
from p2uformat.ingest.head import HeadTensor
from p2uformat.ingest.safetensors import SafetensorsSource
from p2uformat.limits import MAX_NAME_BYTES

__all__ = ["Checkpoint", "Member", "record_names"]

Arrays = Mapping[str, NDArray[np.generic]]


@dataclass(frozen=True, slots=True)
class Member:
    """A file of a checkpoint.

    Parameters
    ----------
    path : str
        Its relative path, with ``/``.
    layout : str
        ``safetensors`` or ``plain``.
    size : int
        Its bytes.
    head : bytes
        Of a safetensors file: length and JSON.
    tensors : tuple of HeadTensor
        In the order of their bytes, by the names of their records.
    read : callable
        Returns a range of the file, from any thread.
    """

    path: str
    layout: str
    size: int
    head: bytes
    tensors: tuple[HeadTensor, ...]
    read: Callable[[int, int], bytes]


class Checkpoint(Closing):
    """The files of a checkpoint, in the order of their paths.

    Parameters
    ----------
    source : str, os.PathLike or mapping of str to ndarray
        A safetensors file, a folder, or arrays by name.
    metadata : mapping of str to str, optional
        Of arrays.

    Attributes
    ----------
    members : tuple of Member
        The files.
    folder : bool
        Whether it is a folder.
    size : int
        Bytes of all files.

    Raises
    ------
    InvalidSource
        If a safetensors file is not sound, or the folder holds what cannot be packed.
    LimitExceeded
        If the folder holds too many files.
    NotFound, StoreUnavailable
        If something cannot be read.
    """

    __slots__ = ("_close", "_files", "folder", "members", "size")

    def __init__(
        self, source: str | os.PathLike[str] | Arrays, metadata: Mapping[str, str] | None = None
    ) -> None:
        if metadata is not None and not isinstance(source, Mapping):
            raise InvalidArgument(
                "metadata for files, which have their own", hint="give arrays, or leave it out"
            )
        self._close: Callable[[], None] = lambda: None
        self._files: list[FolderFile] = []
        self.folder = not isinstance(source, Mapping) and Path(path_text(source)).is_dir()
        if self.folder:
            assert not isinstance(source, Mapping)
            self._files = list_files(path_text(source))
            check_indexes(self._files)
            members = [_member(file) for file in self._files]
        else:
            single = (
                ArraySource(source, metadata) if isinstance(source, Mapping) else _single(source)
            )
            self._close = single.close
            name = Path(os.fsdecode(single.path)).name
            members = [
                Member(name, "safetensors", single.size, single.head, single.tensors, single.read)
            ]
        try:
            self.members = _named(members)
        except BaseException:
            self.close()
            raise
        self.size = sum(member.size for member in self.members)

    def holds(self, path: Path) -> bool:
        """Return whether a file that is there is one of a folder's."""
        return any(path.samefile(file.full) for file in self._files)

    def close(self) -> None:
        """Close what is open."""
        self._close()


def _single(path: str | os.PathLike[str]) -> SafetensorsSource:
    return SafetensorsSource(path)


def _member(file: FolderFile) -> Member:
    def read(offset: int, length: int) -> bytes:
        # Opened for each range: a model may have more files than a process may have open.
        return read_range(file, offset, length)

    if not file.path.endswith(".safetensors"):
        return Member(file.path, "plain", file.size, b"", (), read)
    with open_weights(file) as weights:
        return Member(file.path, "safetensors", weights.size, weights.head, weights.tensors, read)


def _named(members: Sequence[Member]) -> tuple[Member, ...]:
    names = iter(record_names([(m.path, [t.name for t in m.tensors]) for m in members]))
    return tuple(
        replace(
            member, tensors=tuple(replace(tensor, name=next(names)) for tensor in member.tensors)
        )
        for member in members
    )


def record_names(files: Sequence[tuple[str, Sequence[str]]]) -> list[str]:
    """Return the name of each tensor's record (SPEC.md, 8.3), for all files in turn.

    A name that one file alone has stays as it is. One that several have is qualified by the path
    in all of them, and so are names that such a name could be taken for.

    Raises
    ------
    InvalidSource
        If two tensors would have one name, or a name gets too long.

    Examples
    --------
    >>> record_names([("a.safetensors", ["w", "x"]), ("b.safetensors", ["w"])])
    ['a.safetensors:w', 'x', 'b.safetensors:w']
    """
    pairs = [(path, name) for path, names in files for name in names]
    full = {f"{path}:{name}": (path, name) for path, name in pairs}
    if len(full) != len(pairs):
        raise InvalidSource(
            "two tensors of different files would have one name",
            hint="take the ':' out of the files' names",
        )
    counts = Counter(name for _, name in pairs)
    qualified = {pair for pair in pairs if counts[pair[1]] > 1}
    while True:
        plain = {pair[1]: pair for pair in pairs if pair not in qualified}
        # A plain name that reads like another tensor's qualified one: both get their path.
        taken = plain.keys() & full.keys()
        if not taken:
            break
        qualified.update(pair for name in taken for pair in (plain[name], full[name]))
    return [_checked(f"{pair[0]}:{pair[1]}" if pair in qualified else pair[1]) for pair in pairs]


def _checked(name: str) -> str:
    if len(name.encode()) > MAX_NAME_BYTES:
        raise InvalidSource(
            f"tensor name {name[:80]!r}...: expected at most {MAX_NAME_BYTES} bytes with its path,"
            f" got {len(name.encode())}"
        )
    return name
