"""Versions of names: which there are, which one is current, and how another is added."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from p2uformat.digest import digest
from p2uformat.errors import CorruptData, NotFound, StoreUnavailable, VersionConflict
from p2uformat.limits import MAX_ENTRY_BYTES
from p2uformat.store.keys import REFS, check_name, ref_key, ref_of
from p2uformat.store.objects import Objects
from p2uformat.store.refs import Ref, Runs, is_gone, with_gone

__all__ = [
    "History",
    "Version",
    "add_version",
    "current",
    "history",
    "names",
    "read_ref",
    "remove",
    "version",
]

_MOST_TRIES: Final = 1000


@dataclass(frozen=True, slots=True)
class Version:
    """A ref with what it is called.

    Parameters
    ----------
    name : str
        The name.
    seq : int
        Its number.
    ref : Ref
        What it says.
    """

    name: str
    seq: int
    ref: Ref

    @property
    def text(self) -> str:
        """How it is written: ``name@3``."""
        return f"{self.name}@{self.seq}"


@dataclass(frozen=True, slots=True)
class History:
    """The numbers of a name.

    Parameters
    ----------
    name : str
        The name.
    last : int
        The last number, of a version or a removal; 0 if there is none.
    gone : tuple of (int, int)
        What is no version any more.
    """

    name: str
    last: int
    gone: Runs

    @property
    def left(self) -> list[int]:
        """Numbers of the versions, the oldest first."""
        return [seq for seq in range(1, self.last + 1) if not is_gone(self.gone, seq)]


def names(objects: Objects) -> list[str]:
    """Return all names that ever had a version, in order."""
    found = (ref_of(stat.key) for stat in objects.scan(REFS))
    return sorted({known[0] for known in found if known is not None})


def history(objects: Objects, name: str) -> History:
    """Return the numbers of a name, by a listing and its last ref."""
    last = _last(objects, name)
    return History(name, last, read_ref(objects, name, last).gone if last else ())


def current(objects: Objects, name: str) -> Version | None:
    """Return the current version of a name; None if it has none."""
    last = _last(objects, name)
    if not last:
        return None
    newest = read_ref(objects, name, last)
    for seq in range(last, 0, -1):
        if not is_gone(newest.gone, seq):
            ref = newest if seq == last else read_ref(objects, name, seq)
            return Version(name, seq, ref)
    return None


def version(objects: Objects, name: str, seq: int | None = None) -> Version:
    """Return the current version of a name, or one by its number.

    Raises
    ------
    NotFound
        If there is no such name or version, or it is removed.
    """
    if seq is None:
        found = current(objects, name)
        if found is not None:
            return found
    known = history(objects, name)
    if seq is not None and 0 < seq <= known.last and not is_gone(known.gone, seq):
        return Version(name, seq, read_ref(objects, name, seq))
    raise _not_there(objects, known, seq)


def _not_there(objects: Objects, known: History, seq: int | None) -> NotFound:
    if not known.last:
        return NotFound(
            f"{objects.name!r} has nothing called {known.name!r}",
            hint="p2u refs STORE lists the names",
        )
    what = f"{known.name!r} has no versions left"
    if seq is not None:
        what = f"{known.name}@{seq} is not there"
    return NotFound(
        f"{objects.name!r}: {what}", hint=f"p2u refs STORE {known.name} lists what there is"
    )


def add_version(
    objects: Objects,
    name: str,
    make: Callable[[int, bytes | None, Runs], Ref],
    *,
    after: int | None = None,
) -> Version:
    """Add a ref to a name, with the next free number.

    Parameters
    ----------
    objects : Objects
        The store's place.
    name : str
        The name.
    make : callable
        Returns the ref, given its number, and of the one before it the digest and what is gone.
    after : int, optional
        The number that has to be the last one, 0 for none: otherwise whoever comes second takes
        the number behind.

    Raises
    ------
    VersionConflict
        If the last number is another than `after`.
    """
    for _ in range(_MOST_TRIES):
        last = _last(objects, name)
        if after is not None and last != after:
            raise VersionConflict(
                f"{name!r} is at version {last} by now, expected {after}",
                hint="look at what came in between, and try again",
                expected=after,
                got=last,
            )
        previous: bytes | None = None
        gone: Runs = ()
        if last:
            before = read_ref(objects, name, last)
            previous, gone = digest(before.encode()), before.gone
        ref = make(last + 1, previous, gone)
        if objects.create(ref_key(name, last + 1), ref.encode()):
            return Version(name, last + 1, ref)
    raise StoreUnavailable(f"{name!r}: others were faster {_MOST_TRIES} times", path=objects.name)


def remove(objects: Objects, name: str, writer: bytes, seqs: Iterable[int] = ()) -> Version:
    """Remove versions of a name, all by default; numbers are never used again.

    Raises
    ------
    NotFound
        If one of them is not there.
    """
    known = history(objects, name)
    wanted = sorted(set(seqs))
    missing = [seq for seq in wanted if seq not in known.left]
    if missing or not known.left:
        raise _not_there(objects, known, missing[0] if missing else None)
    moment = time.time_ns() // 1_000_000

    def make(seq: int, previous: bytes | None, gone: Runs) -> Ref:
        # Without numbers, all that is there when it is carried out.
        return Ref(writer, moment, previous, with_gone(gone, [*(wanted or range(1, seq)), seq]))

    return add_version(objects, name, make)


def read_ref(objects: Objects, name: str, seq: int) -> Ref:
    """Return a ref.

    Raises
    ------
    NotFound
        If there is none.
    CorruptData, UnsupportedFormat
        If it breaks a rule; the error names it.
    """
    key = ref_key(name, seq)
    try:
        return Ref.parse(objects.get(key, most=MAX_ENTRY_BYTES), seq)
    except CorruptData as error:
        raise error.locate(artifact=f"{objects.name}/{key}", region="ref") from error.__cause__


def _last(objects: Objects, name: str) -> int:
    """Return the last number of a name; 0 if it never had any."""
    # Names may have names below them: `a` and `a/b`.
    found = (ref_of(stat.key) for stat in objects.scan(f"{REFS}{check_name(name)}/"))
    return max((known[1] for known in found if known is not None and known[0] == name), default=0)
