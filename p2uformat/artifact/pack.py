"""`pack`: a checkpoint becomes one artifact."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import chain, islice

import numpy as np
from numpy.typing import NDArray

from p2uformat.artifact.ancestry import check_tiers, ladder_names
from p2uformat.artifact.blobs import FileHasher, FilePlan, plan_file
from p2uformat.artifact.contents import Path
from p2uformat.artifact.encode import Encoder
from p2uformat.artifact.open import Artifact, Parents, candidates
from p2uformat.artifact.options import PackOptions, Sensitivity, parse_policy, quantizer_options
from p2uformat.artifact.outside import brought
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
from p2uformat.artifact.quantized import fit_tensors
from p2uformat.artifact.spool import Spools
from p2uformat.artifact.targets import Packed, ParentWish, target_for
from p2uformat.artifact.types import Progress, Summary
from p2uformat.artifact.updatetally import UpdateTally
from p2uformat.digest import digest
from p2uformat.errors import InvalidArgument
from p2uformat.floats import FORMATS
from p2uformat.ingest import Checkpoint
from p2uformat.manifest import UPDATE, ContentPage, EncodingPage, paginate
from p2uformat.parallel import MOST_ENCODERS, ordered_map, worker_count
from p2uformat.quant.fit import TensorFit
from p2uformat.quant.policy import Candidate, Policy
from p2uformat.quant.quantizer import Quantizers
from p2uformat.tensor import geometry
from p2uformat.transport import StorageOptions

__all__ = ["Asked", "Near", "Run", "pack", "pack_as"]

ProgressCall = Callable[[Progress], None] | None
Source = str | os.PathLike[str] | Mapping[str, NDArray[np.generic]]
Pages = list[tuple[ContentPage, EncodingPage]]


def pack(
    source: Source,
    destination: str | os.PathLike[str],
    *,
    tiers: Sequence[str] | str | None = None,
    base_bits: float | None = None,
    overrides: Mapping[str, str] | None = None,
    sensitivity: Sensitivity = None,
    quantizer: Quantizers | None = None,
    policy: Policy | None = None,
    lossy: bool = False,
    chunk_per_tensor: bool = False,
    metadata: Mapping[str, str] | None = None,
    parent: Path | Artifact | None = None,
    parents: Parents = (),
    self_contained: bool = False,
    sha256: bool = False,
    overwrite: bool = False,
    threads: int | None = None,
    progress: ProgressCall = None,
    storage_options: StorageOptions | None = None,
) -> Summary:
    """Pack a checkpoint into one `.p2u` file.

    The source is read twice, with bounded memory: once to plan, once to encode. The file appears
    under its name whole, or not at all.

    Parameters
    ----------
    source : str, os.PathLike or mapping of str to ndarray
        A `.safetensors` file; or a folder with all its files, links followed; or arrays by name:
        then what the file of them would hold is packed. What a URL names is copied here first.
    destination : str or os.PathLike
        The file to make; for a URL it is made here and then sent there. Or ``STORE#name``: what
        is new of it goes into packs of the store, and `overwrite` means nothing.
    tiers : sequence of str or str
        The ladder, coarse to fine, ending in ``exact``; lossy tiers are named ``qN``. By default
        the parent's, or ``q4,q8,exact``.
    base_bits : float, optional
        Budget of the base tier, bits per quantized weight; by default the number in its name.
    overrides : mapping of str to str, optional
        Tensor name glob to ``exact``, ``bits:N`` or ``weight:X``; later ones win.
    sensitivity : mapping or callable, optional
        Weight of a tensor's squared error, by glob or by name; 1 where nothing is said.
    quantizer : Affine, Minifloat, Levels, str, or mapping of str to one of them, optional
        What quantizes instead of the ladder: integers with scales, small floats, or levels with
        norms; or its name, as `parse_quantizer` takes it. The tiers are then its own and ``exact``.
        A mapping has several by glob of names; later ones win, and what matches none stays exact.
        Tensors that it cannot hold, with NaN or with numbers that are too large for it, are kept
        exact.
    policy : Policy, optional
        Which tensors the quantizer is for, and which of these are kept exact; by default all
        matrices. It is recorded in the artifact.
    lossy : bool
        Whether to leave the exact tier out: the source is then not to be had from the artifact,
        which says so.
    chunk_per_tensor : bool
        Whether small tensors that are quantized have chunks of their own, where otherwise many
        share one: for readers that fetch each tensor at a tier of its own. It takes about 50 bytes
        more for each tensor and tier.
    metadata : mapping of str to str, optional
        Of arrays: what a safetensors file of them would have as its metadata.
    parent : Artifact or path, optional
        An artifact of an earlier version. Its step exponents are kept where they still fit, what
        is unchanged stays there, and changed layers are stored as differences where that is
        smaller: the new file needs the parent to be read. Its content is the same as without. In
        a store it is by default the current version of the name, or what has most in common, if
        that has the `tiers` and `base_bits` that are asked for.
    parents : path, Artifact, or sequence of them
        Where to find the artifacts that the parent itself needs, as in `open`.
    self_contained : bool
        Whether to keep the parent's step exponents only, so that the new file needs nothing.
    sha256 : bool
        Whether to record the SHA-256 of each file as well, as hubs publish it.
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
    InvalidSource
        If a safetensors file is not sound, or a folder holds what cannot be kept, or too little.
    LimitExceeded
        If a folder holds too many files.
    InvalidArgument, DestinationExists
        If an option makes no sense, or the destination is there; if the parent has other tiers, or
        too many parents of its own.
    Incomplete, ParentRequired, ParentMismatch
        If the parent is not all there, or one that it needs is not.
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
    asked = Asked(
        tiers,
        base_bits,
        overrides,
        sensitivity,
        quantizer,
        policy,
        lossy=lossy,
        separate=chunk_per_tensor,
    )
    near = Near(parent, parents, differ=not self_contained)
    run = Run(sha256=sha256, overwrite=overwrite, threads=threads, progress=progress)
    return pack_as(source, destination, asked, near, run, storage_options, metadata=metadata)


