"""An open container with its catalog: what reading, unpacking and verifying share."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Self

from p2uformat.artifact.catalog import Catalog
from p2uformat.artifact.complete import complete_tiers
from p2uformat.artifact.read import BlockReader
from p2uformat.closing import Closing
from p2uformat.container import Container
from p2uformat.errors import Incomplete, Malformed, TierNotFound

__all__ = ["Contents"]


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
    """

    container: Container
    catalog: Catalog
    reader: BlockReader
    complete: tuple[str, ...]

    @classmethod
    def of(cls, container: Container) -> Self:
        """Return the contents of a container."""
        catalog = Catalog(container)
        return cls(container, catalog, BlockReader(container, catalog), complete_tiers(container))

    @classmethod
    def open(cls, path: str | os.PathLike[str] | bytes) -> Self:
        """Open a file, or its bytes, that has nothing behind its end."""
        container = Container.open(path)
        try:
            if container.trailing:
                raise trailing_data(container)
            return cls.of(container)
        except BaseException:
            container.close()
            raise

    @property
    def path(self) -> str:
        """The file."""
        return self.container.file.path

    @property
    def tiers(self) -> tuple[str, ...]:
        """Names of all tiers, base first."""
        return self.container.tiers

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
        """Return the error for something that the file ends before."""
        name = None if tier is None else self.tiers[tier]
        whole = ", ".join(self.complete) or "no tier"
        return Incomplete(
            f"{self.path!r} ends before {what}" + ("" if name is None else f" at tier {name}"),
            hint=f"complete here: {whole}; fetch the rest of the file for more",
            complete=self.complete,
            tier=name,
        )

    def close(self) -> None:
        """Close the file."""
        self.container.close()


def trailing_data(container: Container) -> Malformed:
    """Return the error for bytes behind the end of a file."""
    return Malformed(
        f"{container.trailing} bytes behind the end",
        artifact=container.file.path,
        region="trailing",
        offset=container.header.file_length,
    )
