"""Faults of the header, the roots and of canonical msgpack (3, 8.1, 8.4, 9)."""

from collections.abc import Callable
from typing import Any

from builder import Recipe
from recipes import small
from spoil import (
    CANONICAL,
    DIGEST,
    INCOMPLETE,
    LIMIT,
    MALFORMED,
    UNSUPPORTED,
    add,
    field,
    flip,
    item,
    spoiled,
)
from wire import Raw, digest

# 9 Header. In `small`, record 0 is the opaque `b`, record 1 the bitplane `w`, record 2 the file.
add(
    "magic",
    "not-an-artifact",
    "9",
    "a bit of the magic is flipped",
    spoiled("header", field("magic", lambda m: flip(m, 1))),
)
add(
    "magic-only",
    INCOMPLETE,
    "9",
    "the file ends behind the magic",
    spoiled("file", lambda data, _: data[:8]),
)
add(
    "header-short",
    INCOMPLETE,
    "10",
    "the file ends inside the header",
    spoiled("file", lambda data, _: data[:127]),
)
add("empty-file", "not-an-artifact", "9", "a file of no bytes", spoiled("file", lambda _, __: b""))
add("major", UNSUPPORTED, "9", "a newer major version", spoiled("header", field("major", 2)))
add(
    "flag-unknown",
    UNSUPPORTED,
    "9",
    "a flag that is not known",
    spoiled("header", field("flags", 2)),
)
add(
    "header-digest",
    DIGEST,
    "9",
    "a bit of the header changed behind its digest",
    spoiled("file", lambda data, _: flip(data, 10)),
)
add(
    "header-lengths",
    MALFORMED,
    "10",
    "a manifest that ends inside its roots",
    spoiled("header", field("manifest length", 200)),
)
add(
    "header-file-length",
    MALFORMED,
    "10",
    "a file that ends inside its manifest",
    spoiled("header", field("file length", 200)),
)
add(
    "root-length",
    LIMIT,
    "12",
    "a content root one byte above the limit",
    spoiled("header", field("content length", (1 << 18) + 1)),
)
add(
    "file-length-limit",
    LIMIT,
    "12",
    "a file length of 2^63",
    spoiled("header", field("file length", 1 << 63)),
)
add(
    "truncated-manifest",
    INCOMPLETE,
    "10",
    "the file ends inside the manifest",
    spoiled("file", lambda data, _: data[:400]),
)
add(
    "entries",
    MALFORMED,
    "10",
    "one entry more than the pages have chunks",
    spoiled("header", field("entries", lambda n: n + 1)),
)
add(
    "manifest-hole",
    MALFORMED,
    "10",
    "eight bytes between the last page and the table",
    spoiled("gap", lambda _, __: bytes(8)),
)
add(
    "file-length-long",
    MALFORMED,
    "9",
    "a byte between the last chunk and the end",
    lambda: small(
        hooks={"file": lambda d, _: d + b"\0", "header": field("file length", lambda n: n + 1)}
    ),
)
add(
    "trailing-byte",
    MALFORMED,
    "9",
    "a byte behind the file length",
    spoiled("file", lambda data, _: data + b"\0"),
)


# 8 Roots
add(
    "root-digest",
    DIGEST,
    "10",
    "the header names another content root",
    spoiled("header", field("content", flip)),
)
add(
    "other-digest",
    DIGEST,
    "10",
    "the header names another encoding root",
    spoiled("header", field("encoding", flip)),
)
add(
    "other-content",
    MALFORMED,
    "8.4",
    "the encoding root belongs to another content root",
    spoiled("other", field("content", flip)),
)
add(
    "feature",
    UNSUPPORTED,
    "3",
    "a content root feature that is not known",
    spoiled("root", field("features", ["affine"])),
)
add(
    "feature-other",
    UNSUPPORTED,
    "3",
    "an encoding root feature that is not known",
    spoiled("other", field("features", ["diff"])),
)
add(
    "feature-type",
    MALFORMED,
    "3",
    "a feature that is no str",
    spoiled("root", field("features", [1])),
)
add(
    "root-version",
    UNSUPPORTED,
    "13",
    "a content root of version 2, with a key of its own",
    spoiled("root", lambda root, _: root | {"version": 2, "more": 1}),
)
add(
    "root-kind",
    UNSUPPORTED,
    "13",
    "a kind of root that is not known",
    spoiled("root", field("kind", "gradient")),
)
add(
    "root-key",
    MALFORMED,
    "3",
    "a key outside of `ext` that is not known",
    spoiled("root", lambda root, _: root | {"extra": 1}),
)
add(
    "root-no-ext",
    MALFORMED,
    "3",
    "a key is missing",
    spoiled("root", lambda root, _: {k: v for k, v in root.items() if k != "ext"}),
)
add(
    "totals",
    MALFORMED,
    "8.1",
    "a number of parameters that is not theirs",
    spoiled("root", field("totals", lambda t: [t[0] + 1, *t[1:]])),
)
add(
    "tier-name",
    MALFORMED,
    "8.1",
    "a tier name with a slash",
    lambda: small(tiers=[("q/4", 0), ("q8", 4), ("exact", None)]),
)
add(
    "tier-name-twice",
    MALFORMED,
    "8.1",
    "two tiers of one name",
    lambda: small(tiers=[("q4", 0), ("q4", 4), ("exact", None)]),
)
add(
    "tier-exact-first",
    MALFORMED,
    "8.1",
    "`exact` is not last",
    spoiled("root", field("tiers", [["exact", None], ["q4", 0], ["q8", 4]])),
)
add(
    "tier-no-exact",
    MALFORMED,
    "8.1",
    "the last tier has digits",
    spoiled("root", field("tiers", lambda t: [*t[:2], ["exact", 9]])),
)
add(
    "tier-digits",
    MALFORMED,
    "4",
    "digits that do not ascend",
    spoiled("root", field("tiers", [["q4", 0], ["q8", 0], ["exact", None]])),
)
add(
    "tier-first-digits",
    MALFORMED,
    "4",
    "digits that do not start at 0",
    spoiled("root", field("tiers", [["q4", 1], ["q8", 4], ["exact", None]])),
)
add(
    "tier-most-digits",
    LIMIT,
    "12",
    "25 digits",
    lambda: small(tiers=[("q4", 0), ("q29", 25), ("exact", None)]),
)
add(
    "tiers-most",
    LIMIT,
    "12",
    "17 tiers",
    lambda: small(tiers=[*((f"q{i}", i) for i in range(16)), ("exact", None)]),
)
add(
    "pages-differ",
    MALFORMED,
    "8.4",
    "the encoding root has no page for the content root's",
    spoiled("other", field("pages", [])),
)


