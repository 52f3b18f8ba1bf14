"""An open artifact: names, figures, and tensors by tier and row range."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from p2uformat.artifact.ahead import expecting
from p2uformat.artifact.catalog import StoredTensor, parent_required
from p2uformat.artifact.complete import is_complete
from p2uformat.artifact.contents import Contents, Path, placed
from p2uformat.artifact.formats import DTypeLike, converted, float_format, target_format
from p2uformat.artifact.load import allocate_all, given, load_blocks
from p2uformat.artifact.needs import holds
from p2uformat.artifact.quantized import is_quantized, parameters_of
from p2uformat.artifact.rows import Rows, allocate, fitting, row_range
from p2uformat.artifact.source import SourceFile, file_info, source_files, tensor_names
from p2uformat.artifact.summary import Shares, max_errors, rms_errors, summarize
from p2uformat.artifact.types import FileInfo, Summary, TensorInfo
from p2uformat.artifact.updatetypes import UpdateInfo
from p2uformat.closing import Closing
from p2uformat.digest import to_text
from p2uformat.errors import (
    CorruptData,
    Incomplete,
    Malformed,
    TierNotFound,
)
from p2uformat.floats import FloatFormat
from p2uformat.manifest import policy_from_value
from p2uformat.parallel import for_each, worker_count
from p2uformat.quant.policy import Policy
from p2uformat.quant.quantizer import describe
from p2uformat.reading import Openable
from p2uformat.tensor import ELEMENT_SIZES
from p2uformat.transport import Address, StorageOptions

__all__ = ["Artifact", "Parents", "candidates", "open"]


class Artifact(Closing):
    """An open ``.p2u`` file. Use it as a context manager, or close it.

    Several threads may read from one artifact.

    Parameters
    ----------
    contents : Contents
        The open file.
    threads : int
        How many threads a large tensor is decoded on.

    Attributes
    ----------
    path : str
        The file.
    root, encoding_root : str
        ``blake3:`` and 64 hexadecimal digits.
    tiers : tuple of str
        All tiers, base first.
    complete : tuple of str
        Those that are whole here; a cut-off file has fewer.
    parent : str or None
        Content root of the artifact that this one is stored as differences from, and needs.
    """

    def __init__(self, contents: Contents, threads: int) -> None:
        self._contents = contents
        self._threads = threads
        self.path = contents.path
        self.root = to_text(contents.container.header.content_root)
        self.encoding_root = to_text(contents.container.header.encoding_root)
        self.tiers = contents.tiers
        self.complete = contents.complete
        parent = contents.container.encoding.parent
        self.parent = None if parent is None else to_text(parent.root)

    def close(self) -> None:
        """Close the file, and its parent if that was opened for it."""
        self._contents.close()

    def __repr__(self) -> str:
        return (
            f"<Artifact {self.path!r} {self.root[:23]} {'+'.join(self.complete) or 'incomplete'}>"
        )

    def __contains__(self, name: object) -> bool:
        return name in self._contents.catalog.tensors

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def __len__(self) -> int:
        return len(self._contents.catalog.tensors)

    @cached_property
    def summary(self) -> Summary:
        """Its figures."""
        contents = self._contents
        return summarize(contents.container, contents.catalog, self._shares, self.complete)

    @cached_property
    def metadata(self) -> dict[str, str]:
        """The free texts of the source file; of several files, those of the first.

        Raises
        ------
        CorruptData, Incomplete
            If the file's head is damaged or not here.
        """
        heads = [source.head for source in self._sources if source.head is not None]
        return dict(heads[0].metadata) if heads else {}

    @cached_property
    def files(self) -> tuple[FileInfo, ...]:
        """The source's files, in the order of their paths."""
        tiers, stored = self.tiers, self._contents.catalog.files
        return tuple(file_info(stored[path].record, tiers) for path in stored)

    def keys(self) -> tuple[str, ...]:
        """Return the tensors' names, in the order of the source's files.

        A name that several files have comes with the path, as ``path:name``. Where a head is
        damaged or not here, in the order of their bytes.
        """
        return self._keys

    def complete_tensors(self, tier: str) -> tuple[str, ...]:
        """Return the names of the tensors that are whole here at a tier."""
        number = self._contents.tier_number(tier)
        tensors = self._contents.catalog.tensors
        return tuple(
            n for n in self._keys if is_complete(self._contents.reader, tensors[n], number)
        )

    def info(self, name: str, *, steps: bool = False) -> TensorInfo:
        """Return what is known of a tensor.

        Parameters
        ----------
        name : str
            The tensor.
        steps : bool
            Whether to find its smallest and largest step exponent, for which its base tier is read.

        Raises
        ------
        TensorNotFound
            If there is none of this name.
        """
        stored = self._contents.catalog.tensor(name)
        record = stored.record
        size = ELEMENT_SIZES.get(record.dtype, 1)
        zeros = (0.0,) * len(self.tiers)
        shares = self._shares.tensors.get(name, zeros)
        return TensorInfo(
            name=name,
            dtype=record.dtype,
            shape=record.shape,
            quantizer=_quantizer_text(stored),
            blocks=stored.blocks,
            parameters=stored.geometry.elements,
            bytes=stored.geometry.elements * size,
            stored=tuple(round(share) for share in shares),
            max_error=max_errors(stored) or zeros,
            rms_error=rms_errors(stored) or zeros,
            steps=self._steps(stored) if steps else None,
        )

    def get(
        self,
        name: str,
        tier: str | None = None,
        rows: Rows | None = None,
        dtype: DTypeLike | None = None,
        out: NDArray[Any] | None = None,
    ) -> NDArray[np.generic]:
        """Return a tensor, or some of its rows.

        Only the chunks that hold them are read, and each is checked before it is decoded.

        Parameters
        ----------
        name : str
            The tensor.
        tier : str, optional
            By default what `tier_for` says.
        rows : slice or tuple of int, optional
            Range of the first axis, as Python slices do it, without a step.
        dtype : str or numpy.dtype, optional
            Another float dtype to round to, once. The source's by default.
        out : ndarray, optional
            Receives the values, and is returned: an array of the right shape and dtype, in C order.
            Memory that was used before is much faster to fill than fresh memory. After an error
            what it holds is not defined.

        Returns
        -------
        ndarray
            In C order, and writable. A tensor whose dtype numpy has no name for comes as its
            bytes, in one dimension.

        Raises
        ------
        TensorNotFound, TierNotFound
            If there is no such tensor or tier, or the tensor is exact in a higher tier only.
        Incomplete
            If the file ends before what was asked for.
        CorruptData
            If a chunk that is needed is damaged; the error says where.
        InvalidArgument
            If `out` does not fit.
        """
        stored = self._contents.catalog.tensor(name)
        chosen = self.tier_for(name, rows) if tier is None else tier
        number = self._contents.tier_number(chosen)
        self._check_part(stored, number)
        target = None if dtype is None else target_format(stored, dtype)
        start, stop, shape = row_range(stored, rows)
        warm = out is not None
        made = (
            allocate(stored, shape, target) if out is None else fitting(out, stored, shape, target)
        )
        try:
            self._fill(made, stored, number, target, start, stop, warm=warm)
        except Incomplete as error:
            raise self._contents.incomplete(f"tensor {name!r}", number) from error
        return made

    @cached_property
    def update(self) -> UpdateInfo | None:
        """What it is an update to, and how good; None of a checkpoint."""
        record = self._contents.container.content.update
        return None if record is None else UpdateInfo.of(record)

    @property
    def origin(self) -> Artifact:
        """The artifact that its chain of parents begins with, which needs none; or it itself.

        It is open as long as this one is.

        Raises
        ------
        ParentRequired
            If a parent is not at hand.
        """
        first = self._contents
        while first.parent is not None:
            first = first.parent
        if first.orphaned:
            raise parent_required(first.container)
        return Artifact(first, self._threads)

    @property
    def policy(self) -> Policy | None:
        """Which tensors its quantizer was for; None if nothing says so.

        Raises
        ------
        InvalidArgument
            If its generator is one that this library does not know.
        """
        return policy_from_value(self._contents.container.content.policy)

    def tier_for(self, name: str, rows: Rows | None = None) -> str:
        """Return the tier at which a tensor, or some of its rows, is read by default.

        That is the best complete one. Where none is, because only some tensors or rows were
        fetched, it is the best at which this one is whole here.

        Raises
        ------
        TensorNotFound
            If there is none of this name.
        Incomplete
            If it is whole at no tier.
        """
        if self.complete:
            return self.complete[-1]
        stored = self._contents.catalog.tensor(name)
        start, stop, _ = row_range(stored, rows)
        blocks = stored.geometry.blocks_for(start, stop)
        for number in reversed(range(stored.record.layer_tier(0), len(self.tiers))):
            if all(holds(self._contents.reader, stored, block, number) for block in blocks):
                return self.tiers[number]
        raise self._contents.incomplete(f"tensor {name!r} is whole at any tier")

    def load(
        self,
        tier: str | None = None,
        dtype: DTypeLike | None = None,
        names: Iterable[str] | None = None,
        out: Mapping[str, NDArray[Any]] | None = None,
    ) -> dict[str, NDArray[np.generic]]:
        """Return many tensors at once, decoded on all threads.

        Parameters
        ----------
        tier : str, optional
            The best complete one by default.
        dtype : str or numpy.dtype, optional
            Another float dtype to round float tensors to, once.
        names : iterable of str, optional
            All tensors that are part of the tier by default.
        out : mapping of str to ndarray, optional
            Arrays to receive the values, as in `get`, one for each tensor that is asked for.

        Returns
        -------
        dict of ndarray
            By name, in the order of `keys`, or of `names`. Each is in C order and writable. Small
            ones share memory allocations, which go when the last of them goes.

        Raises
        ------
        TensorNotFound, TierNotFound, Incomplete, CorruptData
            As `get`.

        Examples
        --------
        >>> import numpy, tempfile, p2uformat
        >>> path = tempfile.mkdtemp() + "/m.p2u"
        >>> weights = numpy.random.default_rng(0).standard_normal((256, 64), numpy.float32)
        >>> summary = p2uformat.pack({"w": weights, "step": numpy.array(7)}, path)
        >>> with p2uformat.open(path) as artifact:
        ...     model = artifact.load(tier="q4", dtype="F16")
        >>> model["w"].dtype, int(model["step"])
        (dtype('float16'), 7)
        """
        number = self._best_tier() if tier is None else self._contents.tier_number(tier)
        wanted = None if dtype is None else float_format(dtype)
        tensors = [self._contents.catalog.tensor(name) for name in self._names(names, number)]
        for stored in tensors:
            self._check_part(stored, number)
        targets = [converted(stored, wanted) for stored in tensors]
        arrays = allocate_all(tensors, targets) if out is None else given(out, tensors, targets)
        try:
            load_blocks(
                self._contents.reader,
                tensors,
                targets,
                arrays,
                number,
                self._threads,
                warm=out is not None,
            )
        except Incomplete as error:
            raise self._contents.incomplete("all of its tensors", number) from error
        return {stored.record.name: a for stored, a in zip(tensors, arrays, strict=True)}

    def _names(self, names: Iterable[str] | None, tier: int) -> list[str]:
        if names is not None:
            return list(dict.fromkeys(names))
        tensors = self._contents.catalog.tensors
        return [name for name in self._keys if tensors[name].record.layer_tier(0) <= tier]

    def _fill(
        self,
        out: NDArray[np.generic],
        stored: StoredTensor,
        tier: int,
        target: FloatFormat | None,
        start: int,
        stop: int,
        *,
        warm: bool,
    ) -> None:
        """Decode the blocks that meet an element range into `out`."""
        size = stored.geometry.element_size if target is None else target.itemsize
        flat = out.reshape(-1).view(np.uint8)
        reader = self._contents.reader

        def fill(block: int) -> None:
            first, last = stored.geometry.block_range(block)
            low, high = max(first, start), min(last, stop)
            part = flat[(low - start) * size : (high - start) * size]
            if (low, high) == (first, last):
                reader.fill(stored, block, tier, target, part, warm=warm)
                return
            whole = np.empty((last - first) * size, np.uint8)
            reader.fill(stored, block, tier, target, whole)
            part[:] = whole[(low - first) * size : (high - first) * size]

        blocks = stored.geometry.blocks_for(start, stop)
        with expecting(reader, ((stored, block, tier) for block in blocks)):
            for_each(fill, blocks, min(self._threads, max(len(blocks), 1)))

    def _check_part(self, stored: StoredTensor, tier: int) -> None:
        own = stored.record.layer_tier(0)
        if own > tier:
            raise TierNotFound(
                f"tensor {stored.name!r} is not part of tier {self.tiers[tier]}",
                hint=f"it travels exactly in tier {self.tiers[own]}",
            )

    def _best_tier(self) -> int:
        if not self.complete:
            raise self._contents.incomplete("its first tier is whole")
        return len(self.complete) - 1

    @cached_property
    def _shares(self) -> Shares:
        return Shares.of(self._contents.container, self._contents.catalog)

    @cached_property
    def _sources(self) -> list[SourceFile]:
        contents = self._contents
        return source_files(contents.reader, contents.catalog, contents.reader.exact)

    @cached_property
    def _keys(self) -> tuple[str, ...]:
        catalog = self._contents.catalog
        try:
            names = dict.fromkeys(tensor_names(catalog, self._sources))
        except (CorruptData, Incomplete):
            return tuple(catalog.tensors)
        return tuple({**names, **dict.fromkeys(catalog.tensors)})

    def _steps(self, stored: StoredTensor) -> tuple[int, int] | None:
        if stored.record.quantizer != "bitplane" or not stored.blocks:
            return None
        found = [self._block_steps(stored, block) for block in range(stored.blocks)]
        return min(low for low, _ in found), max(high for _, high in found)

    def _block_steps(self, stored: StoredTensor, block: int) -> tuple[int, int]:
        payload = self._contents.reader.payload(stored, 0, block)
        count = self._contents.reader.spec(stored, block).segments
        with self._contents.reader.located(stored, 0, block):
            if len(payload) < 1 + 2 * count:
                raise Malformed(f"expected {count} step exponents in {len(payload)} bytes")
            steps = np.frombuffer(payload, "<i2", count, 1)
        return int(steps.min()), int(steps.max())


