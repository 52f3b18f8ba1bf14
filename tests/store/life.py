"""Actors in one store, of which each takes a step when it is told to.

An actor is a thread that stops before every operation on the store's objects. Whoever steers
them decides who goes on, who dies and what time it is, so that a run is the same every time.
"""

import threading
from concurrent.futures import Future

from p2uformat.container.header import Header
from p2uformat.digest import digest
from p2uformat.errors import P2UError
from p2uformat.store.keys import bundle_key
from p2uformat.store.lookup import find_record
from p2uformat.store.marker import prepare
from p2uformat.store.refs import Ref
from p2uformat.store.trailers import read_trailer
from p2uformat.store.versions import current, history, names, read_ref
from p2uformat.stored.offer import Known, Offer, OfferedChunk, PackPlace
from tests.store.memory import MemoryObjects

__all__ = ["Actor", "Crash", "Inline", "Life", "artifact", "known_of", "violations"]

PATIENCE = 60  # seconds of real time after which an actor that hangs is a mistake of the test


class Crash(BaseException):
    """The end of a process: nothing is cleaned up after it."""


class Inline:
    """An executor that does what it is given at once: an actor is one thread."""

    def __init__(self, *_arguments):
        pass

    def submit(self, function, *arguments):
        future = Future()
        try:
            future.set_result(function(*arguments))
        except P2UError as error:
            future.set_exception(error)
        return future

    def shutdown(self, **_named):
        pass


class Life:
    """A store's objects, and the time, that several actors share."""

    def __init__(self):
        self.objects = MemoryObjects()
        prepare(self.objects)
        self.deletions = 0

    @property
    def time(self):
        return self.objects.time

    def advance(self, seconds):
        self.objects.time += seconds

    def monotonic(self):
        return self.objects.time

    def view(self, before):
        """Return the same objects with a stop before every operation."""
        life = self

        class View(MemoryObjects):
            time = property(lambda _self: life.objects.time, lambda _self, _value: None)
            held = property(lambda _self: life.objects.held, lambda _self, _value: None)

        return View(before)


class Actor:
    """Someone at work, one operation at a time."""

    def __init__(self, life, name, work):
        self.name = name
        self.result = self.error = None
        self.done = False
        self.operations = []
        self._life = life
        self._work = work
        self._crashed = False
        self._go = threading.Semaphore(0)
        self._idle = threading.Semaphore(0)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        self._wait()

    def step(self, count=1):
        """Let it do so many operations."""
        for _ in range(count):
            if self.done:
                return
            self._go.release()
            self._wait()

    def crash(self):
        """Let it die where it stands."""
        self._crashed = True
        self.step()
        assert self.done

    def finish(self):
        """Let it come to its end."""
        while not self.done:
            self.step()

    def _wait(self):
        assert self._idle.acquire(timeout=PATIENCE), f"{self.name} hangs: {self.operations[-3:]}"

    def _before(self, what, key):
        if not self._crashed:
            self.operations.append((what, key))
            self._idle.release()
            self._go.acquire()
        if self._crashed:
            raise Crash
        if what == "delete":
            self._life.deletions += 1

    def _run(self):
        try:
            self.result = self._work(self._life.view(self._before))
        except P2UError as error:
            self.error = error
        except Crash:
            pass
        except BaseException as error:  # noqa: BLE001 - to be told by the test
            self.error = error
        self.done = True
        self._idle.release()


def artifact(chunks):
    """Return an artifact of a format that only this test has: some chunks of two tiers."""
    listed = sorted({(tier, data) for tier, data in chunks})
    offered = tuple(OfferedChunk(tier, digest(data), len(data)) for tier, data in listed)
    bytes_of = {(tier, digest(data)): data for tier, data in listed}
    roots = tuple(bytes([kind]) + b"".join(chunk.id for chunk in offered) for kind in (1, 2))
    start = 128 + sum(map(len, roots))
    header = Header(
        digest(roots[0]),
        digest(roots[1]),
        len(roots[0]),
        len(roots[1]),
        start,
        start + sum(chunk.length for chunk in offered),
        0,
    )
    return Offer(header, roots, offered, lambda chunk: bytes_of[chunk.tier, chunk.id], b"")


def known_of(objects, name):
    """Return what the current version of a name has: its chunks and blobs, with their places."""
    known = Known()
    head = current(objects, name)
    if head is None:
        return known
    found = find_record(objects, head.ref.content)
    if found is None:
        return known
    record = found.record
    for number, pack in enumerate(record.packs):
        with objects.reader(pack.key) as reader:
            trailer = read_trailer(objects, pack.key, reader.size)
        live = [extent for extent in record.artifacts[0].extents if extent.pack == number]
        for chunk in trailer.placed():
            if any(e.offset <= chunk.offset < e.offset + e.length for e in live):
                known.chunks[trailer.tier, chunk.id] = PackPlace(pack, chunk.offset)
    for blob in record.artifacts[0].blobs:
        data = objects.get(bundle_key(record.bundles[blob.bundle]), most=1 << 20)
        part = data[blob.offset : blob.offset + blob.length]
        known.blobs[digest(part)] = record.bundles[blob.bundle], blob.offset, blob.length
    return known


def violations(life):
    """Yield what is wrong with a store: versions that cannot be read whole."""
    objects = MemoryObjects()
    objects.held = life.objects.held
    for name in names(objects):
        known = history(objects, name)
        assert known.last == len([k for k in objects.held if k.startswith(f"refs/{name}/")])
        for seq in known.left:
            yield from _broken(objects, f"{name}@{seq}", read_ref(objects, name, seq))


def _broken(objects, what, ref: Ref):
    found = find_record(objects, ref.content)
    if found is None:
        yield f"{what}: no record"
        return
    record = found.record
    for bundle in record.bundles:
        if bundle_key(bundle) not in objects.held:
            yield f"{what}: bundle {bundle.hex()} is gone"
    for pack in record.packs:
        if pack.key not in objects.held:
            yield f"{what}: {pack.key} is gone"
    placed = record.artifacts[0]
    for blob, expected in zip(placed.blobs, (ref.content, ref.encoding), strict=True):
        data, _ = objects.held.get(bundle_key(record.bundles[blob.bundle]), (b"", 0))
        if digest(data[blob.offset : blob.offset + blob.length]) != expected:
            yield f"{what}: a root is another"
    payload = b"".join(
        objects.held.get(record.packs[e.pack].key, (b"", 0))[0][e.offset : e.offset + e.length]
        for e in placed.extents
    )
    if len(payload) != placed.payload:
        yield f"{what}: its chunks are not whole"
    roots, _ = objects.held.get(bundle_key(record.bundles[placed.blobs[0].bundle]), (b"", 0))
    root = roots[placed.blobs[0].offset :][: placed.blobs[0].length]
    yield from _other_chunks(what, payload, [root[i : i + 32] for i in range(1, len(root), 32)])


def _other_chunks(what, payload, ids):
    at = 0
    for name in ids:
        length = next(
            (n for n in range(1, len(payload) - at + 1) if digest(payload[at : at + n]) == name), 0
        )
        if not length:
            yield f"{what}: a chunk is another"
            return
        at += length
