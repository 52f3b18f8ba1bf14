"""Pages and roots from records and chunks: the last step of writing a manifest."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass

from p2uformat.digest import digest
from p2uformat.errors import LimitExceeded
from p2uformat.limits import MAX_PAGES
from p2uformat.manifest.content import ContentPage, ContentRoot, PageRef
from p2uformat.manifest.encoding import EncodingPage, EncodingPageRef, EncodingRoot, ParentRef
from p2uformat.manifest.parameters import TierSpec
from p2uformat.manifest.records import NO_FEATURES
from p2uformat.manifest.sequence import totals_of
from p2uformat.manifest.update import UpdateRecord

__all__ = ["Manifest", "assemble"]


@dataclass(frozen=True, slots=True)
class Manifest:
    """Everything in front of the location table, encoded.

    Parameters
    ----------
    content_root, encoding_root : bytes
        The two roots.
    pages : tuple of tuple of bytes
        For each page number the content page and the encoding page; None for an inherited one.
    tiers : int
        Number of tiers.
    chunks : tuple of EncodingPage
        The encoding pages as they were before they were encoded.
    """

    content_root: bytes
    encoding_root: bytes
    pages: tuple[tuple[bytes, bytes] | None, ...]
    tiers: int
    chunks: tuple[EncodingPage, ...]


def assemble(
    tiers: Sequence[TierSpec],
    pages: Sequence[tuple[ContentPage, EncodingPage]],
    parent: ParentRef | None = None,
    inherited: Container[bytes] = (),
    ext: Mapping[str, object] | None = None,
    features: frozenset[str] = NO_FEATURES,
    policy: Mapping[str, object] | None = None,
    update: UpdateRecord | None = None,
) -> Manifest:
    """Encode pages, and the roots over them.

    Parameters
    ----------
    tiers : sequence of TierSpec
        The ladder.
    pages : sequence of (ContentPage, EncodingPage)
        In order.
    parent : ParentRef, optional
        The artifact that shared layers and differences need.
    inherited : container of bytes
        Digests of its content pages: a page that is one of them and has no chunks is left out.
    ext : mapping, optional
        Additions to the content root.
    features : frozenset of str
        What a reader of it must know.
    policy : mapping, optional
        What the root says of the policy.
    update : UpdateRecord, optional
        Of an update, what the root says of it.

    Raises
    ------
    LimitExceeded
        If there are more pages, or larger ones, than SPEC.md allows.
    """
    if len(pages) > MAX_PAGES:
        raise LimitExceeded(f"expected at most {MAX_PAGES} pages, got {len(pages)}")
    encoded = tuple((content.encode(), encoding.encode()) for content, encoding in pages)
    refs = tuple(
        PageRef(page[0].records[0].key, len(data[0]), digest(data[0]))
        for page, data in zip(pages, encoded, strict=True)
    )
    totals = totals_of([page[0] for page in pages])
    root = ContentRoot(tuple(tiers), refs, totals, ext or {}, features, policy, update)
    content_root = root.encode()
    left_out = [
        not page[1].chunks and ref.digest in inherited
        for page, ref in zip(pages, refs, strict=True)
    ]
    encoding_refs = tuple(
        None if out else EncodingPageRef(len(data[1]), digest(data[1]), len(page[1].chunks))
        for page, data, out in zip(pages, encoded, left_out, strict=True)
    )
    encoding_root = EncodingRoot(digest(content_root), encoding_refs, parent=parent).encode()
    stored = tuple(None if out else data for data, out in zip(encoded, left_out, strict=True))
    chunks = tuple(page[1] for page in pages)
    return Manifest(content_root, encoding_root, stored, len(tiers), chunks)
