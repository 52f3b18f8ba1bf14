"""The artifacts that a fetched one needs, fetched beside it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from p2uformat.artifact.contents import Contents, beside
from p2uformat.artifact.types import Progress
from p2uformat.container import Container
from p2uformat.download.job import FetchJob
from p2uformat.download.seeds import Seeds
from p2uformat.download.selection import Selection
from p2uformat.download.types import FetchResult
from p2uformat.errors import from_os_error
from p2uformat.stored.place import StoredPlace
from p2uformat.transport import Policy

__all__ = ["Limits", "fetch_parents"]

_NAME_DIGITS: Final = 32


@dataclass(frozen=True, slots=True)
class Limits:
    """How far and how to fetch.

    Parameters
    ----------
    tier : str
        Up to which tier.
    policy : Policy
        Of the transfer.
    threads : int
        For checking and rebuilding.
    """

    tier: str
    policy: Policy
    threads: int


def fetch_parents(
    place: StoredPlace,
    destination: str,
    limits: Limits,
    seeds: Seeds,
    progress: Callable[[Progress], None] | None,
) -> tuple[FetchResult, ...]:
    """Fetch what an artifact needs to a folder beside its file.

    All of a tier: which tensors of it serve a part of the child only the layers would say.

    Parameters
    ----------
    place : StoredPlace
        The artifact.
    destination : str
        Its file.
    limits : Limits
        How far and how.
    seeds : Seeds
        Artifacts at hand. Those that are among them are not fetched.
    progress : callable, optional
        Called with `Progress`.
    """
    folder = beside(destination)
    results = []
    for parent in place.ancestors:
        with Container(parent.open_reader(limits.policy)) as container:
            root = container.header.content_root
            if root in seeds.roots:
                continue
            try:
                folder.mkdir(exist_ok=True)
            except OSError as error:
                raise from_os_error(error, "make", folder) from error
            file = folder / f"{root.hex()[:_NAME_DIGITS]}.p2u"
            contents = Contents.of(container)
            selection = Selection(contents.tier_number(limits.tier), None, None)
            job = FetchJob(
                contents, selection, str(file), limits.policy, limits.threads, _as_parent(progress)
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
