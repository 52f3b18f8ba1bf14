"""Faults of the way: when and how fast an answer comes, and how its connection ends."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, Self

from p2uformat.testing.fault import SECONDS, SIZE, Fault, Role, decimal, size_of
from p2uformat.testing.reply import Ending, Reply

__all__ = ["Cut", "Delay", "Slow"]


@dataclass(frozen=True, slots=True)
class Cut(Fault):
    """The connection ends within an answer; without a number, instead of it.

    Attributes
    ----------
    how : {'close', 'reset', 'stall'}
        A clean end (FIN), an abortive one (RST), or nothing more and no end.
    after : int or None
        After so many bytes of body. A body that is shorter is sent whole before.

    Examples
    --------
    >>> str(Cut("reset", 7)), str(Cut("stall"))
    ('reset@7', 'stall')
    """

    spelling: ClassVar[str] = "reset[@N] close[@N] stall[@N]"
    pattern: ClassVar[re.Pattern[str]] = re.compile(f"(reset|close|stall)(?:@{SIZE})?")
    role: ClassVar[Role] = "ending"
    how: Literal["close", "reset", "stall"]
    after: int | None = None

    def __str__(self) -> str:
        return self.how if self.after is None else f"{self.how}@{self.after}"

    @classmethod
    def read(cls, match: re.Match[str]) -> Self:
        """Return the fault that was written."""
        hows: dict[str, Literal["close", "reset", "stall"]] = {
            "close": "close",
            "reset": "reset",
            "stall": "stall",
        }
        return cls(hows[match[1]], None if match[2] is None else size_of(match[2]))

    def apply(self, reply: Reply) -> Reply:
        """Return the reply with this ending."""
        return replace(reply, ending=Ending(self.how, self.after))


@dataclass(frozen=True, slots=True)
class Delay(Fault):
    """The head comes late.

    Examples
    --------
    >>> str(Delay(0.25))
    'delay(0.25)'
    """

    spelling: ClassVar[str] = "delay(SECONDS)"
    pattern: ClassVar[re.Pattern[str]] = re.compile(rf"delay\({SECONDS}\)")
    role: ClassVar[Role] = "delay"
    seconds: float

    def __str__(self) -> str:
        return f"delay({decimal(self.seconds)})"

    @classmethod
    def read(cls, match: re.Match[str]) -> Self:
        """Return the fault that was written."""
        return cls(float(match[1]))

    def apply(self, reply: Reply) -> Reply:
        """Return the reply, later."""
        return replace(reply, delay=self.seconds)


@dataclass(frozen=True, slots=True)
class Slow(Fault):
    """The body comes at `rate` bytes per second.

    Examples
    --------
    >>> str(Slow(1024))
    'slow(1024)'
    """

    spelling: ClassVar[str] = "slow(RATE)"
    pattern: ClassVar[re.Pattern[str]] = re.compile(r"slow\((0*[1-9]\d{0,14}[KMG]?)\)")
    role: ClassVar[Role] = "rate"
    rate: int

    def __str__(self) -> str:
        return f"slow({self.rate})"

    @classmethod
    def read(cls, match: re.Match[str]) -> Self:
        """Return the fault that was written."""
        return cls(size_of(match[1]))

    def apply(self, reply: Reply) -> Reply:
        """Return the reply, slower."""
        return replace(reply, rate=self.rate)
