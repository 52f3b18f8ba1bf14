"""A module that runs on its first tier while better ones arrive."""

from __future__ import annotations

import atexit
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import nn

import p2uformat
from p2uformat.torch.errors import StreamCancelled
from p2uformat.torch.files import Parents, Source
from p2uformat.torch.guard import Guard
from p2uformat.torch.staged import Staged, plain, stage
from p2uformat.torch.tiers import Feed, chosen_tiers

__all__ = ["Stream", "StreamProgress", "stream"]

# How long to wait for the thread of a cancelled stream. A server that does not answer when a
# transfer begins holds it for as long as `timeout` says; it is a daemon, and changes nothing more.
_END_SECONDS: Final = 2.0


@dataclass(frozen=True, slots=True)
class StreamProgress(p2uformat.Progress):
    """How far a stream is, after a tier came into the module.

    Parameters
    ----------
    phase : str
        ``swap``.
    done, total : int
        Stored bytes of the tiers so far, and of all that come.
    tier : str
        The tier that the module is at.
    seconds : float
        Since the stream began.
    """

    tier: str
    seconds: float


Callback = Callable[[str, StreamProgress], object]


class Stream(AbstractContextManager["Stream"]):
    """A module's way up through the tiers of an artifact. `stream` makes and starts it.

    As a context manager it is cancelled at the end, if it still runs.

    Parameters
    ----------
    module : torch.nn.Module
        Is filled.
    feed : Feed
        Where tiers come from.
    tiers : sequence of str, optional
        Which, coarse to fine.
    callback : callable, optional
        Called after each.
    loading : mapping
        ``strict``, ``assign`` and ``device``, as of `load_into`.
    """

    def __init__(
        self,
        module: nn.Module,
        feed: Feed,
        tiers: Sequence[str] | None,
        callback: Callback | None,
        loading: Mapping[str, Any],
    ) -> None:
        self._module = module
        self._feed = feed
        self._wanted = tiers
        self._callback = callback
        self._loading = dict(loading)
        self._guard = Guard()
        self._changed = threading.Condition()
        self._commit = threading.Lock()
        self._reached: list[str] = []
        self._known: list[str] = list(tiers or ())
        self._written: list[tuple[torch.Tensor, int]] = []
        self._cancelled = False
        self._ended = False
        self._error: BaseException | None = None
        self._progress: p2uformat.Progress | None = None
        self._began = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="p2u-stream", daemon=True)

    # What is known of it.

    def __repr__(self) -> str:
        state = "running" if not self._ended else "failed" if self._error else "done"
        return f"<Stream of {type(self._module).__name__} at {self.tier or 'no tier'}, {state}>"

    @property
    def tier(self) -> str | None:
        """The tier that the module is at; None before the first."""
        return self._reached[-1] if self._reached else None

    @property
    def done(self) -> bool:
        """Whether nothing comes any more."""
        return self._ended

    @property
    def error(self) -> BaseException | None:
        """What ended it, if something did; the module is at its last whole tier then."""
        return self._error

    @property
    def progress(self) -> p2uformat.Progress | None:
        """How far the transfer of the next tier is; None before there was one."""
        return self._progress

    # What can be asked of it.

    def wait(self, tier: str | None = None, timeout: float | None = None) -> bool:
        """Wait until the module is at a tier, or at a better one.

        Parameters
        ----------
        tier : str, optional
            The first by default.
        timeout : float, optional
            Seconds.

        Returns
        -------
        bool
            False if the time was over before.

        Raises
        ------
        P2UError or other
            What ended the stream before that tier.
        TierNotFound
            If the stream does not go through it.
        InvalidArgument
            If the next tier waits for this thread: within `hold`, a forward pass, the callback.
        """
        self._check_thread()
        with self._changed:
            self._changed.wait_for(lambda: self._ended or self._is_at(tier), timeout)
            if self._is_at(tier):
                return True
            if self._error is not None:
                raise self._error
            return False

    def result(self) -> str:
        """Wait until everything is there, and return the last tier.

        Raises
        ------
        P2UError or other
            What ended the stream before.
        """
        self._check_thread()
        with self._changed:
            self._changed.wait_for(lambda: self._ended)
            if self._error is not None:
                raise self._error
            return self._reached[-1]

    def hold(self) -> AbstractContextManager[None]:
        """Keep the module at its tier for as long as the context lasts.

        One forward pass needs none. Use it around what must see a single tier all through: several
        passes, a pass together with its backward pass, reading `state_dict`.
        """
        return self._guard.hold()

    def cancel(self) -> None:
        """Stop. From now on the module stays at its tier."""
        self._cancelled = True
        self._guard.wake()
        if threading.current_thread() is self._thread:
            return
        if not self._guard.held_here():
            self._thread.join(_END_SECONDS)
        with self._commit:
            self._end(self._cancellation())

    def __exit__(self, *_error: object) -> None:
        self.cancel()

    # On its thread.

    def start(self) -> None:
        """Begin."""
        self._guard.attach(self._module)
        atexit.register(self._at_exit)
        self._thread.start()

    def _run(self) -> None:
        error = None
        try:
            self._go_up()
        except BaseException as caught:  # noqa: BLE001 - whoever asks for the result gets it
            error = caught
        self._end(error)
        atexit.unregister(self._at_exit)

    def _end(self, error: BaseException | None) -> None:
        """Say how it ended, unless that was said already."""
        with self._changed:
            if self._ended:
                return
            self._guard.detach()
            self._written.clear()
            self._error = error
            self._ended = True
            self._changed.notify_all()

    def _go_up(self) -> None:
        sizes = self._feed.sizes()
        tiers = chosen_tiers(sizes, self._wanted)
        self._known = list(sizes)[: list(sizes).index(tiers[-1]) + 1]
        at = {tier: sum(list(sizes.values())[: number + 1]) for number, tier in enumerate(sizes)}
        for tier, artifact in self._feed.each(tiers, self._transferred):
            self._check_cancelled()
            staged = stage(self._module, artifact, tier, **self._loading)
            self._swap(staged, tier)
            del staged
            if self._callback is not None:
                seconds = time.monotonic() - self._began
                self._callback(tier, StreamProgress("swap", at[tier], at[tiers[-1]], tier, seconds))
            # Memory of its own it has now, whatever it was at first.
            self._loading["assign"] = False

    def _swap(self, staged: Staged, tier: str) -> None:
        with self._guard.swap(lambda: self._cancelled) as alone, self._commit:
            if not alone:
                raise self._cancellation()
            self._check_cancelled()
            self._check_unchanged()
            staged.commit()
            self._written = self._versions()
            with self._changed:
                self._reached.append(tier)
                self._changed.notify_all()

    def _versions(self) -> list[tuple[torch.Tensor, int]]:
        own = plain(self._module).state_dict(keep_vars=True).values()
        return [
            (tensor, tensor._version)  # noqa: SLF001 - what autograd itself compares
            for tensor in own
            if isinstance(tensor, torch.Tensor) and not tensor.is_inference()
        ]

    def _check_unchanged(self) -> None:
        """See that nobody trains what the next tier would overwrite."""
        changed = sum(tensor._version != version for tensor, version in self._written)  # noqa: SLF001
        if changed:
            raise p2uformat.InvalidArgument(
                f"{changed} tensors of the module were changed since tier {self.tier} came:"
                " the next one would overwrite that",
                hint="cancel the stream before training, or before a forward pass in train mode",
            )

    def _transferred(self, progress: p2uformat.Progress) -> None:
        self._progress = progress
        self._check_cancelled()

    def _check_cancelled(self) -> None:
        if self._cancelled:
            raise self._cancellation()

    def _cancellation(self) -> StreamCancelled:
        return StreamCancelled(
            f"the stream was cancelled at {self.tier or 'no tier'}",
            hint="a new one goes on where this ended, if it had a destination",
        )

    # Helpers.

    def _is_at(self, tier: str | None) -> bool:
        if tier is None or not self._reached:
            return bool(self._reached)
        self._check_tier(tier)
        return self._known.index(tier) <= self._known.index(self._reached[-1])

    def _check_tier(self, tier: str) -> None:
        if tier not in self._known:
            raise p2uformat.TierNotFound(
                f"the stream does not come to tier {tier!r}",
                hint=f"it goes through {', '.join(self._known)}",
            )

    def _check_thread(self) -> None:
        if self._guard.held_here() or threading.current_thread() is self._thread:
            raise p2uformat.InvalidArgument(
                "cannot wait for a tier on a thread that the next one waits for",
                hint="wait outside of hold(), of forward passes, and of the callback",
            )

    def _at_exit(self) -> None:
        self._cancelled = True
        self._guard.wake()
        self._thread.join(_END_SECONDS)


