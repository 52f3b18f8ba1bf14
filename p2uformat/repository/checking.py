"""Verifying a store: every chunk that a version needs is read and compared with its id."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Final

from p2uformat.artifact.damage import chunk_damage
from p2uformat.artifact.types import Progress
from p2uformat.container import BadChunk, StoredChunk
from p2uformat.digest import digest
from p2uformat.errors import NotFound
from p2uformat.parallel import for_each
from p2uformat.repository.survey import Held, Survey
from p2uformat.repository.types import StoreDamage, StoreReport
from p2uformat.store.keys import PackId
from p2uformat.store.objects import Objects

__all__ = ["Wanted", "check_store", "wanted_chunks"]

_SPAN_BYTES: Final = 1 << 23
_GAP_BYTES: Final = 1 << 16
_THREADS: Final = 4


@dataclass(slots=True)
class Wanted:
    """A chunk in a pack, and who needs it.

    Parameters
    ----------
    pack : PackId
        The pack.
    offset, length : int
        Where it lies.
    id : bytes
        Its digest.
    users : list of (Held, StoredChunk)
        The artifacts, and the chunk in each.
    """

    pack: PackId
    offset: int
    length: int
    id: bytes
    users: list[tuple[Held, StoredChunk]] = field(default_factory=list)


def check_store(
    objects: Objects,
    name: str | None = None,
    seq: int | None = None,
    *,
    sample: float = 1.0,
    max_duration: float | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> StoreReport:
    """Verify what a store's versions stand for; parameters are those of `Store.verify`."""
    with Survey.of(objects, name, seq) as survey:
        split: list[StoreDamage] = []
        wanted = wanted_chunks(survey, split)
        chosen = _chosen(wanted, sample, ordered=max_duration is None)
        run = _Checking(objects, sum(chunk.length for chunk in chosen), max_duration, progress)
        for_each(run.check, _spans(chosen), _THREADS)
        damage = (*survey.damage, *split, *run.damage)
        return StoreReport(
            not damage,
            survey.versions,
            len({held.place.root for held in survey.held}),
            len(wanted),
            sum(chunk.length for chunk in wanted),
            run.chunks,
            run.done,
            damage,
        )


def wanted_chunks(survey: Survey, split: list[StoreDamage]) -> list[Wanted]:
    """Return the chunks of all artifacts, each place of a pack once, in order."""
    found: dict[tuple[PackId, int, bytes], Wanted] = {}
    for held in survey.held:
        for chunk, places in held.chunks():
            if len(places) != 1:
                split.extend(_split(held, chunk, places))
                continue
            pack, offset, length = places[0]
            key = pack, offset, chunk.id
            one = found.setdefault(key, Wanted(pack, offset, length, chunk.id))
            one.users.append((held, chunk))
    return [found[key] for key in sorted(found)]


def _split(
    held: Held, chunk: StoredChunk, places: Sequence[tuple[PackId, int, int]]
) -> Iterator[StoreDamage]:
    """Yield what a record that cuts a chunk in two means: it lies, as no writer does that."""
    key = held.place.found.key
    for damage in chunk_damage(held.contents, BadChunk(chunk, b"")):
        yield StoreDamage(held.address, key, places[0][1] if places else 0, damage)


def _chosen(wanted: Sequence[Wanted], sample: float, *, ordered: bool) -> list[Wanted]:
    """Return what is to be looked at: a part chosen by chance, in an order that is one too."""
    chance = random.Random()  # noqa: S311 - no secret
    count = len(wanted) if sample >= 1 else max(round(len(wanted) * sample), min(1, len(wanted)))
    if count == len(wanted) and ordered:
        return list(wanted)
    chosen = chance.sample(range(len(wanted)), count)
    if ordered:
        chosen.sort()
    return [wanted[number] for number in chosen]


def _spans(chunks: Sequence[Wanted]) -> Iterator[list[Wanted]]:
    """Yield chunks that are read by one request."""
    span: list[Wanted] = []
    for chunk in chunks:
        if span and not _near(span, chunk):
            yield span
            span = []
        span.append(chunk)
    if span:
        yield span


def _near(span: Sequence[Wanted], chunk: Wanted) -> bool:
    first, last = span[0], span[-1]
    end = last.offset + last.length
    return (
        chunk.pack == first.pack
        and end <= chunk.offset <= end + _GAP_BYTES
        and chunk.offset + chunk.length - first.offset <= _SPAN_BYTES
    )


class _Checking:
    """One run over chunks."""

    def __init__(
        self,
        objects: Objects,
        total: int,
        max_duration: float | None,
        progress: Callable[[Progress], None] | None,
    ) -> None:
        self.damage: list[StoreDamage] = []
        self.chunks = 0
        self.done = 0
        self._objects = objects
        self._total = total
        self._until = None if max_duration is None else time.monotonic() + max_duration
        self._progress = progress
        self._lock = threading.Lock()

    def check(self, span: list[Wanted]) -> None:
        """Read chunks and compare them."""
        if self._until is not None and time.monotonic() > self._until:
            return
        start = span[0].offset
        try:
            data = self._read(span[0].pack, start, span[-1].offset + span[-1].length - start)
        except NotFound:
            data = memoryview(b"")
        found = []
        for chunk in span:
            got = digest(data[chunk.offset - start : chunk.offset - start + chunk.length])
            if got != chunk.id:
                found.append((chunk, got))
        with self._lock:
            for chunk, got in found:
                self.damage.extend(_damage_of(chunk, got))
            self.chunks += len(span)
            self.done += sum(chunk.length for chunk in span)
            if self._progress is not None:
                self._progress(Progress("verify", self.done, self._total))

    def _read(self, pack: PackId, offset: int, length: int) -> memoryview:
        with closing(self._objects.reader(pack.key)) as reader:
            return memoryview(reader.read(offset, length))


def _damage_of(chunk: Wanted, got: bytes) -> Iterator[StoreDamage]:
    for held, stored in chunk.users:
        for damage in chunk_damage(held.contents, BadChunk(stored, got)):
            yield StoreDamage(held.address, chunk.pack.key, chunk.offset, damage)
