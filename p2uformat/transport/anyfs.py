"""Objects on any other of fsspec's file systems, through its one call for a range.

What such a call returns is whole or an error; a range is asked for in smaller spans, because
nothing of it can be kept before all of it is there.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from p2uformat.transport.fault import Fault, missing
from p2uformat.transport.foreign import fault_from
from p2uformat.transport.source import Answer, Source

__all__ = ["AnySource"]

_SLOWEST: Final = 32 << 10  # bytes a second below which a call is taken for stalled


class AnySource(Source):
    """An object of a file system that is known by fsspec's interface alone."""

    span_bytes = 1 << 22

    async def _ask(self, start: int, stop: int | None) -> Answer:
        files = self.files
        size = self._total
        if size is None:
            size = await self._size(files)
        end = size if stop is None else min(stop, size)
        data = b"" if end <= start else await self._range(files, start, end)
        partial = len(data) <= end - start or stop is None
        if partial and len(data) < end - start:
            raise Fault(f"expected {end - start} bytes, got {len(data)}")
        parts = [data]

        async def read() -> bytes:
            return parts.pop() if parts else b""

        return Answer(partial, start, end, size, read, lambda: None)

    async def _size(self, files: Any) -> int:  # noqa: ANN401 - fsspec has no types
        self.counts.requests += 1
        found = await self._call(files, "info", self.path)
        if found.get("type") == "directory":
            raise missing(self.name)
        if not isinstance(found.get("size"), int):
            raise Fault("the store does not say how long it is", strict=True)
        return int(found["size"])

    async def _range(self, files: Any, start: int, stop: int) -> bytes:  # noqa: ANN401
        longest = self.policy.stall + (stop - start) / _SLOWEST
        data = await self._call(
            files, "cat_file", self.path, start=start, end=stop, longest=longest
        )
        return bytes(data)

    async def _call(
        self,
        files: Any,  # noqa: ANN401
        method: str,
        *arguments: object,
        longest: float | None = None,
        **named: object,
    ) -> Any:  # noqa: ANN401
        if getattr(files, "async_impl", False):
            call = getattr(files, f"_{method}")(*arguments, **named)
        else:
            call = asyncio.to_thread(getattr(files, method), *arguments, **named)
        try:
            return await asyncio.wait_for(call, longest or self.policy.stall)
        except TimeoutError as error:
            raise Fault("no answer came for too long") from error
        except Fault:
            raise
        except Exception as error:
            raise fault_from(self.name, error) from error
