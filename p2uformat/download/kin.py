"""The artifacts that a fetched one needs, fetched beside it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Final

from p2uformat.artifact.contents import Contents, beside
from p2uformat.artifact.types import Progress
from p2uformat.container import Container, StoredChunk
from p2uformat.download.job import FetchJob
from p2uformat.download.seeds import Seeds
from p2uformat.download.types import FetchResult
from p2uformat.errors import from_os_error
from p2uformat.stored.place import StoredPlace
from p2uformat.transport import Policy

__all__ = ["Limits", "fetch_parents", "with_ancestors"]

_NAME_DIGITS: Final = 32


@dataclass(frozen=True, slots=True)
class Limits:
    """How far and how to fetch.

    Parameters
    ----------
    tier : int
        Number of the highest tier.
    policy : Policy
        Of the transfer.
    threads : int
        For checking and rebuilding.
    """

    tier: int
    policy: Policy
    threads: int


def with_ancestors(
    container: Container, place: StoredPlace, policy: Policy, stack: ExitStack
) -> Contents:
    """Return the contents of an artifact of a store, with all that it needs from there.

    Raises
    ------
    ParentMismatch, CorruptData
        If an artifact that the store names as its parent is none, or is damaged.
    """
    above = [
        stack.enter_context(Container(parent.open_reader(policy))) for parent in place.ancestors
    ]
    found: Contents | None = None
    for each in [*reversed(above), container]:
        found = Contents.with_parents(each, () if found is None else (found,))
    assert found is not None
    return found


def fetch_parents(
    parents: Sequence[tuple[Contents, Sequence[StoredChunk]]],
    destination: str,
    limits: Limits,
    seeds: Seeds,
    progress: Callable[[Progress], None] | None,
) -> tuple[FetchResult, ...]:
    """Fetch what an artifact needs to a folder beside its file.

    Parameters
    ----------
    parents : sequence of (Contents, sequence of StoredChunk)
        The artifacts that it needs, and what is wanted of each.
    destination : str
        Its file.
    limits : Limits
        How far and how.
    seeds : Seeds
        Artifacts at hand. Of those that are among them only what they lack is fetched.
    progress : callable, optional
        Called with `Progress`.
    """
    folder = beside(destination)
    results = []
    for contents, wanted in parents:
        if seeds.holds(contents.container, wanted, limits.tier):
            continue
        try:
            folder.mkdir(exist_ok=True)
        except OSError as error:
            raise from_os_error(error, "make", folder) from error
        root = contents.container.header.content_root
        file = folder / f"{root.hex()[:_NAME_DIGITS]}.p2u"
        job = FetchJob(
            contents,
            limits.tier,
            wanted,
            str(file),
            limits.policy,
            limits.threads,
            _as_parent(progress),
        )
        results.append(job.run(seeds, authenticated=False))
    return tuple(results)


def _as_parent(
    progress: Callable[[Progress], None] | None,
) -> Callable[[Progress], None] | None:
    """Return a callback that tells these apart from the artifact itself: totals do not change."""
    if progress is None:
        return None
    return lambda step: progress(replace(step, phase=f"{step.phase} parents"))
