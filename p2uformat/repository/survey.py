"""All artifacts that a store's names stand for, and where their chunks lie."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field

from p2uformat.artifact.contents import Contents
from p2uformat.artifact.types import Damage
from p2uformat.closing import Closing
from p2uformat.container import StoredChunk, stored_chunks
from p2uformat.errors import CorruptData, NotFound, P2UError
from p2uformat.repository.types import StoreDamage
from p2uformat.store.keys import PackId
from p2uformat.store.lookup import find_record
from p2uformat.store.objects import Objects
from p2uformat.store.versions import Version, history, names, read_ref, version
from p2uformat.stored.extents import Extents
from p2uformat.stored.place import StoredPlace

__all__ = ["Held", "Survey", "live_versions"]


@dataclass(frozen=True, slots=True)
class Held:
    """An artifact that is open, and what it is called.

    Parameters
    ----------
    address : str
        The first version that stands for it.
    place : StoredPlace
        Where it lies.
    contents : Contents
        Itself.
    """

    address: str
    place: StoredPlace
    contents: Contents

    @property
    def extents(self) -> Extents:
        """Where its chunks lie."""
        header = self.contents.container.header
        return Extents(header.manifest_length, self.place.placed, self.place.found.record)

    def chunks(self) -> Iterator[tuple[StoredChunk, list[tuple[PackId, int, int]]]]:
        """Yield each chunk that is there, with the stretches of packs in which it lies."""
        extents = self.extents
        exact = self.contents.reader.exact
        for chunk in stored_chunks(self.contents.container, exact):
            if chunk.length and chunk.offset + chunk.length <= extents.stop:
                yield chunk, list(extents.locate(chunk.offset, chunk.length))


@dataclass(slots=True)
class Survey(Closing):
    """What versions stand for, each content root once.

    Parameters
    ----------
    objects : Objects
        The store's place.
    held : list of Held
        Artifacts whose manifests are sound, and those that they need.
    damage : list of StoreDamage
        Why others could not be opened.
    lost : list of Version
        Those that could not be opened.
    versions : int
        How many there are.
    """

    objects: Objects
    held: list[Held] = field(default_factory=list)
    damage: list[StoreDamage] = field(default_factory=list)
    lost: list[Version] = field(default_factory=list)
    versions: int = 0
    _stack: ExitStack = field(default_factory=ExitStack)

    @classmethod
    def of(cls, objects: Objects, name: str | None = None, seq: int | None = None) -> Survey:
        """Open all that a store, a name or a version stands for."""
        survey = cls(objects)
        met: set[bytes] = set()
        try:
            for found in live_versions(objects, name, seq):
                survey.versions += 1
                assert found.ref.content is not None
                if found.ref.content not in met:
                    met.add(found.ref.content)
                    survey._add(found)
        except BaseException:
            survey.close()
            raise
        return survey

    def close(self) -> None:
        """Close all artifacts."""
        self._stack.close()

    def _add(self, found: Version) -> None:
        address = f"{self.objects.name}#{found.text}"
        try:
            place = self._place(found, address)
            contents = self._stack.enter_context(Contents.open(place))
        except (CorruptData, NotFound) as error:
            self.damage.append(self._unreadable(error, address))
            self.lost.append(found)
            return
        held: Contents | None = contents
        for one in (place, *place.ancestors):
            if held is not None:
                self.held.append(Held(address, one, held))
                held = held.parent

    def _place(self, found: Version, address: str) -> StoredPlace:
        """Return the newest record of a version: an older one may have been replaced."""
        assert found.ref.content is not None
        record = find_record(self.objects, found.ref.content)
        if record is None:
            raise NotFound(f"{address!r}: its record is gone")
        return StoredPlace.at(self.objects, record, address, found)

    def _unreadable(self, error: P2UError, address: str) -> StoreDamage:
        if isinstance(error, CorruptData):
            key = (error.artifact or "").removeprefix(f"{self.objects.name}/")
            return StoreDamage(address, key, error.offset or 0, Damage.of(error, "record"))
        damage = Damage(None, None, None, "record", 0, "", error.message, error.code)
        return StoreDamage(address, "", 0, damage)


def live_versions(
    objects: Objects, name: str | None = None, seq: int | None = None
) -> Iterator[Version]:
    """Yield the versions that are not removed: of a store, of a name, or the one of a number."""
    if name is not None and seq is not None:
        yield version(objects, name, seq)
        return
    for one in names(objects) if name is None else [name]:
        known = history(objects, one)
        if not known.last:
            version(objects, one)
        for number in known.left:
            yield Version(one, number, read_ref(objects, one, number))