def page_entry(index: int, value: Any) -> Callable[[], Recipe]:  # noqa: ANN401
    """Return a maker that changes the content root's entry of the first page."""
    return spoiled("root", field("pages", lambda pages: item([0, index], value)(pages, None)))


add("page-digest", DIGEST, "10", "the content root names another page", page_entry(4, flip))
add(
    "page-overlap",
    DIGEST,
    "10",
    "a page that reaches one byte into the next",
    page_entry(3, lambda n: n + 1),
)
add("page-length", LIMIT, "12", "a page one byte above the limit", page_entry(3, (1 << 20) + 1))
add(
    "page-key", MALFORMED, "8.1", "a page's key is not that of its first record", page_entry(1, "a")
)
add(
    "page-chunks",
    MALFORMED,
    "8.4",
    "the encoding root gives a page one chunk more",
    spoiled("other", field("pages", lambda pages: item([0, 2], lambda n: n + 1)(pages, None))),
)
add(
    "page-empty",
    MALFORMED,
    "8.1",
    "a page without records",
    lambda: Recipe(
        hooks={
            "root": field("pages", [[0, "", 0, 1, digest(b"\x90")]]),
            "other": field("pages", [[4, digest(b"\x93\x90\x90\x80"), 0]]),
            "gap": lambda _, __: b"\x90\x93\x90\x90\x80",
        }
    ),
)


# 3 Canonical msgpack
def ext(data: bytes) -> Callable[[], Recipe]:
    """Return a maker with bytes as a value inside a record's `ext`."""
    return spoiled("records", item([0, 9], {"a": Raw(data)}))


add("msgpack-int", CANONICAL, "3", "a small integer in two bytes", ext(b"\xcc\x05"))
add(
    "msgpack-int-signed",
    CANONICAL,
    "3",
    "a positive integer in a signed form",
    ext(b"\xd1\x01\x00"),
)
add("msgpack-negative", CANONICAL, "3", "-1 in two bytes", ext(b"\xd0\xff"))
add("msgpack-str", CANONICAL, "3", "a short str with a long length", ext(b"\xd9\x01a"))
add("msgpack-bin", CANONICAL, "3", "a short bin with a long length", ext(b"\xc5\x00\x01a"))
add("msgpack-array", CANONICAL, "3", "a short array with a long length", ext(b"\xdc\x00\x01\xc0"))
add("msgpack-map", CANONICAL, "3", "a short map with a long length", ext(b"\xde\x00\x01\xa1a\xc0"))
add("msgpack-float", CANONICAL, "3", "a float", ext(b"\xcb" + bytes(8)))
add("msgpack-bool", CANONICAL, "3", "a boolean", ext(b"\xc3"))
add("msgpack-extension", CANONICAL, "3", "an extension type", ext(b"\xd4\x01\x00"))
add("msgpack-utf8", CANONICAL, "3", "a str that is not UTF-8", ext(b"\xa2\xff\xfe"))
add("msgpack-surrogate", CANONICAL, "3", "a surrogate in a str", ext(b"\xa3\xed\xa0\x80"))
add("msgpack-key", CANONICAL, "3", "a map key that is an integer", ext(b"\x81\x01\x01"))
add("msgpack-unsorted", CANONICAL, "3", "map keys that descend", ext(b"\x82\xa1b\x01\xa1a\x01"))
add("msgpack-key-twice", CANONICAL, "3", "a map key twice", ext(b"\x82\xa1a\x01\xa1a\x01"))
add(
    "msgpack-nesting",
    LIMIT,
    "12",
    "arrays in arrays, thousands deep",
    ext(b"\x91" * 3000 + b"\xc0"),
)
add(
    "msgpack-count",
    CANONICAL,
    "3",
    "an array that claims four thousand million elements",
    ext(b"\xdd\xff\xff\xff\xff"),
)
add(
    "msgpack-length",
    CANONICAL,
    "3",
    "a str that claims four thousand million bytes",
    ext(b"\xdb\xff\xff\xff\xff"),
)
add(
    "msgpack-trailing",
    CANONICAL,
    "3",
    "a byte behind the records of a page",
    spoiled("content", lambda page, _: page + b"\xc0"),
)
add(
    "msgpack-trailing-root",
    CANONICAL,
    "3",
    "a byte behind the content root",
    spoiled("root_bytes", lambda root, _: root + b"\xc0"),
)
