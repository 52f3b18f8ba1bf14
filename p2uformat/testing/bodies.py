"""Faults of the body: other bytes, more of them, or packed ones."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from gzip import compress
from typing import ClassVar, Final, Self

from p2uformat.testing.fault import SIZE, Fault, Role, Word, size_of
from p2uformat.testing.reply import Reply
from p2uformat.testing.source import Body, MemorySource

__all__ = ["MOST_ENDLESS", "Endless", "Flip", "Gzip", "Long", "Shift"]

# An endless body ends here, so that a reader without a limit of its own fails and not the machine.
MOST_ENDLESS: Final = 1 << 30


@dataclass(frozen=True, slots=True)
class Shift(Fault):
    """Bytes from another place under an honest head: only a digest can tell.

    Examples
    --------
    >>> str(Shift(-5))
    'shift-5'
    """

    spelling: ClassVar[str] = "shift+N shift-N"
    pattern: ClassVar[re.Pattern[str]] = re.compile(rf"shift([+-]){SIZE}")
    role: ClassVar[Role] = "place"
    by: int

    def __str__(self) -> str:
        return f"shift{self.by:+}"

    @classmethod
    def read(cls, match: re.Match[str]) -> Self:
        """Return the fault that was written."""
        return cls(size_of(match[2]) * (-1 if match[1] == "-" else 1))

    def apply(self, reply: Reply) -> Reply:
        """Return the reply with the bytes beside; zeros where there are none."""
        body = reply.body
        moved = replace(body, start=body.start + self.by, stop=body.stop + self.by)
        return replace(reply, body=moved)


@dataclass(frozen=True, slots=True)
class Long(Fault):
    """A body longer than was asked for, and an honest ``Content-Length`` for it.

    Examples
    --------
    >>> str(Long(5))
    'long+5'
    """

    spelling: ClassVar[str] = "long+N"
    pattern: ClassVar[re.Pattern[str]] = re.compile(rf"long\+{SIZE}")
    role: ClassVar[Role] = "length"
    by: int

    def __str__(self) -> str:
        return f"long+{self.by}"

    @classmethod
    def read(cls, match: re.Match[str]) -> Self:
        """Return the fault that was written."""
        return cls(size_of(match[1]))

    def apply(self, reply: Reply) -> Reply:
        """Return the reply with what follows in the object, then zeros."""
        return replace(reply, body=replace(reply.body, stop=reply.body.stop + self.by))


@dataclass(frozen=True, slots=True)
class Endless(Word):
    """A body in chunks that does not say its length and does not end before 1 GiB.

    Examples
    --------
    >>> str(Endless())
    'endless'
    """

    spelling: ClassVar[str] = "endless"
    pattern: ClassVar[re.Pattern[str]] = re.compile("endless")
    role: ClassVar[Role] = "length"

    def apply(self, reply: Reply) -> Reply:
        """Return the reply with what follows in the object, then zeros."""
        body = replace(reply.body, stop=reply.body.start + MOST_ENDLESS)
        return replace(reply, body=body, chunked=True)


@dataclass(frozen=True, slots=True)
class Flip(Fault):
    """The lowest bit of one byte of the body is wrong; of a shorter body, in its last byte.

    Examples
    --------
    >>> str(Flip(5))
    'flip@5'
    """

    spelling: ClassVar[str] = "flip@N"
    pattern: ClassVar[re.Pattern[str]] = re.compile(f"flip@{SIZE}")
    role: ClassVar[Role] = "bit"
    at: int

    def __str__(self) -> str:
        return f"flip@{self.at}"

    @classmethod
    def read(cls, match: re.Match[str]) -> Self:
        """Return the fault that was written."""
        return cls(size_of(match[1]))

    def apply(self, reply: Reply) -> Reply:
        """Return the reply with one wrong bit."""
        at = max(min(self.at, reply.body.size - 1), 0)
        return replace(reply, body=replace(reply.body, flip=at))


@dataclass(frozen=True, slots=True)
class Gzip(Word):
    """The body comes compressed, though nobody asked for that.

    Examples
    --------
    >>> str(Gzip())
    'gzip'
    """

    spelling: ClassVar[str] = "gzip"
    pattern: ClassVar[re.Pattern[str]] = re.compile("gzip")
    role: ClassVar[Role] = "length"

    def apply(self, reply: Reply) -> Reply:
        """Return the reply with its body compressed."""
        data = compress(reply.body.read(0, reply.body.size), compresslevel=1, mtime=0)
        packed = replace(reply, body=Body(MemorySource(data), 0, len(data)))
        return packed.with_headers(Content_Encoding="gzip")