@dataclass(frozen=True, slots=True)
class Asked:
    """How the tensors are to be stored: those arguments of `pack`."""

    tiers: Sequence[str] | str | None = None
    base_bits: float | None = None
    overrides: Mapping[str, str] | None = None
    sensitivity: Sensitivity = None
    quantizer: Quantizers | None = None
    policy: Policy | None = None
    lossy: bool = False
    separate: bool = False

    def alone(self) -> PackOptions | None:
        """Return the options if they do not depend on a parent, as those of a quantizer.

        Raises
        ------
        InvalidArgument
            If they make no sense.
        """
        if self.quantizer is None:
            if self.policy is not None or self.lossy:
                raise InvalidArgument("a policy, or no exact tier, without a quantizer")
            return None
        if self.base_bits is not None or self.sensitivity is not None:
            raise InvalidArgument("a budget or a sensitivity with a quantizer")
        return quantizer_options(
            self.quantizer, self.policy, self.tiers, self.overrides, lossy=self.lossy
        )


@dataclass(frozen=True, slots=True)
class Near:
    """What may be shared with: those arguments of `pack`."""

    parent: Path | Artifact | None = None
    parents: Parents = ()
    differ: bool = True


@dataclass(frozen=True, slots=True)
class Run:
    """How to go about it: those arguments of `pack`."""

    sha256: bool = False
    overwrite: bool = False
    threads: int | None = None
    progress: ProgressCall = None


