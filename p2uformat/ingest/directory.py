"""A folder of model files: what is in it, and whether it is all there."""

from __future__ import annotations

import errno
import json
import os
import posixpath
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from p2uformat.errors import InvalidSource, LimitExceeded, StoreUnavailable, from_os_error
from p2uformat.files import FileReader
from p2uformat.ingest.safetensors import SafetensorsSource
from p2uformat.limits import MAX_FILES, MAX_NAME_BYTES

__all__ = [
    "SKIPPED",
    "FolderFile",
    "check_indexes",
    "list_files",
    "open_weights",
    "read_range",
]

SKIPPED: Final = frozenset({".git", ".cache"})  # what tools keep beside a model, not the model
MAX_INDEX_BYTES: Final = 1 << 24  # JSON takes many times its length once it is parsed
_LFS: Final = b"version https://git-lfs"
_SHOWN: Final = 5
_Identity = tuple[int, int]


@dataclass(frozen=True, slots=True)
class FolderFile:
    """A file in a folder.

    Parameters
    ----------
    path : str
        Relative to the folder, with ``/``.
    full : Path
        Where it is.
    size : int
        Its bytes when the folder was listed.
    """

    path: str
    full: Path
    size: int


@dataclass(frozen=True, slots=True)
class _Folder:
    path: str
    full: Path
    above: frozenset[_Identity]  # itself and the folders it is in


def list_files(root: str) -> list[FolderFile]:
    """Return all files of a folder and the folders in it, links followed, ordered by path.

    Folders named ``.git`` and ``.cache`` are left out.

    Parameters
    ----------
    root : str
        The folder.

    Raises
    ------
    InvalidSource
        If something is neither file nor folder, a link leads nowhere or in a circle, a name cannot
        be kept, or there are no files.
    LimitExceeded
        If there are more files, or folders, than `MAX_FILES`.
    NotFound, StoreUnavailable
        If a folder cannot be read.
    """
    files: list[FolderFile] = []
    waiting = [_Folder("", Path(root), frozenset({_identity(Path(root))}))]
    folders = 0
    while waiting:
        folders += 1
        for entry in _entries(waiting.pop()):
            if isinstance(entry, FolderFile):
                files.append(entry)
            else:
                waiting.append(entry)
            # Links can make few folders look like many: both are counted while they are found.
            _check_count(len(files), root, "files")
            _check_count(folders + len(waiting), root, "folders")
    if not files:
        raise InvalidSource(f"no files in {root!r}", hint="name a folder that holds a model")
    return sorted(files, key=lambda file: file.path.encode())


def _check_count(count: int, root: str, what: str) -> None:
    if count > MAX_FILES:
        raise LimitExceeded(
            f"expected at most {MAX_FILES} {what} in {root!r}, got more",
            hint="name the folder of one model",
        )


def _identity(path: Path) -> _Identity:
    try:
        status = path.stat()
    except OSError as error:
        raise from_os_error(error, "read", path) from error
    return status.st_dev, status.st_ino


def _entries(folder: _Folder) -> Iterator[FolderFile | _Folder]:
    try:
        inner = sorted(folder.full.iterdir())
    except OSError as error:
        raise from_os_error(error, "read", folder.full) from error
    for full in inner:
        if not (full.name in SKIPPED and full.is_dir()):
            yield _entry(folder, _checked_path(f"{folder.path}{full.name}", full), full)


def _checked_path(path: str, full: Path) -> str:
    """Return a relative path that a file record can hold (SPEC.md, 8.3)."""
    hint = "rename it, or move it out of the folder"
    try:
        length = len(path.encode())
    except UnicodeEncodeError as error:
        raise InvalidSource(f"the name of {os.fspath(full)!r} is not UTF-8", hint=hint) from error
    if "\\" in path and os.sep != "\\":
        raise InvalidSource(f"the name of {os.fspath(full)!r} has a backslash", hint=hint)
    if length > MAX_NAME_BYTES:
        raise InvalidSource(
            f"path {path[:80]!r}...: expected at most {MAX_NAME_BYTES} bytes, got {length}",
            hint=hint,
        )
    return path


