"""Versions of names: which there are, which one is current, and how another is added."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from p2uformat.digest import digest
from p2uformat.errors import CorruptData, NotFound, StoreUnavailable, VersionConflict
from p2uformat.limits import MAX_ENTRY_BYTES
from p2uformat.store.keys import REFS, check_name, ref_key, ref_of
from p2uformat.store.objects import Objects
from p2uformat.store.refs import Ref, removed

__all__ = ["Version", "add_version", "current", "history", "names", "remove", "version"]

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


def names(objects: Objects) -> list[str]:
    """Return all names that ever had a version, in order."""
    found = (ref_of(stat.key) for stat in objects.scan(REFS))
    return sorted({known[0] for known in found if known is not None})


def history(objects: Objects, name: str) -> dict[int, Ref]:
    """Return all refs of a name by number; none if it never had any."""
    return {seq: read_ref(objects, name, seq) for seq in _numbers(objects, name)}


def current(objects: Objects, name: str) -> Version | None:
    """Return the current version of a name; None if it has none.

    Refs are read from the last one back, until one is not removed: usually one of them.
    """
    later: dict[int, Ref] = {}
    for seq in reversed(_numbers(objects, name)):
        later[seq] = read_ref(objects, name, seq)
        if seq not in removed(later):
            return Version(name, seq, later[seq])
    return None


def version(objects: Objects, name: str, seq: int | None = None) -> Version:
    """Return the current version of a name, or one by its number.

    Raises
    ------
    NotFound
        If there is no such name or version, or it is removed.
    """
    found = current(objects, name) if seq is None else _numbered(objects, name, seq)
    if found is not None:
        return found
    numbers = _numbers(objects, name)
    if not numbers:
        raise NotFound(
            f"{objects.name!r} has nothing called {name!r}", hint="p2u refs STORE lists the names"
        )
    what = f"{name!r} has no versions left" if seq is None else f"{name}@{seq} is not there"
    raise NotFound(f"{objects.name!r}: {what}", hint=f"p2u refs STORE {name} lists what there is")


def add_version(
    objects: Objects,
    name: str,
    make: Callable[[bytes | None], Ref],
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
        Returns the ref, given the digest of the one before.
    after : int, optional
        The number that has to be the last one, 0 for none: otherwise whoever comes second takes
        the number behind.

    Raises
    ------
    VersionConflict
        If the last number is another than `after`.
    """
    for _ in range(_MOST_TRIES):
        last = max(_numbers(objects, name), default=0)
        if after is not None and last != after:
            raise VersionConflict(
                f"{name!r} is at version {last} by now, expected {after}",
                hint="look at what came in between, and try again",
                expected=after,
                got=last,
            )
        previous = None
        if last:
            previous = digest(objects.get(ref_key(name, last), most=MAX_ENTRY_BYTES))
        ref = make(previous)
        if objects.create(ref_key(name, last + 1), ref.encode()):
            return Version(name, last + 1, ref)
    raise StoreUnavailable(f"{name!r}: others were faster {_MOST_TRIES} times", path=objects.name)


def remove(objects: Objects, name: str, writer: bytes, seqs: tuple[int, ...] = ()) -> Version:
    """Remove versions of a name, all by default; numbers are never used again.

    Raises
    ------
    NotFound
        If one of them is not there.
    """
    refs = history(objects, name)
    left = set(refs) - removed(refs)
    if not left or not left.issuperset(seqs):
        version(objects, name, next(iter(set(seqs) - left), None))
    moment = time.time_ns() // 1_000_000
    return add_version(
        objects,
        name,
        lambda previous: Ref(writer, moment, previous, removes=tuple(sorted(set(seqs)))),
    )


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
        return Ref.parse(objects.get(key, most=MAX_ENTRY_BYTES))
    except CorruptData as error:
        raise error.locate(artifact=f"{objects.name}/{key}", region="ref") from error.__cause__


def _numbered(objects: Objects, name: str, seq: int) -> Version | None:
    refs = {number: read_ref(objects, name, number) for number in _from(objects, name, seq)}
    if seq not in refs or seq in removed(refs):
        return None
    return Version(name, seq, refs[seq])


def _from(objects: Objects, name: str, seq: int) -> list[int]:
    return [number for number in _numbers(objects, name) if number >= seq]


def _numbers(objects: Objects, name: str) -> list[int]:
    # Names may have names below them: `a` and `a/b`.
    found = (ref_of(stat.key) for stat in objects.scan(f"{REFS}{check_name(name)}/"))
    return sorted(known[1] for known in found if known is not None and known[0] == name)
