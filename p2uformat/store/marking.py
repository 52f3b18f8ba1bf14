"""What lives in a store (SPEC.md, 20.4)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from p2uformat.errors import CorruptData, NotFound
from p2uformat.limits import MAX_ENTRY_BYTES
from p2uformat.store.keys import (
    PINS,
    ROOTS,
    PackId,
    bundle_key,
    end_key,
    record_key,
    record_of,
    writer_in,
)
from p2uformat.store.lease import last_pins
from p2uformat.store.lookup import Found, read_record
from p2uformat.store.objects import Objects, Stat
from p2uformat.store.pins import End, Outcome, Pin
from p2uformat.store.records import Record
from p2uformat.store.refs import Ref
from p2uformat.store.versions import history, names, read_ref

__all__ = ["Marks", "Pinned", "live_refs", "mark", "read_pins"]

_MERGE_AT: Final = 1 << 16
Ranges = NDArray[np.int64]


@dataclass(slots=True)
class Pinned:
    """What pins and their ends say.

    Parameters
    ----------
    writers : set of bytes
        Ids of writers at work: without an end, or committed and not yet done.
    keys : set of str
        Keys that writers at work rely on.
    roots : set of bytes
        Content roots whose records they rely on, or have committed.
    """

    writers: set[bytes] = field(default_factory=set)
    keys: set[str] = field(default_factory=set)
    roots: set[bytes] = field(default_factory=set)


@dataclass(slots=True)
class Marks:
    """What lives.

    Parameters
    ----------
    pinned : Pinned
        By pins.
    keys : set of str
        Keys of packs, bundles and records.
    newest : dict of bytes to int
        The highest generation for each content root that a ref names.
    versions : int
        Refs that are not removed.
    """

    pinned: Pinned
    keys: set[str] = field(default_factory=set)
    newest: dict[bytes, int] = field(default_factory=dict)
    versions: int = 0
    _ranges: dict[PackId, list[Ranges]] = field(default_factory=lambda: defaultdict(list))
    _pending: dict[PackId, int] = field(default_factory=lambda: defaultdict(int))

    def add(self, found: Found) -> None:
        """Add a record with all that it names."""
        record = found.record
        self.keys.add(found.key)
        self.keys.update(pack.key for pack in record.packs)
        self.keys.update(map(bundle_key, record.bundles))
        for pack, ranges in _ranges_of(record):
            self._ranges[pack].append(ranges)
            self._pending[pack] += len(ranges)
            if self._pending[pack] > _MERGE_AT:
                self._ranges[pack] = [self.live(pack)]
                self._pending[pack] = 0

    def live(self, pack: PackId) -> Ranges:
        """Return the ranges of a pack that records need: start and end, in order, apart."""
        found = self._ranges.get(pack)
        if not found:
            return np.empty((0, 2), np.int64)
        return _merged(np.concatenate(found))

    def live_bytes(self, pack: PackId) -> int:
        """Return how many bytes of a pack records need."""
        ranges = self.live(pack)
        return int((ranges[:, 1] - ranges[:, 0]).sum())


def mark(objects: Objects, now: float, keep: int | None = None, *, expire: bool = False) -> Marks:
    """Return what lives.

    Pins are read, and those of the dead ended, before refs are, and these before records: the other
    way round than a writer makes them. Whose pins are gone already has its ref; who is ended before
    refs are read cannot commit any more; and what a ref names has its record.

    Parameters
    ----------
    objects : Objects
        The store's place.
    now : float
        The time there.
    keep : int, optional
        How many of the latest versions of each name count; all by default.
    expire : bool
        Whether to end the pins of writers that are silent for too long. Otherwise they are taken
        for ended: for a look at what would be done.

    Raises
    ------
    CorruptData, UnsupportedFormat
        If something is damaged that decides what lives.
    NotFound
        If a ref names something that is not there.
    """
    marks = Marks(read_pins(objects, now, expire=expire))
    marks.keys |= marks.pinned.keys
    roots: dict[bytes, str] = {}
    for text, ref in live_refs(objects, keep):
        marks.versions += 1
        assert ref.content is not None
        roots.setdefault(ref.content, text)
    newest = _newest(objects.scan(ROOTS))
    for root, text in roots.items():
        if root not in newest:
            raise NotFound(
                f"{objects.name!r}: {text} stands for blake3:{root.hex()}, which is not there",
                hint="p2u repair STORE --from ANOTHER can bring it back; or remove the version",
            )
        marks.newest[root] = newest[root]
        marks.add(read_record(objects, root, newest[root]))
    for root in marks.pinned.roots - roots.keys():
        # The newest counts as soon as there is a ref, so all that it names has to stay.
        if root in newest:
            with suppress(NotFound):  # deleted meanwhile: the writer will see that
                marks.add(read_record(objects, root, newest[root]))
    return marks


def read_pins(objects: Objects, now: float, *, expire: bool = False) -> Pinned:
    """Return what the pins of writers say.

    Parameters
    ----------
    objects : Objects
        The store's place.
    now : float
        The time there.
    expire : bool
        Whether to end those of writers that are silent for too long.

    Raises
    ------
    CorruptData, UnsupportedFormat
        If one breaks a rule.
    """
    stats = objects.scan(PINS)
    keys = {stat.key for stat in stats}
    pinned = Pinned()
    for writer, last in last_pins(stats).items():
        committed = end_key(writer) in keys and _committed(objects, writer)
        if end_key(writer) in keys and not committed:
            continue
        pins = [
            pin for stat in stats if _is_pin_of(stat, writer) for pin in _read_pin(objects, stat)
        ]
        if not pins:
            continue  # it was released meanwhile, and has its ref
        if not committed and now - last.modified > max(pin.lease for pin in pins):
            if not expire or objects.create(end_key(writer), End(Outcome.EXPIRED).encode()):
                continue
            if not _committed(objects, writer):  # which was faster
                continue
        pinned.writers.add(writer)
        for pin in pins:
            pinned.keys.update(pack.key for pack in pin.packs)
            pinned.keys.update(map(bundle_key, pin.bundles))
            pinned.keys.update(record_key(*record) for record in pin.records)
            pinned.roots.update(root for root, _ in pin.records)
    return pinned


def _is_pin_of(stat: Stat, writer: bytes) -> bool:
    return writer_in(stat.key) == writer and not stat.key.endswith(".end")


def _read_pin(objects: Objects, stat: Stat) -> Iterator[Pin]:
    try:
        yield Pin.parse(objects.get(stat.key, most=MAX_ENTRY_BYTES))
    except NotFound:
        return
    except CorruptData as error:
        raise error.locate(artifact=f"{objects.name}/{stat.key}") from error.__cause__


def _committed(objects: Objects, writer: bytes) -> bool:
    """Return whether a writer has committed and may not be done with its record and its ref."""
    key = end_key(writer)
    try:
        return End.parse(objects.get(key, most=MAX_ENTRY_BYTES)).outcome is Outcome.COMMIT
    except NotFound:
        return False  # released: the ref is there
    except CorruptData as error:
        raise error.locate(artifact=f"{objects.name}/{key}") from error.__cause__


def live_refs(objects: Objects, keep: int | None = None) -> Iterator[tuple[str, Ref]]:
    """Yield the refs that count, with what they are called."""
    for name in names(objects):
        left = history(objects, name).left
        for seq in left if keep is None else left[-keep:]:
            yield f"{name}@{seq}", read_ref(objects, name, seq)


def _newest(stats: Iterable[Stat]) -> dict[bytes, int]:
    found: dict[bytes, int] = {}
    for stat in stats:
        known = record_of(stat.key)
        if known is not None:
            found[known[0]] = max(known[1], found.get(known[0], 0))
    return found


def _ranges_of(record: Record) -> Iterator[tuple[PackId, Ranges]]:
    """Yield the ranges of each pack that a record needs."""
    flat = np.fromiter(
        (number for placed in record.artifacts for extent in placed.extents for number in extent),
        np.int64,
    ).reshape(-1, 3)
    order = np.argsort(flat[:, 0], kind="stable")
    flat = flat[order]
    edges = np.searchsorted(flat[:, 0], np.arange(len(record.packs) + 1))
    for number, pack in enumerate(record.packs):
        part = flat[edges[number] : edges[number + 1], 1:]
        if len(part):
            yield pack, np.column_stack((part[:, 0], part[:, 0] + part[:, 1]))


def _merged(ranges: Ranges) -> Ranges:
    """Return ranges in order, those that touch or overlap as one."""
    ranges = ranges[np.argsort(ranges[:, 0], kind="stable")]
    reach = np.maximum.accumulate(ranges[:, 1])
    first = np.concatenate(([True], ranges[1:, 0] > reach[:-1]))
    last = np.concatenate((first[1:], [True]))
    return np.column_stack((ranges[first, 0], reach[last]))
