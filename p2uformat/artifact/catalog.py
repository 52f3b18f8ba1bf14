"""Which records make up a tensor or a file, and where its layers lie."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, NoReturn

from p2uformat.container import Container, Page
from p2uformat.digest import to_text
from p2uformat.errors import DigestMismatch, ParentRequired, TensorNotFound
from p2uformat.limits import MAX_RECORD_BLOCKS
from p2uformat.manifest import FileRecord, Record, TensorRecord
from p2uformat.tensor import Geometry

__all__ = ["SHARED", "Catalog", "Place", "StoredFile", "StoredTensor", "parent_required"]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a layer lies.

    Parameters
    ----------
    page, chunk : int
        The chunk.
    slot : int
        Its number among the chunk's members.
    """

    page: int
    chunk: int
    slot: int


SHARED: Final = Place(-1, -1, -1)
"""The place of a layer that the parent has."""


@dataclass(frozen=True, slots=True)
class _Stored:
    container: Container
    geometry: Geometry
    blocks: int
    parts: dict[int, tuple[Page, int]] = field(default_factory=dict)

    def part(self, block: int) -> tuple[Page, int, int]:
        """Return the page, the number of the record in it, and of the block in that."""
        first = block - block % MAX_RECORD_BLOCKS
        page, index = self.parts[first]
        return page, index, block - first

    def place(self, layer: int, block: int) -> Place | None:
        """Return where a layer lies, `SHARED` if that is in the parent.

        None if the page that would say so is damaged.
        """
        first = block - block % MAX_RECORD_BLOCKS
        found = self.parts.get(first)
        if found is None or found[0].encoding is None:
            return None
        page, index = found
        assert page.encoding is not None
        pair = page.encoding.layers[index][layer][block - first]
        return SHARED if pair is None else Place(page.number, *pair)

    def places(self, layer: int) -> Iterator[Place | None]:
        """Yield the places of a layer of all blocks."""
        return (self.place(layer, block) for block in range(self.blocks))

    def digest(self, layer: int, block: int) -> bytes:
        """Return the digest of a layer."""
        page, index, inner = self.part(block)
        assert page.content is not None
        return page.content.records[index].layer_digest(layer, inner)


@dataclass(frozen=True, slots=True)
class StoredTensor(_Stored):
    """A tensor with all its records.

    Parameters
    ----------
    container : Container
        What it lies in.
    geometry : Geometry
        How it is cut.
    blocks : int
        Number of blocks.
    parts : dict
        For the first block of each record, its page and its number in it.
    record : TensorRecord
        Its first known record.
    """

    record: TensorRecord = field(kw_only=True)

    @property
    def name(self) -> str | None:
        """The tensor's name."""
        return self.record.name


@dataclass(frozen=True, slots=True)
class StoredFile(_Stored):
    """A file's blob with all its records.

    Parameters
    ----------
    record : FileRecord
        Its first known record.
    """

    record: FileRecord = field(kw_only=True)

    @property
    def name(self) -> str | None:
        """No tensor's name."""
        return None


class Catalog:
    """All tensors and files of a container.

    Attributes
    ----------
    tensors : dict of StoredTensor
        By name, in the order of the records.
    files : dict of StoredFile
        By path.
    """

    def __init__(self, container: Container) -> None:
        self._container = container
        self.tensors: dict[str, StoredTensor] = {}
        self.files: dict[str, StoredFile] = {}
        for page in container.pages:
            records = page.content.records if page.content is not None else ()
            for index, record in enumerate(records):
                self._stored(record).parts[record.first_block] = (page, index)

    def _stored(self, record: Record) -> _Stored:
        if isinstance(record, TensorRecord):
            tensor = self.tensors.get(record.name)
            if tensor is None:
                cut = record.geometry
                tensor = StoredTensor(self._container, cut, cut.blocks(), record=record)
                self.tensors[record.name] = tensor
            return tensor
        file = self.files.get(record.path)
        if file is None:
            cut = record.geometry
            file = StoredFile(self._container, cut, cut.blocks(), record=record)
            self.files[record.path] = file
        return file

    def of(self, record: Record) -> StoredTensor | StoredFile:
        """Return the tensor or file that a record is of."""
        if isinstance(record, TensorRecord):
            return self.tensors[record.name]
        return self.files[record.path]

    def everything(self) -> list[StoredTensor | StoredFile]:
        """Return all tensors, then all files."""
        return [*self.tensors.values(), *self.files.values()]

    def tensor(self, name: str) -> StoredTensor:
        """Return a tensor.

        Raises
        ------
        TensorNotFound
            If there is none of this name.
        DigestMismatch
            If the page that would name it is damaged.
        """
        found = self.tensors.get(name)
        if found is not None:
            return found
        keys = [page.key for page in self._container.content.pages]
        number = bisect_right(keys, (0, name.encode("utf-8", "replace"), 0)) - 1
        if number >= 0 and self._container.pages[number].content is None:
            raise_page_damage(self._container, number, name)
        raise TensorNotFound(
            f"no tensor {name!r} in {self._container.file.path!r}",
            hint=_similar(name, list(self.tensors)),
        )

    def damaged_part(self, stored: StoredTensor | StoredFile, block: int) -> NoReturn:
        """Raise the damage of the page that would say where a block lies."""
        first = block - block % MAX_RECORD_BLOCKS
        found = stored.parts.get(first)
        if found is not None:
            raise_page_damage(self._container, found[0].number, stored.name)
        kind, name, _ = stored.record.key
        keys = [page.key for page in self._container.content.pages]
        raise_page_damage(self._container, bisect_right(keys, (kind, name, first)) - 1, stored.name)


def raise_page_damage(container: Container, number: int, tensor: str | None) -> NoReturn:
    """Raise what is wrong with a page, on behalf of a tensor."""
    if not container.pages[number].damage:
        raise parent_required(container)
    known = container.pages[number].damage[0]
    raise DigestMismatch(
        known.message,
        artifact=known.artifact,
        tensor=tensor,
        region=known.region,
        offset=known.offset,
        expected=known.expected,
        got=known.got,
    )


def parent_required(container: Container) -> ParentRequired:
    """Return the error for something that only the parent has."""
    assert container.encoding.parent is not None
    root = to_text(container.encoding.parent.root)
    return ParentRequired(
        f"{container.file.path!r} needs its parent, {root}",
        hint="give the file of that root as well: --with PARENT.p2u, or parents=[...]",
        parent=root,
    )


def _similar(name: str, names: list[str]) -> str:
    # difflib is slow to load and to run, and nobody waits longer for an error than for an answer.
    from difflib import get_close_matches  # noqa: PLC0415

    close = get_close_matches(name, names[:2000], 3)
    return f"did you mean {', '.join(map(repr, close))}?" if close else ""
