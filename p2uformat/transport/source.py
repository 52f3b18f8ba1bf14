"""An object behind a URL, of which ranges are asked: what every kind of store has in common."""

from __future__ import annotations

import os
import threading
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

import fsspec

from p2uformat.errors import TransferFailed
from p2uformat.transport.address import Address
from p2uformat.transport.fault import Fault, changed, cut, lasting, needs_package, ranges_ignored
from p2uformat.transport.pieces import SPAN_BYTES
from p2uformat.transport.policy import Policy

__all__ = ["Answer", "Beginning", "Counts", "Source"]

_SAME_BYTES: Final = 512  # of a p2u file they name its roots


@dataclass(slots=True)
class Answer:
    """What a store says to a request for a range, before its bytes.

    Parameters
    ----------
    partial : bool
        Whether it sends the range; otherwise it sends the whole object.
    start, stop : int
        The range that it says it sends.
    total : int or None
        Length of the object.
    read : callable
        Returns further bytes; none at the end.
    close : callable
        Lets go of the connection.
    """

    partial: bool
    start: int
    stop: int | None
    total: int | None
    read: Callable[[], Awaitable[bytes]]
    close: Callable[[], None]


@dataclass(frozen=True, slots=True)
class Beginning:
    """The first bytes of an object.

    Parameters
    ----------
    data : bytes
        The bytes.
    total : int
        Length of the object.
    ranges : bool
        Whether the store gives ranges.
    """

    data: bytes
    total: int
    ranges: bool


@dataclass(slots=True)
class Counts:
    """What was asked for; objects that are read together share one.

    Parameters
    ----------
    requests, received : int
        Requests sent, and bytes of bodies received, by this process.
    """

    requests: int = 0
    received: int = 0


class Source(ABC):
    """An object behind a URL.

    Connections belong to a process: after a fork the child opens its own.

    Parameters
    ----------
    address : Address
        The object.
    policy : Policy
        How long to wait for bytes.

    Attributes
    ----------
    name : str
        The URL for messages.
    counts : Counts
        Requests sent, and bytes of bodies received, by this process.
    """

    span_bytes = SPAN_BYTES

    def __init__(self, address: Address, policy: Policy) -> None:
        self.address = address
        self.policy = policy
        self.name = address.name
        self.counts = Counts()
        self._lock = threading.Lock()
        self._pid = -1
        self._files: Any = None
        self._path = ""
        self._beginning: bytes = b""
        self._total: int | None = None

    @abstractmethod
    async def _ask(self, start: int, stop: int | None) -> Answer:
        """Ask for a range, or for all of the object from its start; raise `Fault`."""

    @property
    def requests(self) -> int:
        """Requests sent by this process."""
        return self.counts.requests

    @property
    def received(self) -> int:
        """Bytes of bodies received by this process."""
        return self.counts.received

    @property
    def files(self) -> Any:  # noqa: ANN401 - fsspec has no types
        """The file system, of this process."""
        with self._lock:
            if self._pid != os.getpid():
                self._files, self._path = self._connect()
                self._pid = os.getpid()
            return self._files

    @property
    def path(self) -> str:
        """What the file system calls the object."""
        assert self.files is not None
        return self._path

    def _connect(self) -> tuple[Any, str]:
        options = dict(self.address.options)
        if self._pid != -1:
            # A cached one belongs to the process that this one was forked from.
            options["skip_instance_cache"] = True
        try:
            files, path = fsspec.core.url_to_fs(self.address.url, **options)
        except (ImportError, ValueError) as error:
            raise needs_package(self.address.protocol, error) from error
        except TypeError as error:
            raise lasting_options(self.name, error) from error
        return files, str(path)

    async def begin(self, length: int) -> Beginning:
        """Return up to `length` first bytes, and what there is to know before reading on."""
        answer = await self._asked(0, length)
        try:
            total = answer.total
            if total is None:
                raise lasting(
                    TransferFailed(
                        f"the server of {self.name!r} does not say how long it is",
                        path=self.name,
                    )
                )
            expected = min(length, total)
            if answer.partial and (answer.start, answer.stop) != (0, expected):
                raise _wrong_range((0, expected), answer)
            data = b"".join([part async for part in self._parts(answer, expected)])
        finally:
            answer.close()
        self._beginning, self._total = data[:_SAME_BYTES], total
        return Beginning(data, total, answer.partial or total <= length)

    async def stream(self, start: int, stop: int) -> AsyncGenerator[bytes, None]:
        """Yield the bytes of a range; what is not exactly those raises `Fault`."""
        answer = await self._asked(start, stop)
        try:
            if not answer.partial:
                raise ranges_ignored(self.name)
            self._compare_total(answer)
            if answer.total is not None and answer.total < stop:
                raise cut(self.name, stop, answer.total)
            if (answer.start, answer.stop) != (start, stop):
                raise _wrong_range((start, stop), answer)
            async for part in self._parts(answer, stop - start):
                yield part
        finally:
            answer.close()

    async def whole(self) -> AsyncGenerator[bytes, None]:
        """Yield all bytes, from the first on, by one request; to be left when there are enough."""
        answer = await self._asked(0, None)
        try:
            self._compare_total(answer)
            while part := await answer.read():
                self.counts.received += len(part)
                yield part
        finally:
            answer.close()

    async def same(self) -> bool:
        """Return whether the object still begins as it did."""
        if not self._beginning:
            return True
        length = len(self._beginning)
        parts = [part async for part in self.stream(0, length)]
        return b"".join(parts) == self._beginning

    async def _asked(self, start: int, stop: int | None) -> Answer:
        self.counts.requests += 1
        return await self._ask(start, stop)

    async def _parts(self, answer: Answer, length: int) -> AsyncGenerator[bytes, None]:
        left = length
        while left:
            part = await answer.read()
            if not part:
                raise Fault(f"the answer ended {left} bytes early")
            self.counts.received += len(part)
            if len(part) > left and answer.partial:
                raise Fault("the answer has more bytes than asked for", strict=True)
            part = part[:left]
            left -= len(part)
            yield part

    def _compare_total(self, answer: Answer) -> None:
        if None not in (answer.total, self._total) and answer.total != self._total:
            raise changed(self.name, f"{self._total} bytes", f"{answer.total}")


def _wrong_range(asked: tuple[int, int], answer: Answer) -> Fault:
    return Fault(
        f"asked for bytes {asked[0]}:{asked[1]}, the answer is said to be"
        f" {answer.start}:{answer.stop}",
        strict=True,
    )


def lasting_options(name: str, error: Exception) -> Exception:
    """Return the error for storage options that a file system does not take."""
    return needs_package(name.partition(":")[0], error)