def pack_as(
    source: Source,
    destination: str | os.PathLike[str],
    asked: Asked,
    near: Near,
    run: Run,
    storage_options: StorageOptions | None,
    tally: UpdateTally | None = None,
    *,
    metadata: Mapping[str, str] | None = None,
) -> Summary:
    """Pack a source as `pack` does; with a `tally`, as an update."""
    workers = min(worker_count(run.threads), MOST_ENCODERS)
    progress = run.progress
    with ExitStack() as stack:
        target = target_for(destination, storage_options, stack, overwrite=run.overwrite)
        if isinstance(source, str | os.PathLike):
            source = stack.enter_context(brought(source, storage_options, progress))
        checkpoint = stack.enter_context(Checkpoint(source, metadata))
        options = asked.alone()
        wish = ParentWish(
            () if near.parent is None else candidates(near.parent, storage_options),
            candidates(near.parents, storage_options),
            asked.tiers if options is None else [tier.name for tier in options.tiers],
            asked.base_bits,
            (frozenset() if options is None else options.features)
            | (frozenset() if tally is None else {UPDATE}),
            differ=near.differ,
        )
        above = target.above(checkpoint, wish)
        if options is None:
            names = ladder_names(asked.tiers, above)
            options = parse_policy(names, asked.base_bits, asked.overrides, asked.sensitivity)
        check_tiers(options, above)
        options = replace(options, separate=asked.separate, update=tally is not None)
        job = _Job(checkpoint, options, workers, progress, above)
        plans, files = job.plan(sha256=run.sha256)
        spools = Spools(len(options.tiers), target.path)
        stack.callback(spools.close)
        encoder = Encoder(options, spools, workers, above, tally)
        pages = job.encode(plans, files, encoder)
        needed = above if encoder.needs_parent else None
        update = None if tally is None else tally.record()
        return target.finish(Packed(options, pages, spools, needed, update), workers, progress)


