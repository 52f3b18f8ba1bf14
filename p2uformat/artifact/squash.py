"""An artifact that needs parents becomes one that needs none, with the same content root."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass

from p2uformat.artifact.ahead import expecting
from p2uformat.artifact.bodies import (
    EncodedBlock,
    is_alone,
    ladder_digests,
    opaque_body,
    placed_block,
    whole_block,
)
from p2uformat.artifact.catalog import StoredFile, StoredTensor, parent_required
from p2uformat.artifact.contents import Contents, Path
from p2uformat.artifact.encode import Encoder
from p2uformat.artifact.open import Artifact, Parents, candidates
from p2uformat.artifact.options import PackOptions
from p2uformat.artifact.outside import written
from p2uformat.artifact.plan import ALONE
from p2uformat.artifact.quantized import is_quantized, stored_bodies
from p2uformat.artifact.refresh import fresh_block, fresh_ladder
from p2uformat.artifact.spool import Spools
from p2uformat.artifact.types import Progress, Summary
from p2uformat.container.writer import write_artifact
from p2uformat.digest import digest
from p2uformat.errors import DigestMismatch
from p2uformat.limits import MAX_RECORD_BLOCKS
from p2uformat.manifest import (
    BitplaneParameters,
    ContentPage,
    EncodingPage,
    OpaqueParameters,
    Record,
    TensorRecord,
    assemble,
)
from p2uformat.parallel import MOST_ENCODERS, ordered_map, worker_count
from p2uformat.publishing import refuse_taken
from p2uformat.tensor import ELEMENT_SIZES
from p2uformat.transport import StorageOptions

__all__ = ["squash"]

Callback = Callable[[Progress], None]


def squash(
    source: Path | Artifact,
    destination: str | os.PathLike[str],
    *,
    parents: Parents = (),
    overwrite: bool = False,
    threads: int | None = None,
    progress: Callback | None = None,
    storage_options: StorageOptions | None = None,
) -> Summary:
    """Write an artifact again so that it needs no parent.

    Content root, tiers and values stay what they are; every layer is read, checked against its
    digest, and stored as it is.

    Parameters
    ----------
    source : path, bytes or Artifact
        The artifact.
    destination : str or os.PathLike
        The file to make.
    parents : path, Artifact, or sequence of them
        Where to find the artifacts that it needs, as in `open`.
    overwrite : bool
        Whether to replace the destination.
    threads : int, optional
        Workers; by default one per core. At most three, which bounds the memory.
    progress : callable, optional
        Called with a `Progress` now and then.
    storage_options : mapping, optional
        For URLs: credentials, endpoints and the like, as fsspec's file systems take them.

    Returns
    -------
    Summary
        What was written.

    Raises
    ------
    ParentMismatch, ParentRequired, Incomplete
        If something that it needs is not there.
    CorruptData
        If something is damaged. Nothing is written then.
    DestinationExists, NotFound, StoreUnavailable
        If the destination cannot be written.

    Examples
    --------
    >>> import numpy, tempfile, pathlib, p2uformat
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> weights = numpy.random.default_rng(0).standard_normal((256, 64), numpy.float32)
    >>> first = p2uformat.pack({"w": weights}, folder / "1.p2u")
    >>> child = p2uformat.pack({"w": weights + 1e-5}, folder / "2.p2u", parent=folder / "1.p2u")
    >>> alone = squash(folder / "2.p2u", folder / "alone.p2u", parents=folder / "1.p2u")
    >>> alone.root == child.root, child.parent == first.root, alone.parent
    (True, True, None)
    """
    workers = min(worker_count(threads), MOST_ENCODERS)
    with ExitStack() as stack:
        out = stack.enter_context(written(destination, storage_options, overwrite=overwrite))
        target = pathlib.Path(os.fsdecode(out))
        refuse_taken(os.fspath(target), overwrite=overwrite)
        contents = _open(stack, source, parents, storage_options)
        job = _Squash(contents, progress)
        spools = Spools(len(contents.tiers), target)
        stack.callback(spools.close)
        root = contents.container.content
        manifest = assemble(
            root.tiers,
            job.encode(spools, workers),
            ext=root.ext,
            features=root.features,
            policy=root.policy,
            update=root.update,
        )
        _compare(contents, digest(manifest.content_root))
        made = write_artifact(
            target,
            manifest=manifest,
            tier_spools=spools.finish(),
            overwrite=overwrite,
            progress=lambda done, total: job.note("assemble", done, total),
        )
    return Artifact(Contents.of(made), workers).summary


def _open(
    stack: ExitStack,
    source: Path | Artifact,
    parents: Parents,
    options: StorageOptions | None,
) -> Contents:
    (found,) = candidates(source, options)
    if not isinstance(found, Contents):
        found = stack.enter_context(Contents.open(found, candidates(parents, options)))
    if found.orphaned:
        raise parent_required(found.container)
    if len(found.complete) < len(found.tiers):
        raise found.incomplete("all of it", len(found.tiers) - 1)
    for page in found.container.pages:
        for damage in page.damage:
            raise damage
    return found


def _compare(contents: Contents, got: bytes) -> None:
    expected = contents.container.header.content_root
    if got != expected:
        raise DigestMismatch(
            f"expected root {expected.hex()}, got {got.hex()}",
            artifact=contents.path,
            region="root",
            expected=expected.hex(),
            got=got.hex(),
        )


@dataclass(frozen=True, slots=True)
class _Job:
    """One block."""

    stored: StoredTensor | StoredFile
    block: int


class _Squash:
    """One run of `squash`."""

    def __init__(self, contents: Contents, progress: Callback | None) -> None:
        self._contents = contents
        self._progress = progress
        files = contents.catalog.files.values()
        # As a folder is packed: its files are text that compresses, a single head is not.
        self._text = len(files) > 1 or any(f.record.layout == "plain" for f in files)

    def note(self, phase: str, done: int, total: int) -> None:
        """Tell the caller how far it is."""
        if self._progress is not None:
            self._progress(Progress(phase, done, total))

    def encode(self, spools: Spools, threads: int) -> list[tuple[ContentPage, EncodingPage]]:
        """Store every layer and return the pages, cut as they were."""
        tiers = self._contents.container.content.tiers
        encoder = Encoder(PackOptions(tiers, 0.0, 0, (), None), spools, threads)
        total = sum(_weight(stored) for stored in self._contents.catalog.everything())
        done = 0
        reader = self._contents.reader
        with expecting(reader, ((job.stored, job.block, reader.exact) for job in self._jobs())):
            blocks = ordered_map(self._encode, self._jobs(), threads)
            for page in self._contents.container.pages:
                assert page.content is not None
                kinds = [(record, self._kind(record)) for record in page.content.records]
                for weight in encoder.stored(kinds, blocks):
                    done += weight
                    self.note("encode", done, total)
        return encoder.finish()

    def _jobs(self) -> Iterator[_Job]:
        for page in self._contents.container.pages:
            assert page.content is not None
            for record in page.content.records:
                stored = self._contents.catalog.of(record)
                first = record.first_block
                yield from (_Job(stored, first + i) for i in range(record.block_count))

    def _kind(self, record: Record) -> tuple[object, ...]:
        """Return what blocks have in common that may share places and chunks."""
        if not isinstance(record, TensorRecord):
            return ("file", record.tier, self._text)
        if isinstance(record.parameters, BitplaneParameters):
            return (record.dtype, record.parameters.planes)
        if not isinstance(record.parameters, OpaqueParameters):
            return ("codes", ELEMENT_SIZES[record.dtype])
        return ("whole", record.parameters.tier, ELEMENT_SIZES.get(record.dtype, 1))

    def _encode(self, job: _Job) -> EncodedBlock:
        stored = job.stored
        alone = stored.blocks > MAX_RECORD_BLOCKS
        if isinstance(stored, StoredTensor) and stored.record.quantizer == "bitplane":
            return self._ladder(stored, job.block, alone=alone)
        if is_quantized(stored):
            return self._quantized(stored, job.block, alone=alone)
        data = bytes(self._contents.reader.raw(stored, job.block))
        self._check(stored, 0, job.block, digest(data))
        text = isinstance(stored, StoredFile) and self._text
        tier = stored.record.layer_tier(0)
        body = opaque_body(data, stored.geometry.element_size, tier, text=text)
        return whole_block(data, digest(data), body, alone=alone or is_alone(data))

    def _ladder(self, stored: StoredTensor, block: int, *, alone: bool) -> EncodedBlock:
        spec = self._contents.reader.spec(stored, block)
        layers = fresh_ladder(self._contents.reader, stored, block)
        digests = ladder_digests(layers)
        for layer, got in enumerate(digests):
            self._check(stored, layer, block, got)
        bodies = fresh_block(layers, stored, spec.planes)
        alone = alone or spec.weights >= ALONE
        return placed_block(digests, bodies, None, spec.weights, alone=alone)

    def _quantized(self, stored: StoredTensor, block: int, *, alone: bool) -> EncodedBlock:
        bodies = stored_bodies(self._contents.reader, stored, block)
        digests = []
        for layer in range(len(bodies)):
            digests.append(digest(self._contents.reader.payload(stored, layer, block)))
            self._check(stored, layer, block, digests[-1])
        start, stop = stored.geometry.block_range(block)
        alone = alone or stop - start >= ALONE
        return placed_block(tuple(digests), bodies, None, stop - start, alone=alone)

    def _check(self, stored: StoredTensor | StoredFile, layer: int, block: int, got: bytes) -> None:
        expected = stored.digest(layer, block)
        if got != expected:
            with self._contents.reader.located(stored, layer, block):
                raise DigestMismatch(
                    f"expected layer digest {expected.hex()}, got {got.hex()}",
                    region="layer",
                    expected=expected.hex(),
                    got=got.hex(),
                )


def _weight(stored: StoredTensor | StoredFile) -> int:
    """Return how much a tensor or file counts for progress: weights, or bytes of what is whole."""
    ladder = isinstance(stored, StoredTensor) and stored.record.quantizer == "bitplane"
    return stored.geometry.elements * (1 if ladder else stored.geometry.element_size)
