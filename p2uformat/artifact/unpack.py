"""From an artifact back to safetensors files, at any tier."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path

from p2uformat.artifact.catalog import parent_required
from p2uformat.artifact.contents import Contents, placed
from p2uformat.artifact.formats import float_format
from p2uformat.artifact.open import Parents, candidates
from p2uformat.artifact.outside import written
from p2uformat.artifact.rebuild import Part, Pool, Row, as_it_was, at_tier, rows_of
from p2uformat.artifact.source import source_files
from p2uformat.artifact.types import Progress, UnpackResult
from p2uformat.container import publish, publish_folder
from p2uformat.errors import DestinationExists, InvalidArgument, TensorNotFound
from p2uformat.files import path_text
from p2uformat.floats import FloatFormat
from p2uformat.parallel import worker_count
from p2uformat.reading import Openable
from p2uformat.transport import Address, StorageOptions

__all__ = ["unpack"]

Callback = Callable[[Progress], None]


def unpack(
    source: str | os.PathLike[str] | bytes,
    destination: str | os.PathLike[str],
    *,
    tier: str | None = None,
    tensors: str | Sequence[str] | None = None,
    dtype: str | None = None,
    parents: Parents = (),
    overwrite: bool = False,
    threads: int | None = None,
    progress: Callback | None = None,
    storage_options: StorageOptions | None = None,
) -> UnpackResult:
    """Write a safetensors file, or a folder of files, from a ``.p2u`` file.

    The whole at the exact tier is the source, bit for bit, and compared with its digests before
    it gets its name. Anything else is a new safetensors file, with the same names, order and
    metadata, for each one of the source; other files that are part of the tier come as they were.

    Parameters
    ----------
    source : str, os.PathLike or bytes
        The ``.p2u`` file, its URL, or its bytes.
    destination : str or os.PathLike
        The file to write. A folder if the artifact was made of more than one safetensors file at
        the top of its folder, or if this ends in a path separator; it may be there if it is empty.
    tier : str, optional
        The last one by default: ``exact``, save in a lossy artifact, of which the reconstruction is
        written and never called identical.
    tensors : str or sequence of str, optional
        Patterns as in a shell, case kept: only tensors whose names, as `Artifact.keys` has them,
        match one, and only files that hold some. All by default.
    dtype : str, optional
        Float dtype to round float tensors to. The source's by default.
    parents : path, Artifact, or sequence of them
        Where to find the artifact that this one needs, as in `open`.
    overwrite : bool
        Whether to replace a file, or a folder, of this name.
    threads : int, optional
        How many threads to decode on; the processor's by default, at most 8.
    progress : callable, optional
        Called now and then.
    storage_options : mapping, optional
        For URLs: credentials, endpoints and the like, as fsspec's file systems take them.

    Returns
    -------
    UnpackResult
        What was written.

    Raises
    ------
    Incomplete
        If the file ends before what was asked for.
    ParentMismatch, ParentRequired
        If it is stored as differences and the artifact that it needs is not among the parents.
    TensorNotFound, TierNotFound
        If a pattern matches nothing, or there is no such tier.
    CorruptData
        If something that is needed is damaged. Nothing is written then.
    DestinationExists, NotFound, StoreUnavailable
        If the destination cannot be written.
    """
    workers = worker_count(threads)
    target = None if dtype is None else float_format(dtype)
    patterns = _patterns(tensors)
    place = placed(source, storage_options)
    with Contents.open(place, candidates(parents, storage_options)) as contents:
        if contents.orphaned:
            raise parent_required(contents.container)
        number = contents.reader.exact if tier is None else contents.tier_number(tier)
        pool = Pool(contents, number, workers, progress)
        work = _Unpacking(pool, patterns, target)
        _refuse_damaged_files(contents)
        folder = _is_folder(contents, destination)
        with written(destination, storage_options, overwrite=overwrite) as out:
            if not folder:
                result = work.to_file(out, overwrite=overwrite)
            else:
                if overwrite and not isinstance(place, bytes | Address | Openable):
                    _refuse_around(place, out)
                result = work.to_folder(out, overwrite=overwrite)
        return replace(result, path=_shown(destination, result))


def _shown(destination: str | os.PathLike[str], result: UnpackResult) -> str:
    """Return what the result is called: what was asked for, a URL without its secrets."""
    place = Address.of(destination)
    return place.name if isinstance(place, Address) else result.path


def _patterns(tensors: str | Sequence[str] | None) -> tuple[str, ...] | None:
    if tensors is None:
        return None
    return (tensors,) if isinstance(tensors, str) else tuple(tensors)


def _refuse_damaged_files(contents: Contents) -> None:
    """Raise the damage of a page that may name files: nobody would miss what it names."""
    refs = [*contents.container.content.pages, None]
    for page, after in zip(contents.container.pages, refs[1:], strict=True):
        if page.content is None and (after is None or after.key[0]):
            raise page.damage[0]


def _is_folder(contents: Contents, destination: str | os.PathLike[str]) -> bool:
    """Return whether what is to be written is a folder."""
    files = contents.catalog.files
    asked = path_text(destination).endswith((os.sep, os.altsep or os.sep))
    if asked and not files:
        raise InvalidArgument(
            f"{contents.path!r} says nothing of files", hint="name a file to write, not a folder"
        )
    plain = any(file.record.layout == "plain" for file in files.values())
    return asked or len(files) > 1 or plain or any("/" in path for path in files)


def _refuse_around(source: str | os.PathLike[str], destination: str | os.PathLike[str]) -> None:
    """Refuse to replace the folder that the artifact itself lies in."""
    folder = Path(path_text(destination)).resolve()
    if Path(path_text(source)).resolve().is_relative_to(folder):
        raise DestinationExists(
            f"{path_text(destination)!r} holds the artifact itself", hint="choose another name"
        )


@dataclass(frozen=True, slots=True)
class _Unpacking:
    """One run of `unpack`."""

    pool: Pool
    patterns: tuple[str, ...] | None
    target: FloatFormat | None

    @property
    def _whole(self) -> bool:
        """Whether everything is asked for, as it was, and that is to be had."""
        contents = self.pool.contents
        everything = self.patterns is None and self.target is None
        last = self.pool.tier == contents.reader.exact
        return everything and last and not contents.container.content.lossy

    def to_file(self, destination: str | os.PathLike[str], *, overwrite: bool) -> UnpackResult:
        """Write the one safetensors file."""
        contents, tier = self.pool.contents, self.pool.tier
        files = source_files(contents.reader, contents.catalog, tier)
        with publish(destination, overwrite=overwrite) as output:
            if files and self._whole:
                part = as_it_was(files[0], rows_of(contents, files[0]))
            elif files and files[0].head is not None:
                head, rows = files[0].head, self._held(rows_of(contents, files[0]))
                part = self._anew("", rows, self._chosen(rows), head.names, head.metadata)
            else:
                rows = self._held([Row(n, s) for n, s in contents.catalog.tensors.items()])
                part = self._anew("", rows, self._chosen(rows), [row.name for row in rows], {})
            self.pool.need([part])
            self.pool.write(output, part, 0, part.size)
            return self._result(output.destination, [part], ())

    def to_folder(self, destination: str | os.PathLike[str], *, overwrite: bool) -> UnpackResult:
        """Write all files."""
        with publish_folder(destination, overwrite=overwrite) as folder:
            parts = self._parts()
            paths = {part.path for part in parts}
            left_out = tuple(path for path in self.pool.contents.catalog.files if path not in paths)
            self.pool.need(parts)
            done, total = 0, sum(part.size for part in parts)
            for part in parts:
                with folder.file(part.path) as output:
                    self.pool.write(output, part, done, total)
                done += part.size
            return self._result(folder.destination, parts, left_out)

    def _parts(self) -> list[Part]:
        contents = self.pool.contents
        files = source_files(contents.reader, contents.catalog, self.pool.tier)
        rows = [self._held(rows_of(contents, file)) for file in files]
        chosen = self._chosen([row for held in rows for row in held])
        parts = []
        for file, held in zip(files, rows, strict=True):
            if self._whole or file.head is None:
                parts.append(as_it_was(file, held))
            elif self.patterns is None or any(_record(row) in chosen for row in held):
                path, head = file.stored.record.path, file.head
                parts.append(self._anew(path, held, chosen, head.names, head.metadata))
        return parts

    def _held(self, rows: Sequence[Row]) -> list[Row]:
        """Return the tensors that are part of the tier."""
        return [row for row in rows if row.stored.record.layer_tier(0) <= self.pool.tier]

    def _anew(
        self,
        path: str,
        rows: Sequence[Row],
        chosen: frozenset[str],
        names: Sequence[str],
        metadata: Mapping[str, str],
    ) -> Part:
        kept = [row for row in rows if _record(row) in chosen]
        known = {row.name for row in kept}
        order = [name for name in names if name in known]
        return at_tier(path, kept, order, metadata, self.target)

    def _chosen(self, rows: Sequence[Row]) -> frozenset[str]:
        """Return the names of the records that are asked for."""
        names = [_record(row) for row in rows]
        if self.patterns is None:
            return frozenset(names)
        chosen: set[str] = set()
        for pattern in self.patterns:
            found = [name for name in names if fnmatchcase(name, pattern)]
            if not found:
                raise TensorNotFound(
                    f"no tensor matches {pattern!r}", hint="a pattern is as in a shell: *, ?, [abc]"
                )
            chosen.update(found)
        return frozenset(chosen)

    def _result(self, path: str, parts: Sequence[Part], left_out: tuple[str, ...]) -> UnpackResult:
        return UnpackResult(
            path,
            sum(part.size for part in parts),
            self.pool.contents.tiers[self.pool.tier],
            sum(len(part.tensors) for part in parts),
            identical=all(part.source is not None for part in parts) and self._whole,
            files=len(parts),
            left_out=left_out,
        )


def _record(row: Row) -> str:
    return row.stored.record.name
