"""A folder of files appears under its name whole, or not at all."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from p2uformat.errors import DestinationExists, Malformed, from_os_error
from p2uformat.files import path_text
from p2uformat.publishing import Output, sync_folder

__all__ = ["Folder", "publish_folder", "unsafe_on_windows"]

_FLAGS: Final = (
    os.O_RDWR
    | os.O_CREAT
    | os.O_EXCL
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_BINARY", 0)
    | getattr(os, "O_CLOEXEC", 0)
)
_TAKEN: Final = frozenset({errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR, errno.EISDIR})
_DEVICES: Final = frozenset(
    {"CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"}
    | {f"{port}{number}" for port in ("COM", "LPT") for number in "123456789\u00b9\u00b2\u00b3"}
)


def unsafe_on_windows(path: str) -> bool:
    """Return whether a path of SPEC.md, 8.3, means something else than a file there on Windows.

    A colon names a drive or a stream, a device's name the device, and dots and spaces at the end
    of a name are dropped.

    Examples
    --------
    >>> [unsafe_on_windows(path) for path in ("a/b.json", "c:/x", "a/nul.txt", "a./b")]
    [False, True, True, True]
    """
    return any(
        set(part) & set('<>:"|?*')
        or any(ord(character) < 32 for character in part)
        or part != part.rstrip(". ")
        or part.partition(".")[0].rstrip().upper() in _DEVICES
        for part in path.split("/")
    )


class Folder:
    """A folder being filled, that has no name yet.

    Parameters
    ----------
    destination : str
        The name it will get.
    root : Path
        Where it is meanwhile.

    Attributes
    ----------
    destination : str
        As given.
    """

    def __init__(self, destination: str, root: Path) -> None:
        self.destination = destination
        self._root = root
        self._folders = {root}

    @contextmanager
    def file(self, path: str) -> Iterator[Output]:
        """Write a file, and sync it.

        Parameters
        ----------
        path : str
            Relative, with ``/``.

        Raises
        ------
        Malformed
            If it would lie outside of the folder, or where another file lies.
        StoreUnavailable
            If the system refuses.
        """
        target = self._root.joinpath(*_safe_parts(path))
        name = f"{self.destination}/{path}"
        try:
            self._make(target.parent)
            descriptor = os.open(target, _FLAGS, 0o666)
        except FileExistsError as error:
            # Also of names that differ only for us: case or composition, by the file system.
            raise Malformed(f"path: {path[:80]!r} is taken by another file", file=path) from error
        except OSError as error:
            raise from_os_error(error, "write", name) from error
        try:
            yield Output(name, descriptor)
            _sync_file(descriptor, name)
        finally:
            os.close(descriptor)

    def _make(self, folder: Path) -> None:
        missing = []
        while folder not in self._folders:
            missing.append(folder)
            folder = folder.parent
        for folder in reversed(missing):
            # Two spellings of one folder are one folder where the file system says so.
            folder.mkdir(exist_ok=True)
            self._folders.add(folder)

    def sync(self) -> None:
        """Sync all folders: the files' names are in them."""
        for folder in sorted(self._folders, key=lambda folder: -len(folder.parts)):
            sync_folder(folder)


def _sync_file(descriptor: int, name: str) -> None:
    try:
        os.fsync(descriptor)
    except OSError as error:
        raise from_os_error(error, "write", name) from error


def _safe_parts(path: str) -> list[str]:
    """Return the parts of a path that stays inside of the folder that it is joined to."""
    parts = path.split("/")
    bad = {"", ".", ".."} & set(parts) or "\\" in path or "\0" in path
    if bad or (os.name == "nt" and unsafe_on_windows(path)):
        raise Malformed(f"path: {path[:80]!r} is no place inside of a folder", file=path)
    return parts


@contextmanager
def publish_folder(
    destination: str | os.PathLike[str], *, overwrite: bool = False
) -> Iterator[Folder]:
    """Fill a folder that appears under its name only when the block ends without an error.

    It grows beside its place, under a name of its own, and everything is synced before it is
    renamed. An empty folder of that name is replaced.

    Parameters
    ----------
    destination : str or os.PathLike
        The final name.
    overwrite : bool
        Whether to replace a folder that is not empty. It goes once the new one is whole.

    Yields
    ------
    Folder
        To put files in.

    Raises
    ------
    DestinationExists
        If the name is taken, by anything that may not be replaced.
    NotFound, StoreUnavailable
        If the folder above is missing or may not be written, the disk is full, or the like.

    Examples
    --------
    >>> import tempfile
    >>> place = Path(tempfile.mkdtemp(), "model")
    >>> with publish_folder(place) as folder, folder.file("sub/greeting") as output:
    ...     output.write(b"hello")
    >>> Path(place, "sub/greeting").read_bytes()
    b'hello'
    """
    final = Path(path_text(destination))
    name = os.fspath(final)
    _refuse_taken(final, overwrite=overwrite)
    root = final.parent / f".p2u-{secrets.token_hex(8)}.tmp"
    try:
        root.mkdir()
    except OSError as error:
        raise from_os_error(error, "write", name) from error
    try:
        folder = Folder(name, root)
        yield folder
        try:
            folder.sync()
            _rename(root, final, overwrite=overwrite)
            sync_folder(final.parent)
        except OSError as error:
            if error.errno in _TAKEN:
                raise _taken(name) from error
            raise from_os_error(error, "write", name) from error
    finally:
        # Nothing is there any more where all went well.
        shutil.rmtree(root, ignore_errors=True)


def _refuse_taken(final: Path, *, overwrite: bool) -> None:
    name = os.fspath(final)
    try:
        if final.name in ("", "..") or (final.is_dir() and _is_around(final)):
            raise DestinationExists(
                f"{name!r} is the folder that is worked in, or one above it",
                hint="name a folder in it that does not exist yet",
            )
        if not os.path.lexists(final):
            return
        if not stat.S_ISDIR(final.lstat().st_mode):
            raise DestinationExists(
                f"{name!r} is not a folder", hint="choose another name: it becomes a folder"
            )
        if not overwrite and any(final.iterdir()):
            raise _taken(name)
    except OSError as error:
        raise from_os_error(error, "write", name) from error


def _is_around(folder: Path) -> bool:
    """Return whether a folder is the working directory or above it: nobody wants that replaced."""
    return Path.cwd().is_relative_to(folder.resolve())


def _taken(name: str) -> DestinationExists:
    return DestinationExists(
        f"{name!r} exists already and is not empty",
        hint="choose another name, or allow overwriting",
    )


def _rename(root: Path, final: Path, *, overwrite: bool) -> None:
    if not os.path.lexists(final):
        root.rename(final)
        return
    if not overwrite:
        # Replaces an empty folder, and no other: also one that was filled meanwhile stays.
        if os.name == "nt":
            final.rmdir()
        root.rename(final)
        return
    old = final.parent / f".p2u-{secrets.token_hex(8)}.tmp"
    final.rename(old)
    try:
        root.rename(final)
    except BaseException:
        old.rename(final)
        raise
    shutil.rmtree(old, ignore_errors=True)
