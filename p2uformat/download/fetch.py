"""One fetch, from opening the source to saying what the file holds now."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace

from p2uformat.artifact.contents import Contents, placed, trailing_data
from p2uformat.artifact.open import Parents, candidates
from p2uformat.artifact.rows import Rows
from p2uformat.artifact.types import Progress
from p2uformat.artifact.verify import compare_root, expected_root
from p2uformat.container import Container, Place, open_reader
from p2uformat.download.job import FetchJob
from p2uformat.download.kin import Limits, fetch_parents, with_ancestors
from p2uformat.download.seeds import Seeds
from p2uformat.download.selection import Selection, Tensors, wanted_chunks
from p2uformat.download.types import FetchPlan, FetchResult
from p2uformat.errors import P2UError
from p2uformat.files import path_text
from p2uformat.parallel import worker_count
from p2uformat.reading import Reader
from p2uformat.stored.place import StoredPlace
from p2uformat.transport import Address, Policy, StorageOptions
from p2uformat.transport.remote import RemoteReader

__all__ = ["fetch", "plan_fetch"]

Callback = Callable[[Progress], None]


def fetch(
    source: str | os.PathLike[str] | bytes,
    destination: str | os.PathLike[str],
    *,
    tier: str | None = None,
    tensors: Tensors = None,
    rows: Rows | None = None,
    seeds: Parents = (),
    parents: Parents = (),
    expect: str | bytes | None = None,
    connections: int | None = None,
    timeout: float | None = None,
    threads: int | None = None,
    storage_options: StorageOptions | None = None,
    progress: Callback | None = None,
) -> FetchResult:
    """Bring an artifact, or a part of it, to a file of this machine.

    What a store holds as differences needs other artifacts: as far as they are not given as `seeds`
    or `parents` they are fetched as well, to a folder beside the file where `open` finds them.

    Every chunk is checked before it is written. Whatever ends a fetch, even the end of the
    process, the next one goes on from there; several may fill one file at once. A file that holds
    a part is an artifact like any other, says what it holds, and takes more later: only what it
    lacks is moved. Once it holds everything it is, byte for byte, the file at the source.

    Parameters
    ----------
    source : str, os.PathLike or bytes
        The artifact: a URL (``https://``, ``s3://``, ``gs://``, ``az://`` and what else fsspec
        knows), a path, or its bytes.
    destination : str or os.PathLike
        The file. If it is there it must be of the same artifact.
    tier : str, optional
        Up to which tier; all of it by default.
    tensors : str, sequence of str, mapping of str to str, or callable, optional
        Patterns as in a shell, case kept: only tensors whose names match one. A mapping gives each
        pattern a tier of its own, instead of `tier`; of several that match the finest counts. A
        callable is given the source, of which only the manifest is here, and returns one of these.
    rows : slice or tuple of int, optional
        Of these, only a range of the first axis, as Python slices do it; blocks are never cut.
    seeds : path, Artifact, or sequence of them
        Artifacts at hand that may have some of the chunks, or what these can be made of: other
        versions, for example.
    parents : path, Artifact, or sequence of them
        Where to find what the seeds need, as in `open`.
    expect : str or bytes, optional
        The content root that the artifact must have. Only with it is it proven to be the one meant.
    connections : int, optional
        Requests at once. By default 8 to begin with, then 4 to 64, as the line answers.
    timeout : float, optional
        Seconds without a byte after which a connection is opened anew; 30 by default. After four
        times as long without any, the fetch fails.
    threads : int, optional
        How many threads to check and rebuild chunks on; the processor's by default, at most 8.
    storage_options : mapping, optional
        For URLs: credentials, endpoints and the like, as fsspec's file systems take them.
    progress : callable, optional
        Called with a `FetchProgress` several times a second during the transfer, and with a
        `Progress` while what is here is checked before.

    Returns
    -------
    FetchResult
        What was done, and what the file holds now.

    Raises
    ------
    RootMismatch
        If the content root is not the expected one. Nothing is written then.
    DestinationExists
        If the destination is something else.
    TensorNotFound, TierNotFound
        If a pattern matches nothing, or there is no such tier.
    Incomplete
        If the source does not hold all that is wanted; what it holds is fetched before.
    CorruptData
        If the source is damaged; the error says where. All other chunks are fetched before.
    NotFound, AccessDenied, TransferFailed
        If the source cannot be reached, or not any more. What was verified is kept.
    StoreUnavailable
        If the destination cannot be written, because the disk is full for example.

    Examples
    --------
    >>> import numpy, tempfile, p2uformat
    >>> folder = tempfile.mkdtemp()
    >>> weights = numpy.random.default_rng(0).standard_normal((256, 64), numpy.float32)
    >>> summary = p2uformat.pack({"w": weights}, folder + "/m.p2u")
    >>> small = p2uformat.fetch(f"file://{folder}/m.p2u", folder + "/mine.p2u", tier="q4")
    >>> small.complete, small.whole
    (('q4',), False)
    >>> rest = p2uformat.fetch(f"file://{folder}/m.p2u", folder + "/mine.p2u")
    >>> rest.whole, rest.present == small.total
    (True, True)
    """
    policy = Policy.chosen(connections, timeout)
    workers = worker_count(threads)
    here = path_text(destination)
    place = placed(source, storage_options)
    with _opened(place, expect, policy, here) as contents:
        selection = Selection.of(contents, tier, tensors, rows)
        mine, *theirs = wanted_chunks(contents, selection)
        job = FetchJob(contents, selection.tier, mine, here, policy, workers, progress)
        near = candidates(seeds, storage_options)
        with Seeds(near, candidates(parents, storage_options)) as known:
            result = job.run(known, authenticated=expect is not None)
            kin = list(zip(_above(contents), theirs, strict=True))
            if not kin:
                return result
            limits = Limits(selection.tier, policy, workers)
            return replace(result, beside=fetch_parents(kin, here, limits, known, progress))


def plan_fetch(
    source: str | os.PathLike[str] | bytes,
    destination: str | os.PathLike[str],
    *,
    tier: str | None = None,
    tensors: Tensors = None,
    rows: Rows | None = None,
    seeds: Parents = (),
    parents: Parents = (),
    expect: str | bytes | None = None,
    threads: int | None = None,
    storage_options: StorageOptions | None = None,
    progress: Callback | None = None,
) -> FetchPlan:
    """Return what `fetch` would do; parameters and errors are its.

    The source's manifest is read, and what the destination holds is checked. Nothing is written.
    """
    workers = worker_count(threads)
    here = path_text(destination)
    place = placed(source, storage_options)
    with _opened(place, expect, Policy(), here) as contents:
        selection = Selection.of(contents, tier, tensors, rows)
        mine, *_ = wanted_chunks(contents, selection)
        job = FetchJob(contents, selection.tier, mine, here, Policy(), workers, progress)
        near = candidates(seeds, storage_options)
        with Seeds(near, candidates(parents, storage_options)) as known:
            return job.plan_only(known)


@contextmanager
def _opened(
    place: Place,
    expect: str | bytes | None,
    policy: Policy,
    destination: str,
) -> Iterator[Contents]:
    """Open the source, see that it is the one meant, and that its manifest is sound."""
    expected = None if expect is None else expected_root(expect)
    if isinstance(place, Address):
        file: Reader = RemoteReader(place, policy, _manifest(destination))
    elif isinstance(place, StoredPlace):
        file = place.open_reader(policy)
    else:
        file = open_reader(place)
    try:
        container = Container(file)
        compare_root(container, expected)
        if container.trailing:
            raise trailing_data(container)
        for page in container.pages:
            for damage in page.damage:
                raise damage
        with ExitStack() as stack:
            if isinstance(place, StoredPlace):
                yield with_ancestors(container, place, policy, stack)
            else:
                # The parent is no matter of what the file itself holds.
                yield Contents.of(container)
    finally:
        file.close()


def _above(contents: Contents) -> Iterator[Contents]:
    above = contents.parent
    while above is not None:
        yield above
        above = above.parent


def _manifest(path: str) -> bytes:
    """Return the manifest of a file that may hold a part already; nothing if there is none."""
    try:
        with Container.open(path) as container:
            if any(page.damage for page in container.pages):
                return b""
            return container.file.read(0, container.header.manifest_length)
    except P2UError:
        return b""
