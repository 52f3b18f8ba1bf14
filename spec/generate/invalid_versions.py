"""Children that no parent makes whole: faults of roots, layers, differences (7.4, 8.4-8.6)."""

import struct
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from builder import Key, Recipe
from recipes import one
from spoil import DIGEST, LIMIT, MALFORMED, UNSUPPORTED, item
from versions import CHANGED, HEAD, SAME, known, second, third, version


def bad(
    name: str,
    error: str,
    spec: str,
    description: str,
    make: Callable[[], Recipe],
    *parents: str,
) -> None:
    """Register a child that is refused although its parent is at hand."""
    known(name, spec, description, make, *(parents or ("version-1",)), error=error)


def other(change: Callable[[Any], Any]) -> Callable[[], Recipe]:
    """Return a maker of a child with another encoding root."""
    return lambda: second(hooks={"other": lambda root, _: change(root)})


def alone(change: Callable[[Any], Any]) -> Callable[[], Recipe]:
    """Return a maker of a file without a parent, with another encoding root."""
    return lambda: version(1, hooks={"other": lambda root, _: change(root)})


bad(
    "parent-no-key",
    MALFORMED,
    "8.4",
    "the feature without its key",
    other(lambda root: {k: v for k, v in root.items() if k != "parent"}),
)
bad(
    "parent-no-feature",
    MALFORMED,
    "8.4",
    "the key without its feature",
    other(lambda root: root | {"features": []}),
)
bad(
    "parent-feature",
    UNSUPPORTED,
    "8.4",
    "a feature that is not known beside it",
    other(lambda root: root | {"features": ["difference", "other"]}),
)
bad(
    "parent-twice",
    MALFORMED,
    "8.4",
    "the feature twice",
    other(lambda root: root | {"features": ["difference", "difference"]}),
)
bad("parent-depth-0", MALFORMED, "8.6", "a depth of 0", lambda: second(depth=0))
bad("parent-depth-17", LIMIT, "12", "a depth above the limit", lambda: second(depth=17))
bad("parent-depth-sign", MALFORMED, "8.6", "a negative depth", lambda: second(depth=-1))
bad(
    "parent-short",
    MALFORMED,
    "8.6",
    "a root of 31 bytes",
    other(lambda root: root | {"parent": [bytes(31), 1]}),
)
bad(
    "parent-as-deep",
    MALFORMED,
    "8.6",
    "a parent of the same depth, as in a circle",
    lambda: third(depth=1),
    "version-2",
    "version-1",
)
bad(
    "parent-page-alone",
    MALFORMED,
    "8.6",
    "an inherited page without a parent",
    alone(lambda root: root | {"pages": [None]}),
    "version-1",
)
bad(
    "parent-page-strange",
    MALFORMED,
    "8.6",
    "an inherited page that the parent does not have",
    lambda: second(inherited=[0], shared=[*SAME, *CHANGED], differences=[]),
)
bad(
    "parent-tiers",
    MALFORMED,
    "8.6",
    "a parent with other tiers",
    lambda: version(
        2, parent=version(1), tiers=(("q4", 0), ("q9", 5), ("exact", None)), shared=[HEAD]
    ),
)
bad(
    "parent-strange-layer",
    MALFORMED,
    "8.6",
    "a shared layer that the parent does not have",
    lambda: second(shared=[*SAME, ("w", 1, 0)], differences=[CHANGED[0], *CHANGED[2:]]),
)


def tensor_of(**more: Any) -> Callable[[], Recipe]:  # noqa: ANN401
    """Return a maker of a child whose tensor is another than the parent's, yet a difference."""

    def make() -> Recipe:
        child = second()
        words = child.tensors[0].words()
        changed = one("BF16", words, [-6], **{"name": "w", **more})
        return replace(child, tensors=[changed, *child.tensors[1:]], files=version(2).files)

    return make


def lies(
    name: str, description: str, key: Key, change: Callable[[list[bytes]], list[bytes]]
) -> None:
    """Register a child with other sections in a difference."""
    hook = {"sections": lambda parts, this: change(list(parts)) if this == key else parts}
    bad(name, MALFORMED, "7.4", description, lambda: second(hooks=hook))


def put(number: int, value: Callable[[bytes], bytes]) -> Callable[[list[bytes]], list[bytes]]:
    """Return a change of one section."""

    def change(parts: list[bytes]) -> list[bytes]:
        parts[number] = value(parts[number])
        return parts

    return change


