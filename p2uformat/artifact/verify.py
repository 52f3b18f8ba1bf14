"""Checking an artifact: everything that is wrong with it, in one report."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from p2uformat.artifact.catalog import parent_required
from p2uformat.artifact.contents import Contents, Path, placed, related, trailing_data
from p2uformat.artifact.damage import chunk_damage, misplaced_damage
from p2uformat.artifact.deep import DeepCheck
from p2uformat.artifact.open import Parents, candidates
from p2uformat.artifact.types import Damage, Progress, VerifyReport
from p2uformat.container import Container, StoredChunk, check_chunks, stored_chunks
from p2uformat.digest import DIGEST_BYTES, from_text, to_text
from p2uformat.errors import CorruptData, InvalidArgument, RootMismatch
from p2uformat.parallel import worker_count
from p2uformat.transport import StorageOptions

__all__ = ["compare_root", "expected_root", "verify"]

Callback = Callable[[Progress], None]


def verify(
    path: str | os.PathLike[str] | bytes,
    *,
    deep: bool = False,
    tier: str | None = None,
    expect: str | bytes | None = None,
    parents: Parents = (),
    threads: int | None = None,
    progress: Callback | None = None,
    storage_options: StorageOptions | None = None,
) -> VerifyReport:
    """Check a ``.p2u`` file, and report all damage.

    Every chunk is compared with its id. With `deep` every layer is decoded too, and compared with
    its digest, with the one encoding it may have, and with the error bounds; every block and the
    source file are compared with their digests.

    Parameters
    ----------
    path : str, os.PathLike or bytes
        The file, its URL, or its bytes.
    deep : bool
        Whether to decode.
    tier : str, optional
        Check this tier and those below it only.
    expect : str or bytes, optional
        The content root that the file must have. Only with it does "ok" mean "the right file".
    parents : path, Artifact, or sequence of them
        Where to find the artifact that this one needs, as in `open`. Without it the chunks of this
        file are checked, and with `deep` it is required. The parent's own chunks are checked only
        as far as they are read.
    threads : int, optional
        How many threads to use; the processor's by default, at most 8.
    progress : callable, optional
        Called now and then.
    storage_options : mapping, optional
        For URLs: credentials, endpoints and the like, as fsspec's file systems take them.

    Returns
    -------
    VerifyReport
        Also where the header or a root is damaged: then with that damage alone.

    Raises
    ------
    RootMismatch
        If the content root is not the expected one.
    TierNotFound
        If there is no such tier.
    NotFound, StoreUnavailable
        If the file cannot be read.
    NotAnArtifact, UnsupportedFormat
        If it is something else, or newer.
    Incomplete
        If it ends inside the manifest.
    ParentMismatch, ParentRequired
        If the parent is not the one that is needed, or there is none and `deep` needs it.
    """
    workers = worker_count(threads)
    expected = None if expect is None else expected_root(expect)
    try:
        place = placed(path, storage_options)
        container = Container.open(place)
        contents = _contents(container, place, candidates(parents, storage_options))
    except CorruptData as error:
        return _unreadable(error)
    with contents:
        compare_root(contents.container, expected)
        if deep and contents.orphaned:
            raise parent_required(contents.container)
        last = contents.reader.exact if tier is None else contents.tier_number(tier)
        return _Verification(contents, last, workers, progress).run(
            authenticated=expected is not None, deep=deep
        )


def _contents(container: Container, place: Path, parents: Sequence[Path | Contents]) -> Contents:
    try:
        return Contents.with_parents(container, [*parents, *related(container, place)])
    except BaseException:
        container.close()
        raise


def expected_root(expect: str | bytes) -> bytes:
    """Return a content root that a caller spelled or gave.

    Raises
    ------
    InvalidArgument
        If it is none.
    """
    if isinstance(expect, str):
        return from_text(expect)
    if len(expect) != DIGEST_BYTES:
        raise InvalidArgument(f"expect: expected {DIGEST_BYTES} bytes, got {len(expect)}")
    return bytes(expect)


def _unreadable(error: CorruptData) -> VerifyReport:
    return VerifyReport(
        ok=False,
        root=None,
        authenticated=False,
        checked_chunks=0,
        checked_bytes=0,
        complete_tiers=(),
        missing_chunks=0,
        damage=(Damage.of(error, "header"),),
    )


def compare_root(container: Container, expected: bytes | None) -> None:
    """Raise `RootMismatch` if a container has another content root than the one expected."""
    got = container.header.content_root
    if expected is not None and expected != got:
        raise RootMismatch(
            f"expected root {to_text(expected)}, got {to_text(got)}",
            hint="this is another artifact than the one meant",
            expected=to_text(expected),
            got=to_text(got),
        )


class _Verification:
    """One run of `verify` over an open file."""

    def __init__(
        self, contents: Contents, last: int, threads: int, progress: Callback | None
    ) -> None:
        self._contents = contents
        self._container = contents.container
        self._last = last
        self._threads = threads
        self._progress = progress
        self._done = 0
        self._total = 0
        self._checked = 0

    def run(self, *, authenticated: bool, deep: bool) -> VerifyReport:
        container = self._container
        parent = container.encoding.parent
        damage = self._manifest_damage()
        chunks = stored_chunks(container, self._last)
        misplaced = misplaced_damage(container, chunks)
        damage += [found for _, found in misplaced]
        wrong = {id(chunk) for chunk, _ in misplaced}
        placed = [chunk for chunk in chunks if id(chunk) not in wrong]
        # Of one that is listed twice a bitmap may hold the one and not the other: both is said.
        held = [c for c in placed if any(container.held(*use) for use in c.uses)]
        missing = sum(not all(container.held(*use) for use in c.uses) for c in placed)
        check = DeepCheck(self._contents, self._last, self._threads) if deep else None
        self._total = sum(chunk.length for chunk in held) + (check.total if check else 0)
        damage += self._scan(held)
        if check is not None:
            damage += check.run(self._advance)
        return VerifyReport(
            ok=not damage and not missing and self._parent_holds(),
            root=to_text(container.header.content_root),
            authenticated=authenticated,
            checked_chunks=len(held),
            checked_bytes=self._checked,
            complete_tiers=self._whole(damage),
            missing_chunks=missing,
            damage=tuple(damage),
            parent=None if parent is None else to_text(parent.root),
        )

    def _parent_holds(self) -> bool:
        """Tell whether the parent, if there is one, has the tiers that are asked for."""
        parent = self._contents.parent
        return parent is None or self._last < len(parent.complete)

    def _whole(self, damage: list[Damage]) -> tuple[str, ...]:
        """Return the tiers that are held whole and undamaged."""
        hit = {found.tier for found in damage}
        tiers = self._contents.tiers
        first = next((number for number, tier in enumerate(tiers) if tier in hit), len(tiers))
        return tuple(tier for tier in self._contents.complete if tier in tiers[:first])

    def _manifest_damage(self) -> list[Damage]:
        """Return damage in SPEC.md's order: pages, table, what lies behind the end."""
        container = self._container
        damage = [Damage.of(e, "page") for page in container.pages for e in page.damage]
        damage += [
            Damage(
                None,
                None,
                None,
                "table",
                fault.offset,
                str(fault.expected),
                str(fault.got),
                "malformed",
            )
            for fault in container.table_faults
        ]
        if container.trailing:
            damage.append(Damage.of(trailing_data(container), "trailing"))
        return damage

    def _scan(self, held: list[StoredChunk]) -> list[Damage]:
        damage = []
        for done, bad in check_chunks(self._container.file, held, self._threads):
            self._checked += done
            for chunk in bad:
                damage += chunk_damage(self._contents, chunk)
            self._advance(done)
        return damage

    def _advance(self, done: int) -> None:
        self._done += done
        if self._progress is not None:
            self._progress(Progress("verify", self._done, self._total))
