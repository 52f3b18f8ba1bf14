"""Faults of the head: another status, another place, another range than was asked for."""

from __future__ import annotations

import re
from dataclasses import dataclass
from email.utils import formatdate
from time import time
from typing import ClassVar, Self

from p2uformat.testing.fault import SECONDS, SIZE, Fault, Role, Word, decimal, size_of
from p2uformat.testing.http import MOVED, Span
from p2uformat.testing.reply import Reply, partial, plain, whole
from p2uformat.testing.source import Entity

__all__ = ["NoRange", "OtherEtag", "OtherTotal", "Redirect", "ShiftRange", "Status", "Whole"]


def _entity(reply: Reply) -> Entity:
    """Return the object of a reply, or its text where there is none."""
    return reply.entity or Entity(reply.body.source, '"none"', 0.0)


def _as_range(reply: Reply) -> Reply:
    """Return the reply as one of a range, so that no fault is lost on a request without one."""
    if reply.status == 206 and reply.span:
        return reply
    entity = _entity(reply)
    return partial(whole(reply.request, entity), Span(0, entity.size))


@dataclass(frozen=True, slots=True)
class Status(Fault):
    """Another status instead of the object.

    Attributes
    ----------
    code : int
        One of those that servers of objects really send.
    retry_after : float or None
        ``Retry-After`` in seconds. Fractions are no HTTP, but keep tests short.
    as_date : bool
        Whether it is sent as a date.

    Examples
    --------
    >>> str(Status(503)), str(Status(429, 2)), str(Status(429, 2, as_date=True))
    ('503', '429(2)', '429(date+2)')
    """

    spelling: ClassVar[str] = (
        "400 401 403 404 405 408 410 412 416 429 500 502 503 504, 503(SECONDS), 503(date+SECONDS)"
    )
    pattern: ClassVar[re.Pattern[str]] = re.compile(
        r"(40[01345]|408|41[026]|429|50[0234])"
        rf"(?:\({SECONDS}\)|\((date)(?:\+{SECONDS})?\))?"
    )
    role: ClassVar[Role] = "answer"
    code: int
    retry_after: float | None = None
    as_date: bool = False

    def __str__(self) -> str:
        if self.retry_after is None:
            return str(self.code)
        date = "date+" if self.as_date else ""
        return f"{self.code}({date}{decimal(self.retry_after)})"

    @classmethod
    def read(cls, match: re.Match[str]) -> Self:
        """Return the fault that was written; ``date`` alone is a second ahead."""
        if match[3]:
            return cls(int(match[1]), float(match[4] or 1), as_date=True)
        return cls(int(match[1]), None if match[2] is None else float(match[2]))

    def apply(self, reply: Reply) -> Reply:
        """Return an answer with this status and the headers that belong to it."""
        refused = plain(reply.request, reply.entity, self.code, Retry_After=self._retry())
        if self.code == 401:
            return refused.with_headers(WWW_Authenticate='Basic realm="p2uformat"')
        total = f"bytes */{reply.total}" if self.code == 416 else None
        return refused.with_headers(Content_Range=total)

    def _retry(self) -> str | None:
        if self.retry_after is None:
            return None
        if self.as_date:
            return formatdate(time() + self.retry_after, usegmt=True)
        return decimal(self.retry_after)


@dataclass(frozen=True, slots=True)
class Redirect(Word):
    """The object under another path (302). The request that follows takes the next step.

    Examples
    --------
    >>> str(Redirect())
    'redirect'
    """

    spelling: ClassVar[str] = "redirect"
    pattern: ClassVar[re.Pattern[str]] = re.compile("redirect")
    role: ClassVar[Role] = "answer"

    def apply(self, reply: Reply) -> Reply:
        """Return where to go."""
        rest = reply.request.target.removeprefix("/").removeprefix(MOVED)
        return plain(reply.request, reply.entity, 302, Location=f"/{MOVED}{rest}")


@dataclass(frozen=True, slots=True)
class Whole(Word):
    """``Range`` is ignored: the whole object with status 200.

    Examples
    --------
    >>> str(Whole())
    '200'
    """

    spelling: ClassVar[str] = "200"
    pattern: ClassVar[re.Pattern[str]] = re.compile("200|whole")
    role: ClassVar[Role] = "answer"

    def apply(self, reply: Reply) -> Reply:
        """Return the whole object."""
        return whole(reply.request, _entity(reply))


@dataclass(frozen=True, slots=True)
class NoRange(Word):
    """A range (206) that does not say which.

    Examples
    --------
    >>> str(NoRange())
    'norange'
    """

    spelling: ClassVar[str] = "norange"
    pattern: ClassVar[re.Pattern[str]] = re.compile("norange")
    role: ClassVar[Role] = "answer"

    def apply(self, reply: Reply) -> Reply:
        """Return the reply without its ``Content-Range``."""
        return _as_range(reply).with_headers(Content_Range=None)


@dataclass(frozen=True, slots=True)
class ShiftRange(Fault):
    """Another range than was asked for, and an honest head for it.

    Examples
    --------
    >>> str(ShiftRange(5)), str(ShiftRange(-5))
    ('range+5', 'range-5')
    """

    spelling: ClassVar[str] = "range+N range-N"
    pattern: ClassVar[re.Pattern[str]] = re.compile(rf"range([+-]){SIZE}")
    role: ClassVar[Role] = "answer"
    by: int

    def __str__(self) -> str:
        return f"range{self.by:+}"

    @classmethod
    def read(cls, match: re.Match[str]) -> Self:
        """Return the fault that was written."""
        return cls(size_of(match[2]) * (-1 if match[1] == "-" else 1))

    def apply(self, reply: Reply) -> Reply:
        """Return the range beside; below byte 0 it starts there, above the end there are zeros."""
        reply = _as_range(reply)
        span = reply.span or Span(0, 0)
        start = max(span.start + self.by, 0)
        return partial(reply, Span(start, start + span.size))


@dataclass(frozen=True, slots=True)
class OtherTotal(Fault):
    """Another size of the object in ``Content-Range``.

    Examples
    --------
    >>> str(OtherTotal(5))
    'range/5'
    """

    spelling: ClassVar[str] = "range/N"
    pattern: ClassVar[re.Pattern[str]] = re.compile(f"range/{SIZE}")
    role: ClassVar[Role] = "answer"
    total: int

    def __str__(self) -> str:
        return f"range/{self.total}"

    @classmethod
    def read(cls, match: re.Match[str]) -> Self:
        """Return the fault that was written."""
        return cls(size_of(match[1]))

    def apply(self, reply: Reply) -> Reply:
        """Return the reply with this size."""
        reply = _as_range(reply)
        said = reply.headers["Content-Range"].partition("/")[0]
        return reply.with_headers(Content_Range=f"{said}/{self.total}")


@dataclass(frozen=True, slots=True)
class OtherEtag(Word):
    """Another ETag for the same bytes.

    Examples
    --------
    >>> str(OtherEtag())
    'etag'
    """

    spelling: ClassVar[str] = "etag"
    pattern: ClassVar[re.Pattern[str]] = re.compile("etag")
    role: ClassVar[Role] = "etag"

    def apply(self, reply: Reply) -> Reply:
        """Return the reply with an ETag that no object has."""
        return reply.with_headers(ETag=f'"other-{_entity(reply).etag[1:]}')
