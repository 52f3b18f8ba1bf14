"""What a round is, and where its parts lie in a store."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

from p2uformat import Artifact, InvalidArgument, Malformed

__all__ = ["LADDER", "MOST_CLIENT", "Names", "Round", "metrics_from", "metrics_to"]

LADDER: Final = "q2,q3,q4,q5,q6,q7,q8,exact"
"""Tiers that serve clients of 2 to 8 bits from one artifact."""

MOST_CLIENT: Final = (1 << 64) - 1
"""The largest number of a client: what an update can record, and as large as Flower's node ids."""

_KEY: Final = "p2u.round"
_METRICS: Final = "p2u.metrics"
_MOST_METRICS: Final = 1000
_MOST: Final = 999_999_999
_ROUND_DIGITS: Final = 9
_WIDEST: Final = 64
_LARGEST: Final = 1.7976931348623157e308


@dataclass(frozen=True, slots=True)
class Names:
    """Names of a run in a store.

    Parameters
    ----------
    run : str
        The run: a name as stores have them.

    Examples
    --------
    >>> Names("digits").model
    'digits/model'
    >>> Names("digits").update(7, 12)
    'digits/updates/000000007/12'
    """

    run: str

    @property
    def model(self) -> str:
        """The model; its versions are the rounds."""
        return f"{self.run}/model"

    def updates(self, number: int) -> str:
        """Return what the updates of a round lie below."""
        return f"{self.run}/updates/{number:0{_ROUND_DIGITS}d}"

    def update(self, number: int, client: int) -> str:
        """Return the name of one client's update."""
        return f"{self.updates(number)}/{client}"

    def client(self, name: str) -> int | None:
        """Return whose update a name is for; None if it is for nobody's."""
        return _whole(name.rpartition("/")[2], MOST_CLIENT)

    def round(self, name: str) -> int | None:
        """Return which round a name of an update is of; None if it is of none."""
        number = name.rpartition("/")[0].rpartition("/")[2]
        found = _whole(number.lstrip("0"), _MOST)
        return found if len(number) == _ROUND_DIGITS else None


@dataclass(frozen=True, slots=True)
class Round:
    """One round: a model that clients start from.

    Parameters
    ----------
    number : int
        From 1 on.
    root : str
        Content root of the model; updates name it.
    widths : mapping of str to int, or None
        Widths that the clients of the last round came to on average. None: each client plans its
        own from what the artifact says of errors.
    drops : mapping of str to int
        How many bits they lost in that round.
    """

    number: int
    root: str
    widths: Mapping[str, int] | None = None
    drops: Mapping[str, int] | None = None

    def facts(self) -> dict[str, str]:
        """Return what stands in the metadata of the model's file."""
        value: dict[str, object] = {"round": self.number}
        if self.widths is not None:
            value |= {"widths": dict(self.widths), "drops": dict(self.drops or {})}
        return {_KEY: json.dumps(value, sort_keys=True, separators=(",", ":"))}

    @classmethod
    def of(cls, artifact: Artifact) -> Self:
        """Return the round that an artifact is the model of.

        Raises
        ------
        InvalidArgument
            If it is no model of a round.
        Malformed
            If what it says of its round is not sound.
        """
        text = artifact.metadata.get(_KEY)
        if text is None:
            raise InvalidArgument(
                f"{artifact!r} is no model of a round", hint="Server.publish makes one"
            )
        value = _parsed(text, "the round's facts")
        number = _number(value.get("round"), 1, _MOST)
        if "widths" not in value:
            return cls(number, artifact.root)
        widths = _counts(value["widths"])
        return cls(number, artifact.root, widths, _counts(value.get("drops", {})))


def metrics_to(metrics: Mapping[str, float]) -> dict[str, str]:
    """Return what stands in the metadata of an update.

    Raises
    ------
    InvalidArgument
        If a value is not finite, or there are too many.

    Examples
    --------
    >>> metrics_to({"loss": 0.5})
    {'p2u.metrics': '{"loss":0.5}'}
    """
    known = {str(name): float(value) for name, value in metrics.items()}
    for name, value in known.items():
        if not math.isfinite(value):
            raise InvalidArgument(f"metric {name!r} is {value}", hint="give finite numbers")
    if len(known) > _MOST_METRICS:
        raise InvalidArgument(f"{len(known)} metrics", hint=f"give at most {_MOST_METRICS}")
    return {_METRICS: json.dumps(known, sort_keys=True, separators=(",", ":"))}


def metrics_from(metadata: Mapping[str, str]) -> dict[str, float]:
    """Return the metrics of an update; none if it says nothing.

    Raises
    ------
    Malformed
        If they are no finite numbers by name.
    """
    value = _parsed(metadata.get(_METRICS, "{}"), "metrics")
    if len(value) > _MOST_METRICS:
        raise Malformed(f"{len(value)} metrics, at most {_MOST_METRICS} count")
    for name, number in value.items():
        known = isinstance(number, int | float) and not isinstance(number, bool)
        if not known or not -_LARGEST <= number <= _LARGEST:
            raise Malformed(f"metric {name[:40]!r} is no finite number")
    return {name: float(number) for name, number in value.items()}


def _whole(text: str, most: int) -> int | None:
    """Return a number as this library writes it; None if it is none."""
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(most))):
        return None
    number = int(text)
    return number if str(number) == text and number <= most else None


def _parsed(text: str, what: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        raise Malformed(f"{what}: no JSON") from None
    if not isinstance(value, dict):
        raise Malformed(f"{what}: no JSON object")
    return value


def _number(value: Any, low: int, high: int) -> int:  # noqa: ANN401
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise Malformed(f"the round's facts: a number from {low} to {high} is missing")
    return value


def _counts(value: Any) -> dict[str, int]:  # noqa: ANN401
    if not isinstance(value, dict):
        raise Malformed("the round's facts: widths that are no JSON object")
    return {name: _number(width, 0, _WIDEST) for name, width in value.items()}
