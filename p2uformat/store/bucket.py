"""One request to a bucket, or to whatever else a file system of fsspec leads to: no second try."""

from __future__ import annotations

import asyncio
import email.utils
import os
import threading
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Final

from p2uformat.errors import AccessDenied, InvalidArgument, NotFound, P2UError
from p2uformat.store.keys import is_key
from p2uformat.store.objects import Stat
from p2uformat.transport import Address
from p2uformat.transport.fault import Fault, lasting
from p2uformat.transport.foreign import fault_from, status_of
from p2uformat.transport.policy import Policy
from p2uformat.transport.source import Answer, Source

__all__ = ["DELETED_AT_ONCE", "Bucket", "TakenError", "bucket_of", "modified"]

DELETED_AT_ONCE: Final = 1000  # what S3 takes with one request
_SLOWEST: Final = 32 << 10  # bytes a second below which a call is taken for stalled
_TOGETHER: Final = 16
_TAKEN: Final = frozenset({409, 412})
_UNKNOWN: Final = frozenset({405, 501})
# Where fsspec's "create" is one conditional request, or cannot be interrupted. Elsewhere it looks
# first and writes then, and any number may have looked.
_CONDITIONAL: Final = frozenset({"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "memory"})
_S3: Final = frozenset({"s3", "s3a"})
# gcsfs sends more than 50 MiB in three requests unless it is told otherwise: a pack is one.
_WRITING: Final[Mapping[str, dict[str, Any]]] = {
    protocol: {"chunksize": 1 << 27} for protocol in ("gs", "gcs")
}
_MODIFIED: Final = ("LastModified", "last_modified", "updated", "mtime", "modified", "created")
_LOCKS: Final[dict[int, threading.Lock]] = {}


class TakenError(Exception):
    """A key that was to be created is not free; goes from one function to its caller."""


class Bucket(Source):
    """Objects by key below a URL, by single requests that raise `Fault`.

    Attributes
    ----------
    conditional : bool
        Whether its file system can create at all: whether the server does is for a probe.
    """

    def __init__(self, address: Address, policy: Policy) -> None:
        super().__init__(address, policy)
        self.conditional = address.protocol in _CONDITIONAL

    async def write(self, key: str, data: bytes, *, create: bool) -> None:
        """Write an object.

        Raises
        ------
        TakenError
            If it was to be created, and the key is not free.
        """
        options = dict(_WRITING.get(self.address.protocol, {}))
        if self.conditional:
            options["mode"] = "create" if create else "overwrite"
        else:
            await self._make_folder(key)
        longest = self.policy.stall + len(data) / _SLOWEST
        try:
            await self._call("pipe_file", self._full(key), data, longest=longest, **options)
        except FileExistsError as error:
            raise TakenError from error
        except Exception as error:
            if create and status_of(error) in _TAKEN:
                raise TakenError from error
            raise _outside(self._no_bucket(error), self.name, "write to") from error

    async def delete(self, keys: Sequence[str]) -> None:
        """Delete at most `DELETED_AT_ONCE` objects; those that are not there do not matter."""
        for first in range(0, len(keys), _TOGETHER):
            part = keys[first : first + _TOGETHER]
            await asyncio.gather(*[self._delete_one(key) for key in part])

    async def list(self, prefix: str) -> list[Stat]:
        """Return the objects below a prefix as they are now, in any order."""
        self.files.invalidate_cache()
        path = self._full(prefix).rstrip("/")
        try:
            found = await self._call("find", path, detail=True)
        except Exception as error:
            fault = _outside(error, self.name, "list")
            if isinstance(fault, Fault) and isinstance(fault.error, NotFound):
                return []
            raise fault from error
        # adlfs returns the mere name where an object has it.
        return list(self._stats(found.values(), prefix)) if isinstance(found, dict) else []

    def _stats(self, found: Iterable[dict[str, Any]], prefix: str) -> Iterator[Stat]:
        root = self.path.strip("/") + "/"
        for info in found:
            name = str(info.get("name", "")).lstrip("/")
            if info.get("type") == "directory" or not name.startswith(root):
                continue
            key = name[len(root) :]
            if key.startswith(prefix) and is_key(key):
                yield Stat(key, int(info.get("size") or 0), modified(info))

    async def _delete_one(self, key: str) -> None:
        try:
            await self._call("rm_file", self._full(key))
        except Exception as error:
            fault = _outside(error, self.name, "delete from")
            if not (isinstance(fault, Fault) and isinstance(fault.error, NotFound)):
                raise fault from error

    async def _make_folder(self, key: str) -> None:
        """Make the folder of an object, on what has folders; if it cannot be, the write tells."""
        with suppress(Exception):
            await self._call("makedirs", self._full(key).rpartition("/")[0], exist_ok=True)

    def _full(self, key: str) -> str:
        return f"{self.path.rstrip('/')}/{key}"

    def _no_bucket(self, error: Exception) -> Exception:
        """Return what it means that there is nothing where something is written."""
        if not isinstance(error, FileNotFoundError) and status_of(error) != 404:
            return error
        return lasting(
            NotFound(
                f"cannot write to {self.name!r}: no such bucket or container",
                hint="check the address, or make it first",
            )
        )

    async def _call(
        self, method: str, *arguments: object, longest: float | None = None, **named: object
    ) -> Any:  # noqa: ANN401 - fsspec has no types
        files = self.files
        self.counts.requests += 1
        call: Coroutine[Any, Any, Any]
        if getattr(files, "async_impl", False):
            call = getattr(files, f"_{method}")(*arguments, **named)
        else:
            call = asyncio.to_thread(_alone, getattr(files, method), arguments, named)
        return await asyncio.wait_for(call, longest or 4 * self.policy.stall)

    async def _ask(self, start: int, stop: int | None) -> Answer:
        raise InvalidArgument(f"{self.name!r} is no object: {start}, {stop}")


class _S3Bucket(Bucket):
    """S3 and its likes, through s3fs: many are deleted at once."""

    _one_by_one = False

    async def delete(self, keys: Sequence[str]) -> None:
        """Delete objects by one request, where the server knows it."""
        if not self._one_by_one:
            try:
                return await self._delete_all(keys)
            except Exception as error:
                if status_of(error) not in _UNKNOWN:
                    raise _outside(error, self.name, "delete from") from error
                self._one_by_one = True
        return await super().delete(keys)

    async def _delete_all(self, keys: Sequence[str]) -> None:
        """Ask for it, and look at what could not be: s3fs itself does not."""
        where = [self.files.split_path(self._full(key))[:2] for key in keys]
        objects = {"Objects": [{"Key": key} for _, key in where], "Quiet": True}
        found = await self._call("call_s3", "delete_objects", Bucket=where[0][0], Delete=objects)
        for one in found.get("Errors", ()):
            code, key = str(one.get("Code")), str(one.get("Key"))
            if code in ("NoSuchKey", "NoSuchVersion"):
                continue
            message = f"cannot delete {key!r} from {self.name!r}: {code.lower()}"
            if code == "AccessDenied":
                raise lasting(AccessDenied(message, path=self.name))
            raise Fault(message, busy=True)


def bucket_of(address: Address, policy: Policy) -> Bucket:
    """Return the bucket that a URL leads to; nothing is asked of it yet."""
    return (_S3Bucket if address.protocol in _S3 else Bucket)(address, policy)


def modified(info: Mapping[str, Any]) -> float:
    """Return when an object was last written, in seconds; 0 if the store does not say.

    Examples
    --------
    >>> modified({"updated": "2026-01-01T00:00:00Z"}), modified({})
    (1767225600.0, 0.0)
    """
    for name in _MODIFIED:
        value = info.get(name)
        if isinstance(value, int | float):
            return float(value)
        if isinstance(value, str):
            value = _date(value)
        if isinstance(value, datetime):
            # Without a zone it is UTC, whatever this machine's is.
            return (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()
    return 0.0


def _date(text: str) -> datetime | None:
    for parse in (datetime.fromisoformat, email.utils.parsedate_to_datetime):
        with suppress(ValueError, TypeError):
            return parse(text)
    return None


def _outside(error: Exception, name: str, action: str) -> Exception:
    """Return an error as the fault that it stands for, or as it is if it is ours."""
    return error if isinstance(error, Fault | P2UError) else fault_from(name, error, action)


def _alone(call: Callable[..., Any], arguments: Sequence[object], named: dict[str, object]) -> Any:  # noqa: ANN401
    """Call a file system that has no event loop: nobody of this process comes in between."""
    # One of each process: a child of a fork may find its parent's locked for ever.
    with _LOCKS.setdefault(os.getpid(), threading.Lock()):
        return call(*arguments, **named)
