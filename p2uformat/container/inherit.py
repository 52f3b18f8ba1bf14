"""What a file without all of its pages takes over from its parent (SPEC.md, 8.6)."""

from __future__ import annotations

from p2uformat.container.reader import Container, Page
from p2uformat.errors import Malformed
from p2uformat.manifest import EncodingPage, check_sequence

__all__ = ["attach"]


def attach(child: Container, parent: Container) -> None:
    """Take inherited pages over from the parent, whose own have been taken over before.

    Raises
    ------
    Malformed
        If it has no such page, other tiers, or stands deeper than it may.
    """
    mine, theirs = child.encoding.parent, parent.encoding.parent
    assert mine is not None
    try:
        if theirs is not None and theirs.depth >= mine.depth:
            raise Malformed(f"a parent of depth {theirs.depth} below a depth of {mine.depth}")
        if parent.content.tiers != child.content.tiers:
            raise Malformed("a parent with other tiers")
        if parent.content.features != child.content.features:
            raise Malformed("a parent with other features")
        known = {ref.digest: number for number, ref in enumerate(parent.content.pages)}
        child.pages = tuple(
            _inherited(child, page, parent, known) if page.inherited else page
            for page in child.pages
        )
        check_sequence(child.content, [page.content for page in child.pages])
    except Malformed as error:
        raise error.locate(artifact=child.file.path, region="root") from None


def _inherited(child: Container, page: Page, parent: Container, known: dict[bytes, int]) -> Page:
    number = known.get(child.content.pages[page.number].digest)
    if number is None:
        raise Malformed("a page is inherited that the parent does not have")
    theirs = parent.pages[number]
    if theirs.content is None:
        return Page(page.number, None, None, theirs.damage, inherited=True)
    layers = tuple(
        ((None,) * record.block_count,) * record.layers for record in theirs.content.records
    )
    return Page(page.number, theirs.content, EncodingPage((), layers), inherited=True)
