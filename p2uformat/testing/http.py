"""As much of HTTP/1.1 (RFC 9110, 9112) as one range of an object takes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import formatdate, parsedate_to_datetime
from http import HTTPStatus
from typing import Final
from urllib.parse import unquote, urlsplit

from p2uformat.errors import Malformed

__all__ = [
    "MOVED",
    "Request",
    "Span",
    "format_date",
    "format_head",
    "if_range_holds",
    "names_etag",
    "parse_range",
    "parse_request",
    "unchanged_since",
]

# Each object has this second path, where `redirect` sends a client.
MOVED: Final = "~moved/"
_RANGE: Final = re.compile(r"bytes=(?:(\d{1,18})-(\d{1,18})?|-(\d{1,18}))")
_ETAG: Final = re.compile(r'(W/)?("[^"]*")')
_LINE: Final = re.compile(r"([A-Z]+) (\S+) HTTP/1\.([01])")


@dataclass(frozen=True, slots=True)
class Span:
    """Half-open range of bytes of an object; one that is empty cannot be satisfied.

    Examples
    --------
    >>> Span(2, 5).size
    3
    """

    start: int
    stop: int

    @property
    def size(self) -> int:
        """How many bytes it covers."""
        return self.stop - self.start


@dataclass(frozen=True, slots=True)
class Request:
    """The head of a request.

    Attributes
    ----------
    method, target : str
        As sent; the target is percent-encoded and may have a query.
    headers : mapping of str to str
        Names in lower case.
    minor : int
        0 for HTTP/1.0, 1 for HTTP/1.1.
    """

    method: str
    target: str
    headers: Mapping[str, str]
    minor: int = 1

    @property
    def name(self) -> str:
        """Name of the object that is meant, under either of its paths."""
        return unquote(urlsplit(self.target).path).removeprefix("/").removeprefix(MOVED)

    @property
    def keeps_alive(self) -> bool:
        """Whether the client wants to ask again over the same connection."""
        wish = self.headers.get("connection", "").lower()
        return "keep-alive" in wish if self.minor == 0 else "close" not in wish


def parse_request(head: bytes) -> Request:
    r"""Return the request that `head` spells, its lines ended by CR LF.

    Raises
    ------
    Malformed
        If it is no request of HTTP/1.0 or 1.1.

    Examples
    --------
    >>> parse_request(b"GET /a%20b?x=1 HTTP/1.1\r\nHost: h\r\n").name
    'a b'
    """
    line, *fields = head.decode("latin-1").removesuffix("\r\n").split("\r\n")
    match = _LINE.fullmatch(line)
    if not match:
        raise Malformed(f"not a request line: {line[:80]!r}")
    headers = {}
    for field in fields:
        name, colon, value = field.partition(":")
        if not colon or not name or name != name.strip():
            raise Malformed(f"not a header field: {field[:80]!r}")
        headers[name.lower()] = value.strip()
    return Request(match[1], match[2], headers, int(match[3]))


def parse_range(text: str | None, size: int) -> Span | None:
    """Return the range that a header asks for, or None where it is to be ignored.

    As RFC 9110 allows, other units, several ranges and nonsense are ignored. An empty span is a
    range that cannot be satisfied.

    Examples
    --------
    >>> parse_range("bytes=2-3", 10), parse_range("bytes=-4", 10)
    (Span(start=2, stop=4), Span(start=6, stop=10))
    >>> parse_range("bytes=10-", 10)
    Span(start=10, stop=10)
    >>> parse_range("bytes=0-1,4-5", 10) is None
    True
    """
    match = _RANGE.fullmatch((text or "").strip())
    if not match:
        return None
    if match[3] is not None:
        return Span(max(size - int(match[3]), 0), size)
    start, last = int(match[1]), int(match[2] or size)
    if match[2] is not None and last < start:
        return None
    return Span(start, max(min(last + 1, size), start))


def names_etag(field: str, etag: str, *, weak: bool) -> bool:
    """Return whether `etag` is in a list of ETags, or the list is ``*``.

    Parameters
    ----------
    field : str
        Value of ``If-Match`` or ``If-None-Match``.
    etag : str
        The object's, with quotes.
    weak : bool
        Whether a weak ETag (``W/``) counts, as it does for ``If-None-Match``.

    Examples
    --------
    >>> names_etag('W/"a", "b"', '"a"', weak=False), names_etag("*", '"a"', weak=False)
    (False, True)
    """
    if field.strip() == "*":
        return True
    return any(tag == etag and (weak or not mark) for mark, tag in _ETAG.findall(field))


def if_range_holds(field: str | None, etag: str, modified: float) -> bool:
    """Return whether the range may be served: without ``If-Range``, or if it names this version.

    Examples
    --------
    >>> if_range_holds('"a"', '"a"', 0.0), if_range_holds('W/"a"', '"a"', 0.0)
    (True, False)
    """
    return field is None or field.strip() in (etag, format_date(modified))


def unchanged_since(field: str, modified: float) -> bool:
    """Return whether an object is not newer than the date in `field`; a bad date says no.

    Examples
    --------
    >>> unchanged_since("Thu, 01 Jan 1970 00:00:05 GMT", 5.5), unchanged_since("soon", 0)
    (True, False)
    """
    try:
        return int(modified) <= parsedate_to_datetime(field).timestamp()
    except (ValueError, OverflowError):
        return False


def format_date(seconds: float) -> str:
    """Return a time as HTTP writes it.

    Examples
    --------
    >>> format_date(0)
    'Thu, 01 Jan 1970 00:00:00 GMT'
    """
    return formatdate(int(seconds), usegmt=True)


def format_head(status: int, headers: Mapping[str, str]) -> bytes:
    r"""Return the head of an answer, its empty line included.

    Examples
    --------
    >>> format_head(204, {"Server": "s"})
    b'HTTP/1.1 204 No Content\r\nServer: s\r\n\r\n'
    """
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")
