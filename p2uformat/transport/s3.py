"""Objects on S3 and its likes, through s3fs: bodies as they come, and heads that are looked at."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from p2uformat.transport.fault import Fault
from p2uformat.transport.foreign import fault_from, status_of, text_of
from p2uformat.transport.http import content_range
from p2uformat.transport.source import Answer, Source

__all__ = ["S3Source"]

_READ_BYTES: Final = 1 << 18


class S3Source(Source):
    """An object of s3fs."""

    async def _ask(self, start: int, stop: int | None) -> Answer:
        files = self.files
        bucket, key, version = files.split_path(self.path)
        extra = {} if stop is None else {"Range": f"bytes={start}-{stop - 1}"}
        if version:
            extra["VersionId"] = version
        try:
            # s3fs' own reading returns what comes, whichever range that is.
            found = await asyncio.wait_for(
                files._call_s3("get_object", Bucket=bucket, Key=key, **extra),  # noqa: SLF001
                2 * self.policy.stall,
            )
        except Exception as error:  # noqa: BLE001 - botocore, aiohttp and s3fs have trees of their own
            return _refused(self.name, error)
        return self._answer(found, stop)

    def _answer(self, found: Any, stop: int | None) -> Answer:  # noqa: ANN401 - botocore has no types
        body, length = found["Body"], found.get("ContentLength")
        read = _Reader(body, self.policy.stall).read
        if found.get("ContentEncoding") not in (None, "", "identity", "aws-chunked"):
            body.close()
            raise Fault(f"the object is encoded as {found['ContentEncoding']}", strict=True)
        named = content_range(found.get("ContentRange"))
        if named is None or stop is None:
            return Answer(False, 0, length, length, read, body.close)  # noqa: FBT003
        first, last, total = named
        if length is not None and length != last - first:
            body.close()
            raise Fault(f"expected {last - first} bytes, the answer has {length}", strict=True)
        return Answer(True, first, last, total, read, body.close)  # noqa: FBT003


class _Reader:
    """The body of an answer."""

    __slots__ = ("_body", "_stall")

    def __init__(self, body: Any, stall: float) -> None:  # noqa: ANN401
        self._body = body
        self._stall = stall

    async def read(self) -> bytes:
        try:
            data: bytes = await asyncio.wait_for(self._body.read(_READ_BYTES), self._stall)
        except TimeoutError as error:
            raise Fault("no byte came for too long") from error
        except Exception as error:
            raise Fault(f"the connection failed: {text_of(error)}") from error
        return data


def _refused(name: str, error: Exception) -> Answer:
    if status_of(error) == 416:
        return _unsatisfied(error)
    raise fault_from(name, error) from error


def _unsatisfied(error: Exception) -> Answer:
    for found in (error, error.__cause__):
        response = getattr(found, "response", None)
        if isinstance(response, dict):
            size = response.get("Error", {}).get("ActualObjectSize", "0")
            break
    else:
        size = "0"

    async def nothing() -> bytes:
        return b""

    total = int(size) if str(size).isdigit() else 0
    return Answer(True, 0, 0, total, nothing, lambda: None)  # noqa: FBT003
