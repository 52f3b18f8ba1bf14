"""`push`: an artifact becomes a version of a name in a store."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass

from p2uformat.artifact.contents import Contents, Path
from p2uformat.artifact.depot import Depot, RootExtras, chunks_of, pages_of
from p2uformat.artifact.open import Artifact, Parents, candidates
from p2uformat.artifact.types import Progress
from p2uformat.digest import to_text
from p2uformat.errors import InvalidArgument
from p2uformat.store.versions import Version
from p2uformat.stored.address import StoreAddress
from p2uformat.stored.publish import Published
from p2uformat.transport import StorageOptions

__all__ = ["PushResult", "push", "store_address"]


@dataclass(frozen=True, slots=True)
class PushResult:
    """What became of an artifact that was pushed.

    Parameters
    ----------
    address : str
        The version: ``STORE#name@3``.
    name : str
        The name.
    version : int
        Its number.
    root : str
        Content root.
    size : int
        Bytes that it has as a file, as far as it is stored.
    reused : int
        Bytes of chunks that the store had.
    added : int
        Bytes of packs that were written, for what it needs as well.
    unchanged : bool
        Whether it was the current version already, so that nothing was written.
    """

    address: str
    name: str
    version: int
    root: str
    size: int
    reused: int
    added: int
    unchanged: bool

    @classmethod
    def of(
        cls, store: str, version: Version, published: Published | None, brought: int = 0
    ) -> PushResult:
        """Return the result for a version that was made now, or was there."""
        ref = version.ref
        assert ref.content is not None
        return cls(
            address=f"{store}#{version.text}",
            name=version.name,
            version=version.seq,
            root=to_text(ref.content),
            size=ref.size,
            reused=ref.size if published is None else published.reused,
            added=brought + (0 if published is None else published.added),
            unchanged=published is None,
        )

    def to_dict(self) -> dict[str, object]:
        """Return what becomes JSON."""
        return asdict(self)


def push(
    source: Path | Artifact,
    destination: str | os.PathLike[str],
    *,
    tier: str | None = None,
    parents: Parents = (),
    after: int | None = None,
    progress: Callable[[Progress], None] | None = None,
    storage_options: StorageOptions | None = None,
) -> PushResult:
    """Store an artifact under a name.

    Chunks that the store has are not sent again, whichever artifact has them. The version appears
    whole or not at all; whatever ends a push, the next one goes on from there.

    Parameters
    ----------
    source : path, bytes or Artifact
        The artifact.
    destination : str or os.PathLike
        ``STORE#name``. A place that is no store becomes one.
    tier : str, optional
        Up to which tier; all of it by default.
    parents : path, Artifact, or sequence of them
        Where to find the artifacts that the source needs, as in `open`. Layers that they store as
        they are go into the store with it; only differences need the parent to be there before.
    after : int, optional
        The last version of the name, 0 for none: otherwise nothing is named. By default a version
        that somebody else makes meanwhile is the one before.
    progress : callable, optional
        Called with a `Progress` now and then, on some thread.
    storage_options : mapping, optional
        For URLs: credentials, endpoints and the like, as fsspec's file systems take them.

    Returns
    -------
    PushResult
        The version, and what was written.

    Raises
    ------
    InvalidArgument
        If the destination is no name in a store.
    Incomplete, ParentRequired
        If the source does not hold the tiers, or needs something that is not at hand.
    CorruptData
        If the source is damaged.
    VersionConflict, LeaseLost, SeveralWriters
        If somebody else was in the way. Nothing is named then.
    NotFound, AccessDenied, StoreUnavailable
        If something cannot be read or written.

    Examples
    --------
    >>> import numpy, tempfile, p2uformat
    >>> folder = tempfile.mkdtemp()
    >>> weights = numpy.random.default_rng(0).standard_normal((256, 64), numpy.float32)
    >>> summary = p2uformat.pack({"w": weights}, folder + "/m.p2u")
    >>> first = push(folder + "/m.p2u", folder + "/store#m")
    >>> first.version, first.reused
    (1, 0)
    >>> push(folder + "/m.p2u", folder + "/store#copy").added
    0
    """
    address = store_address(destination, storage_options)
    with ExitStack() as stack:
        contents = _open(stack, source, parents, storage_options)
        last = len(contents.tiers) - 1 if tier is None else contents.tier_number(tier)
        if contents.tiers[last] not in contents.complete:
            raise contents.incomplete("all of it", last)
        root = contents.container.header.content_root
        whole = last == len(contents.tiers) - 1
        head = Depot.peek(address, root) if whole and after is None else None
        if head is not None:
            return PushResult.of(address.store, head, None)
        return _push(Depot.open(address, stack), contents, last, after, progress)


def store_address(
    destination: str | os.PathLike[str], options: StorageOptions | None
) -> StoreAddress:
    """Return the address of a name in a store.

    Raises
    ------
    InvalidArgument
        If it is something else.
    """
    address = StoreAddress.of(destination, options)
    if address is None:
        raise InvalidArgument(
            f"no name in a store: {os.fsdecode(destination)!r}",
            hint="write STORE#name, where STORE is a folder or URL",
        )
    return address


def _open(
    stack: ExitStack, source: Path | Artifact, parents: Parents, options: StorageOptions | None
) -> Contents:
    (found,) = candidates(source, options)
    if not isinstance(found, Contents):
        found = stack.enter_context(Contents.open(found, candidates(parents, options)))
    return found


def _push(
    depot: Depot,
    contents: Contents,
    last: int,
    after: int | None,
    progress: Callable[[Progress], None] | None,
) -> PushResult:
    container = contents.container
    root = container.content
    published = depot.store(
        root.tiers,
        pages_of(contents),
        chunks_of(contents),
        parent=container.encoding.parent,
        extra=RootExtras.of(root),
        near=() if contents.parent is None else (contents.parent,),
        last_tier=last,
        after=after,
        progress=progress,
    )
    assert published.version is not None
    return PushResult.of(depot.address.store, published.version, published, depot.brought)
