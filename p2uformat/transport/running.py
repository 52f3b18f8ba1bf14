"""From a thread that waits to fsspec's event loop, and back with what happened."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

from fsspec.asyn import get_loop

from p2uformat.errors import InvalidArgument

__all__ = ["run"]

Result = TypeVar("Result")
_TICK_SECONDS: Final = 0.25


def run(work: Coroutine[Any, Any, Result], tick: Callable[[], None] | None = None) -> Result:
    """Run a coroutine on fsspec's loop, where its sessions live, and wait for it.

    It may be called on any thread, that of another event loop included (which it blocks).

    Parameters
    ----------
    work : coroutine
        What to run.
    tick : callable, optional
        Called on this thread a few times a second, and once at the end.
    """
    loop = get_loop()
    if _inside(loop):
        work.close()
        raise InvalidArgument(
            "called on the thread of fsspec's own event loop, which would wait for itself",
            hint="call it on another thread: await asyncio.to_thread(...)",
        )
    ended = threading.Event()
    future = asyncio.run_coroutine_threadsafe(_marked(work, ended), loop)
    try:
        while not concurrent.futures.wait([future], _TICK_SECONDS).done:
            if tick is not None:
                tick()
    except BaseException:
        future.cancel()
        # A future says that it is cancelled before its coroutine has let go of what it holds.
        ended.wait(10 * _TICK_SECONDS)
        raise
    if tick is not None:
        tick()
    return future.result()


async def _marked(work: Coroutine[Any, Any, Result], ended: threading.Event) -> Result:
    try:
        return await work
    finally:
        ended.set()


def _inside(loop: asyncio.AbstractEventLoop) -> bool:
    try:
        return asyncio.get_running_loop() is loop
    except RuntimeError:
        return False
