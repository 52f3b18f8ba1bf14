"""Where `pack` puts what it made."""

from __future__ import annotations

import os
import pathlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from p2uformat.artifact.ancestry import open_parent
from p2uformat.artifact.contents import Contents, Path
from p2uformat.artifact.open import Artifact
from p2uformat.artifact.options import PackOptions
from p2uformat.artifact.outside import written
from p2uformat.artifact.parent import Parent
from p2uformat.artifact.spool import Spools
from p2uformat.artifact.types import Progress, Summary
from p2uformat.container.writer import write_artifact
from p2uformat.errors import InvalidArgument
from p2uformat.ingest import Checkpoint
from p2uformat.manifest import ContentPage, EncodingPage, assemble, policy_to_value
from p2uformat.publishing import refuse_taken
from p2uformat.transport import StorageOptions

__all__ = ["Packed", "ParentWish", "Target", "target_for"]

ProgressCall = Callable[[Progress], None] | None


@dataclass(frozen=True, slots=True)
class ParentWish:
    """Which parent is wanted.

    Parameters
    ----------
    parent : sequence
        The parent, if one is given.
    parents : sequence
        Where its own parents may be found.
    tiers : sequence of str or str or None
        The tiers, if they are given.
    base_bits : float or None
        The budget of the base tier, if it is given.
    features : frozenset of str
        What a reader of the new artifact must know.
    differ : bool
        Whether layers may be shared with it and differed from.
    """

    parent: Sequence[Path | Contents]
    parents: Sequence[Path | Contents]
    tiers: Sequence[str] | str | None
    base_bits: float | None
    features: frozenset[str]
    differ: bool


@dataclass(frozen=True, slots=True)
class Packed:
    """What `pack` has made of a source.

    Parameters
    ----------
    options : PackOptions
        The ladder or quantizer.
    pages : list of (ContentPage, EncodingPage)
        The pages.
    spools : Spools
        The chunks.
    needed : Parent or None
        What it has layers of.
    """

    options: PackOptions
    pages: list[tuple[ContentPage, EncodingPage]]
    spools: Spools
    needed: Parent | None


class Target(ABC):
    """What is to be made by `pack`."""

    @property
    @abstractmethod
    def path(self) -> pathlib.Path | None:
        """The file; None if it is none."""

    @abstractmethod
    def above(self, checkpoint: Checkpoint, wish: ParentWish) -> Parent | None:
        """Open the parent: the one given, or one that serves."""

    @abstractmethod
    def finish(self, packed: Packed, threads: int, progress: ProgressCall) -> Summary:
        """Put it there, and say what it is."""


def target_for(
    destination: str | os.PathLike[str],
    options: StorageOptions | None,
    stack: ExitStack,
    *,
    overwrite: bool,
) -> Target:
    """Return what a destination means.

    Raises
    ------
    DestinationExists, StoreUnavailable
        If it is there already, or cannot be written.
    """
    if "#" in os.fsdecode(destination):
        # With an event loop and all: not for files of this machine.
        from p2uformat.artifact.storetarget import store_target  # noqa: PLC0415

        found = store_target(destination, options, stack)
        if found is not None:
            return found
    out = stack.enter_context(written(destination, options, overwrite=overwrite))
    path = pathlib.Path(os.fsdecode(out))
    refuse_taken(os.fspath(path), overwrite=overwrite)
    return _FileTarget(path, stack, overwrite=overwrite)


class _FileTarget(Target):
    """A file."""

    def __init__(self, path: pathlib.Path, stack: ExitStack, *, overwrite: bool) -> None:
        self._path = path
        self._stack = stack
        self._overwrite = overwrite

    @property
    def path(self) -> pathlib.Path:
        return self._path

    def above(self, checkpoint: Checkpoint, wish: ParentWish) -> Parent | None:
        _refuse_itself(checkpoint, self._path)
        return open_parent(self._stack, wish.parent, wish.parents, self._path, differ=wish.differ)

    def finish(self, packed: Packed, threads: int, progress: ProgressCall) -> Summary:
        options, needed = packed.options, packed.needed
        manifest = assemble(
            options.tiers,
            packed.pages,
            None if needed is None else needed.reference,
            () if needed is None else needed.pages,
            features=options.features,
            policy=policy_to_value(options.policy),
        )
        made = write_artifact(
            self._path,
            manifest=manifest,
            tier_spools=packed.spools.finish(),
            overwrite=self._overwrite,
            progress=None
            if progress is None
            else lambda done, total: progress(Progress("assemble", done, total)),
        )
        known = None if needed is None else needed.contents
        return Artifact(Contents.of(made, known), threads).summary


def _refuse_itself(checkpoint: Checkpoint, target: pathlib.Path) -> None:
    """Refuse to pack the file that is to be replaced: the artifact would hold its own past."""
    if checkpoint.folder and target.exists() and checkpoint.holds(target):
        raise InvalidArgument(
            f"{os.fspath(target)!r} is one of the files to pack",
            hint="remove it, or write the artifact to another place",
        )
