"""Writing an artifact into a store: packs, bundle, record, ref, in this order (SPEC.md, 20.4)."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from p2uformat.errors import Conflict, P2UError, StoreUnavailable
from p2uformat.store.keys import bundle_key, record_key
from p2uformat.store.lease import Lease
from p2uformat.store.lookup import Found, find_record, newest
from p2uformat.store.objects import Objects
from p2uformat.store.records import Record
from p2uformat.store.refs import Ref, Runs
from p2uformat.store.sketches import add_sketch
from p2uformat.store.versions import Version, add_version
from p2uformat.stored.builder import build_record
from p2uformat.stored.manifest import header_of
from p2uformat.stored.offer import Known, Offer, PackPlace, arrange
from p2uformat.stored.orphans import left_behind
from p2uformat.stored.uploads import CONNECTIONS, Uploads

__all__ = ["Published", "publish"]

Tell = Callable[[int, int], None]
_MOST_TRIES: Final = 8
FIRST_GENERATIONS: Final = 10_000_000


@dataclass(frozen=True, slots=True)
class Published:
    """What became of an artifact that was offered to a store.

    Parameters
    ----------
    found : Found
        Its record.
    version : Version or None
        The version, if it got a name.
    reused : int
        Bytes of chunks that were there.
    added : int
        Bytes of packs that were written.
    """

    found: Found
    version: Version | None
    reused: int
    added: int


def publish(
    objects: Objects,
    offer: Offer,
    known: Known,
    *,
    name: str | None = None,
    after: int | None = None,
    exclusive: bool = False,
    replace: bool = False,
    connections: int = CONNECTIONS,
    tell: Tell | None = None,
) -> Published:
    """Store an artifact, and give it a name.

    Whatever ends this, what was there stays as it was, and the next try sends only what is missing.

    Parameters
    ----------
    objects : Objects
        The store's place.
    offer : Offer
        The artifact.
    known : Known
        What there is that it may share.
    name : str, optional
        Its name.
    after : int, optional
        The last version of the name, as for `add_version`.
    exclusive : bool
        Whether the place lets in one writer only.
    replace : bool
        Whether to store it anew, however it is stored already.
    connections : int
        Packs that are written at once.
    tell : callable, optional
        Called, on some thread, with bytes done and in all.

    Raises
    ------
    VersionConflict, LeaseLost, SeveralWriters
        If somebody else was in the way.
    AccessDenied, StoreUnavailable, TransferFailed
        If it cannot be written.
    """
    there = None if replace else find_record(objects, offer.header.content_root)
    if there is not None and there.record.artifacts[0].payload >= offer.payload:
        done = _Publishing(objects, offer, known, name, after, exclusive, connections, tell)
        again = done.as_it_is(there)
        if again is not None:
            return again
    known.add_chunks(left_behind(objects))
    return _Publishing(objects, offer, known, name, after, exclusive, connections, tell).anew()


@dataclass(slots=True)
class _Publishing:
    """One run of `publish`."""

    objects: Objects
    offer: Offer
    known: Known
    name: str | None
    after: int | None
    exclusive: bool
    connections: int
    tell: Tell | None

    def as_it_is(self, there: Found) -> Published | None:
        """Name what is stored already; None if it is about to be deleted."""
        record = there.record
        lease = Lease.begin(
            self.objects,
            packs=record.packs,
            bundles=record.bundles,
            records=((there.root, there.generation),),
            exclusive=self.exclusive,
        )
        try:
            if lease.refused:
                lease.abandon()
                return None
            lease.commit((there.root, there.generation))
            return self._finish(lease, there, self.offer.payload, 0)
        except BaseException:
            _let_go(lease)
            raise

    def anew(self) -> Published:
        """Store what is missing, and name it."""
        known = self.known
        refused: frozenset[str] = frozenset()
        for _ in range(_MOST_TRIES):
            if refused:
                known = known.without(refused)
            places = arrange(self.offer.chunks, known)
            lease = self._lease(places, known)
            if not lease.refused:
                break
            # What a collector has condemned meanwhile is stored anew.
            lease.abandon()
            refused |= lease.refused
        else:
            raise Conflict(
                f"{self.objects.name!r}: a collector condemns what this relies on, again and again",
                hint="try again later",
            )
        try:
            return self._store(lease, places, known)
        except BaseException:
            _let_go(lease)
            raise

    def _lease(self, places: Sequence[PackPlace | None], known: Known) -> Lease:
        packs = {place.pack for place in places if place is not None}
        ancestors = [place.found.record for place in self.offer.ancestors]
        packs.update(pack for record in ancestors for pack in record.packs)
        bundles = {found[0] for found in known.blobs.values()}
        bundles.update(bundle for record in ancestors for bundle in record.bundles)
        return Lease.begin(
            self.objects,
            packs=tuple(sorted(packs)),
            bundles=tuple(sorted(bundles)),
            exclusive=self.exclusive,
        )

    def _store(self, lease: Lease, places: Sequence[PackPlace | None], known: Known) -> Published:
        chunks = self.offer.chunks
        total = self.offer.payload
        reused = sum(
            chunk.length for chunk, place in zip(chunks, places, strict=True) if place is not None
        )
        done = reused
        final: list[PackPlace] = []
        with Uploads(self.objects, lease.writer, self.connections) as uploads:
            for chunk, place in zip(chunks, places, strict=True):
                if place is None:
                    lease.keep()
                    place = uploads.add(chunk, self.offer.read(chunk))
                    done += chunk.length
                    self._tell(done, total)
                final.append(place)
            uploads.finish()
        self._tell(total, total)
        record, bundle = build_record(self.offer, final, known, lease.writer)
        if bundle:
            self._create(bundle_key(lease.writer), bundle)
        root = self.offer.header.content_root
        generation = self._free_generation()
        # Before the record is there, which counts for all versions of this content: a writer that
        # has lost its lease must not write one.
        lease.commit((root, generation))
        found = self._record(record, generation)
        return self._finish(lease, found, reused, uploads.added)

    def _free_generation(self) -> int:
        last = newest(self.objects, self.offer.header.content_root)
        # Where all records were deleted, somebody may still mean to delete them again.
        return secrets.randbelow(FIRST_GENERATIONS) if last is None else last + 1

    def _record(self, record: Record, generation: int) -> Found:
        root, data = self.offer.header.content_root, record.encode()
        for _ in range(_MOST_TRIES):
            if self.objects.create(record_key(root, generation), data):
                return Found(root, generation, record)
            there = find_record(self.objects, root)
            if there is not None and there.record.artifacts[0].payload > self.offer.payload:
                raise Conflict(
                    f"{self.objects.name!r}: somebody stored more of the same artifact meanwhile",
                    hint="run the command again",
                )
            generation = self._free_generation()
        raise Conflict(f"{self.objects.name!r}: others store the same artifact again and again")

    def _finish(self, lease: Lease, found: Found, reused: int, added: int) -> Published:
        # A computer that slept in between must not name what may be gone by now.
        lease.check()
        version = None if self.name is None else self._name(lease, found, added)
        lease.release()
        if added:
            with suppress(P2UError):  # it is a hint
                add_sketch(self.objects, lease.writer, found.root, self.offer.sketch)
        return Published(found, version, reused, added)

    def _name(self, lease: Lease, found: Found, added: int) -> Version:
        assert self.name is not None
        # Stored before in another way, it is that way's encoding that the name stands for.
        placed = found.record.artifacts[0]
        header = header_of(placed, found.key)
        size = header.manifest_length + placed.payload

        def make(seq: int, previous: bytes | None, gone: Runs) -> Ref:
            del seq
            return Ref(
                lease.writer,
                time.time_ns() // 1_000_000,
                previous,
                gone,
                header.content_root,
                header.encoding_root,
                found.generation,
                size=size,
                added=added,
            )

        return add_version(self.objects, self.name, make, after=self.after)

    def _create(self, key: str, data: bytes) -> None:
        if not self.objects.create(key, data):
            raise StoreUnavailable(
                f"{self.objects.name!r}: {key} holds something else", path=self.objects.name
            )

    def _tell(self, done: int, total: int) -> None:
        if self.tell is not None:
            self.tell(done, total)


def _let_go(lease: Lease) -> None:
    """End a lease, as far as that can be done: otherwise it ends by itself."""
    with suppress(P2UError):
        lease.abandon()
