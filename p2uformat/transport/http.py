"""Objects on web servers: fsspec's session and options, but no answer taken on trust.

fsspec's own reading returns the whole body where a server ignores the range, and does not look at
Content-Range.
"""

from __future__ import annotations

import asyncio
import email.utils
import re
import time
from typing import Any, Final

from p2uformat.transport.fault import Fault, of_status
from p2uformat.transport.source import Answer, Source

__all__ = ["HttpSource", "content_range", "retry_after"]

_READ_BYTES: Final = 1 << 20
_CONTENT_RANGE: Final = re.compile(
    r"\s*bytes\s+(\d{1,19})-(\d{1,19})/(\d{1,19}|\*)\s*", re.IGNORECASE
)
_UNSATISFIED: Final = re.compile(r"\s*bytes\s+\*/(\d{1,19})\s*", re.IGNORECASE)
_LONGEST_WAIT: Final = 3600.0


class HttpSource(Source):
    """An object of fsspec's ``http`` file system."""

    async def _ask(self, start: int, stop: int | None) -> Answer:
        files = self.files  # which says what to install, where aiohttp is missing
        import aiohttp  # noqa: PLC0415 - an extra

        try:
            response = await self._get(files, start, stop)
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise _broken(error) from error
        except ValueError as error:  # a URL that is none
            raise of_status(self.name, 400, str(error), None) from error
        try:
            return self._answer(response, stop)
        except BaseException:
            response.close()
            raise

    async def _get(self, files: Any, start: int, stop: int | None) -> Any:  # noqa: ANN401 - an extra
        import aiohttp  # noqa: PLC0415

        session = await files.set_session()
        options = dict(files.kwargs)
        # Compressed on the way, bytes could not be counted, and their offsets mean nothing.
        headers = {**(options.pop("headers", None) or {}), "Accept-Encoding": "identity"}
        if stop is not None:
            headers["Range"] = f"bytes={start}-{stop - 1}"
        stall = self.policy.stall
        options["timeout"] = aiohttp.ClientTimeout(total=None, sock_connect=stall, sock_read=stall)
        return await session.get(
            files.encode_url(self.path), headers=headers, read_bufsize=_READ_BYTES, **options
        )

    def _answer(self, response: Any, stop: int | None) -> Answer:  # noqa: ANN401
        status, headers = response.status, response.headers
        if status == 416:
            return _unsatisfied(response)
        if status not in (200, 206):
            raise of_status(
                self.name, status, response.reason or "", retry_after(headers.get("Retry-After"))
            )
        encoding = headers.get("Content-Encoding", "identity").lower()
        if encoding != "identity":
            raise Fault(f"the server sends it encoded as {encoding}, unasked", strict=True)
        length = response.content_length
        reader = _Reader(response)
        if status == 200:
            return Answer(False, 0, length, length, reader.read, response.close)  # noqa: FBT003
        found = content_range(headers.get("Content-Range"))
        if found is None or stop is None:
            raise Fault("the answer does not say which range it is", strict=True)
        first, last, total = found
        if length is not None and length != last - first:
            raise Fault(f"expected {last - first} bytes, the answer has {length}", strict=True)
        return Answer(True, first, last, total, reader.read, reader.close)  # noqa: FBT003


class _Reader:
    """The body of a response."""

    __slots__ = ("_response",)

    def __init__(self, response: Any) -> None:  # noqa: ANN401
        self._response = response

    async def read(self) -> bytes:
        import aiohttp  # noqa: PLC0415

        try:
            data: bytes = await self._response.content.readany()
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise _broken(error) from error
        return data

    def close(self) -> None:
        # A body that was read to its end leaves a connection for the next request.
        if self._response.content.at_eof():
            self._response.release()
        else:
            self._response.close()


def _unsatisfied(response: Any) -> Answer:  # noqa: ANN401
    """Return the answer of a server whose object ends before the range."""
    found = _UNSATISFIED.fullmatch(response.headers.get("Content-Range", ""))
    if found is None:
        raise Fault("the server has no such range, and does not say which it has", strict=True)

    async def nothing() -> bytes:
        return b""

    return Answer(True, 0, 0, int(found[1]), nothing, response.close)  # noqa: FBT003


def _broken(error: BaseException) -> Fault:
    if isinstance(error, asyncio.TimeoutError):
        return Fault("no byte came for too long")
    text = str(error) or type(error).__name__
    return Fault(f"the connection failed: {text[:200].lower()}")


def content_range(text: str | None) -> tuple[int, int, int | None] | None:
    """Return the half-open range that a header names, and the length of the whole.

    Examples
    --------
    >>> content_range("bytes 0-99/1000"), content_range("bytes 5-4/10"), content_range(None)
    ((0, 100, 1000), None, None)
    """
    found = _CONTENT_RANGE.fullmatch(text or "")
    if found is None:
        return None
    start, stop = int(found[1]), int(found[2]) + 1
    total = None if found[3] == "*" else int(found[3])
    if start >= stop or (total is not None and stop > total):
        return None
    return start, stop, total


def retry_after(text: str | None) -> float | None:
    """Return the seconds to wait that a header names, as a number or as a date.

    Examples
    --------
    >>> retry_after("2"), retry_after("soon"), retry_after(None)
    (2.0, None, None)
    """
    if not text:
        return None
    try:
        return min(max(float(text), 0.0), _LONGEST_WAIT)
    except ValueError:
        pass
    try:
        moment = email.utils.parsedate_to_datetime(text).timestamp()
    except (ValueError, TypeError):
        return None
    return min(max(moment - time.time(), 0.0), _LONGEST_WAIT)
