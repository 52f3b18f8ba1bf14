"""Updates: sound ones, and others (19.6)."""

import struct
from collections.abc import Callable
from typing import Any

from builder import Recipe
from levels import five
from quantizers import LOSSY, POLICY
from recipes import bias, small, whole
from spoil import CANONICAL, MALFORMED, UNSUPPORTED, add, field
from valid import VECTORS
from vector import Vector

UPDATE = {
    "base": bytes(range(32)),
    "bits": 12345,
    "bound": [3, -4],
    "client": (1 << 64) - 1,
    "energy": [4294967295, 3],
    "expected": [1, -4],
    "most": 20000,
    "round": 7,
    "variance": [0, 0],
    "weight": struct.pack("<d", 60.5),
}
FEATURES = ("levels", "lossy", "quantizers", "update")


def plain(**more: Any) -> Recipe:  # noqa: ANN401
    """Return an update on the ladder."""
    more.setdefault("features", ("update",))
    more.setdefault("update", dict(UPDATE))
    return small(**more)


def sound(name: str, description: str, make: Callable[[], Recipe]) -> None:
    """Register an update that every reader must read."""
    VECTORS.append(Vector(name, "19.6", description, make))


sound("update-ladder", "an update on the ladder, its figures known", plain)
sound("update-levels", "a lossy update of levels, with a policy", lambda: five(
    tiers=LOSSY["tiers"], features=FEATURES, update=dict(UPDATE), policy=POLICY
))  # fmt: skip
sound("update-nil", "an update without a bound, of the least weight", lambda: plain(
    update=UPDATE | {"bound": None, "expected": None, "weight": struct.pack("<d", 5e-324)}
))  # fmt: skip


def key(name: str, value: Any) -> Callable[[], Recipe]:  # noqa: ANN401
    """Return a maker with another value of the key `update`."""
    return lambda: plain(update=UPDATE | {name: value})


def root(change: Callable[[Any, Any], Any], **more: Any) -> Callable[[], Recipe]:  # noqa: ANN401
    """Return a maker that changes the root."""
    return lambda: plain(hooks={"root": change}, **more)


def weight(value: float) -> Callable[[], Recipe]:
    """Return a maker with another weight."""
    return key("weight", struct.pack("<d", value))


VECTORS.append(Vector("update-parent", "8.6", "an update that is a parent", plain))
VECTORS.append(
    Vector(
        "update-child-kind",
        "8.6",
        "a checkpoint that is the child of an update",
        lambda: small(parent=plain(), shared=[("b", 0, 0)]),
        MALFORMED,
        parents=("update-parent",),
    )
)
add("update-feature", MALFORMED, "8.1", "the kind without the feature", lambda: small(
    hooks={"root": field("kind", "update")}))  # fmt: skip
add("update-kind", MALFORMED, "8.1", "the feature in a checkpoint",
    root(field("kind", "checkpoint")))  # fmt: skip
add("update-other-kind", UNSUPPORTED, "8.1", "the feature with an unknown kind",
    root(field("kind", "gradient")))  # fmt: skip
add("update-missing", MALFORMED, "8.1", "an update that says nothing of itself", root(
    lambda top, _: {name: value for name, value in top.items() if name != "update"}
))  # fmt: skip
add("update-alone", MALFORMED, "8.1", "the key without the feature", lambda: small(
    hooks={"root": lambda top, _: top | {"update": UPDATE}}))  # fmt: skip
add("update-value", MALFORMED, "19.6", "nil for the key", root(field("update", None)))
add("update-key", MALFORMED, "19.6", "a key more", key("zeal", 1))
add("update-less", MALFORMED, "19.6", "a key less", root(field("update", lambda old: {
    name: value for name, value in old.items() if name != "round"})))  # fmt: skip
add("update-base", MALFORMED, "19.6", "a base of 31 bytes", key("base", bytes(31)))
add("update-client", MALFORMED, "19.6", "a client below 0", key("client", -1))
add("update-round", MALFORMED, "19.6", "a round that is text", key("round", "7"))
add("update-bits", MALFORMED, "19.6", "bits that are a figure", key("bits", [1, 3]))
add("update-weight-short", MALFORMED, "19.6", "a weight of four bytes",
    key("weight", struct.pack("<f", 1)))  # fmt: skip
add("update-weight-zero", MALFORMED, "19.6", "a weight of 0", weight(0.0))
add("update-weight-negative", MALFORMED, "19.6", "a weight below 0", weight(-1.0))
add("update-weight-infinite", MALFORMED, "19.6", "an infinite weight", weight(float("inf")))
add("update-weight-nan", MALFORMED, "19.6", "a weight that is no number", weight(float("nan")))
add("update-bound", MALFORMED, "19.6", "a variance that is expected, without a bound",
    key("bound", None))  # fmt: skip
add("update-figure", CANONICAL, "19.6", "a figure with an even mantissa", key("variance", [2, 0]))
add("update-figure-bound", CANONICAL, "19.6", "a bound of 0 with an exponent",
    key("bound", [0, 1]))  # fmt: skip
add("update-figure-length", MALFORMED, "19.6", "a figure of one number", key("energy", [1]))
add("update-figure-text", MALFORMED, "19.6", "a bound that is text", key("bound", "3"))
add("update-lossy-alone", MALFORMED, "8.1", "a lossy update without quantizers", lambda: whole(
    bias(), tiers=(("codes", 0),), features=("lossy", "update"), update=dict(UPDATE)
))  # fmt: skip
