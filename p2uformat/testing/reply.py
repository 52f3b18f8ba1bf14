"""What is answered, as a sound server would; faults change that. Nothing here touches a socket."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import Final, Literal

from p2uformat.testing.http import (
    Request,
    Span,
    format_date,
    if_range_holds,
    names_etag,
    parse_range,
    unchanged_since,
)
from p2uformat.testing.source import EMPTY, Body, Entity, MemorySource

__all__ = ["Ending", "Reply", "partial", "plain", "respond", "whole"]

_METHODS: Final = frozenset({"GET", "HEAD"})
_NO_BODY: Final = frozenset({204, 304})


@dataclass(frozen=True, slots=True)
class Ending:
    """How a connection ends, and after how many bytes of body; None is before the head.

    Examples
    --------
    >>> Ending("reset", 10)
    Ending(how='reset', after=10)
    """

    how: Literal["close", "reset", "stall"]
    after: int | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer and how to send it.

    Attributes
    ----------
    request : Request
        What is answered.
    entity : Entity or None
        The object that was asked for, if there is one.
    status : int
        As in HTTP.
    headers : mapping of str to str
        All but ``Content-Length``, which follows from the body.
    body : Body
        What is sent; for HEAD its length is.
    span : Span or None
        The range that was asked for and served.
    chunked : bool
        Whether the body goes out in chunks, without its length and without an end.
    delay : float
        Seconds until the head is sent.
    rate : float or None
        Bytes per second of this answer.
    ending : Ending or None
        How the connection ends, if not by itself.
    """

    request: Request
    entity: Entity | None
    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Body = EMPTY
    span: Span | None = None
    chunked: bool = False
    delay: float = 0.0
    rate: float | None = None
    ending: Ending | None = None

    @property
    def total(self) -> int:
        """Size of the object, or of what is served instead of it."""
        return self.body.size if self.entity is None else self.entity.size

    @property
    def head(self) -> dict[str, str]:
        """All headers."""
        if self.chunked:
            return {**self.headers, "Transfer-Encoding": "chunked"}
        if self.status in _NO_BODY:
            return dict(self.headers)
        return {**self.headers, "Content-Length": str(self.body.size)}

    def with_headers(self, **headers: str | None) -> Reply:
        """Return the reply with other headers; ``_`` stands for ``-``, and None removes one.

        Examples
        --------
        >>> reply = Reply(Request("GET", "/a", {}), None, 200, {"ETag": '"a"'})
        >>> reply.with_headers(ETag=None, Retry_After="1").headers
        {'Retry-After': '1'}
        """
        merged = {**self.headers, **{k.replace("_", "-"): v for k, v in headers.items()}}
        return replace(self, headers={k: v for k, v in merged.items() if v is not None})


def plain(request: Request, entity: Entity | None, status: int, **headers: str | None) -> Reply:
    """Return an answer of one line of text that says the status.

    Examples
    --------
    >>> plain(Request("GET", "/a", {}), None, 404).body.read(0, 13)
    <memory at ...>
    """
    text = f"{status} {HTTPStatus(status).phrase}\n".encode()
    body = EMPTY if status in _NO_BODY else Body(MemorySource(text), 0, len(text))
    reply = Reply(request, entity, status, {"Content-Type": "text/plain"}, body)
    return reply.with_headers(**headers)


def whole(request: Request, entity: Entity) -> Reply:
    """Return the whole object with status 200."""
    headers = {
        "Content-Type": "application/octet-stream",
        "Accept-Ranges": "bytes",
        "ETag": entity.etag,
        "Last-Modified": format_date(entity.modified),
    }
    return Reply(request, entity, 200, headers, Body(entity.source, 0, entity.size))


def respond(request: Request, entity: Entity | None) -> Reply:
    """Return what a sound server answers.

    Examples
    --------
    >>> entity = Entity(MemorySource(b"abcdef"), '"1"', 0.0)
    >>> reply = respond(Request("GET", "/a", {"range": "bytes=2-3"}), entity)
    >>> reply.status, reply.headers["Content-Range"], bytes(reply.body.read(0, 2))
    (206, 'bytes 2-3/6', b'cd')
    """
    if request.method not in _METHODS:
        return plain(request, entity, 405, Allow="GET, HEAD")
    if entity is None:
        return plain(request, entity, 404)
    status = _condition(request.headers, entity)
    if status:
        return plain(request, entity, status, ETag=entity.etag)
    return _ranged(request, entity)


def _ranged(request: Request, entity: Entity) -> Reply:
    span = None
    if request.method == "GET" and if_range_holds(
        request.headers.get("if-range"), entity.etag, entity.modified
    ):
        span = parse_range(request.headers.get("range"), entity.size)
    if span is None:
        return whole(request, entity)
    if not span.size:
        reply = plain(request, entity, 416, Content_Range=f"bytes */{entity.size}")
        return replace(reply, span=span)
    return partial(whole(request, entity), span)


def partial(reply: Reply, span: Span) -> Reply:
    """Return `reply` with status 206 and the bytes of `span`."""
    said = f"bytes {span.start}-{span.stop - 1}/{reply.total}"
    body = replace(reply.body, start=span.start, stop=span.stop)
    return replace(reply, status=206, span=span, body=body).with_headers(Content_Range=said)


def _condition(headers: Mapping[str, str], entity: Entity) -> int:
    """Return the status that the conditions of a request lead to, 0 for none (RFC 9110, 13.2.2)."""
    if "if-match" in headers:
        if not names_etag(headers["if-match"], entity.etag, weak=False):
            return 412
    elif "if-unmodified-since" in headers and not unchanged_since(
        headers["if-unmodified-since"], entity.modified
    ):
        return 412
    if "if-none-match" in headers:
        return 304 if names_etag(headers["if-none-match"], entity.etag, weak=True) else 0
    since = headers.get("if-modified-since")
    return 304 if since is not None and unchanged_since(since, entity.modified) else 0
