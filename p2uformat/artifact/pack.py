"""`pack`: a checkpoint becomes one artifact."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from p2uformat.artifact.contents import Contents
from p2uformat.artifact.encode import Encoder
from p2uformat.artifact.open import Artifact
from p2uformat.artifact.options import Policy, Sensitivity, parse_policy
from p2uformat.artifact.parent import Parent
from p2uformat.artifact.plan import (
    BlockPlan,
    TensorPlan,
    formats_of,
    keep_every,
    plan_budget,
    planes_of,
    scan_block,
    segment_length,
)
from p2uformat.artifact.spool import Spools
from p2uformat.artifact.types import Progress, Summary
from p2uformat.container.publish import refuse_taken
from p2uformat.container.writer import write_artifact
from p2uformat.digest import Hasher
from p2uformat.ingest.arrays import ArraySource
from p2uformat.ingest.safetensors import SafetensorsSource, SourceTensor
from p2uformat.manifest import ContentPage, EncodingPage, FileRecord, assemble, paginate
from p2uformat.parallel import MOST_ENCODERS, ordered_map, worker_count
from p2uformat.tensor import blob_geometry, geometry

__all__ = ["pack"]

ProgressCall = Callable[[Progress], None] | None
Source = str | os.PathLike[str] | Mapping[str, NDArray[np.generic]]
Pages = list[tuple[ContentPage, EncodingPage]]


def pack(
    source: Source,
    destination: str | os.PathLike[str],
    *,
    tiers: Sequence[str] | str = ("q4", "q8", "exact"),
    base_bits: float | None = None,
    overrides: Mapping[str, str] | None = None,
    sensitivity: Sensitivity = None,
    parent: str | os.PathLike[str] | Artifact | None = None,
    overwrite: bool = False,
    threads: int | None = None,
    progress: ProgressCall = None,
) -> Summary:
    """Pack a checkpoint into one `.p2u` file.

    The source is read twice, with bounded memory: once to plan, once to encode. The file appears
    under its name whole, or not at all.

    Parameters
    ----------
    source : str, os.PathLike or mapping of str to ndarray
        A `.safetensors` file, or arrays by name: then what the file of them would hold is packed.
    destination : str or os.PathLike
        The file to make.
    tiers : sequence of str or str
        The ladder, coarse to fine, ending in ``exact``; lossy tiers are named ``qN``.
    base_bits : float, optional
        Budget of the base tier, bits per quantized weight; by default the number in its name.
    overrides : mapping of str to str, optional
        Tensor name glob to ``exact``, ``bits:N`` or ``weight:X``; later ones win.
    sensitivity : mapping or callable, optional
        Weight of a tensor's squared error, by glob or by name; 1 where nothing is said.
    parent : Artifact or path, optional
        An artifact whose step exponents are kept where they still fit.
    overwrite : bool
        Whether to replace the destination.
    threads : int, optional
        Workers; by default one per core. At most three, which bounds the memory.
    progress : callable, optional
        Called with a `Progress` now and then.

    Returns
    -------
    Summary
        What was written.

    Raises
    ------
    InvalidSource
        If the source is no sound safetensors file.
    InvalidArgument, DestinationExists
        If an option makes no sense, or the destination is there.
    NotFound, StoreUnavailable
        If a file cannot be read or written.

    Examples
    --------
    >>> import numpy, tempfile, pathlib
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> weights = numpy.random.default_rng(0).standard_normal((256, 64), numpy.float32)
    >>> summary = pack({"w": weights}, folder / "m.p2u")
    >>> summary.tiers[0].name, summary.tiers[0].bits_per_weight <= 4.0
    ('q4', True)
    """
    policy = parse_policy(tiers, base_bits, overrides, sensitivity)
    workers = min(worker_count(threads), MOST_ENCODERS)
    target = Path(os.fsdecode(destination))
    refuse_taken(os.fspath(target), overwrite=overwrite)
    with ExitStack() as stack:
        reader = _open_source(source)
        stack.callback(reader.close)
        grids = stack.enter_context(Parent(parent)) if parent is not None else None
        job = _Job(reader, policy, workers, progress, grids)
        plans, digest = job.plan()
        spools = Spools(len(policy.tiers), target)
        stack.callback(spools.close)
        pages = job.encode(plans, digest, spools)
        manifest = assemble(policy.tiers, pages)
        written = write_artifact(
            destination,
            manifest=manifest,
            tier_spools=spools.finish(),
            overwrite=overwrite,
            progress=lambda done, total: job.note("assemble", done, total),
        )
    return Artifact(Contents.of(written), workers).summary


def _open_source(source: Source) -> SafetensorsSource | ArraySource:
    return ArraySource(source) if isinstance(source, Mapping) else SafetensorsSource(source)


class _Job:
    """One run of `pack`."""

    def __init__(
        self,
        source: SafetensorsSource | ArraySource,
        policy: Policy,
        threads: int,
        progress: ProgressCall,
        parent: Parent | None,
    ) -> None:
        self._source = source
        self._policy = policy
        self._threads = threads
        self._progress = progress
        self._parent = parent
        self._total = source.size

    def note(self, phase: str, done: int, total: int) -> None:
        """Tell the caller how far it is."""
        if self._progress is not None:
            self._progress(Progress(phase, done, total))

    def plan(self) -> tuple[list[TensorPlan], bytes]:
        """Read the source once; return the planned tensors in file order and the file's digest."""
        plans = self._tensor_plans()
        quantized = sum(plan.geometry.elements for plan in plans if plan.fmt is not None)
        every = keep_every(quantized)
        hasher = Hasher()
        hasher.update(self._source.head)
        done = len(self._source.head)

        sources = {tensor.name: tensor for tensor in self._source.tensors}

        def scan(item: tuple[int, TensorPlan, int, bytes]) -> tuple[TensorPlan, BlockPlan]:
            number, plan, index, data = item
            start, _ = plan.geometry.block_range(index)
            grid = None
            if self._parent is not None and plan.fmt is not None:
                grid = self._parent.grid(sources[plan.name], index)
            return plan, scan_block(plan, start, data, grid, keep=number % every == 0)

        def blocks() -> Iterator[tuple[int, TensorPlan, int, bytes]]:
            number = 0
            for plan, tensor in zip(plans, self._source.tensors, strict=True):
                for index in range(plan.geometry.blocks()):
                    data = self._read(plan, tensor, *plan.geometry.block_range(index))
                    hasher.update(data)
                    yield number, plan, index, data
                    number += plan.fmt is not None

        for plan, block in ordered_map(scan, blocks(), self._threads):
            plan.blocks.append(block)
            done += block.weights * plan.geometry.element_size
            self.note("plan", done, self._total)
        plan_budget(
            plans, self._policy, self._threads, lambda: self.note("plan", done, self._total)
        )
        return plans, hasher.digest()

    def _tensor_plans(self) -> list[TensorPlan]:
        shapes = []
        for tensor in self._source.tensors:
            cut = geometry(tensor.dtype, tensor.shape, tensor.nbytes)
            rule = self._policy.of(tensor.name)
            fmt = formats_of(tensor.dtype, cut.elements, exact=rule.exact)
            shapes.append((tensor, cut, rule, fmt))
        weights = sum(cut.elements for _, cut, _, fmt in shapes if fmt is not None)
        plans = []
        for tensor, cut, rule, fmt in shapes:
            known = self._parent.segment(tensor) if self._parent and fmt else None
            segment = known or segment_length(cut.row, weights, cut.step)
            planes = planes_of(fmt, self._policy.finest) if fmt else 0
            plans.append(TensorPlan(tensor.name, cut, fmt, segment, planes, rule.bits, rule.weight))
        return plans

    def _read(self, plan: TensorPlan, tensor: SourceTensor, start: int, stop: int) -> bytes:
        size = plan.geometry.element_size
        return self._source.read(tensor.offset + start * size, (stop - start) * size)

    def encode(self, plans: list[TensorPlan], digest: bytes, spools: Spools) -> Pages:
        """Read the source again and turn it into pages and chunks."""
        encoder = Encoder(self._policy, spools, self._threads)
        sources = {tensor.name: tensor for tensor in self._source.tensors}

        def read(plan: TensorPlan, block: BlockPlan) -> bytes:
            return self._read(plan, sources[plan.name], block.start, block.stop)

        done = 0
        ordered = sorted(plans, key=lambda plan: plan.name.encode())
        for block_bytes in encoder.tensors(ordered, read):
            done += block_bytes
            self.note("encode", done, self._total)
        head = self._source.head

        def record(digests: bytes) -> FileRecord:
            name = Path(os.fsdecode(self._source.path)).name
            return FileRecord(
                name, 0, "safetensors", self._source.size, digest, 0, len(head), digests
            )

        encoder.file(record, head, blob_geometry(len(head)))
        self.note("encode", self._total, self._total)
        pages = encoder.finish()
        records = [record for content, _ in pages for record in content.records]
        cut = [len(page) for page in paginate(records, encoder.lengths)]
        assert cut == [len(content.records) for content, _ in pages], (
            "pages are not cut as SPEC.md says"
        )
        return pages
