"""Chunks on their way into a file: a temporary file per tier, in layout order."""

from __future__ import annotations

import tempfile
from typing import BinaryIO

from p2uformat.digest import digest
from p2uformat.errors import from_os_error
from p2uformat.manifest import ChunkEntry

__all__ = ["Spools"]


class Spools:
    """One temporary file per tier; a chunk that is there already is not written again.

    Parameters
    ----------
    tiers : int
        Number of tiers.
    folder : str
        Where the files lie: the destination's folder, which has to hold the result anyway.
    """

    def __init__(self, tiers: int, folder: str) -> None:
        self._files: list[BinaryIO] = []
        self._lengths = [0] * tiers
        self._places: dict[tuple[int, bytes], int] = {}
        self._folder = folder
        try:
            for _ in range(tiers):
                # Without a name where the system can do that: nothing is left after a crash.
                self._files.append(tempfile.TemporaryFile(dir=folder))  # noqa: SIM115
        except OSError as error:
            self.close()
            raise from_os_error(error, "write to", folder) from error

    def add(self, tier: int, codec: int, data: bytes) -> ChunkEntry:
        """Append a chunk to its tier."""
        entry = ChunkEntry(tier, int(codec), len(data), digest(data))
        if (tier, entry.id) not in self._places:
            self._places[tier, entry.id] = self._lengths[tier]
            try:
                self._files[tier].write(data)
            except OSError as error:
                raise from_os_error(error, "write to", self._folder) from error
            self._lengths[tier] += len(data)
        return entry

    def order(self, entry: ChunkEntry) -> tuple[int, int]:
        """Return where a chunk stands among all: its tier, and its place there."""
        return entry.tier, self._places[entry.tier, entry.id]

    def finish(self) -> list[tuple[BinaryIO, int]]:
        """Return the files and their lengths, for copying."""
        try:
            for file in self._files:
                file.flush()
        except OSError as error:
            raise from_os_error(error, "write to", self._folder) from error
        return list(zip(self._files, self._lengths, strict=True))

    def close(self) -> None:
        """Give the space back."""
        for file in self._files:
            file.close()
        self._files = []
