"""The tiers of a source, one after the other, each when it is whole here."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import p2uformat
from p2uformat.torch.files import Source, opened

__all__ = ["Feed", "chosen_tiers"]


@dataclass(frozen=True, slots=True)
class Feed:
    """Where tiers come from.

    Parameters
    ----------
    source : str, os.PathLike, bytes or Artifact
        The artifact.
    destination : str, os.PathLike or None
        A file to fetch to, which is kept.
    opening : mapping
        Arguments of `p2uformat.open`.
    fetching : mapping
        Further arguments of `p2uformat.fetch`.
    """

    source: Source
    destination: str | os.PathLike[str] | None
    opening: Mapping[str, Any]
    fetching: Mapping[str, Any]

    def sizes(self) -> dict[str, int]:
        """Return the stored bytes of each tier, base first."""
        with opened(self.source, **self.opening) as artifact:
            return {tier.name: tier.bytes for tier in artifact.summary.tiers}

    def each(
        self, tiers: Sequence[str], progress: Callable[[p2uformat.Progress], None]
    ) -> Iterator[tuple[str, p2uformat.Artifact]]:
        """Yield each tier with an artifact that holds it whole.

        A transfer ends at once if `progress` raises.
        """
        with ExitStack() as stack:
            file = self._file(stack)
            if file is None:
                artifact = stack.enter_context(opened(self.source, **self.opening))
                for tier in tiers:
                    yield tier, artifact
                return
            for tier in tiers:
                with self._fetched(file, tier, progress) as artifact:
                    yield tier, artifact

    def _file(self, stack: ExitStack) -> str | os.PathLike[str] | None:
        """Return the file to fetch to; None if there is nothing to fetch."""
        if self.destination is not None:
            return self.destination
        if not _is_remote(self.source):
            return None
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="p2u-"))
        return os.path.join(folder, "stream.p2u")  # noqa: PTH118 - a text is all that is needed

    @contextmanager
    def _fetched(
        self,
        file: str | os.PathLike[str],
        tier: str,
        progress: Callable[[p2uformat.Progress], None],
    ) -> Iterator[p2uformat.Artifact]:
        assert not isinstance(self.source, p2uformat.Artifact)
        p2uformat.fetch(
            self.source, file, tier=tier, progress=progress, **{**self.opening, **self.fetching}
        )
        with opened(file, **self.opening) as artifact:
            yield artifact


def chosen_tiers(sizes: Mapping[str, int], tiers: Sequence[str] | None) -> list[str]:
    """Return which of an artifact's tiers to go through, coarse to fine.

    Raises
    ------
    TierNotFound
        If there is no such tier.
    InvalidArgument
        If there are none, or they do not go up.

    Examples
    --------
    >>> chosen_tiers({"q4": 10, "q8": 10, "exact": 40}, ["q4", "exact"])
    ['q4', 'exact']
    """
    known = list(sizes)
    wanted = known if tiers is None else list(tiers)
    for tier in wanted:
        if tier not in sizes:
            raise p2uformat.TierNotFound(f"no tier {tier!r}", hint=f"there are {', '.join(known)}")
    numbers = [known.index(tier) for tier in wanted]
    if not wanted or numbers != sorted(set(numbers)):
        raise p2uformat.InvalidArgument(
            f"tiers: expected some of {', '.join(known)}, coarse to fine, got {wanted}"
        )
    return wanted


def _is_remote(source: Source) -> bool:
    if isinstance(source, p2uformat.Artifact | bytes):
        return False
    text = os.fspath(source)
    return "://" in text and not text.startswith(("file://", "local://"))
