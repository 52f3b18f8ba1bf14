"""A writer's lease: what it relies on stays, until it has named what it wrote (SPEC.md, 20.4)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Final, Self

from p2uformat.errors import CorruptData, LeaseLost, NotFound, P2UError, SeveralWriters
from p2uformat.limits import MAX_ENTRY_BYTES, MAX_LIST_BYTES
from p2uformat.store.keys import (
    COLLECTIONS,
    PINS,
    ROOTS,
    PackId,
    bundle_key,
    end_key,
    new_id,
    packs_of,
    pin_key,
    record_key,
    writer_in,
)
from p2uformat.store.objects import Objects, Stat
from p2uformat.store.pins import Condemned, End, Outcome, Pin, RecordId

__all__ = ["LEASE_SECONDS", "Lease", "condemned_keys", "last_pins"]

LEASE_SECONDS: Final = 3600
_MOST_PINS: Final = 9999
_PACKS_OF_A_PIN: Final = 20_000
_SHARD: Final = len("meta/00/")


class Lease:
    """What a writer holds while it writes.

    Parameters
    ----------
    objects : Objects
        The store's place.
    seconds : int
        How long it may be silent before it is taken for dead.
    clock : callable
        Returns seconds that never go back.

    Attributes
    ----------
    writer : bytes
        The id of all that it writes.
    refused : frozenset of str
        Keys that it meant to rely on and must not: they are condemned, or gone.
    """

    def __init__(self, objects: Objects, seconds: int, clock: Callable[[], float]) -> None:
        self.writer = new_id()
        self.refused: frozenset[str] = frozenset()
        self._objects = objects
        self._seconds = seconds
        self._clock = clock
        self._pins = 0
        self._pinned_at = 0.0

    @classmethod
    def begin(
        cls,
        objects: Objects,
        *,
        packs: Iterable[PackId] = (),
        bundles: Iterable[bytes] = (),
        records: Iterable[RecordId] = (),
        exclusive: bool = False,
        seconds: int = LEASE_SECONDS,
        clock: Callable[[], float] | None = None,
    ) -> Self:
        """Take a lease that relies on what is there.

        Parameters
        ----------
        objects : Objects
            The store's place.
        packs, bundles, records : iterable
            What it is going to rely on.
        exclusive : bool
            Whether nobody else may write meanwhile.
        seconds : int
            How long it may be silent.
        clock : callable, optional
            Returns seconds that never go back; those of this machine by default.

        Raises
        ------
        SeveralWriters
            If somebody else is at work where only one may be.
        """
        lease = cls(objects, seconds, clock or time.monotonic)
        pin = Pin(seconds, tuple(packs), tuple(bundles), tuple(records))
        try:
            for part in _parts(pin):
                lease._pin(part)
            if exclusive:
                lease._be_alone()
            # In this order: what is condemned from here on is so by somebody who will see the pin.
            wanted = _keys_of(pin)
            doomed = condemned_keys(objects) if wanted else frozenset[str]()
            lease.refused = frozenset(wanted & doomed) | _missing(objects, wanted - doomed)
        except BaseException:
            with suppress(P2UError):
                lease.abandon()
            raise
        return lease

    def keep(self) -> None:
        """Renew it if half of it is over.

        Raises
        ------
        LeaseLost
            If all of it is over.
        """
        self.check()
        if self._clock() - self._pinned_at > self._seconds / 2:
            self._pin(Pin(self._seconds))

    def check(self) -> None:
        """See that it is not over yet.

        Raises
        ------
        LeaseLost
            If it is.
        """
        if self._clock() - self._pinned_at >= self._seconds:
            raise _lost(self._objects.name)

    def commit(self, record: RecordId) -> None:
        """Say that a record is there, which is about to be named.

        Raises
        ------
        LeaseLost
            If somebody has ended it, or all of it is over.
        """
        self.check()
        if not self._objects.create(end_key(self.writer), End(Outcome.COMMIT, record).encode()):
            raise _lost(self._objects.name)

    def release(self) -> None:
        """Clean up, once what was committed has its name."""
        # Pins first: an end without pins means nothing, pins without an end a writer at work.
        self._objects.delete([pin_key(self.writer, number) for number in range(self._pins)])
        self._objects.delete([end_key(self.writer)])

    def abandon(self) -> None:
        """End it without result, and clean up; what was written is the collector's."""
        key = end_key(self.writer)
        mine = self._objects.create(key, End(Outcome.ABANDONED).encode())
        if not mine:
            with suppress(NotFound, CorruptData):
                end = End.parse(self._objects.get(key, most=MAX_ENTRY_BYTES))
                mine = end.outcome is Outcome.COMMIT
        self._objects.delete([pin_key(self.writer, number) for number in range(self._pins)])
        if mine:
            self._objects.delete([key])

    def _pin(self, pin: Pin) -> None:
        if self._pins > _MOST_PINS:
            raise _lost(self._objects.name)
        # From before it is sent: the store's clock starts later.
        moment = self._clock()
        if not self._objects.create(pin_key(self.writer, self._pins), pin.encode()):
            raise _lost(self._objects.name)
        self._pins += 1
        self._pinned_at = moment

    def _be_alone(self) -> None:
        """Refuse to go on if another lease holds; of two that begin at once both may be refused."""
        stats = self._objects.scan(PINS)
        ended = {stat.key for stat in stats if stat.key.endswith(".end")}
        now = max((stat.modified for stat in stats), default=0.0)
        for writer, stat in last_pins(stats).items():
            if writer == self.writer or end_key(writer) in ended:
                continue
            if now - stat.modified < LEASE_SECONDS:
                raise SeveralWriters(
                    f"somebody else writes to {self._objects.name!r}, where a second writer could"
                    " overwrite what the first one wrote: the store ignores conditions",
                    hint="wait until that is done (a writer that was killed counts for an hour),"
                    " or use a store that honours If-None-Match",
                )


