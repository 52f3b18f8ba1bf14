"""`Store`: many artifacts and versions in one place."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext

from p2uformat.artifact.contents import Contents, Path, placed
from p2uformat.artifact.open import Artifact, Parents, candidates
from p2uformat.artifact.push import PushResult, push
from p2uformat.artifact.types import Progress
from p2uformat.errors import InvalidArgument, P2UError
from p2uformat.files import path_text
from p2uformat.parallel import worker_count
from p2uformat.repository.checking import check_store
from p2uformat.repository.listing import (
    NameInfo,
    VersionInfo,
    list_names,
    list_versions,
)
from p2uformat.repository.repair import repair_file
from p2uformat.repository.repairstore import Finder, repair_store
from p2uformat.repository.types import RepairResult, StoreReport
from p2uformat.store.collector import CollectReport, collect
from p2uformat.store.keys import new_id
from p2uformat.store.lease import Lease
from p2uformat.store.lookup import find_record
from p2uformat.store.marker import check_marker, prepare
from p2uformat.store.objects import Objects
from p2uformat.store.place import open_objects
from p2uformat.store.versions import remove
from p2uformat.stored.address import StoreAddress
from p2uformat.stored.place import StoredPlace
from p2uformat.transport import StorageOptions

__all__ = ["Store", "is_store", "repair"]

Callback = Callable[[Progress], None]


class Store:
    """A store of artifacts: a folder, or a place in an object store.

    Its names stand for versions, each of which is an artifact; what they have in common lies there
    once. Several programs may use one store at the same time, whatever they do.

    Parameters
    ----------
    place : str or os.PathLike
        The folder or URL. It need not be a store yet: the first that is pushed makes it one.
    storage_options : mapping, optional
        For URLs: credentials, endpoints and the like, as fsspec's file systems take them.

    Attributes
    ----------
    name : str
        The place, without secrets.

    Examples
    --------
    >>> import numpy, tempfile, p2uformat
    >>> folder = tempfile.mkdtemp()
    >>> weights = numpy.random.default_rng(0).standard_normal((256, 64), numpy.float32)
    >>> summary = p2uformat.pack({"w": weights}, folder + "/m.p2u")
    >>> store = Store(folder + "/store")
    >>> store.push(folder + "/m.p2u", "m").version
    1
    >>> [(info.name, info.version) for info in store.names()]
    [('m', 1)]
    >>> with store.open("m") as artifact:
    ...     bool((artifact.get("w") == weights).all())
    True
    """

    def __init__(
        self, place: str | os.PathLike[str], *, storage_options: StorageOptions | None = None
    ) -> None:
        self._place = path_text(place)
        self._options = dict(storage_options or {})
        self._objects = open_objects(self._place, self._options)

    @property
    def name(self) -> str:
        """The place, without secrets."""
        return self._objects.name

    def __repr__(self) -> str:
        """Return what made it."""
        return f"Store({self.name!r})"

    def address(self, name: str) -> str:
        """Return the address of a name, a version or a root in this store.

        Examples
        --------
        >>> Store("/models").address("llm@3")
        '/models#llm@3'
        """
        return f"{self._place}#{name}"

    def names(self, below: str | None = None) -> list[NameInfo]:
        """Return all names with their current versions.

        Parameters
        ----------
        below : str, optional
            Only names that have this one and a ``/`` in front, or it itself.

        Raises
        ------
        NotFound
            If the place is no store.
        InvalidArgument
            If `below` is no name.
        """
        check_marker(self._objects)
        return list_names(self._objects, below)

    def refs(self, name: str) -> list[VersionInfo]:
        """Return the versions of a name, the oldest first.

        Raises
        ------
        NotFound
            If there is no such store or name.
        """
        check_marker(self._objects)
        return list_versions(self._objects, name)

    def open(self, name: str, *, threads: int | None = None) -> Artifact:
        """Open an artifact by name, ``name@version`` or ``blake3:`` root; read lazily.

        Raises
        ------
        NotFound
            If it is not there.
        """
        place = StoredPlace.of(self._address(name))
        return Artifact(Contents.open(place), worker_count(threads))

    def push(
        self,
        source: Path | Artifact,
        name: str,
        *,
        tier: str | None = None,
        parents: Parents = (),
        after: int | None = None,
        progress: Callback | None = None,
    ) -> PushResult:
        """Store an artifact under a name; see `push`."""
        return push(
            source,
            self.address(name),
            tier=tier,
            parents=parents,
            after=after,
            progress=progress,
            storage_options=self._options,
        )

    def remove(self, name: str, versions: Sequence[int] = ()) -> int:
        """Remove versions of a name, all by default.

        They are gone from the name at once, and their bytes when `gc` comes by. Numbers are never
        used again.

        Returns
        -------
        int
            The number that the removal has.

        Raises
        ------
        NotFound
            If one of them is not there.
        """
        check_marker(self._objects)
        with self._writing():
            return remove(self._objects, name, new_id(), versions).seq

    def verify(
        self,
        name: str | None = None,
        *,
        sample: float = 1.0,
        max_duration: float | None = None,
        progress: Callback | None = None,
    ) -> StoreReport:
        """Read what the store's versions need, and compare it with its digests.

        Parameters
        ----------
        name : str, optional
            Only a name, or ``name@version``.
        sample : float
            Which share of the chunks to read, chosen by chance; records and pages are read in any
            case.
        max_duration : float, optional
            Seconds after which to stop; what is looked at first is a matter of chance then.
        progress : callable, optional
            Called with a `Progress` now and then, on some thread.

        Returns
        -------
        StoreReport
            What was looked at, and all that is wrong, by version, tensor, tier and elements.

        Raises
        ------
        NotFound
            If there is no such store, name or version.
        InvalidArgument
            If `sample` is no share.
        """
        if not 0 < sample <= 1:
            raise InvalidArgument(f"sample: expected a share above 0 and up to 1, got {sample!r}")
        check_marker(self._objects)
        which = self._version(name)
        return check_store(
            self._objects, *which, sample=sample, max_duration=max_duration, progress=progress
        )

    def repair(
        self,
        good: Parents,
        name: str | None = None,
        *,
        progress: Callback | None = None,
    ) -> RepairResult:
        """Replace what is damaged or missing by what sound artifacts have.

        Parameters
        ----------
        good : path, Artifact, or sequence of them
            Artifacts, or whole stores.
        name : str, optional
            Only a name, or ``name@version``.
        progress : callable, optional
            Called with a `Progress` now and then.

        Returns
        -------
        RepairResult
            What was done, and what is still wrong.
        """
        check_marker(self._objects)
        exclusive = not prepare(self._objects).conditions
        with ExitStack() as stack:
            finder = _finder(stack, good, self._options)
            return repair_store(
                self._objects,
                finder,
                *self._version(name),
                exclusive=exclusive,
                progress=progress,
            )

    def gc(
        self,
        *,
        keep: int | None = None,
        grace: float = 86400.0,
        delete: bool = False,
        progress: Callback | None = None,
    ) -> CollectReport:
        """Find what no version needs any more, and delete it after a time of grace.

        Nothing is changed without `delete`. With it, what is dead is condemned, and what was
        condemned longer than the time of grace ago and is still dead is deleted: so a first run
        frees nothing yet. Packs of which much is dead are put together anew.

        Parameters
        ----------
        keep : int, optional
            Remove all but so many of the latest versions of each name.
        grace : float
            Seconds for which what is new, and what is condemned, stays.
        delete : bool
            Whether to do it.
        progress : callable, optional
            Called with a `Progress` now and then.

        Returns
        -------
        CollectReport
            What is or would be deleted.

        Raises
        ------
        CorruptData
            If something is damaged that decides what is needed. Nothing is deleted then.
        """
        check_marker(self._objects)
        with self._writing() if delete else nullcontext():
            return collect(self._objects, keep=keep, grace=grace, delete=delete, progress=progress)

    def copy(
        self,
        name: str,
        destination: str | os.PathLike[str],
        *,
        tier: str | None = None,
        progress: Callback | None = None,
        storage_options: StorageOptions | None = None,
    ) -> PushResult:
        """Copy an artifact to another store; what is there already is not sent.

        Parameters
        ----------
        name : str
            A name, ``name@version``, or ``blake3:`` root.
        destination : str or os.PathLike
            ``STORE#name``.
        tier : str, optional
            Up to which tier: a mirror for those who need no more. Another copy adds the rest.
        progress : callable, optional
            Called with a `Progress` now and then.
        storage_options : mapping, optional
            Of the other store; by default the same.
        """
        options = self._options if storage_options is None else storage_options
        with self.open(name) as artifact:
            return push(
                artifact, destination, tier=tier, progress=progress, storage_options=options
            )

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Write meanwhile; alone, where the place keeps no conditions."""
        if prepare(self._objects).conditions:
            yield
            return
        lease = Lease.begin(self._objects, exclusive=True)
        try:
            yield
        finally:
            lease.abandon()

    def _address(self, name: str) -> StoreAddress:
        address = StoreAddress.of(self.address(name), self._options)
        if address is None:
            raise InvalidArgument(f"not a name: {name!r}")
        return address

    def _version(self, name: str | None) -> tuple[str | None, int | None]:
        if name is None:
            return None, None
        address = self._address(name)
        if address.name is None:
            raise InvalidArgument(f"expected a name, got {name!r}")
        return address.name, address.seq


