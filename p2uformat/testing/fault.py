"""What every fault has: how it is written, what it changes, what it makes of an answer."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from typing import ClassVar, Final, Literal, Self

from p2uformat.testing.reply import Reply

__all__ = ["ROLES", "SECONDS", "SIZE", "Fault", "Role", "Word", "decimal", "size_of"]

Role = Literal["answer", "place", "length", "bit", "etag", "delay", "rate", "ending"]
# Faults of one step apply in this order, however they are written: a wrong bit in a body that
# another fault replaces would be one that nobody sees.
ROLES: Final[tuple[Role, ...]] = (
    "answer",
    "place",
    "length",
    "bit",
    "etag",
    "delay",
    "rate",
    "ending",
)

SIZE: Final = r"(\d{1,15}[KMG]?)"
SECONDS: Final = r"(\d{1,6}(?:\.\d{1,9})?)"
_UNITS: Final = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


def size_of(text: str) -> int:
    """Return a number of bytes; ``K``, ``M`` and ``G`` are powers of 1024.

    Examples
    --------
    >>> size_of("64K"), size_of("7")
    (65536, 7)
    """
    return int(text[:-1]) * _UNITS[text[-1]] if text[-1] in _UNITS else int(text)


def decimal(seconds: float) -> str:
    """Return seconds as they are written, to the nanosecond.

    Examples
    --------
    >>> decimal(2.0), decimal(0.25)
    ('2', '0.25')
    """
    return f"{seconds:.9f}".rstrip("0").rstrip(".")


class Fault(ABC):
    """One way in which an answer goes wrong.

    Attributes
    ----------
    spelling : str
        How it is written, for messages.
    pattern : re.Pattern
        What it matches in a script.
    role : str
        What it changes; two faults of one step never change the same.
    """

    __slots__ = ()
    spelling: ClassVar[str]
    pattern: ClassVar[re.Pattern[str]]
    role: ClassVar[Role]

    @classmethod
    @abstractmethod
    def read(cls, match: re.Match[str]) -> Self:
        """Return the fault that was written."""

    @abstractmethod
    def apply(self, reply: Reply) -> Reply:
        """Return what becomes of an answer."""


class Word(Fault):
    """A fault without parameters."""

    __slots__ = ()

    def __str__(self) -> str:
        return self.spelling

    @classmethod
    def read(cls, match: re.Match[str]) -> Self:
        """Return the fault that was written."""
        del match
        return cls()