def stream(
    module: nn.Module,
    source: Source,
    destination: str | os.PathLike[str] | None = None,
    *,
    tiers: Sequence[str] | None = None,
    callback: Callback | None = None,
    wait: bool = True,
    strict: bool = True,
    assign: bool | None = None,
    device: str | torch.device | None = None,
    expect: str | bytes | None = None,
    seeds: Parents = (),
    parents: Parents = (),
    connections: int | None = None,
    timeout: float | None = None,
    threads: int | None = None,
    storage_options: Mapping[str, Any] | None = None,
) -> Stream:
    """Fill a module at its first tier, and improve it in place while better ones arrive.

    A forward pass on any thread, of the module or of a part of it, sees the whole module at one
    tier: it excludes swaps, which take as long as a copy of the tensors within memory. The tensors
    stay the same objects in the same memory, so optimizers, tied weights, views and compiled
    modules see each new tier. ``docs/torch.md`` says what is guaranteed and what is not.

    Parameters
    ----------
    module : torch.nn.Module
        As of `load_into`.
    source : str, os.PathLike, bytes or Artifact
        The artifact. An open one has to stay open.
    destination : str or os.PathLike, optional
        A file to fetch to, which is kept and gone on with the next time. Without it, what is
        behind a URL is fetched to a temporary file.
    tiers : sequence of str, optional
        Which tiers to go through, coarse to fine; all by default.
    callback : callable, optional
        Called as ``callback(tier, progress)`` on the stream's thread after each tier, with a
        `StreamProgress`. An error in it ends the stream.
    wait : bool
        Whether to return only when the first tier is in the module.
    strict, assign, device
        As of `load_into`.
    expect, seeds, connections, timeout
        As of `p2uformat.fetch`; only where something is fetched.
    parents, threads, storage_options
        As of `p2uformat.open`.

    Returns
    -------
    Stream
        The handle. Its thread ends by itself with the last tier.

    Raises
    ------
    P2UError
        If the first tier cannot be had or does not fit. The module is as it was.
    InvalidArgument
        If it is no module, or runs no hooks (`torch.jit`); if the source is an open artifact, and
        there is a destination.

    Examples
    --------
    >>> import tempfile
    >>> from p2uformat.torch import save_file
    >>> path = tempfile.mkdtemp() + "/m.p2u"
    >>> model = nn.Linear(256, 64)
    >>> summary = save_file(model.state_dict(), path)
    >>> other = nn.Linear(256, 64)
    >>> with stream(other, path) as handle:
    ...     rough = other(torch.ones(256))
    ...     handle.result()
    'exact'
    >>> torch.equal(other.weight, model.weight)
    True
    """
    plain(module)
    if destination is not None and isinstance(source, p2uformat.Artifact):
        raise p2uformat.InvalidArgument(
            "an open artifact is read where it is", hint="to fetch it, name its path or URL"
        )
    opening = {"parents": parents, "threads": threads, "storage_options": storage_options}
    fetching = {"seeds": seeds, "expect": expect, "connections": connections, "timeout": timeout}
    loading = {"strict": strict, "assign": assign, "device": device}
    handle = Stream(module, Feed(source, destination, opening, fetching), tiers, callback, loading)
    handle.start()
    if wait:
        try:
            handle.wait()
        except BaseException:
            handle.cancel()
            raise
    return handle
