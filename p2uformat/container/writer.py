"""Writing a file: manifest first, then the chunks tier by tier (SPEC.md, section 9)."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator, Sequence
from typing import BinaryIO, Final

from p2uformat.container.header import HEADER_BYTES, Header
from p2uformat.container.layout import Layout, place
from p2uformat.container.reader import Container
from p2uformat.digest import digest
from p2uformat.errors import StoreUnavailable, from_os_error
from p2uformat.manifest import Manifest
from p2uformat.publishing import Output, publish

__all__ = ["header_for", "write_artifact"]

_COPY_BYTES: Final = 1 << 20

Spool = tuple[BinaryIO, int]


def write_artifact(
    destination: str | os.PathLike[str],
    *,
    manifest: Manifest,
    tier_spools: Sequence[Spool],
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Container:
    """Write an artifact and publish it under its name.

    Before the file gets its name its whole manifest is read back and parsed as a reader would, and
    the layout that follows is compared: a writer that errs is found out here.

    Parameters
    ----------
    destination : str or os.PathLike
        The final name.
    manifest : Manifest
        Roots and pages, encoded.
    tier_spools : sequence of (binary file, int)
        For each tier its chunks in file order, each chunk once, from the file's start, and their
        length in bytes.
    overwrite : bool
        Whether to replace a file of this name.
    progress : callable, optional
        Called with bytes written and bytes in all.

    Returns
    -------
    Container
        What was read back. Its file is closed: only the manifest is there.

    Raises
    ------
    DestinationExists, NotFound, StoreUnavailable
        As `publish` does.
    Malformed
        If what was handed in is not a sound artifact.
    """
    header, layout = header_for(manifest)
    given = tuple(length for _, length in tier_spools)
    assert given == layout.tier_bytes, f"expected spools of {layout.tier_bytes} bytes, got {given}"
    with publish(destination, overwrite=overwrite) as output:
        output.write(header.encode())
        output.write(manifest.content_root)
        output.write(manifest.encoding_root)
        for piece in _pages(manifest):
            output.write(piece)
        for offsets in layout.offsets:
            output.write(struct.pack(f"<{len(offsets)}Q", *offsets))
        for file, length in tier_spools:
            _copy(file, length, output, header.file_length, progress)
        container = _read_back(output, layout)
    return container


def _pages(manifest: Manifest) -> Iterator[bytes]:
    """Yield the pages that the file holds itself."""
    for page in manifest.pages:
        if page is not None:
            yield from page


def _manifest_bytes(manifest: Manifest, entries: int) -> int:
    roots = len(manifest.content_root) + len(manifest.encoding_root)
    pages = sum(map(len, _pages(manifest)))
    return HEADER_BYTES + roots + pages + 8 * entries


def header_for(manifest: Manifest) -> tuple[Header, Layout]:
    """Return the header of the file that a manifest makes, and where its chunks lie."""
    start = _manifest_bytes(manifest, sum(len(page.chunks) for page in manifest.chunks))
    layout = place(manifest.chunks, start, manifest.tiers)
    entries = sum(len(offsets) for offsets in layout.offsets)
    header = Header(
        digest(manifest.content_root),
        digest(manifest.encoding_root),
        len(manifest.content_root),
        len(manifest.encoding_root),
        _manifest_bytes(manifest, entries),
        layout.end,
        entries,
    )
    header.check()
    return header, layout


def _copy(
    file: BinaryIO,
    length: int,
    output: Output,
    total: int,
    progress: Callable[[int, int], None] | None,
) -> None:
    """Copy a spool through one small buffer."""
    buffer = memoryview(bytearray(min(_COPY_BYTES, length)))
    left = length
    try:
        file.seek(0)
        while left:
            count = file.readinto(buffer[: min(left, len(buffer))])  # type: ignore[attr-defined]
            if not count:
                raise StoreUnavailable(f"a temporary file lost {left} bytes")
            output.write(buffer[:count])
            left -= count
            if progress is not None:
                progress(output.written, total)
    except OSError as error:
        raise from_os_error(error, "read back", "temporary file") from error


def _read_back(output: Output, layout: Layout) -> Container:
    container = Container(output.reader())
    damaged = [page.number for page in container.pages if page.damage]
    assert not damaged, f"pages {damaged} were not written as they were meant"
    assert container.layout == layout
    assert not container.table_faults
    assert container.file.size == container.header.file_length
    return container
