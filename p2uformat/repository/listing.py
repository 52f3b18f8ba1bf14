"""What a store has: names, their versions, and what these share."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass

from p2uformat.digest import to_text
from p2uformat.errors import NotFound
from p2uformat.store.keys import REFS, PackId, check_name, ref_of
from p2uformat.store.lookup import find_record
from p2uformat.store.objects import Objects
from p2uformat.store.records import Record
from p2uformat.store.refs import Ref
from p2uformat.store.versions import current, history, read_ref, version

__all__ = ["NameInfo", "VersionInfo", "list_names", "list_versions", "overlap"]


@dataclass(frozen=True, slots=True)
class NameInfo:
    """A name in a store.

    Parameters
    ----------
    name : str
        The name.
    version : int or None
        Number of the current version; None if all are removed.
    last : int
        The last number that was given to a version or a removal.
    root : str or None
        Content root of the current version.
    size : int
        Bytes of that as a file.
    added : int
        Bytes that were written for it.
    time : float or None
        When it was made, in seconds since 1970.
    """

    name: str
    version: int | None
    last: int
    root: str | None
    size: int
    added: int
    time: float | None

    def to_dict(self) -> dict[str, object]:
        """Return what becomes JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class VersionInfo:
    """A version of a name.

    Parameters
    ----------
    name : str
        The name.
    version : int
        Its number.
    current : bool
        Whether it is what the name stands for.
    root, encoding_root : str
        Its roots.
    parents : int
        How many artifacts it needs to be read; all of these are in the store.
    size : int
        Bytes of it as a file, as far as it is stored.
    shared : int
        Bytes of these that the version before has too, in the same packs.
    added : int
        Bytes that were written for it.
    time : float
        When it was made, in seconds since 1970, by its writer's clock.
    """

    name: str
    version: int
    current: bool
    root: str
    encoding_root: str
    parents: int
    size: int
    shared: int
    added: int
    time: float

    def to_dict(self) -> dict[str, object]:
        """Return what becomes JSON."""
        return asdict(self)


def list_names(objects: Objects, below: str | None = None) -> list[NameInfo]:
    """Return all names of a store, or below one; of each only its current version is read."""
    last: dict[str, int] = {}
    prefix = REFS
    if below is not None:
        check_name(below)
        prefix += f"{below}/"
    for stat in objects.scan(prefix):
        found = ref_of(stat.key)
        if found is not None:
            last[found[0]] = max(found[1], last.get(found[0], 0))
    return [_name_info(objects, name, last[name]) for name in sorted(last)]


def _name_info(objects: Objects, name: str, last: int) -> NameInfo:
    found = current(objects, name)
    if found is None:
        return NameInfo(name, None, last, None, 0, 0, None)
    ref = found.ref
    assert ref.content is not None
    root = to_text(ref.content)
    return NameInfo(name, found.seq, last, root, ref.size, ref.added, ref.time / 1000)


def list_versions(objects: Objects, name: str) -> list[VersionInfo]:
    """Return the versions of a name that are not removed, in order.

    Raises
    ------
    NotFound
        If it never had any.
    """
    known = history(objects, name)
    if not known.last:
        version(objects, name)
    left = [(seq, read_ref(objects, name, seq)) for seq in known.left]
    return list(_versions(objects, name, left))


def _versions(objects: Objects, name: str, left: list[tuple[int, Ref]]) -> Iterator[VersionInfo]:
    before: Record | None = None
    for seq, ref in left:
        assert ref.content is not None
        assert ref.encoding is not None
        found = find_record(objects, ref.content)
        if found is None:
            raise NotFound(
                f"{objects.name!r}: {name}@{seq} stands for {to_text(ref.content)},"
                " which is not there",
                hint="p2u repair STORE --from ANOTHER can bring it back",
            )
        shared = 0 if before is None else overlap(before, found.record)
        yield VersionInfo(
            name,
            seq,
            seq == left[-1][0],
            to_text(ref.content),
            to_text(ref.encoding),
            len(found.record.artifacts) - 1,
            ref.size,
            shared,
            ref.added,
            ref.time / 1000,
        )
        before = found.record


def overlap(one: Record, other: Record) -> int:
    """Return how many bytes the artifacts of two records have in the same places of packs."""
    mine, theirs = _ranges(one), _ranges(other)
    return sum(_common(ranges, theirs.get(pack, [])) for pack, ranges in mine.items())


def _ranges(record: Record) -> dict[PackId, list[tuple[int, int]]]:
    found: dict[PackId, list[tuple[int, int]]] = defaultdict(list)
    for extent in record.artifacts[0].extents:
        found[record.packs[extent.pack]].append((extent.offset, extent.offset + extent.length))
    return {pack: sorted(ranges) for pack, ranges in found.items()}


def _common(one: list[tuple[int, int]], other: list[tuple[int, int]]) -> int:
    """Return the length of what two lists of ranges, each in order, have in common."""
    total = first = second = 0
    while first < len(one) and second < len(other):
        (a, b), (c, d) = one[first], other[second]
        total += max(min(b, d) - max(a, c), 0)
        if b <= d:
            first += 1
        else:
            second += 1
    return total
