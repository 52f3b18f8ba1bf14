"""Objects in a bucket, or wherever else a file system of fsspec leads."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterable, Sequence
from contextlib import suppress
from datetime import datetime
from functools import partial
from typing import Any, Final, TypeVar

from p2uformat.errors import (
    InvalidArgument,
    LimitExceeded,
    NotFound,
    P2UError,
    StoreUnavailable,
)
from p2uformat.store.keys import CLOCK, new_id
from p2uformat.store.local import check_key
from p2uformat.store.objects import Probe, Stat
from p2uformat.transport import Address
from p2uformat.transport.anyfs import mapped
from p2uformat.transport.attempts import Attempts
from p2uformat.transport.fault import Fault
from p2uformat.transport.policy import Policy
from p2uformat.transport.remote import RemoteReader, source_of
from p2uformat.transport.running import run
from p2uformat.transport.source import Answer, Source

__all__ = ["RemoteObjects"]

Result = TypeVar("Result")
_WEB: Final = frozenset({"http", "https"})
_SLOWEST: Final = 32 << 10  # bytes a second below which a call is taken for stalled
_AT_ONCE: Final = 1000  # what S3 deletes with one request
_TOGETHER: Final = 16
_SMALL: Final = 16
_LISTED: Final = ("LastModified", "last_modified", "updated", "mtime", "created", "timeCreated")
_TAKEN: Final = frozenset({409, 412})
# File systems without an event loop look first and write then; within a process no one comes
# in between.
_ONE_AT_A_TIME: Final = threading.Lock()


class _Taken(Exception):  # noqa: N818 - goes from one function to its caller
    """The key is not free."""


class _Place(Source):
    """A place of which the file system is wanted."""

    async def _ask(self, start: int, stop: int | None) -> Answer:
        raise InvalidArgument(f"{self.name!r} is no object: {start}, {stop}")


class RemoteObjects:
    """Objects below a URL.

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
        self._place = _Place(self.address, self._policy)
        self._weak = False

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
        if self._weak and self._holds(key) is not None:
            return self._holds(key) == data
        try:
            run(self._trying("write", lambda: self._write(key, data, create=True)))
        except _Taken:
            # An earlier try may have written it, and only its answer was lost.
            return self._holds(key) == data
        return True

    def put(self, key: str, data: bytes) -> None:
        """Write an object; see `Objects`."""
        self._check_writable()
        check_key(key)
        run(self._trying("write", lambda: self._write(key, data, create=False)))

    def delete(self, keys: Sequence[str]) -> None:
        """Delete objects; see `Objects`."""
        self._check_writable()
        for first in range(0, len(keys), _AT_ONCE):
            part = [self._full(key) for key in keys[first : first + _AT_ONCE]]
            run(self._trying("delete from", partial(self._delete, part)))

    def scan(self, prefix: str) -> list[Stat]:
        """Return all objects below a prefix; see `Objects`."""
        if self.address.protocol in _WEB:
            raise StoreUnavailable(
                f"{self.name!r}: a web server does not list what it has",
                hint="name a version: STORE#name@version",
                path=self.name,
            )
        found = run(self._trying("list", lambda: self._list(prefix)))
        return sorted(found, key=lambda stat: stat.key)

    def now(self) -> float:
        """Return the time by the store's clock, which only an object that it wrote tells."""
        key = f"{CLOCK}{new_id().hex()}"
        self.put(key, b"")
        try:
            return max(stat.modified for stat in self.scan(CLOCK) if stat.key == key)
        finally:
            with suppress(P2UError):
                self.delete([key])

    def reader(self, key: str) -> RemoteReader:
        """Return an object to be read by ranges; see `Objects`."""
        return RemoteReader(self.address_of(key), self._policy)

    def probe(self, key: str, data: bytes) -> Probe:
        """Find out what the place does; see `Objects`."""
        self._check_writable()
        try:
            run(self._trying("write", lambda: self._write(key, data, create=True)))
            self._weak = True
        except _Taken:
            self._weak = False
        source = source_of(self.address_of(key), self._policy)
        begun = run(self._trying("read", lambda: source.begin(_SMALL)))
        return Probe(conditions=not self._weak, ranges=begun.ranges)

    def _holds(self, key: str) -> bytes | None:
        try:
            with self.reader(key) as reader:
                reader.ahead(reader.size)
                return reader.read(0, reader.size)
        except NotFound:
            return None

    def _check_writable(self) -> None:
        if self.address.protocol in _WEB:
            raise StoreUnavailable(
                f"{self.name!r} is read-only: a web server takes no objects",
                hint="write to the place that it serves",
                path=self.name,
            )

    def _full(self, key: str) -> str:
        return f"{self._place.path.rstrip('/')}/{check_key(key)}"

    async def _trying(self, action: str, work: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
        """Do something, again where that may help."""
        attempts = Attempts(self.name, self._policy, opening=True)
        while True:
            try:
                return await work()
            except Fault as fault:
                if isinstance(fault.error, NotFound) and action == "write":
                    raise NotFound(
                        f"cannot write to {self.name!r}: no such bucket or container",
                        hint="check the address, or make it first",
                    ) from fault
                await attempts.failed(fault)

    async def _write(self, key: str, data: bytes, *, create: bool) -> None:
        mode = "create" if create else "overwrite"
        longest = self._policy.stall + len(data) / _SLOWEST
        try:
            await self._call("pipe_file", self._full(key), data, mode=mode, longest=longest)
        except FileExistsError as error:
            raise _Taken from error
        except (Fault, P2UError):
            raise
        except Exception as error:
            if create and _status(error) in _TAKEN:
                raise _Taken from error
            raise mapped(self.name, error) from error

    async def _delete(self, paths: list[str]) -> None:
        files = self._place.files
        if hasattr(files, "_bulk_delete"):
            await self._guarded(partial(self._call, "bulk_delete", paths))
            return
        for first in range(0, len(paths), _TOGETHER):
            part = paths[first : first + _TOGETHER]
            calls = [self._guarded(partial(self._call, "rm_file", path)) for path in part]
            await asyncio.gather(*calls)

    async def _guarded(self, work: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        try:
            await work()
        except (FileNotFoundError, Fault) as error:
            if isinstance(error, Fault) and not isinstance(error.error, NotFound):
                raise
        except Exception as error:
            fault = mapped(self.name, error)
            if not isinstance(fault.error, NotFound):
                raise fault from error

    async def _list(self, prefix: str) -> list[Stat]:
        self._place.files.invalidate_cache()
        path = f"{self._place.path.rstrip('/')}/{prefix}".rstrip("/")
        try:
            found = await self._call("find", path, detail=True)
        except FileNotFoundError:
            return []
        except (Fault, P2UError):
            raise
        except Exception as error:
            fault = mapped(self.name, error)
            if isinstance(fault.error, NotFound):
                return []
            raise fault from error
        return list(self._stats(found.values(), prefix))

    def _stats(self, found: Iterable[dict[str, Any]], prefix: str) -> Iterable[Stat]:
        root = self._place.path.strip("/") + "/"
        for info in found:
            name = str(info.get("name", "")).lstrip("/")
            if info.get("type") == "directory" or not name.startswith(root):
                continue
            key = name[len(root) :]
            if key.startswith(prefix):
                yield Stat(key, int(info.get("size") or 0), _modified(info))

    async def _call(
        self, method: str, *arguments: object, longest: float | None = None, **named: object
    ) -> Any:  # noqa: ANN401 - fsspec has no types
        files = self._place.files
        if getattr(files, "async_impl", False):
            call = getattr(files, f"_{method}")(*arguments, **named)
        else:
            call = asyncio.to_thread(_alone, getattr(files, method), arguments, named)
        try:
            return await asyncio.wait_for(call, longest or 4 * self._policy.stall)
        except TimeoutError as error:
            raise Fault("no answer came for too long") from error


def _alone(call: Callable[..., Any], arguments: Sequence[object], named: dict[str, object]) -> Any:  # noqa: ANN401
    with _ONE_AT_A_TIME:
        return call(*arguments, **named)


def _status(error: BaseException) -> int | None:
    for found in (error, error.__cause__):
        for attribute in ("status_code", "status", "code"):
            status = getattr(found, attribute, None)
            if isinstance(status, int):
                return status
            if isinstance(status, str) and status.isdigit():
                return int(status)
        response = getattr(found, "response", None)
        if isinstance(response, dict):
            status = (response.get("ResponseMetadata") or {}).get("HTTPStatusCode")
            if isinstance(status, int):
                return status
    return None


def _modified(info: dict[str, Any]) -> float:
    """Return when an object was last written, in seconds; 0 if the store does not say."""
    for name in _LISTED:
        value = info.get(name)
        if isinstance(value, int | float):
            return float(value)
        if isinstance(value, str):
            with suppress(ValueError):
                value = datetime.fromisoformat(value)
        if isinstance(value, datetime):
            return value.timestamp()
    return 0.0
