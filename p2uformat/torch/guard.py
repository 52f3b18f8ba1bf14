"""Forward passes and swaps that exclude each other."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any, Final

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

import p2uformat
from p2uformat.torch.staged import plain

__all__ = ["Guard"]

# For how long passes are kept out while those that are inside end; doubled each time in vain.
_PATIENCE: Final = 0.05
_PAUSE: Final = 0.01

# In eval mode PyTorch runs these by one fused kernel, unless they or parts of them have hooks.
_FUSED: Final = (nn.TransformerEncoderLayer, nn.MultiheadAttention)


@dataclass(slots=True)
class _Pass:
    """A thread that is inside: since which call, if known, and of which modules now."""

    frame: FrameType | None
    stack: list[object]

    def over(self) -> bool:
        """Whether the call that it began in is over.

        PyTorch's hooks do not learn of a `KeyboardInterrupt`: without this, one in a forward pass
        would keep swaps out for ever. A frame that still runs refuses to be cleared.
        """
        if self.frame is None:
            return False
        try:
            self.frame.clear()
        except RuntimeError:
            return False
        return True


class Guard:
    """A lock that any number of forward passes hold together, and a swap alone.

    A pass holds it from the outermost call of a guarded module to its end, on each thread.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._swapping = False
        # Only its own thread changes a pass; the condition is for the dictionary.
        self._inside: dict[threading.Thread, _Pass] = {}
        self._hooks: list[RemovableHandle] = []

    def __reduce__(self) -> tuple[type[Guard], tuple[()]]:
        # A copy of the module is nobody's: its hooks have a guard of their own, without swaps.
        return Guard, ()

    # Passes.

    def attach(self, module: nn.Module) -> None:
        """Guard a module, and its parts wherever they may be called by themselves.

        Raises
        ------
        InvalidArgument
            If a part of it runs no hooks.
        """
        if any(isinstance(part, torch.jit.ScriptModule) for part in module.modules()):
            raise p2uformat.InvalidArgument(
                "a ScriptModule runs no hooks: its forward passes could see two tiers",
                hint="fill it with load_into",
            )
        for part in _callable_parts(module):
            self._hooks.append(part.register_forward_pre_hook(self._before, prepend=True))
            self._hooks.append(part.register_forward_hook(self._after, always_call=True))

    def detach(self) -> None:
        """Let the modules go."""
        while self._hooks:
            self._hooks.pop().remove()

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Keep swaps out for as long as the context lasts."""
        mark = object()
        self._enter(mark, None)
        try:
            yield
        finally:
            self._forget_above(mark)
            self._leave(mark)

    def held_here(self) -> bool:
        """Whether this thread is inside."""
        mine = self._inside.get(threading.current_thread())
        return mine is not None and not mine.over()

    def _before(self, module: nn.Module, _args: object) -> None:
        self._enter(module, sys._getframe(1))  # noqa: SLF001 - see _Pass.over

    def _after(self, module: nn.Module, _args: object, _output: Any) -> None:  # noqa: ANN401
        self._leave(module)

    def _enter(self, what: object, frame: FrameType | None) -> None:
        me = threading.current_thread()
        mine = self._inside.get(me)
        if mine is not None and not mine.over():
            mine.stack.append(what)
            return
        with self._changed:
            self._changed.wait_for(lambda: not self._swapping)
            self._inside[me] = _Pass(frame, [what])

    def _leave(self, what: object) -> None:
        me = threading.current_thread()
        mine = self._inside.get(me)
        # After an error PyTorch calls this even for a module that never got to `_before`.
        if mine is None or not mine.stack or mine.stack[-1] is not what:
            return
        mine.stack.pop()
        if not mine.stack:
            with self._changed:
                self._inside.pop(me, None)
                self._changed.notify_all()

    def _forget_above(self, what: object) -> None:
        """Drop passes that ended unseen, since their hooks were removed meanwhile."""
        mine = self._inside.get(threading.current_thread())
        if mine is not None:
            number = next((n for n, held in enumerate(mine.stack) if held is what), None)
            if number is not None:
                del mine.stack[number + 1 :]

    # Swaps.

    @contextmanager
    def swap(self, give_up: Callable[[], bool]) -> Iterator[bool]:
        """Wait until no pass is inside and keep all out; gives False if that was given up."""
        got = self._keep_out(give_up)
        try:
            yield got
        finally:
            with self._changed:
                self._swapping = False
                self._changed.notify_all()

    def wake(self) -> None:
        """Let a swap that waits ask again whether to give up."""
        with self._changed:
            self._changed.notify_all()

    def _keep_out(self, give_up: Callable[[], bool]) -> bool:
        patience = _PATIENCE
        with self._changed:
            while not give_up():
                self._swapping = True
                if self._changed.wait_for(lambda: self._free() or give_up(), patience):
                    return not give_up()
                # A pass inside may wait for one on another thread, which is kept out by us.
                self._swapping = False
                self._changed.notify_all()
                self._changed.wait(_PAUSE)
                patience *= 2
        return False

    def _free(self) -> bool:
        for thread, found in list(self._inside.items()):
            if not thread.is_alive() or found.over():
                del self._inside[thread]
        return not self._inside


def _callable_parts(module: nn.Module) -> Iterator[nn.Module]:
    yield module
    # Inside of a compiled module hooks would be compiled too, and break its graph.
    if plain(module) is not module:
        return
    seen = {module}
    waiting = list(module.children())
    while waiting:
        part = waiting.pop()
        if part not in seen and not isinstance(part, _FUSED):
            seen.add(part)
            waiting.extend(part.children())
            yield part