BASE_KEY, DIGITS_KEY, EXACT_KEY, OPAQUE_KEY = CHANGED
lies("sections-base-few", "a base difference of too few sections", BASE_KEY, lambda p: p[:-1])
lies("sections-base-more", "a base difference of too many", BASE_KEY, lambda p: [*p, b""])
lies("sections-digits-few", "a digits difference of too few sections", DIGITS_KEY, lambda p: p[:-1])
lies("sections-exact-few", "an exact difference of too few sections", EXACT_KEY, lambda p: p[:-1])
lies("sections-opaque-more", "an opaque difference of too many", OPAQUE_KEY, lambda p: [*p, b""])
lies("sections-head-short", "a head of three bytes", BASE_KEY, put(0, lambda h: h[:3]))
lies("sections-head-long", "a head of five bytes", DIGITS_KEY, put(0, lambda h: h + b"\0"))
lies("sections-unit", "a unit above the block", EXACT_KEY, put(0, lambda _: struct.pack("<I", 31)))
lies(
    "sections-unit-lengths",
    "a unit without its lengths",
    BASE_KEY,
    put(0, lambda _: struct.pack("<I", 10)),
)
lies(
    "sections-unit-length",
    "more in a unit than any block has",
    BASE_KEY,
    put(0, lambda _: struct.pack("<I", 10) + bytes([21] + [0] * 12)),
)
lies("sections-symbols-short", "too few symbols", BASE_KEY, put(2, lambda s: s[:-1]))
lies("sections-symbols-long", "too many symbols", BASE_KEY, put(2, lambda s: s + b"\0"))
lies("sections-symbol", "a symbol above its range", BASE_KEY, put(2, lambda s: b"\x11" + s[1:]))
lies("sections-run-end", "runs that end in 255", DIGITS_KEY, put(1, lambda _: b"\xff"))
lies("sections-run-zero", "a zero behind a run", BASE_KEY, lambda p: [p[0], b"\0", b"\0", *p[3:]])
lies(
    "sections-run-behind",
    "a run behind the end",
    BASE_KEY,
    lambda p: [p[0], b"\x1e", b"\x0f", *p[3:]],
)
lies(
    "sections-run-more",
    "more runs than symbols",
    BASE_KEY,
    lambda p: [p[0], b"\0\0", b"\x0f", *p[3:]],
)
lies("sections-bits-short", "too few bits", EXACT_KEY, put(-1, lambda b: b[:-1]))
lies("sections-bits-long", "too many bits", EXACT_KEY, put(-1, lambda b: b + b"\0"))
lies("sections-outlier", "a value without an outlier", BASE_KEY, put(-1, lambda b: b + b"\0\0"))
bad(
    "sections-digest",
    DIGEST,
    "7.4",
    "a difference that gives another layer",
    lambda: second(
        hooks={"sections": lambda parts, key: _flipped(parts) if key == OPAQUE_KEY else parts}
    ),
)
bad(
    "parent-other-segment",
    MALFORMED,
    "8.6",
    "a difference on other segments",
    tensor_of(segment=15),
)
bad(
    "parent-other-grid",
    MALFORMED,
    "7.4",
    "digits as a difference where K is another",
    lambda: replace(
        tensor_of()(),
        tensors=[
            one("BF16", version(2).tensors[0].words(), [-5], name="w"),
            *version(2).tensors[1:],
        ],
        differences=CHANGED[1:],
    ),
)
bad(
    "codec-16-alone",
    MALFORMED,
    "8.6",
    "a difference without a parent",
    lambda: version(1, hooks={"entries": item([0, 0, 1], 16)}),
    "version-1",
)
bad(
    "layer-shared-alone",
    MALFORMED,
    "8.6",
    "a shared layer without a parent",
    lambda: version(1, hooks={"entries": item([1, 0, 0], None)}),
    "version-1",
)
bad(
    "codec-16-opaque",
    MALFORMED,
    "8.5",
    "a base difference of an opaque tensor",
    lambda: second(hooks={"entries": _codec(19, 16)}),
)
bad(
    "codec-17-base",
    MALFORMED,
    "8.5",
    "a digits difference of a base layer",
    lambda: second(hooks={"entries": _codec(16, 17)}),
)
bad(
    "codec-18-digits",
    MALFORMED,
    "8.5",
    "an exact difference of a refinement",
    lambda: second(hooks={"entries": _codec(17, 18)}),
)
bad(
    "codec-19-exact",
    MALFORMED,
    "8.5",
    "an opaque difference of an exact layer",
    lambda: second(hooks={"entries": _codec(18, 19)}),
)


def _flipped(parts: list[bytes]) -> list[bytes]:
    """Change the sign of a number."""
    return [parts[0], bytes([parts[1][0] + 1 if parts[1][0] % 2 else parts[1][0] - 1]), parts[2]]


def _codec(old: int, new: int) -> Callable[[Any, Any], Any]:
    """Return a hook that changes a chunk's codec in the manifest."""

    def change(value: Any, _: object) -> Any:  # noqa: ANN401
        for entry in value[0]:
            entry[1] = new if entry[1] == old else entry[1]
        return value

    return change