def _quantizer_text(stored: StoredTensor) -> str:
    if is_quantized(stored):
        return describe(parameters_of(stored.record).quantizer)
    return stored.record.quantizer


def candidates(parents: Parents, options: StorageOptions | None = None) -> list[Path | Contents]:
    """Return where parents are looked for, as `Contents.open` takes them."""
    if isinstance(parents, str | bytes | os.PathLike | Address | Openable | Artifact):
        parents = (parents,)
    return [
        item._contents  # noqa: SLF001 - of this module
        if isinstance(item, Artifact)
        else placed(item, options)
        for item in parents
    ]


Parents = Path | Artifact | Sequence[Path | Artifact]
"""Where the artifacts that another one needs may be found."""


def open(  # noqa: A001
    path: str | os.PathLike[str] | bytes,
    *,
    parents: Parents = (),
    threads: int | None = None,
    storage_options: StorageOptions | None = None,
) -> Artifact:
    """Open a ``.p2u`` file, on this machine or behind a URL.

    Of a file behind a URL (``https://``, ``s3://``, ``gs://``, ``az://`` and what else fsspec
    knows) only what is asked for is read, by ranges, and checked like any other.

    A file that is cut off opens as long as its manifest is whole, and one with a damaged page opens
    without the tensors of that page.

    Parameters
    ----------
    path : str, os.PathLike or bytes
        The file, or its URL; or its bytes, which are then read where they are.
    parents : path, Artifact, or sequence of them
        Where to find the artifact that this one needs, if it is stored as differences, and that
        one's in turn. Open artifacts stay open. What is not needed is not read.
    threads : int, optional
        How many threads to decode large tensors on; the processor's by default, at most 8.
    storage_options : mapping, optional
        For URLs: credentials, endpoints and the like, as fsspec's file systems take them.

    Raises
    ------
    NotFound, StoreUnavailable
        If it cannot be read.
    NotAnArtifact, UnsupportedFormat
        If it is something else, or newer.
    Incomplete
        If it ends inside the manifest.
    CorruptData
        If its header or a root is damaged, or it breaks a rule.
    ParentMismatch, ParentRequired
        If there are parents, but not the one that is needed, or not that one's own. Without any it
        opens too, and what needs the parent raises `ParentRequired` when it is read.
    """
    workers = worker_count(threads)
    return Artifact(
        Contents.open(placed(path, storage_options), candidates(parents, storage_options)), workers
    )
