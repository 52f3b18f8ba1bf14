"""Whole files to and from other places, for what is not read by ranges: sources and results."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Final
from urllib.parse import unquote, urlsplit

from p2uformat.errors import (
    AccessDenied,
    DestinationExists,
    InvalidSource,
    NotFound,
    P2UError,
    StoreUnavailable,
    from_os_error,
)
from p2uformat.reading import Piece
from p2uformat.transport.address import Address
from p2uformat.transport.pieces import SPAN_BYTES, Span
from p2uformat.transport.policy import Policy
from p2uformat.transport.remote import RemoteReader
from p2uformat.transport.running import run
from p2uformat.transport.source import Source
from p2uformat.transport.transfer import Transfer, Views

__all__ = ["bring", "refuse_taken", "send"]

Tell = Callable[[int, int], None]
_WEB: Final = frozenset({"http", "https"})


def bring(address: Address, folder: Path, tell: Tell | None = None) -> Path:
    """Copy an object, or all objects below a name that ends in a slash or is a folder, to a folder.

    A copy is exactly as long as the object; whether its bytes are right is for others to know.

    Parameters
    ----------
    address : Address
        The object or folder.
    folder : Path
        An empty folder.
    tell : callable, optional
        Called with bytes done and in all, of each file.

    Returns
    -------
    Path
        The file or folder, under its own name.

    Raises
    ------
    NotFound, AccessDenied, TransferFailed, StoreUnavailable
        If something cannot be read, or written.
    """
    name = PurePosixPath(unquote(urlsplit(address.url).path)).name or "source"
    target = folder / name
    below = [] if address.protocol in _WEB else _below(address)
    if not below:
        _bring_one(address, target, tell)
        return target
    root, paths = below[0], below[1:]
    for path in paths:
        relative = PurePosixPath(path.removeprefix(root).lstrip("/"))
        if relative.is_absolute() or ".." in relative.parts or "\\" in str(relative):
            raise InvalidSource(f"{path!r} leads out of {address.name!r}")
        place = target / relative
        place.parent.mkdir(parents=True, exist_ok=True)
        url = f"{address.url.rstrip('/')}/{relative}"
        _bring_one(Address(url, address.options), place, tell)
    return target


def _below(address: Address) -> list[str]:
    """Return the path of a folder and of all files in it; nothing if it is no folder."""
    files, path = _system(address)
    try:
        if not files.isdir(path):
            return []
        return [str(path), *sorted(map(str, files.find(path)))]
    except Exception as error:
        raise _outside(error, "list", address.name) from error


def _bring_one(address: Address, target: Path, tell: Tell | None) -> None:
    with RemoteReader(address, Policy()) as remote:
        try:
            with target.open("xb") as file:
                _copy(remote, file, tell)
        except OSError as error:
            raise from_os_error(error, "write", os.fspath(target)) from error


def _copy(remote: RemoteReader, file: BinaryIO, tell: Tell | None) -> None:
    first = bytes(remote.first)
    file.write(first)
    file.truncate(remote.size)
    if len(first) >= remote.size:
        return

    def sink(piece: Piece, views: Views) -> None:
        at = piece.offset
        for view in views:
            os.pwrite(file.fileno(), view, at)
            at += len(view)

    step = min(remote.source.span_bytes, SPAN_BYTES)
    spans = [
        Span((Piece(at, min(step, remote.size - at), None),))
        for at in range(len(first), remote.size, step)
    ]
    file.flush()
    transfer = Transfer(remote.source, spans, sink, remote.policy)

    def tick() -> None:
        if tell is not None:
            tell(len(first) + transfer.state.verified, remote.size)

    run(transfer.run() if remote.ranges else transfer.stream(), tick)


def refuse_taken(address: Address) -> None:
    """Raise `DestinationExists` if there is something at a URL.

    Raises
    ------
    AccessDenied, StoreUnavailable
        If that cannot be found out.
    """
    files, path = _system(address)
    try:
        taken = files.exists(path)
    except Exception as error:
        raise _outside(error, "look at", address.name) from error
    if taken:
        raise DestinationExists(
            f"{address.name!r} exists already", hint="choose another name, or allow overwriting"
        )


def send(path: Path, address: Address) -> None:
    """Copy a file, or a folder with all that is in it, to a URL.

    Raises
    ------
    AccessDenied, StoreUnavailable
        If it cannot be written.
    """
    files, target = _system(address)
    try:
        if path.is_dir():
            for file in sorted(p for p in path.rglob("*") if p.is_file()):
                relative = file.relative_to(path).as_posix()
                files.put_file(os.fspath(file), f"{target.rstrip('/')}/{relative}")
        else:
            files.put_file(os.fspath(path), target)
    except Exception as error:
        raise _outside(error, "write", address.name) from error


def _system(address: Address) -> tuple[Any, str]:
    source = _Place(address, Policy())
    return source.files, source.path


class _Place(Source):
    """A place of which only the file system is wanted."""

    async def _ask(self, start: int, stop: int | None) -> Any:  # noqa: ANN401
        raise NotImplementedError


def _outside(error: Exception, action: str, name: str) -> P2UError:
    if isinstance(error, P2UError):
        return error
    text = (str(error) or type(error).__name__).partition("\n")[0][:200].lower()
    message = f"cannot {action} {name!r}: {text}"
    if isinstance(error, FileNotFoundError):
        return NotFound(message)
    if isinstance(error, PermissionError):
        return AccessDenied(message, path=name)
    if isinstance(error, NotImplementedError):
        return StoreUnavailable(message or "not supported", hint="it is read-only", path=name)
    return StoreUnavailable(message, path=name)
