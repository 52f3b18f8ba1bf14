"""The parent that `pack` is given: whether it can be one, and what follows from it."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from typing import Final

from p2uformat.artifact.contents import Contents, Path
from p2uformat.artifact.options import PackOptions
from p2uformat.artifact.parent import Parent
from p2uformat.errors import InvalidArgument

__all__ = ["check_tiers", "ladder_names", "open_parent"]

_USUAL: Final = ("q4", "q8", "exact")


def open_parent(
    stack: ExitStack,
    parent: Sequence[Path | Contents],
    parents: Sequence[Path | Contents],
    target: pathlib.Path | None,
    *,
    differ: bool,
) -> Parent | None:
    """Open the parent, if there is one, and see that it can be one.

    Parameters
    ----------
    stack : ExitStack
        Closes what is opened here.
    parent : sequence
        The parent, if there is one.
    parents : sequence
        Where its own parents may be found.
    target : Path, optional
        What the child will be called, if it is a file.
    differ : bool
        Whether the child will need it.

    Raises
    ------
    Incomplete, ParentRequired
        If it is not all there.
    InvalidArgument
        If it stands too deep, or would be replaced.
    """
    if not parent:
        return None
    (found,) = parent
    if not isinstance(found, Contents):
        found = stack.enter_context(Contents.open(found, parents))
    if len(found.complete) < len(found.tiers):
        raise found.incomplete("all that a child may need", len(found.tiers) - 1)
    above = Parent(found, differ=differ)
    if differ:
        _ = above.reference  # which refuses a chain that is too long, before any work
        if target is not None:
            _refuse_ancestor(found, target)
    return above


def _refuse_ancestor(parent: Contents, target: pathlib.Path) -> None:
    """Refuse to replace an artifact that the new one will need."""
    ancestor: Contents | None = parent
    while ancestor is not None:
        with suppress(OSError):
            if target.samefile(ancestor.path):
                raise InvalidArgument(
                    f"{os.fspath(target)!r} is what the new artifact would need",
                    hint="write it to another place, or make it self-contained",
                )
        ancestor = ancestor.parent


def ladder_names(tiers: Sequence[str] | str | None, parent: Parent | None) -> Sequence[str] | str:
    """Return the names of the tiers: those asked for, or the parent's, or the usual ones.

    Raises
    ------
    InvalidArgument
        If the parent's are those of a quantizer, which a ladder cannot have.
    """
    refuse_update(parent)
    if tiers is not None:
        return tiers
    if parent is not None and parent.contents.container.content.features:
        raise InvalidArgument(
            "the parent was packed with a quantizer of its own",
            hint="name the same quantizer, or the tiers of a ladder and --self-contained",
        )
    return _USUAL if parent is None else [tier.name for tier in parent.tiers]


def refuse_update(parent: Parent | None) -> None:
    """Refuse an update as the parent of something.

    Raises
    ------
    InvalidArgument
        If it is one.
    """
    if parent is not None and parent.contents.container.content.update is not None:
        raise InvalidArgument(
            "the parent is an update, a difference of weights, and not a checkpoint",
            hint="name the artifact that it is an update to",
        )


def check_tiers(policy: PackOptions, parent: Parent | None) -> None:
    """Refuse other tiers than those of a parent that layers are to be differed from.

    Raises
    ------
    InvalidArgument
        If there are such.
    """
    refuse_update(parent)
    if parent is None or not parent.differ:
        return
    same = policy.features == parent.contents.container.content.features
    if same and policy.tiers == parent.tiers:
        return
    theirs = ",".join(tier.name for tier in parent.tiers)
    raise InvalidArgument(
        f"the parent has the tiers {theirs}, got {','.join(tier.name for tier in policy.tiers)}",
        hint="leave the tiers out, or make the artifact self-contained",
    )