def last_pins(stats: Iterable[Stat]) -> dict[bytes, Stat]:
    """Return, of a listing of pins, the last one of each writer."""
    found: dict[bytes, Stat] = {}
    for stat in stats:
        writer = writer_in(stat.key)
        if writer is None or stat.key.endswith(".end"):
            continue
        if writer not in found or found[writer].modified <= stat.modified:
            found[writer] = stat
    return found


def condemned_keys(objects: Objects) -> frozenset[str]:
    """Return all keys that collectors are going to delete."""
    found: set[str] = set()
    for stat in objects.scan(COLLECTIONS):
        with suppress(NotFound):  # done with, meanwhile
            found.update(Condemned.parse(objects.get(stat.key, most=MAX_LIST_BYTES)).keys)
    return frozenset(found)


def _parts(pin: Pin) -> Iterator[Pin]:
    """Yield pins that are small enough, and say the same together."""
    first = replace(pin, packs=pin.packs[:_PACKS_OF_A_PIN])
    yield first
    for at in range(_PACKS_OF_A_PIN, len(pin.packs), _PACKS_OF_A_PIN):
        yield Pin(pin.lease, pin.packs[at : at + _PACKS_OF_A_PIN])


def _keys_of(pin: Pin) -> set[str]:
    return {
        *(pack.key for pack in pin.packs),
        *map(bundle_key, pin.bundles),
        *(record_key(*record) for record in pin.records),
    }


def _missing(objects: Objects, keys: set[str]) -> frozenset[str]:
    """Return the keys that are not there, by few listings."""
    there = {stat.key for prefix in {_prefix(key) for key in keys} for stat in objects.scan(prefix)}
    return frozenset(keys - there)


def _prefix(key: str) -> str:
    pack = PackId.from_key(key)
    if pack is not None:
        return packs_of(pack.writer)
    return key.rpartition("/")[0] + "/" if key.startswith(ROOTS) else key[:_SHARD]


def _lost(name: str) -> LeaseLost:
    return LeaseLost(
        f"this writer was silent for too long: a collector of {name!r} may have deleted what it"
        " relies on",
        hint="run the command again: what was sent is found there",
    )