def repair(
    bad: str | os.PathLike[str],
    good: Parents,
    *,
    threads: int | None = None,
    progress: Callback | None = None,
    storage_options: StorageOptions | None = None,
) -> RepairResult:
    """Make a file, or what a store has, sound again from sound copies.

    Only what is damaged is moved.

    Parameters
    ----------
    bad : str or os.PathLike
        A ``.p2u`` file of this machine, a store, or ``STORE#name``.
    good : path, Artifact, or sequence of them
        Artifacts that have what is damaged; of a store, stores as well.
    threads : int, optional
        For checking a file.
    progress : callable, optional
        Called with a `Progress` now and then.
    storage_options : mapping, optional
        For URLs: credentials, endpoints and the like, as fsspec's file systems take them.

    Returns
    -------
    RepairResult
        What was done, and what is still wrong.

    Raises
    ------
    InvalidArgument
        If there is nothing to take from, or the file's manifest is damaged and no copy is the same.
    NotFound, AccessDenied, StoreUnavailable
        If something cannot be read or written.

    Examples
    --------
    >>> import numpy, tempfile, pathlib, p2uformat
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> weights = numpy.random.default_rng(0).standard_normal((256, 64), numpy.float32)
    >>> summary = p2uformat.pack({"w": weights}, folder / "good.p2u")
    >>> data = bytearray((folder / "good.p2u").read_bytes())
    >>> data[-1] ^= 1
    >>> size = (folder / "bad.p2u").write_bytes(data)
    >>> result = repair(folder / "bad.p2u", folder / "good.p2u")
    >>> result.repaired, result.ok, p2uformat.verify(folder / "bad.p2u").ok
    (1, True, True)
    """
    address = StoreAddress.of(bad, storage_options)
    if address is not None:
        if address.name is None:
            raise InvalidArgument(f"cannot repair {address.text!r}: give a name or the store")
        name = address.name if address.seq is None else f"{address.name}@{address.seq}"
        store = Store(address.store, storage_options=storage_options)
        return store.repair(good, name, progress=progress)
    if is_store(bad, storage_options):
        return Store(bad, storage_options=storage_options).repair(good, progress=progress)
    return repair_file(
        bad, good, threads=worker_count(threads), options=storage_options, progress=progress
    )


