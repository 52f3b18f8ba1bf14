"""Chunks on their way into a file: a temporary file per tier, in layout order."""

from __future__ import annotations

import tempfile
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from p2uformat.errors import StoreUnavailable, from_os_error
from p2uformat.manifest import ChunkEntry

__all__ = ["Spools"]


class Spools:
    """One temporary file per tier; a chunk that is there already is not written again.

    Parameters
    ----------
    tiers : int
        Number of tiers.
    destination : Path
        What the chunks are for; the files lie in its folder, which has to hold it anyway. None
        for what goes elsewhere: they lie where temporary files do.
    """

    def __init__(self, tiers: int, destination: Path | None) -> None:
        self._files: list[BinaryIO] = []
        self._lengths = [0] * tiers
        self._places: dict[tuple[int, bytes], int] = {}
        folder = Path(tempfile.gettempdir()) if destination is None else destination.parent
        self._destination = destination or folder
        try:
            for _ in range(tiers):
                # Without a name where the system can do that: nothing is left after a crash.
                self._files.append(tempfile.TemporaryFile(dir=folder))  # noqa: SIM115
        except OSError as error:
            self.close()
            raise from_os_error(error, "write", self._destination) from error

    def add(self, tier: int, codec: int, data: bytes, name: bytes) -> ChunkEntry:
        """Append a chunk, of which `name` is the id, to its tier."""
        entry = ChunkEntry(tier, int(codec), len(data), name)
        if (tier, entry.id) not in self._places:
            self._places[tier, entry.id] = self._lengths[tier]
            try:
                self._files[tier].write(data)
            except OSError as error:
                raise from_os_error(error, "write", self._destination) from error
            self._lengths[tier] += len(data)
        return entry

    def order(self, entry: ChunkEntry) -> tuple[int, int]:
        """Return where a chunk stands among all: its tier, and its place there."""
        return entry.tier, self._places[entry.tier, entry.id]

    def read(self, tier: int, name: bytes, length: int) -> bytes | None:
        """Return a chunk by its id; None if it was not added."""
        place = self._places.get((tier, name))
        if place is None:
            return None
        file = self._files[tier]
        try:
            file.seek(place)
            data = file.read(length)
        except OSError as error:
            raise from_os_error(error, "read back", "temporary file") from error
        if len(data) != length:
            raise StoreUnavailable(f"a temporary file lost {length - len(data)} bytes")
        return data

    def finish(self) -> list[tuple[BinaryIO, int]]:
        """Return the files and their lengths, for copying."""
        try:
            for file in self._files:
                file.flush()
        except OSError as error:
            raise from_os_error(error, "write", self._destination) from error
        return list(zip(self._files, self._lengths, strict=True))

    def close(self) -> None:
        """Give the space back."""
        for file in self._files:
            # A full disk fails again here, with what is still buffered; nobody wants that any more.
            with suppress(OSError):
                file.close()
        self._files = []