class _Job:
    """One run of `pack`."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        policy: PackOptions,
        threads: int,
        progress: ProgressCall,
        parent: Parent | None,
    ) -> None:
        self._checkpoint = checkpoint
        self._tensors = {
            tensor.name: (member, tensor)
            for member in checkpoint.members
            for tensor in member.tensors
        }
        self._policy = policy
        self._threads = threads
        self._progress = progress
        self._parent = parent
        self._total = checkpoint.size

    def note(self, phase: str, done: int, total: int) -> None:
        """Tell the caller how far it is."""
        if self._progress is not None:
            self._progress(Progress(phase, done, total))

    def plan(self, *, sha256: bool) -> tuple[list[TensorPlan], list[FilePlan]]:
        """Read the source once; return the planned tensors, in file order, and the files."""
        plans = self._tensor_plans()
        files = [plan_file(m, len(self._policy.tiers) - 1) for m in self._checkpoint.members]
        quantized = sum(plan.geometry.elements for plan in plans if plan.fmt is not None)
        every = keep_every(quantized)
        done = 0

        def scan(item: tuple[int, TensorPlan, int, bytes]) -> tuple[TensorPlan, BlockPlan]:
            number, plan, index, data = item
            block = BlockPlan(*plan.geometry.block_range(index), digest(data))
            grid = None
            if self._parent is not None:
                if plan.fit is None and self._parent.unchanged(plan, index, block.digest):
                    block.unchanged = True
                    return plan, block
                grid = self._parent.grid(plan, index) if plan.fmt is not None else None
            return plan, scan_block(plan, block, data, grid, keep=number % every == 0)

        def blocks() -> Iterator[tuple[int, TensorPlan, int, bytes]]:
            nonlocal done
            number = 0
            waiting = iter(plans)
            for file in files:
                hasher = FileHasher(sha256=sha256)
                for data in _blob(file):
                    hasher.update(data)
                    done += len(data)
                    self.note("plan", done, self._total)
                for plan in islice(waiting, len(file.member.tensors)):
                    for index in range(plan.geometry.blocks()):
                        data = self._read(plan, *plan.geometry.block_range(index))
                        hasher.update(data)
                        yield number, plan, index, data
                        number += plan.fmt is not None
                hasher.finish(file)

        for plan, block in ordered_map(scan, blocks(), self._threads):
            plan.blocks.append(block)
            done += block.weights * plan.geometry.element_size
            self.note("plan", done, self._total)
        self._inherit(plans)
        fit_tensors(plans)
        plan_budget(
            plans, self._policy, self._threads, lambda: self.note("plan", done, self._total)
        )
        return plans, files

    def _inherit(self, plans: list[TensorPlan]) -> None:
        """Take over tensors that the parent has, and the grid of blocks that it has."""
        if self._parent is None:
            return
        for plan in plans:
            if plan.fit is not None:
                continue
            plan.inherited = self._parent.same_tensor(plan)
            for index, block in enumerate(plan.blocks):
                if plan.inherited:
                    block.forget()
                elif block.unchanged and plan.fmt is not None:
                    grid = self._parent.grid(plan, index)
                    assert grid is not None
                    block.steps, block.sparse = grid.steps, grid.sparse

    def _tensor_plans(self) -> list[TensorPlan]:
        shapes = []
        for _, tensor in self._tensors.values():
            cut = geometry(tensor.dtype, tensor.shape, tensor.nbytes)
            rule = self._policy.of(tensor.name)
            exact = rule.exact or self._policy.forms is not None
            fmt = formats_of(tensor.dtype, tensor.shape, exact=exact)
            shapes.append((tensor, cut, rule, fmt))
        weights = sum(cut.elements for _, cut, _, fmt in shapes if fmt is not None)
        fits = self._fits()
        plans = []
        for tensor, cut, rule, fmt in shapes:
            segment = segment_length(cut.row, weights, cut.step)
            planes = planes_of(fmt, self._policy.finest) if fmt else 0
            plan = TensorPlan(
                tensor.name,
                cut,
                fmt,
                segment,
                planes,
                rule.bits,
                rule.weight,
                rule.exact or self._policy.forms is not None,
                self._policy.separate,
                fit=fits.get(tensor.name),
            )
            if self._parent is not None and fmt is not None:
                self._parent.adopt(plan)
            plans.append(plan)
        return plans

    def _fits(self) -> dict[str, TensorFit]:
        """Return what a quantizer without a ladder is for."""
        if self._policy.forms is None:
            return {}
        shapes = {
            name: tensor.shape
            for name, (_, tensor) in self._tensors.items()
            if tensor.dtype in FORMATS
        }
        chosen = self._policy.chosen(
            [Candidate(name, len(shape), math.prod(shape)) for name, shape in shapes.items()]
        )
        fits = {}
        for name in chosen:
            form = self._policy.form(name)
            assert form is not None
            fits[name] = TensorFit(form, FORMATS[self._tensors[name][1].dtype], shapes[name], name)
        return fits

    def _read(self, plan: TensorPlan, start: int, stop: int) -> bytes:
        member, tensor = self._tensors[plan.name]
        size = plan.geometry.element_size
        return member.read(tensor.offset + start * size, (stop - start) * size)

    def encode(self, plans: list[TensorPlan], files: list[FilePlan], encoder: Encoder) -> Pages:
        """Read the source again and turn it into pages and chunks."""

        def read(plan: TensorPlan, block: BlockPlan) -> bytes:
            return self._read(plan, block.start, block.stop)

        done = 0
        ordered = sorted(plans, key=lambda plan: plan.name.encode())
        tensors = encoder.tensors(ordered, read)
        for block_bytes in chain(tensors, encoder.files(files, text=self._checkpoint.folder)):
            done += block_bytes
            self.note("encode", done, self._total)
        self.note("encode", self._total, self._total)
        pages = encoder.finish()
        records = [record for content, _ in pages for record in content.records]
        cut = [len(page) for page in paginate(records, encoder.lengths)]
        assert cut == [len(content.records) for content, _ in pages], (
            "pages are not cut as SPEC.md says"
        )
        return pages


def _blob(file: FilePlan) -> Iterator[bytes]:
    """Yield the blocks of a file's blob, and keep their digests."""
    for block in range(file.geometry.blocks()):
        data = file.read(block)
        file.blocks.append(digest(data))
        yield data