def is_store(place: str | os.PathLike[str], options: StorageOptions | None = None) -> bool:
    """Return whether a place is a store.

    Parameters
    ----------
    place : str or os.PathLike
        A path or URL.
    options : mapping, optional
        Storage options.

    Examples
    --------
    >>> is_store("model.p2u")
    False
    """
    if pathlib.Path(place).is_file():
        return False
    try:
        check_marker(open_objects(place, options))
    except P2UError:
        return False
    return True


def _finder(stack: ExitStack, good: Parents, options: StorageOptions) -> Finder:
    """Return what finds a sound artifact among artifacts and stores."""
    stores: list[Objects] = []
    artifacts: list[Contents] = []
    given = [good] if isinstance(good, str | bytes | os.PathLike | Artifact) else list(good)  # type: ignore[arg-type]
    for one in given:
        if isinstance(one, str | os.PathLike) and is_store(one, options):
            stores.append(open_objects(one, options))
            continue
        (place,) = candidates(one, options)
        if not isinstance(place, Contents):
            place = stack.enter_context(Contents.open(placed(place, options)))
        artifacts.append(place)

    def find(root: bytes) -> Contents | None:
        for contents in artifacts:
            if contents.container.header.content_root == root:
                return contents
        for objects in stores:
            found = find_record(objects, root)
            if found is not None:
                place = StoredPlace.at(objects, found, objects.name)
                return stack.enter_context(Contents.open(place))
        return artifacts[0] if artifacts else None

    return find
