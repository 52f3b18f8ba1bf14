"""Objects in a bucket, or wherever else a file system of fsspec leads."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Final, TypeVar

from p2uformat.errors import LimitExceeded, NotFound, P2UError, StoreUnavailable
from p2uformat.store.bucket import DELETED_AT_ONCE, TakenError, bucket_of
from p2uformat.store.keys import CLOCK, check_key, new_id
from p2uformat.store.objects import Probe, Stat
from p2uformat.transport import Address
from p2uformat.transport.attempts import Attempts
from p2uformat.transport.fault import Fault
from p2uformat.transport.policy import Policy
from p2uformat.transport.remote import RemoteReader, source_of
from p2uformat.transport.running import run
from p2uformat.transport.source import Beginning

__all__ = ["RemoteObjects"]

Result = TypeVar("Result")
_WEB: Final = frozenset({"http", "https"})
_SMALL: Final = 16


class RemoteObjects:
    """Objects below a URL, from any thread, and after a fork in the child.

    An object is created by one conditional request, where the file system has such a thing and the
    server heeds it; `probe` finds that out. Elsewhere the key is looked at, and then written: with
    one writer at a time that is as good, and `probe` says that more must not be let in.

    Parameters
    ----------
    address : Address
        The place.
    policy : Policy, optional
        How patient to be.

    Attributes
    ----------
    name : str
        The URL without secrets.
    address : Address
        As given.
    """

    def __init__(self, address: Address, policy: Policy | None = None) -> None:
        self.address = Address(address.url.rstrip("/"), address.options)
        self.name = self.address.name
        self._policy = policy or Policy()
        self._bucket = bucket_of(self.address, self._policy)
        self._weak = not self._bucket.conditional
        self._reached = False

    def address_of(self, key: str) -> Address:
        """Return the address of an object."""
        return Address(f"{self.address.url}/{check_key(key)}", self.address.options)

    def get(self, key: str, *, most: int) -> bytes:
        """Return an object; see `Objects`."""
        with self.reader(key) as reader:
            if reader.size > most:
                raise LimitExceeded(f"{key}: expected at most {most} bytes, got {reader.size}")
            reader.ahead(reader.size)
            return reader.read(0, reader.size)

    def create(self, key: str, data: bytes) -> bool:
        """Write an object if its key is free; see `Objects`."""
        self._check_writable()
        check_key(key)
        return self._run("write to", lambda: self._create(key, data))

    def put(self, key: str, data: bytes) -> None:
        """Write an object; see `Objects`."""
        self._check_writable()
        check_key(key)
        self._run("write to", lambda: self._bucket.write(key, data, create=False))

    def delete(self, keys: Sequence[str]) -> None:
        """Delete objects; see `Objects`."""
        self._check_writable()
        checked = [check_key(key) for key in keys]
        for first in range(0, len(checked), DELETED_AT_ONCE):
            part = checked[first : first + DELETED_AT_ONCE]
            self._run("delete from", partial(self._bucket.delete, part))

    def scan(self, prefix: str) -> list[Stat]:
        """Return all objects below a prefix; see `Objects`."""
        if self.address.protocol in _WEB:
            raise StoreUnavailable(
                f"{self.name!r}: a web server does not list what it has",
                hint="name a version: STORE#name@version",
                path=self.name,
            )
        found = self._run("list", lambda: self._bucket.list(prefix))
        return sorted(found, key=lambda stat: stat.key)

    def now(self) -> float:
        """Return the time by the store's clock, which only an object that it wrote tells."""
        key = f"{CLOCK}{new_id().hex()}"
        self.put(key, b"")
        try:
            found = [stat.modified for stat in self.scan(CLOCK) if stat.key == key]
        finally:
            with suppress(P2UError):
                self.delete([key])
        if not found or found[0] <= 0:
            raise StoreUnavailable(
                f"{self.name!r} does not say when an object was written",
                hint="what is old enough to be deleted cannot be found out there",
                path=self.name,
            )
        return found[0]

    def reader(self, key: str) -> RemoteReader:
        """Return an object to be read by ranges; see `Objects`."""
        return RemoteReader(self.address_of(key), self._policy)

    def probe(self, key: str, data: bytes) -> Probe:
        """Find out what the place does; see `Objects`."""
        self._check_writable()
        check_key(key)
        if self._bucket.conditional:
            self._weak = self._run("write to", lambda: self._replaces(key, data))
        begun = self._run("read", lambda: self._begin(key, _SMALL))
        return Probe(conditions=not self._weak, ranges=begun.ranges)

    async def _create(self, key: str, data: bytes) -> bool:
        if self._weak and (held := await self._holds(key, data)) is not None:
            return held
        try:
            await self._bucket.write(key, data, create=True)
        except TakenError:
            # An earlier try may have written it, and only its answer was lost.
            held = await self._holds(key, data)
            if held is None:
                # Taken by somebody who has not finished, or free again: refused is not yet lost.
                raise Fault(f"{key!r} is taken, and there is nothing", busy=True) from None
            return held
        return True

    async def _holds(self, key: str, data: bytes) -> bool | None:
        """Return whether an object has these bytes; None if there is none. No more is read."""
        try:
            begun = await self._begin(key, max(len(data), 1))
        except Fault as fault:
            if isinstance(fault.error, NotFound):
                return None
            raise
        return begun.total == len(data) and begun.data == data

    async def _replaces(self, key: str, data: bytes) -> bool:
        """Return whether an object that is there is written again when it is to be created."""
        try:
            await self._bucket.write(key, data, create=True)
        except TakenError:
            return False
        return True

    async def _begin(self, key: str, length: int) -> Beginning:
        return await source_of(self.address_of(key), self._policy).begin(length)

    def _check_writable(self) -> None:
        if self.address.protocol in _WEB:
            raise StoreUnavailable(
                f"{self.name!r} is read-only: a web server takes no objects",
                hint="write to the place that it serves",
                path=self.name,
            )

    def _run(self, action: str, work: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
        return run(self._trying(action, work))

    async def _trying(self, action: str, work: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
        """Do something, again where that may help: for long only if the place ever answered."""
        attempts = Attempts(self.name, self._policy, opening=not self._reached, action=action)
        while True:
            try:
                found = await work()
            except Fault as fault:
                await attempts.failed(fault)
            else:
                self._reached = True
                return found
