"""Pages and roots from records and chunks: the last step of writing a manifest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from p2uformat.digest import digest
from p2uformat.errors import LimitExceeded
from p2uformat.limits import MAX_PAGES
from p2uformat.manifest.content import ContentPage, ContentRoot, PageRef
from p2uformat.manifest.encoding import EncodingPage, EncodingPageRef, EncodingRoot
from p2uformat.manifest.parameters import TierSpec
from p2uformat.manifest.sequence import totals_of

__all__ = ["Manifest", "assemble"]


@dataclass(frozen=True, slots=True)
class Manifest:
    """Everything in front of the location table, encoded.

    Parameters
    ----------
    content_root, encoding_root : bytes
        The two roots.
    pages : tuple of tuple of bytes
        For each page number the content page and the encoding page.
    tiers : int
        Number of tiers.
    chunks : tuple of EncodingPage
        The encoding pages as they were before they were encoded.
    """

    content_root: bytes
    encoding_root: bytes
    pages: tuple[tuple[bytes, bytes], ...]
    tiers: int
    chunks: tuple[EncodingPage, ...]


def assemble(
    tiers: Sequence[TierSpec], pages: Sequence[tuple[ContentPage, EncodingPage]]
) -> Manifest:
    """Encode pages, and the roots over them.

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
    content_root = ContentRoot(tuple(tiers), refs, totals_of([page[0] for page in pages])).encode()
    encoding_refs = tuple(
        EncodingPageRef(len(data[1]), digest(data[1]), len(page[1].chunks))
        for page, data in zip(pages, encoded, strict=True)
    )
    encoding_root = EncodingRoot(digest(content_root), encoding_refs).encode()
    chunks = tuple(page[1] for page in pages)
    return Manifest(content_root, encoding_root, encoded, len(tiers), chunks)
