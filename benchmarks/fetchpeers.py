"""What a fetch is laid beside: fsspec, a bare parallel copy, casync, itself without checks."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final
from unittest import mock

import fsspec

from p2uformat.digest import digest
from p2uformat.reading import Piece
from p2uformat.transport.pieces import SPAN_BYTES
from p2uformat.transport.transfer import Transfer, Views

__all__ = ["absent", "casync_extract", "casync_store", "get", "parallel_copy", "unchecked"]

Write = Callable[[bytes, int], None]
_HELPERS: Final = ("/usr/lib/casync/protocols", "/usr/libexec/casync/protocols")


def get(url: str, target: Path, **options: Any) -> None:  # noqa: ANN401 - fsspec has no types
    """Fetch a file as fsspec's ``get_file`` does.

    Its ``get`` asks first whether the name is a folder, and over HTTP reads the whole file to see.
    """
    files, path = fsspec.core.url_to_fs(url, **options)
    files.get_file(path, os.fspath(target))


def parallel_copy(
    url: str, target: Path, size: int, connections: int, *, hashing: bool = False
) -> None:
    """Copy ranges over the same client library to their places in a file, and check nothing.

    Parameters
    ----------
    url
        The object.
    target
        The file.
    size
        Bytes of the object.
    connections
        Requests at once, of as many bytes each as a fetch asks for.
    hashing
        Whether to put all bytes through BLAKE3 nevertheless, and forget what comes out.
    """
    files, _ = fsspec.core.url_to_fs(url)
    starts = deque(range(0, size, SPAN_BYTES))

    async def work(descriptor: int) -> None:
        session = await files.set_session()

        async def worker() -> None:
            while starts:
                start = starts.popleft()
                part = start, min(start + SPAN_BYTES, size)
                await _range(session, url, part, partial(_write, descriptor, hashing=hashing))

        await asyncio.gather(*(worker() for _ in range(connections)))

    with target.open("wb") as file:
        fsspec.asyn.sync(files.loop, work, file.fileno())
        os.fdatasync(file.fileno())


async def _range(session: Any, url: str, part: tuple[int, int], write: Write) -> None:  # noqa: ANN401
    """Write a range as it comes: each part on a thread, as a fetch does with chunks."""
    loop = asyncio.get_running_loop()
    at, stop = part
    headers = {"Range": f"bytes={at}-{stop - 1}"}
    async with session.get(url, headers=headers, read_bufsize=1 << 20) as answer:
        if answer.status != 206:
            raise RuntimeError(f"{url} answers {answer.status}")
        while data := await answer.content.readany():
            await loop.run_in_executor(None, write, data, at)
            at += len(data)
    if at != stop:
        raise RuntimeError(f"{url} ends at {at}, expected {stop}")


def _write(descriptor: int, data: bytes, at: int, *, hashing: bool) -> None:
    if hashing:
        digest(data)
    os.pwrite(descriptor, data, at)


@contextmanager
def unchecked() -> Iterator[None]:
    """Let transfers take every chunk for sound, which only a measurement may do."""

    def deliver(self: Transfer, piece: Piece, views: Views) -> bytes:
        self._sink(piece, views)
        return piece.id or b""

    with mock.patch.object(Transfer, "_deliver", deliver):
        yield


def absent() -> str:
    """Return why casync cannot be laid beside; nothing if it can."""
    if shutil.which("casync") is None:
        return "casync: not installed"
    if not any(Path(folder, "casync-http").exists() for folder in _HELPERS):
        return "casync: installed without its helper for HTTP"
    return ""


def casync_store(source: Path, folder: Path) -> Path:
    """Add a file to the chunk store in `folder`, and return its index.

    Parameters
    ----------
    source
        The file.
    folder
        Where ``store`` is made, or grows, and where the index goes.
    """
    index = folder / f"{source.stem}.caibx"
    command = ["casync", "make", f"--store={folder / 'store'}", str(index), str(source)]
    subprocess.run(command, check=True, capture_output=True)
    return index


def casync_extract(url: str, index: str, target: Path, seed: Path | None = None) -> None:
    """Fetch a file from a chunk store over HTTP.

    Parameters
    ----------
    url
        Of the folder that `casync_store` filled, without a slash at the end.
    index
        Name of the index in it.
    target
        The file.
    seed
        A file at hand that may have some of the chunks.
    """
    seeds = [] if seed is None else [f"--seed={seed}"]
    command = ["casync", "extract", f"--store={url}/store", *seeds, f"{url}/{index}", str(target)]
    local = {**os.environ, "no_proxy": "127.0.0.1", "NO_PROXY": "127.0.0.1"}
    subprocess.run(command, check=True, capture_output=True, env=local)
