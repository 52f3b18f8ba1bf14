"""Objects in memory, with a clock that is set, and a place to stop at between operations."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

from p2uformat.errors import LimitExceeded, NotFound
from p2uformat.files import BytesReader
from p2uformat.store.keys import check_key
from p2uformat.store.objects import Probe, Stat

__all__ = ["MemoryObjects"]


class MemoryObjects:
    """Objects in memory, for tests that have to be in control of all that happens.

    Parameters
    ----------
    before : callable, optional
        Called with the name and the key of each operation before it: it may wait, or raise.
    after : callable, optional
        The same after it took effect: to raise there is to lose the answer.
    conditions : bool
        Whether creating keeps what is there.

    Attributes
    ----------
    time : float
        The clock; it stands still until it is set.
    held : dict
        For each key the bytes and when they were written.

    Examples
    --------
    >>> objects = MemoryObjects()
    >>> objects.create("a", b"1"), objects.create("a", b"2"), objects.get("a", most=9)
    (True, False, b'1')
    """

    def __init__(
        self,
        before: Callable[[str, str], None] | None = None,
        after: Callable[[str, str], None] | None = None,
        *,
        conditions: bool = True,
    ) -> None:
        self.name = "memory"
        self.time = 1_000_000.0
        self.held: dict[str, tuple[bytes, float]] = {}
        self.before = before
        self.after = after
        self._conditions = conditions
        self._lock = threading.Lock()

    def get(self, key: str, *, most: int) -> bytes:
        """Return an object."""
        self._stop(self.before, "get", key)
        data = self._bytes(key)
        if len(data) > most:
            raise LimitExceeded(f"{key}: expected at most {most} bytes, got {len(data)}")
        self._stop(self.after, "get", key)
        return data

    def create(self, key: str, data: bytes) -> bool:
        """Write an object if its key is free."""
        self._stop(self.before, "create", check_key(key))
        with self._lock:
            if key not in self.held or not self._conditions:
                self.held[key] = bytes(data), self.time
            mine = self.held[key][0] == data
        self._stop(self.after, "create", key)
        return mine

    def put(self, key: str, data: bytes) -> None:
        """Write an object."""
        self._stop(self.before, "put", check_key(key))
        with self._lock:
            self.held[key] = bytes(data), self.time
        self._stop(self.after, "put", key)

    def delete(self, keys: Sequence[str]) -> None:
        """Delete objects, one by one."""
        for key in keys:
            self._stop(self.before, "delete", key)
            with self._lock:
                self.held.pop(key, None)
            self._stop(self.after, "delete", key)

    def scan(self, prefix: str) -> list[Stat]:
        """Return all objects below a prefix."""
        self._stop(self.before, "list", prefix)
        with self._lock:
            found = [
                Stat(key, len(data), modified)
                for key, (data, modified) in sorted(self.held.items())
                if key.startswith(prefix)
            ]
        self._stop(self.after, "list", prefix)
        return found

    def now(self) -> float:
        """Return the time."""
        return self.time

    def reader(self, key: str) -> Any:
        """Return an object to be read by ranges."""
        self._stop(self.before, "read", key)
        return BytesReader(self._bytes(key))

    def probe(self, key: str, data: bytes) -> Probe:
        """Say what it does."""
        del key, data
        return Probe(self._conditions, ranges=True)

    def _bytes(self, key: str) -> bytes:
        with self._lock:
            found = self.held.get(key)
        if found is None:
            raise NotFound(f"no such object: {key}")
        return found[0]

    @staticmethod
    def _stop(hook: Callable[[str, str], None] | None, what: str, key: str) -> None:
        if hook is not None:
            hook(what, key)
