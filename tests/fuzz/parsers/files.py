"""Whole files taken apart without trust, changed, and sealed again with every digest right."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from random import Random
from typing import Any

import p2uformat
from p2uformat.codec.frame import build_frame, parse_frame
from p2uformat.container import Header
from p2uformat.digest import digest
from p2uformat.errors import P2UError
from tests.fuzz.parsers.harness import MUTATE, Form
from tests.fuzz.parsers.mutate import changed
from tests.fuzz.parsers.sources import packed, unpacked

_FIELDS = struct.Struct("<HHI32s32sIIQQQ")
_MOST_RAW = 1 << 16  # more than a small chunk holds: such a one is left as it is
_MENDINGS = 4

Parts = dict[str, Any]


def spans(data: bytes) -> tuple[dict[str, int], list[bytes], int]:
    """Return the header's numbers, the pieces between it and the table, and where they end.

    Nothing is checked; what is not there ends in a LookupError, a ValueError or a struct.error.
    """
    fields = _FIELDS.unpack_from(data, 8)
    names = ("major", "minor", "flags", "", "", "content", "encoding", "manifest", "file", "count")
    header = dict(zip(names, fields, strict=True))
    pieces, at = [], 128
    lengths = [header["content"], header["encoding"]]
    while lengths:
        length = lengths.pop(0)
        pieces.append(data[at : at + length])
        at += length
        if len(pieces) == 2:
            pages = zip(*(unpacked(root)["pages"] for root in pieces), strict=True)
            lengths = [n for one, two in pages if two is not None for n in (one[3], two[0])]
    return header, pieces, at


def manifest_parts(data: bytes) -> Iterator[bytes]:
    """Yield roots and pages, as far as they can be found."""
    try:
        yield from spans(data)[1]
    except (LookupError, ValueError, TypeError, struct.error):
        return


def take_apart(data: bytes) -> Parts:
    """Return a file's parts as values; chunks as streams where they have any."""
    header, pieces, at = spans(data)
    content, encoding, *rest = map(unpacked, pieces)
    pages = [rest[i : i + 2] for i in range(0, len(rest), 2)]
    chunks = []
    for _, other in pages:
        offsets = struct.unpack_from(f"<{len(other[0])}Q", data, at)
        at += 8 * len(offsets)
        stored = [data[o : o + entry[2]] for o, entry in zip(offsets, other[0], strict=True)]
        # The id of a raw chunk stands in the content page, where it has to be found again.
        chunks.append([
            [digest(chunk), _opened(chunk, entry[1])]
            for chunk, entry in zip(stored, other[0], strict=True)
        ])  # fmt: skip
    return {
        "minor": header["minor"],
        "flags": header["flags"],
        "content": content,
        "encoding": encoding,
        "pages": pages,
        "chunks": chunks,
        "cut": max(header["file"] - len(data), 0),
        "tail": data[header["file"] :],
    }


def _opened(chunk: bytes, codec: int) -> Any:
    if codec == 0:
        return chunk
    try:
        frame = parse_frame(codec, chunk)
        if sum(row[2] for row in frame.rows) > _MOST_RAW:
            return chunk
        return [codec, frame.members, [bytes(frame.stream(i)) for i in range(len(frame.rows))]]
    except P2UError:
        return chunk


def _closed(chunk: Any) -> bytes:
    return chunk if isinstance(chunk, bytes) else build_frame(*chunk)


def put_together(parts: Parts) -> bytes:
    """Return the file of parts: ids, digests, lengths, offsets and header are made anew."""
    stored = [[_closed(chunk) for _, chunk in page] for page in parts["chunks"]]
    pages = _named(parts, stored)
    _point_at(parts["content"], parts["encoding"], pages)
    content = packed(parts["content"])
    encoding = packed(parts["encoding"] | {"content": digest(content)})
    middle = b"".join(piece for pair in pages for piece in map(packed, pair))
    count = sum(map(len, stored))
    start = 128 + len(content) + len(encoding) + len(middle) + 8 * count
    table, body = _laid_out(pages, stored, start)
    header = Header(
        digest(content), digest(encoding), len(content), len(encoding), start, start + len(body),
        count, parts["minor"], bool(parts["flags"]),
    )  # fmt: skip
    made = header.encode() + content + encoding + middle + table + body
    return made[: len(made) - parts["cut"]] if parts["cut"] else made + parts["tail"]


