"""An open container with its catalog: what reading, unpacking and verifying share."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from p2uformat.artifact.catalog import Catalog, parent_required
from p2uformat.artifact.complete import complete_tiers
from p2uformat.artifact.read import BlockReader
from p2uformat.closing import Closing
from p2uformat.container import Container, Place, attach
from p2uformat.digest import to_text
from p2uformat.errors import Incomplete, Malformed, ParentMismatch, TierNotFound
from p2uformat.files import path_text
from p2uformat.reading import Openable
from p2uformat.transport import Address, StorageOptions

__all__ = ["Contents", "Path", "beside", "placed", "related"]

Path = Place


def placed(place: Path, options: StorageOptions | None) -> Path:
    """Return a place together with what is needed to reach it."""
    if isinstance(place, bytes | Address | Openable):
        return place
    text = path_text(place)
    if "#" in text:
        # Stores are not for files of this machine: what they need is loaded here only.
        from p2uformat.stored.address import StoreAddress  # noqa: PLC0415
        from p2uformat.stored.place import StoredPlace  # noqa: PLC0415

        address = StoreAddress.of(text, options)
        if address is not None:
            return StoredPlace.of(address)
    return Address.of(place, options)


@dataclass(frozen=True, slots=True)
class Contents(Closing):
    """An open container with its catalog.

    Parameters
    ----------
    container : Container
        The file.
    catalog : Catalog
        Its tensors and files.
    reader : BlockReader
        Reads their blocks.
    complete : tuple of str
        Tiers that are whole here.
    parent : Contents or None
        The artifact that it needs, where that is at hand.
    owned : bool
        Whether the parent was opened for it, and is closed with it.
    """

    container: Container
    catalog: Catalog
    reader: BlockReader
    complete: tuple[str, ...]
    parent: Contents | None = None
    owned: bool = False

    @classmethod
    def of(
        cls, container: Container, parent: Contents | None = None, *, owned: bool = False
    ) -> Self:
        """Return the contents of a container."""
        if parent is not None:
            attach(container, parent.container)
        catalog = Catalog(container)
        reader = BlockReader(container, catalog, None if parent is None else parent.reader)
        complete = complete_tiers(container, None if parent is None else parent.complete)
        return cls(container, catalog, reader, complete, parent, owned)

    @classmethod
    def open(cls, path: Path, parents: Sequence[Path | Contents] = ()) -> Self:
        """Open a file, or its bytes, that has nothing behind its end.

        Parameters
        ----------
        path : str, os.PathLike or bytes
            The file.
        parents : sequence
            Where its parent, and that one's, may be found. Without any it is opened alone.

        Raises
        ------
        ParentMismatch
            If none of the parents is the one that it needs.
        ParentRequired
            If the parent needs one of its own that is not among them.
        """
        container = Container.open(path)
        try:
            if container.trailing:
                raise trailing_data(container)
            return cls.with_parents(container, [*parents, *related(container, path)])
        except BaseException:
            container.close()
            raise

    @classmethod
    def with_parents(cls, container: Container, parents: Sequence[Path | Contents]) -> Self:
        """Return the contents of a container, with its parent if it needs one and is given any."""
        if container.encoding.parent is None or not parents:
            return cls.of(container)
        found, owned = _find(container, parents)
        try:
            return cls.of(container, found, owned=owned)
        except BaseException:
            if owned:
                found.close()
            raise

    @property
    def path(self) -> str:
        """The file."""
        return self.container.file.path

    @property
    def tiers(self) -> tuple[str, ...]:
        """Names of all tiers, base first."""
        return self.container.tiers

    @property
    def orphaned(self) -> bool:
        """Whether it needs a parent that is not at hand."""
        return self.container.encoding.parent is not None and self.parent is None

    def tier_number(self, tier: str) -> int:
        """Return the number of a tier.

        Raises
        ------
        TierNotFound
            If there is none of this name.
        """
        if tier in self.tiers:
            return self.tiers.index(tier)
        raise TierNotFound(
            f"no tier {tier!r} in {self.path!r}", hint=f"it has {', '.join(self.tiers)}"
        )

    def incomplete(self, what: str, tier: int | None = None) -> Incomplete:
        """Return the error for something that is not here."""
        if self.orphaned:
            return parent_required(self.container)
        name = None if tier is None else self.tiers[tier]
        whole = ", ".join(self.complete) or "no tier"
        return Incomplete(
            f"{self.path!r} ends before {what}" + ("" if name is None else f" at tier {name}"),
            hint=f"complete here: {whole}; fetch the rest of the file for more",
            complete=self.complete,
            tier=name,
        )

    def close(self) -> None:
        """Close the file, and the parent if that was opened for it."""
        self.container.close()
        if self.parent is not None and self.owned:
            self.parent.close()


def related(container: Container, path: Path) -> Sequence[Path]:
    """Return where the parents that an artifact needs may lie, if its place knows."""
    if container.encoding.parent is None:
        return ()
    if isinstance(path, Openable):
        return path.ancestors
    if isinstance(path, bytes | Address):
        return ()
    return sorted(map(os.fspath, beside(path).glob("*.p2u")))


def beside(path: str | os.PathLike[str]) -> pathlib.Path:
    """Return the folder beside a file in which the artifacts lie that it needs."""
    return pathlib.Path(f"{os.fsdecode(path)}.parents")


def _find(child: Container, parents: Sequence[Path | Contents]) -> tuple[Contents, bool]:
    """Return the parent of a container among candidates, and whether it was opened here."""
    assert child.encoding.parent is not None
    root = child.encoding.parent.root
    met: list[Container] = []
    for candidate in parents:
        if isinstance(candidate, Contents):
            if candidate.container.header.content_root == root:
                return candidate, False
            met.append(candidate.container)
            continue
        container = Container.open(candidate)
        if container.header.content_root == root:
            return _opened(container, child, [*parents, *related(container, candidate)]), True
        container.close()
        met.append(container)
    raise ParentMismatch(
        f"{child.file.path!r} needs the parent {to_text(root)}, got"
        f" {', '.join(to_text(other.header.content_root) for other in met)}",
        hint="give the file that it was packed with, or one of the same content root",
        expected=to_text(root),
        got=to_text(met[0].header.content_root),
    )


def _opened(container: Container, child: Container, parents: Sequence[Path | Contents]) -> Contents:
    """Return the contents of a parent, whose own parents are among the same candidates."""
    try:
        if container.trailing:
            raise trailing_data(container)
        mine, theirs = child.encoding.parent, container.encoding.parent
        if theirs is None:
            return Contents.of(container)
        assert mine is not None
        if theirs.depth >= mine.depth:
            # Before its own parents are looked for: they may be in a circle.
            raise Malformed(
                f"a parent of depth {theirs.depth} below a depth of {mine.depth}",
                artifact=child.file.path,
                region="root",
            )
        return _chained(container, parents)
    except BaseException:
        container.close()
        raise


def _chained(container: Container, parents: Sequence[Path | Contents]) -> Contents:
    try:
        return Contents.with_parents(container, parents)
    except ParentMismatch as error:
        missing = parent_required(container)
        raise missing from error


def trailing_data(container: Container) -> Malformed:
    """Return the error for bytes behind the end of a file."""
    return Malformed(
        f"{container.trailing} bytes behind the end",
        artifact=container.file.path,
        region="trailing",
        offset=container.header.file_length + container.header.bitmap_length,
    )
