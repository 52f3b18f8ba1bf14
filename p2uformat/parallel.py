"""Work on several threads, with results in order and a bounded number of them waiting."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, TypeVar

from p2uformat.errors import InvalidArgument

__all__ = ["MOST_ENCODERS", "for_each", "ordered_map", "worker_count"]

# A block takes 40 to 60 MB while it is encoded: more threads would not stay below 300 MiB in all.
MOST_ENCODERS: Final = 3
_MOST_BY_DEFAULT: Final = 8
_MOST: Final = 256
_AHEAD: Final = 2

Item = TypeVar("Item")
Result = TypeVar("Result")


def worker_count(threads: int | None) -> int:
    """Return how many threads to use: what was asked for, or the processor's, at most 8.

    Examples
    --------
    >>> worker_count(3)
    3
    """
    if threads is None:
        return min(os.cpu_count() or 1, _MOST_BY_DEFAULT)
    if type(threads) is not int or threads < 1:
        raise InvalidArgument(f"threads: expected at least 1, got {threads!r}")
    return min(threads, _MOST)


def for_each(function: Callable[[Item], None], items: Iterable[Item], threads: int) -> None:
    """Call ``function(item)`` for each item, in any order, on this thread and others.

    Threads take the next item themselves, which costs less than to hand each one over. The first
    error ends the work and is raised.

    Examples
    --------
    >>> seen = set()
    >>> for_each(seen.add, range(5), 2)
    >>> sorted(seen)
    [0, 1, 2, 3, 4]
    """
    source = _Shared(items)

    def work() -> None:
        try:
            for item in source:
                function(item)
        except BaseException:
            source.stop()
            raise

    if threads == 1:
        work()
        return
    with ThreadPoolExecutor(threads - 1, thread_name_prefix="p2u") as pool:
        others = [pool.submit(work) for _ in range(threads - 1)]
        work()
        for other in others:
            other.result()


class _Shared(Iterator[Item]):
    """An iterator for several threads; it ends for all of them once one has failed."""

    def __init__(self, items: Iterable[Item]) -> None:
        self._items = iter(items)
        self._lock = threading.Lock()
        self._stopped = False

    def stop(self) -> None:
        self._stopped = True

    def __next__(self) -> Item:
        with self._lock:
            if self._stopped:
                raise StopIteration
            return next(self._items)


def ordered_map(
    function: Callable[[Item], Result], items: Iterable[Item], threads: int
) -> Iterator[Result]:
    """Yield ``function(item)`` for each item, in order.

    At most a few results per thread wait to be taken, so memory stays bounded however many items
    there are; with one thread nothing is started at all.

    Examples
    --------
    >>> list(ordered_map(abs, [-1, 2, -3], 2))
    [1, 2, 3]
    """
    if threads == 1:
        yield from map(function, items)
        return
    pool = ThreadPoolExecutor(threads, thread_name_prefix="p2u")
    try:
        waiting: deque[Future[Result]] = deque()
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > _AHEAD * threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
