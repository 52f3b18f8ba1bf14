"""Collection: what nobody needs is condemned, and after a time of grace deleted (SPEC.md, 20.4)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Final

from p2uformat.errors import CorruptData, InvalidArgument, NotFound
from p2uformat.limits import MAX_LIST_BYTES
from p2uformat.progress import Progress
from p2uformat.store.keys import (
    COLLECTIONS,
    META,
    PACKS,
    PINS,
    ROOTS,
    PackId,
    bundle_writer,
    new_id,
    record_of,
    writer_in,
)
from p2uformat.store.lookup import read_record
from p2uformat.store.marking import Marks, mark
from p2uformat.store.objects import Objects, Stat
from p2uformat.store.pins import Condemned
from p2uformat.store.repack import repack, worn
from p2uformat.store.sketches import merge_index
from p2uformat.store.versions import history, names, remove

__all__ = ["CollectReport", "collect"]

_ENDS_STAY: Final = 30 * 86400.0
_KEYS_OF_A_LIST: Final = 100_000


@dataclass(frozen=True, slots=True)
class CollectReport:
    """What a collection did, or would do.

    Parameters
    ----------
    deleting : bool
        Whether anything was written; otherwise it is what would be.
    versions : int
        Versions, of all names, that count.
    removed : int
        Versions that were removed for being older than those to be kept.
    live_packs, live_bytes : int
        Packs that are needed, and the bytes in them that are.
    dead_packs, dead_bytes : int
        Packs that nobody needs, condemned or not, and their bytes.
    wasted_bytes : int
        Bytes that nobody needs in packs that are needed.
    young : int
        Objects that nobody needs, but too young to be condemned.
    condemned : int
        Objects condemned now.
    waiting : int
        Objects condemned before whose time of grace is not over.
    deleted, deleted_bytes : int
        Objects deleted now, after that time.
    spared : int
        Objects that were condemned and are needed after all.
    repacked : int
        Packs whose live chunks were put into new ones.
    """

    deleting: bool
    versions: int
    removed: int
    live_packs: int
    live_bytes: int
    dead_packs: int
    dead_bytes: int
    wasted_bytes: int
    young: int
    condemned: int
    waiting: int
    deleted: int
    deleted_bytes: int
    spared: int
    repacked: int

    def to_dict(self) -> dict[str, object]:
        """Return what becomes JSON."""
        return asdict(self)


def collect(
    objects: Objects,
    *,
    keep: int | None = None,
    grace: float = 86400.0,
    delete: bool = False,
    progress: Callable[[Progress], None] | None = None,
) -> CollectReport:
    """Collect; parameters, result and errors are those of `Store.gc`."""
    if keep is not None and keep < 1:
        raise InvalidArgument(f"keep: expected at least 1, got {keep}")
    if grace < 0:
        raise InvalidArgument(f"grace: expected no negative time, got {grace}")
    count = _remove_old(objects, keep) if delete and keep is not None else 0
    # Before marking: what is condemned later is none of this run's business, however long it takes.
    now, lists = objects.now(), _lists(objects)
    # What was removed has its ref by now; what came since is not to be counted as old.
    marks = mark(objects, now, None if delete else keep, expire=delete)
    run = _Collection(objects, marks, now, grace, delete, progress)
    run.look()
    run.delete_condemned(lists)
    run.condemn()
    run.repack()
    run.tidy()
    return run.report(count)


def _lists(objects: Objects) -> list[tuple[Stat, tuple[str, ...]]]:
    """Return what is condemned, list by list."""
    found = []
    for stat in objects.scan(COLLECTIONS):
        try:
            keys = Condemned.parse(objects.get(stat.key, most=MAX_LIST_BYTES)).keys
        except NotFound:
            continue
        except CorruptData as error:
            raise error.locate(artifact=f"{objects.name}/{stat.key}") from error.__cause__
        found.append((stat, keys))
    return found


def _remove_old(objects: Objects, keep: int) -> int:
    """Remove what is older than the latest versions of each name."""
    count = 0
    for name in names(objects):
        old = history(objects, name).left[:-keep]
        with suppress(NotFound):  # another collector was faster
            if old:
                remove(objects, name, new_id(), old)
                count += len(old)
    return count


class _Collection:
    """One run."""

    def __init__(
        self,
        objects: Objects,
        marks: Marks,
        now: float,
        grace: float,
        delete: bool,  # noqa: FBT001
        progress: Callable[[Progress], None] | None,
    ) -> None:
        self._objects = objects
        self._marks = marks
        self._grace = grace
        self._delete = delete
        self._progress = progress
        self._now = now
        self._dead: dict[str, Stat] = {}
        self._alive: set[str] = set()
        self._sizes: dict[PackId, int] = {}
        self._condemned: set[str] = set()
        self._counts = dict.fromkeys(
            ("young", "condemned", "waiting", "deleted", "deleted_bytes", "spared", "repacked"), 0
        )

    def look(self) -> None:
        """Find what does not live."""
        marks = self._marks
        for stat in [*self._objects.scan(PACKS), *self._objects.scan(META)]:
            pack = PackId.from_key(stat.key)
            writer = bundle_writer(stat.key) if pack is None else pack.writer
            if writer is None:
                continue  # nothing that this knows: not this program's to delete
            if pack is not None:
                self._sizes[pack] = stat.size
            self._sort(stat, lives=stat.key in marks.keys or writer in marks.pinned.writers)
        for stat in self._objects.scan(ROOTS):
            if record_of(stat.key) is not None:
                lives = stat.key in marks.keys or self._is_in_writing(stat)
                self._sort(stat, lives=lives)

    def _sort(self, stat: Stat, *, lives: bool) -> None:
        if lives:
            self._alive.add(stat.key)
        else:
            self._dead[stat.key] = stat

    def _is_in_writing(self, stat: Stat) -> bool:
        """Return whether a record is of a writer at work, who has not named it yet."""
        known = record_of(stat.key)
        if known is None or not self._marks.pinned.writers:
            return False
        try:
            found = read_record(self._objects, *known)
        except NotFound:
            return False
        if found.record.writer not in self._marks.pinned.writers:
            return False
        self._marks.add(found)
        return True

    def delete_condemned(self, lists: Iterable[tuple[Stat, tuple[str, ...]]]) -> None:
        """Delete what was condemned long enough ago and is still dead."""
        for stat, keys in lists:
            if self._now - stat.modified < self._grace:
                self._condemned.update(keys)
                self._counts["waiting"] += sum(key in self._dead for key in keys)
            else:
                self._delete_list(stat.key, keys)

    def _delete_list(self, name: str, keys: Iterable[str]) -> None:
        # Records first: none may stay that names what is gone. Of a root the newest last, or an
        # older one would count meanwhile.
        dead = sorted((key for key in keys if key in self._dead), key=_deletion_order)
        left = [key for key in keys if key in self._alive]
        self._counts["spared"] += len(left)
        self._counts["deleted"] += len(dead)
        self._counts["deleted_bytes"] += sum(self._dead[key].size for key in dead)
        if self._delete:
            self._tell("delete", 0, len(dead))
            self._objects.delete(dead)
            self._tell("delete", len(dead), len(dead))
            if not left:
                # Whoever pins now and does not see the list sees that the keys are gone. While
                # one of them lives the list stays: another collector may still mean to delete it.
                self._objects.delete([name])
        self._condemned.update(left)
        for key in dead:
            self._sizes.pop(PackId.from_key(key) or PackId(b"", 0), None)
            del self._dead[key]

    def condemn(self) -> None:
        """Condemn what is dead, not young, and not condemned."""
        new = []
        for key, stat in self._dead.items():
            if key in self._condemned:
                continue
            if self._now - stat.modified < self._grace:
                self._counts["young"] += 1
            else:
                new.append(key)
        self._counts["condemned"] = len(new)
        new.sort()
        for first in range(0, len(new), _KEYS_OF_A_LIST) if self._delete else ():
            part = Condemned(tuple(new[first : first + _KEYS_OF_A_LIST]))
            self._objects.create(f"{COLLECTIONS}{new_id().hex()}", part.encode())

    def repack(self) -> None:
        """Put packs of which much is dead together anew."""
        packs = worn(self._marks, self._sizes)
        self._counts["repacked"] = len(packs)
        if self._delete and packs:
            self._counts["repacked"] = repack(self._objects, self._marks, packs, self._tell)

    def tidy(self) -> None:
        """Delete ends that nobody can be waiting for, and put the index together."""
        if not self._delete:
            return
        stats = self._objects.scan(PINS)
        ends = [stat for stat in stats if stat.key.endswith(".end")]
        pins = [stat for stat in stats if not stat.key.endswith(".end")]
        ended = {writer_in(stat.key) for stat in ends}
        pinned = {writer_in(stat.key) for stat in pins}
        # Pins first, and of a committed writer too, that never came to its name: then the end.
        idle = [stat for stat in pins if writer_in(stat.key) in ended]
        idle += [stat for stat in ends if writer_in(stat.key) not in pinned]
        old = [stat.key for stat in idle if self._now - stat.modified > _ENDS_STAY]
        self._objects.delete(old)
        merge_index(self._objects, new_id(), self._marks.newest)

    def report(self, count: int) -> CollectReport:
        """Return what was done."""
        live = [pack for pack in self._sizes if pack.key in self._marks.keys]
        needed = {pack: self._marks.live_bytes(pack) for pack in live}
        dead = [pack for pack in self._sizes if pack.key in self._dead]
        return CollectReport(
            deleting=self._delete,
            versions=self._marks.versions,
            removed=count,
            live_packs=len(live),
            live_bytes=sum(needed.values()),
            dead_packs=len(dead),
            dead_bytes=sum(self._sizes[pack] for pack in dead),
            wasted_bytes=sum(self._sizes[pack] - needed[pack] for pack in live),
            **self._counts,
        )

    def _tell(self, phase: str, done: int, total: int) -> None:
        if self._progress is not None:
            self._progress(Progress(phase, done, total))


def _deletion_order(key: str) -> tuple[bool, str]:
    return not key.startswith(ROOTS), key
