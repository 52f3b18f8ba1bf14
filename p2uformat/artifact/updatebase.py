"""What an update is the difference to: an artifact at a tier, or arrays that are of one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from p2uformat.artifact.contents import Path
from p2uformat.artifact.open import Artifact, Parents, open  # noqa: A004
from p2uformat.digest import from_text
from p2uformat.errors import InvalidArgument
from p2uformat.tensor import dtype_name
from p2uformat.transport import StorageOptions

__all__ = ["Arrays", "Base", "base_of"]

Arrays = Mapping[str, NDArray[np.generic]]


class Base(Protocol):
    """Old weights by name."""

    @property
    def root(self) -> bytes:
        """Content root of the artifact that they are of."""

    def names(self) -> Iterator[str]:
        """Return the names."""

    def kind(self, name: str) -> tuple[str, tuple[int, ...]]:
        """Return the dtype and shape of a tensor."""

    def values(self, name: str) -> NDArray[np.generic]:
        """Return a tensor, in the byte order of the machine."""


@dataclass(frozen=True, slots=True)
class _Given:
    """Arrays, and what they are of."""

    arrays: Arrays
    root: bytes

    def names(self) -> Iterator[str]:
        return iter(self.arrays)

    def kind(self, name: str) -> tuple[str, tuple[int, ...]]:
        array = self.arrays[name]
        if not isinstance(array, np.ndarray):
            raise InvalidArgument(f"tensor {name!r}: expected an array, got {type(array).__name__}")
        return dtype_name(array.dtype.newbyteorder("=").name), array.shape

    def values(self, name: str) -> NDArray[np.generic]:
        array = self.arrays[name]
        return array.astype(array.dtype.newbyteorder("="), copy=False)


@dataclass(frozen=True, slots=True)
class _Opened:
    """An artifact at a tier."""

    artifact: Artifact
    tier: str | None

    @property
    def root(self) -> bytes:
        return from_text(self.artifact.root)

    def names(self) -> Iterator[str]:
        return iter(self.artifact)

    def kind(self, name: str) -> tuple[str, tuple[int, ...]]:
        info = self.artifact.info(name)
        return info.dtype, info.shape

    def values(self, name: str) -> NDArray[np.generic]:
        return self.artifact.get(name, self.tier)


def base_of(
    before: Path | Artifact | Arrays,
    root: str | None,
    tier: str | None,
    stack: ExitStack,
    *,
    parents: Parents,
    threads: int | None,
    storage_options: StorageOptions | None,
) -> Base:
    """Return what an update is to.

    Raises
    ------
    InvalidArgument
        If arrays come without the root that they are of, or an artifact with one; or if it is an
        update itself.
    """
    if isinstance(before, Mapping):
        if root is None or tier is not None:
            raise InvalidArgument(
                "arrays as what an update is to, without the artifact that they are of",
                hint="give base=, its content root, and no tier",
            )
        return _Given(before, from_text(root))
    if root is not None:
        raise InvalidArgument("a base beside an artifact, which has its own root")
    if not isinstance(before, Artifact):
        before = stack.enter_context(
            open(before, parents=parents, threads=threads, storage_options=storage_options)  # type: ignore[arg-type]
        )
    if before.update is not None:
        raise InvalidArgument(
            f"{before.path} is an update itself, not what one could be to",
            hint="name the checkpoint, or pack the sum",
        )
    return _Opened(before, tier)