def _named(parts: Parts, stored: list[list[bytes]]) -> list[Any]:
    """Return the pages with the ids and lengths of the chunks as they are now."""
    pages = [list(pair) for pair in parts["pages"]]
    for pair, known, chunks in zip(pages, parts["chunks"], stored, strict=True):
        entries = [list(entry) for entry in pair[1][0]]
        for (old, _), chunk, entry in zip(known, chunks, entries, strict=True):
            new = digest(chunk)
            if old == new:
                continue
            entry[2] = len(chunk)
            if entry[3] is None:
                pair[0] = replaced(pair[0], old, new)
            elif entry[3] == old:
                entry[3] = new
        pair[1] = [entries, *pair[1][1:]]
    return pages


def replaced(value: Any, old: bytes, new: bytes) -> Any:
    """Return a value with other digests for some."""
    if isinstance(value, bytes):
        return value.replace(old, new)
    return [replaced(item, old, new) for item in value] if isinstance(value, list) else value


def _point_at(content: Any, encoding: Any, pages: list[Any]) -> None:
    """Let the roots name the pages."""
    own = iter(pages)
    if sum(two is not None for two in encoding["pages"]) > len(pages):
        raise ValueError("more pages are named than there are")
    for one, two in zip(content["pages"], encoding["pages"], strict=False):
        if two is None:
            continue
        data = [packed(page) for page in next(own)]
        one[3:] = [len(data[0]), digest(data[0])]
        two[:2] = [len(data[1]), digest(data[1])]


def _laid_out(pages: list[Any], stored: list[list[bytes]], start: int) -> tuple[bytes, bytes]:
    """Return the location table and all chunks, each once in its tier."""
    seen: dict[tuple[int, bytes], int] = {}
    body = b""
    rows = [
        (pair[1][0][index][0], number, index, chunk)
        for number, (pair, chunks) in enumerate(zip(pages, stored, strict=True))
        for index, chunk in enumerate(chunks)
    ]
    for tier, _, _, chunk in sorted(rows, key=lambda row: row[:2]):
        if (tier, chunk) not in seen:
            seen[tier, chunk] = start + len(body)
            body += chunk
    offsets = [seen[tier, chunk] for tier, _, _, chunk in rows]
    return struct.pack(f"<{len(offsets)}Q", *offsets), body


def change(parts: Parts, rng: Random, mutate: MUTATE) -> Parts:
    """Return parts with one item changed; in chunks most often, since most rules are theirs."""
    made = dict(parts)
    name = rng.choice(("content", "encoding", "pages", "pages", "pages", *5 * ("chunks",), "ends"))
    if name == "ends":
        made[rng.choice(("cut", "minor", "flags"))] = rng.choice((0, 1, 2, 9))
        made["tail"] = mutate(parts["tail"], len(parts["tail"]) + 4)
    elif name == "chunks" and any(parts["chunks"]):
        page = rng.choice([page for page in parts["chunks"] if page])
        at = rng.randrange(len(page))
        pair = [page[at][0], changed(page[at][1], rng, mutate)]
        new = [*page[:at], pair, *page[at + 1 :]]
        made["chunks"] = [new if known is page else known for known in parts["chunks"]]
    else:
        made[name] = changed(parts[name], rng, mutate)
    return made


def mended(parts: Parts) -> Parts:
    """Return parts whose layers, blocks, bounds and files have the digests recorded for them.

    A deep check says which have not, one stage after the other: digests of layers, of blocks, and
    so on. What cannot be mended so stays.
    """
    for _ in range(_MENDINGS):
        report = p2uformat.verify(put_together(parts), deep=True, threads=1)
        fixes = [d for d in report.damage if d.code == "digest-mismatch" or d.region == "page"]
        if not fixes:
            break
        for damage in fixes:
            parts["pages"] = _fixed(parts, damage)
    return parts


def _fixed(parts: Parts, damage: Any) -> Any:
    if damage.region == "page":
        return [[_rebound(parts, page, damage), other] for page, other in parts["pages"]]
    old, new = bytes.fromhex(damage.expected), bytes.fromhex(damage.got)
    return [[replaced(page, old, new), other] for page, other in parts["pages"]]


def _rebound(parts: Parts, page: Any, damage: Any) -> Any:
    """Record the bound that a tensor's largest step gives."""
    tier = [row[0] for row in parts["content"]["tiers"]].index(damage.tier)
    for record in page:
        if record[0] == 0 and record[1] == damage.tensor:
            record[6][2][tier][2] = int(damage.expected.removeprefix("bound "))
    return page


FORM = Form(take_apart, put_together, change, mended)
