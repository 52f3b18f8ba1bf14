"""The 128 bytes at the start of a file (SPEC.md, section 9)."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final, Self

from p2uformat.digest import digest
from p2uformat.errors import (
    DigestMismatch,
    Incomplete,
    LimitExceeded,
    Malformed,
    NotAnArtifact,
    UnsupportedFormat,
)
from p2uformat.limits import MAX_FILE_BYTES, MAX_ROOT_BYTES

__all__ = ["HEADER_BYTES", "MAGIC", "Header"]

MAGIC: Final = b"\x89P2U\r\n\x1a\n"
HEADER_BYTES: Final = 128
_FIELDS: Final = struct.Struct("<8sHHI32s32sIIQQQ")
_CHECK_BYTES: Final = 16
_MAJOR: Final = 1
_PARTIAL: Final = 1


@dataclass(frozen=True, slots=True)
class Header:
    """What the first 128 bytes say.

    Parameters
    ----------
    content_root, encoding_root : bytes
        Digests of the roots.
    content_length, encoding_length : int
        Bytes of the roots.
    manifest_length : int
        Offset of the first chunk.
    file_length : int
        Bytes of the complete file.
    entries : int
        Entries of the location table.
    minor : int
        Minor version.
    partial : bool
        Whether chunks may be missing anywhere, and a bitmap behind the file length says which.
    """

    content_root: bytes
    encoding_root: bytes
    content_length: int
    encoding_length: int
    manifest_length: int
    file_length: int
    entries: int
    minor: int = 0
    partial: bool = False

    @property
    def bitmap_length(self) -> int:
        """Bytes behind the file length: of a partial file a bit for each table entry."""
        return (self.entries + 7) >> 3 if self.partial else 0

    def encode(self) -> bytes:
        """Return the 128 bytes."""
        fields = _FIELDS.pack(
            MAGIC,
            _MAJOR,
            self.minor,
            _PARTIAL if self.partial else 0,
            self.content_root,
            self.encoding_root,
            self.content_length,
            self.encoding_length,
            self.manifest_length,
            self.file_length,
            self.entries,
        )
        return fields + digest(fields)[:_CHECK_BYTES]

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Return the header that `data`, the start of a file, holds.

        Raises
        ------
        NotAnArtifact, UnsupportedFormat, Incomplete, CorruptData
            In this order: magic, length, version, digest, flags, limits.
        """
        if data[: len(MAGIC)] != MAGIC:
            raise NotAnArtifact("not a p2u file, by its first bytes")
        if len(data) < HEADER_BYTES:
            raise Incomplete(f"expected a header of {HEADER_BYTES} bytes, got {len(data)}")
        _, major, minor, flags, content, encoding, *lengths = _FIELDS.unpack_from(data)
        if major != _MAJOR:
            raise UnsupportedFormat(
                f"format version {major}.{minor}, this reader knows {_MAJOR}",
                hint="install a newer p2uformat",
            )
        _check_digest(data)
        if flags & ~_PARTIAL:
            raise UnsupportedFormat(f"unknown flags {flags:#x}", hint="install a newer p2uformat")
        content_length, encoding_length, manifest, file, entries = lengths
        header = cls(
            content,
            encoding,
            content_length,
            encoding_length,
            manifest,
            file,
            entries,
            minor,
            bool(flags),
        )
        header.check()
        return header

    def check(self) -> None:
        """Compare the lengths with the limits and with each other, before anything is allocated."""
        longest = max(self.content_length, self.encoding_length)
        if longest > MAX_ROOT_BYTES:
            raise LimitExceeded(f"root: expected at most {MAX_ROOT_BYTES} bytes, got {longest}")
        if self.file_length > MAX_FILE_BYTES:
            raise LimitExceeded(f"file length: {self.file_length} is above {MAX_FILE_BYTES}")
        roots = HEADER_BYTES + self.content_length + self.encoding_length
        if not roots + 8 * self.entries <= self.manifest_length <= self.file_length:
            raise Malformed(
                f"header: roots end at {roots}, {self.entries} table entries, manifest at"
                f" {self.manifest_length}, file at {self.file_length}",
                region="header",
                offset=0,
            )


def _check_digest(data: bytes) -> None:
    covered = HEADER_BYTES - _CHECK_BYTES
    expected, got = data[covered:HEADER_BYTES], digest(data[:covered])[:_CHECK_BYTES]
    if expected != got:
        raise DigestMismatch(
            f"header: expected digest {expected.hex()}, got {got.hex()}",
            region="header",
            offset=0,
            expected=expected.hex(),
            got=got.hex(),
        )
