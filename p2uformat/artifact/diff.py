"""Two artifacts side by side: what is the same, what is new, and how far apart it is."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from fnmatch import fnmatchcase

from p2uformat.artifact.catalog import (
    StoredFile,
    StoredTensor,
    parent_required,
    raise_page_damage,
)
from p2uformat.artifact.contents import Contents, Path, placed
from p2uformat.artifact.difftypes import DiffReport, FileDiff, TensorDiff
from p2uformat.artifact.distance import Pair, distances
from p2uformat.artifact.layerdiff import LayerDiff
from p2uformat.artifact.open import Artifact, Parents, candidates
from p2uformat.artifact.types import Progress
from p2uformat.errors import InvalidArgument, TensorNotFound
from p2uformat.parallel import worker_count
from p2uformat.transport import StorageOptions

__all__ = ["checked_contents", "diff"]

Callback = Callable[[Progress], None]
Source = Artifact | str | os.PathLike[str] | bytes


def diff(
    a: Source,
    b: Source,
    *,
    tensors: str | Sequence[str] | None = None,
    errors: bool = True,
    parents: Parents = (),
    threads: int | None = None,
    progress: Callback | None = None,
    storage_options: StorageOptions | None = None,
) -> DiffReport:
    """Compare two artifacts, such as two versions of a model.

    What is the same follows from the digests in the manifests. Only the values of tensors that
    changed are read, at the best tier that both artifacts hold whole.

    Parameters
    ----------
    a, b : Artifact, str, os.PathLike or bytes
        The older and the newer one: paths, their bytes, or open artifacts, which stay open.
    tensors : str or sequence of str, optional
        Patterns as in a shell, case kept: only tensors that match one in either artifact, and the
        layers and chunks that these use. Everything by default.
    errors : bool
        Whether to compare values.
    parents : path, Artifact, or sequence of them
        Where to find the artifacts that the two need, as in `open`; for `b` also in `a`.
    threads : int, optional
        How many threads to decode on; the processor's by default, at most 8.
    progress : callable, optional
        Called now and then.
    storage_options : mapping, optional
        For URLs: credentials, endpoints and the like, as fsspec's file systems take them.

    Returns
    -------
    DiffReport
        What is shared, changed, added and removed, and what a holder of `a` lacks of `b`.

    Raises
    ------
    TensorNotFound
        If a pattern matches nothing.
    InvalidArgument
        If one is an update and the other is not.
    CorruptData
        If a page or a chunk that is needed is damaged; the error says where.
    ParentMismatch, ParentRequired
        If one needs a parent that is not given.
    NotFound, StoreUnavailable, NotAnArtifact, UnsupportedFormat, Incomplete
        If one cannot be opened.

    Examples
    --------
    >>> import numpy, tempfile, p2uformat
    >>> folder = tempfile.mkdtemp()
    >>> old = {"w": numpy.ones((256, 64), numpy.float32), "b": numpy.zeros(9, numpy.float32)}
    >>> summary = p2uformat.pack(old, folder + "/1.p2u")
    >>> summary = p2uformat.pack({**old, "b": old["b"] + 1}, folder + "/2.p2u")
    >>> report = p2uformat.diff(folder + "/1.p2u", folder + "/2.p2u")
    >>> [(tensor.name, tensor.status) for tensor in report.tensors]
    [('w', 'identical'), ('b', 'changed')]
    >>> report.tensors[1].distance.largest
    1.0
    """
    workers = worker_count(threads)
    patterns = (tensors,) if isinstance(tensors, str) else tensors
    above = candidates(parents, storage_options)
    with _both(_placed(a, storage_options), _placed(b, storage_options), above) as (old, new):
        if (old.update is None) != (new.update is None):
            raise InvalidArgument(
                "one is an update, a difference of weights, the other a checkpoint",
                hint="apply the update first, or compare two of a kind",
            )
        comparison = _Comparison(old, new, patterns)
        report = comparison.report()
        return comparison.measured(report, workers, progress) if errors else report


def _placed(source: Source, options: StorageOptions | None) -> Artifact | Path:
    return source if isinstance(source, Artifact) else placed(source, options)


@contextmanager
def _both(
    a: Artifact | Path, b: Artifact | Path, parents: Sequence[Path | Contents]
) -> Iterator[tuple[Artifact, Artifact]]:
    """Open what is not open yet, the older one first, which may be a parent of the newer."""
    with ExitStack() as stack:
        old = a if isinstance(a, Artifact) else stack.enter_context(_opened(a, parents))
        above = [*candidates(old), *parents]
        new = b if isinstance(b, Artifact) else stack.enter_context(_opened(b, above))
        yield old, new


def _opened(path: Path, parents: Sequence[Path | Contents]) -> Artifact:
    return Artifact(Contents.open(path, parents), 1)


def checked_contents(artifact: Artifact) -> Contents:
    """Return the contents of an open artifact none of whose pages is damaged.

    Raises
    ------
    DigestMismatch
        For the first page that is: what it lists is not known, so nothing could be said of it.
    ParentRequired
        If it needs a parent that is not at hand.
    """
    (contents,) = candidates(artifact)
    assert isinstance(contents, Contents)
    if contents.orphaned:
        raise parent_required(contents.container)
    for page in contents.container.pages:
        if page.damage:
            raise_page_damage(contents.container, page.number, None)
    return contents


class _Comparison:
    """One run of `diff` over two open artifacts."""

    def __init__(self, old: Artifact, new: Artifact, patterns: Sequence[str] | None) -> None:
        self._roots = old.root, new.root
        self._encoding_roots = old.encoding_root, new.encoding_root
        self._a, self._b = checked_contents(old), checked_contents(new)
        names = tuple(dict.fromkeys((*new.keys(), *old.keys())))
        self._whole = patterns is None
        self._names = names if patterns is None else _matching(names, patterns)

    def report(self) -> DiffReport:
        """Compare the manifests."""
        a, b = self._a, self._b
        known = b.catalog.tensors
        chosen: list[StoredTensor | StoredFile] = [known[n] for n in self._names if n in known]
        chosen += b.catalog.files.values() if self._whole else ()
        layers = LayerDiff(a, b, chosen)
        new_bytes = layers.new_bytes()
        nothing = (0,) * len(b.tiers)
        ours, theirs = a.container.content, b.container.content
        return DiffReport(
            roots=self._roots,
            encoding_roots=self._encoding_roots,
            ladders=(a.tiers, b.tiers),
            same_ladder=ours.tiers == theirs.tiers,
            source_bytes=(ours.totals.source_bytes, theirs.totals.source_bytes),
            manifest_bytes=b.container.header.manifest_length,
            tiers=layers.tiers(),
            tensors=tuple(self._tensor(n, new_bytes.get(n, nothing)) for n in self._names),
            files=tuple(self._files()) if self._whole else (),
            tier=None,
        )

    def measured(self, report: DiffReport, threads: int, progress: Callback | None) -> DiffReport:
        """Add how far changed tensors are apart."""
        common = [tier for tier in self._b.complete if tier in self._a.complete]
        if not common:
            return report
        tiers = self._a.tier_number(common[-1]), self._b.tier_number(common[-1])
        changed = [tensor.name for tensor in report.tensors if tensor.status == "changed"]
        pairs = [Pair(self._a.catalog.tensor(n), self._b.catalog.tensor(n)) for n in changed]
        part = [p for p in pairs if _part_of(p.a, tiers[0]) and _part_of(p.b, tiers[1])]
        found = distances(self._a, self._b, tiers, part, threads, progress)
        tensors = (replace(t, distance=found.get(t.name)) for t in report.tensors)
        return replace(report, tensors=tuple(tensors), tier=common[-1])

    def _tensor(self, name: str, new_bytes: tuple[int, ...]) -> TensorDiff:
        a, b = self._a.catalog.tensors.get(name), self._b.catalog.tensors.get(name)
        status = _presence(a, b)
        changed = b.blocks if b is not None else 0
        if a is not None and b is not None:
            status = _form(a, b)
            if status == "identical":
                changed = sum(x != y for x, y in zip(_blocks(a), _blocks(b), strict=True))
                status = "changed" if changed else "identical"
        return TensorDiff(
            name=name,
            status=status,
            dtype=(a.record.dtype if a else None, b.record.dtype if b else None),
            shape=(a.record.shape if a else None, b.record.shape if b else None),
            bytes=(_size(a), _size(b)),
            blocks=b.blocks if b is not None else 0,
            blocks_changed=changed,
            new_bytes=new_bytes,
            distance=None,
        )

    def _files(self) -> Iterator[FileDiff]:
        ours, theirs = self._a.catalog.files, self._b.catalog.files
        for path in dict.fromkeys((*theirs, *ours)):
            a, b = ours.get(path), theirs.get(path)
            status = _presence(a, b)
            if a is not None and b is not None:
                status = "identical" if a.record.digest == b.record.digest else "changed"
            yield FileDiff(path, status, (a.record.size if a else 0, b.record.size if b else 0))


def _matching(names: Sequence[str], patterns: Sequence[str]) -> tuple[str, ...]:
    found: set[str] = set()
    for pattern in patterns:
        matches = [name for name in names if fnmatchcase(name, pattern)]
        if not matches:
            raise TensorNotFound(
                f"no tensor of either artifact matches {pattern!r}",
                hint="a pattern is as in a shell: *, ?, [abc]",
            )
        found.update(matches)
    return tuple(name for name in names if name in found)


def _presence(a: object, b: object) -> str:
    return "added" if a is None else "removed" if b is None else "changed"


def _form(a: StoredTensor, b: StoredTensor) -> str:
    """Say whether two tensors may be compared value by value: then "identical", for now."""
    if a.record.dtype != b.record.dtype:
        return "retyped"
    # A dtype without an element size has a length that does not follow from the shape.
    same = (a.record.shape, a.geometry.elements) == (b.record.shape, b.geometry.elements)
    return "identical" if same else "reshaped"


def _blocks(stored: StoredTensor) -> Iterator[bytes]:
    for block in range(stored.blocks):
        page, index, part = stored.part(block)
        assert page.content is not None
        yield page.content.records[index].block_digest(part)


def _size(stored: StoredTensor | None) -> int:
    return stored.geometry.elements * stored.geometry.element_size if stored is not None else 0


def _part_of(stored: StoredTensor, tier: int) -> bool:
    return stored.record.layer_tier(0) <= tier