def _entry(folder: _Folder, path: str, full: Path) -> FolderFile | _Folder:
    status = _status(full)
    if stat.S_ISREG(status.st_mode):
        return FolderFile(path, full, status.st_size)
    if not stat.S_ISDIR(status.st_mode):
        raise InvalidSource(
            f"{os.fspath(full)!r} is neither a file nor a folder", hint="move it out of the folder"
        )
    identity = status.st_dev, status.st_ino
    if identity in folder.above:
        raise InvalidSource(
            f"the link {os.fspath(full)!r} leads to a folder that it is in", hint="remove the link"
        )
    return _Folder(f"{path}/", full, folder.above | {identity})


def _status(full: Path) -> os.stat_result:
    try:
        return full.stat()
    except OSError as error:
        if error.errno == errno.ENOENT and full.is_symlink():
            raise InvalidSource(
                f"the link {os.fspath(full)!r} leads nowhere",
                hint="download the file that is missing, or remove the link",
            ) from error
        if error.errno == errno.ELOOP:
            raise InvalidSource(
                f"the link {os.fspath(full)!r} leads in a circle", hint="remove the link"
            ) from error
        raise from_os_error(error, "read", full) from error


def open_weights(file: FolderFile) -> SafetensorsSource:
    """Open a safetensors file of a folder.

    Raises
    ------
    InvalidSource
        If it is not sound; the message names it.
    """
    try:
        source = SafetensorsSource(file.full)
    except InvalidSource as error:
        hint = error.hint
        if read_range(file, 0, min(file.size, len(_LFS))) == _LFS:
            hint = "it is a git-lfs pointer: run 'git lfs pull' to get the file"
        raise InvalidSource(f"{file.path!r}: {error.message}", hint=hint) from error
    if source.size != file.size:
        source.close()
        raise _changed(file, source.size)
    return source


def read_range(file: FolderFile, offset: int, length: int) -> bytes:
    """Return a range of a file.

    Raises
    ------
    StoreUnavailable
        If the file has another length than when the folder was listed.
    """
    with FileReader(file.full) as reader:
        if reader.size != file.size:
            raise _changed(file, reader.size)
        data = reader.read(offset, length)
    if len(data) != length:
        raise _changed(file, offset + len(data))
    return data


def _changed(file: FolderFile, size: int) -> StoreUnavailable:
    full = os.fspath(file.full)
    return StoreUnavailable(
        f"{full!r} changed while it was read: expected {file.size} bytes, got {size}",
        hint="pack again when nothing writes to the source",
        path=full,
    )


def check_indexes(files: Sequence[FolderFile]) -> None:
    """Check that the shards that index files name are there.

    Raises
    ------
    InvalidSource
        If some are not.
    """
    paths = {file.path for file in files}
    for file in files:
        if not file.path.endswith(".index.json") or file.size > MAX_INDEX_BYTES:
            continue
        folder = posixpath.dirname(file.path)
        shards = _shards(read_range(file, 0, file.size))
        missing = [name for name in shards if _joined(folder, name) not in paths]
        # The index of a format that was not downloaded at all is a file like any other.
        foreign = not any(name.endswith(".safetensors") for name in shards)
        if missing and not (foreign and len(missing) == len(shards)):
            raise _incomplete(file, missing)


def _joined(folder: str, name: str) -> str:
    # Only compared with what was listed, never opened: where it leads does not matter.
    return posixpath.normpath(posixpath.join(folder, name))


def _shards(data: bytes) -> list[str]:
    """Return the file names of an index; none if it is another kind of file."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError, MemoryError):
        return []
    places = value.get("weight_map") if isinstance(value, dict) else None
    if not isinstance(places, dict):
        return []
    return sorted({name for name in places.values() if isinstance(name, str)})


def _incomplete(file: FolderFile, missing: Sequence[str]) -> InvalidSource:
    names = ", ".join(repr(name[:200]) for name in missing[:_SHOWN])
    more = f" and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
    return InvalidSource(
        f"{file.path!r} names files that are not there: {names}{more}",
        hint="download the missing shards, or remove the index",
    )
