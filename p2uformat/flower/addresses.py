"""What stands in messages in place of weights: where they are to be had, by content root."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, Self
from urllib.parse import urlsplit

from flwr.app import ConfigRecord

from p2uformat import InvalidArgument, Malformed
from p2uformat.federated.rounds import MOST_CLIENT

__all__ = ["KEY", "ModelAddress", "Numbers", "UpdateAddress", "told_store"]

KEY: Final = "p2uformat"
"""Name of the record with the address in a message."""

Numbers = Literal["node-id", "partition-id"]

_ROOT: Final = re.compile(r"blake3:[0-9a-f]{64}")
_MOST_TEXT: Final = 1024
_MOST_ROUND: Final = 999_999_999


@dataclass(frozen=True, slots=True)
class ModelAddress:
    """A round's model.

    Parameters
    ----------
    run : str
        The run's name in the store.
    round : int
        Its number there; Flower's own rounds are counted apart.
    root : str
        Content root of the model.
    key : str
        The name that the ArrayRecord had in the message.
    store : str
        The store, as clients reach it; empty where they know it themselves.
    """

    run: str
    round: int
    root: str
    key: str
    store: str = ""

    def record(self) -> ConfigRecord:
        """Return what goes into a message."""
        facts = {"run": self.run, "round": self.round, "root": self.root, "key": self.key}
        return ConfigRecord(facts | ({"store": self.store} if self.store else {}))

    @classmethod
    def of(cls, record: object) -> Self:
        """Return what a message says.

        Raises
        ------
        Malformed
            If it is no address.
        """
        facts = _facts(record)
        return cls(
            _text(facts, "run"),
            _round(facts),
            _root(facts, "root"),
            _text(facts, "key"),
            _text(facts, "store", "") if "store" in facts else "",
        )


@dataclass(frozen=True, slots=True)
class UpdateAddress:
    """A client's update.

    Parameters
    ----------
    client : int
        Whose it is, as the client says.
    root : str
        Content root of the update.
    key : str
        The name that the ArrayRecord had in the reply.
    """

    client: int
    root: str
    key: str

    def record(self) -> ConfigRecord:
        """Return what goes into a reply."""
        return ConfigRecord({"client": str(self.client), "root": self.root, "key": self.key})

    @classmethod
    def of(cls, record: object) -> Self:
        """Return what a reply says.

        Raises
        ------
        Malformed
            If it is no address.
        """
        facts = _facts(record)
        client = _text(facts, "client")
        if not (client.isascii() and client.isdigit() and len(client) <= len(str(MOST_CLIENT))):
            raise Malformed("an address in a message: a client that is no number below 2^64")
        if int(client) > MOST_CLIENT:
            raise Malformed("an address in a message: a client that is no number below 2^64")
        return cls(int(client), _root(facts, "root"), _text(facts, "key"))


def told_store(store: str) -> str:
    """Return an address of a store that may stand in messages.

    Raises
    ------
    InvalidArgument
        If it has a password, or something else that is nobody's business.
    """
    parts = urlsplit(store)
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise InvalidArgument(
            "clients would be told a store with a password, or what may be one",
            hint="name the place alone; clients have storage_options of their own",
        )
    if not 0 < len(store) <= _MOST_TEXT:
        raise InvalidArgument(f"a store of {len(store)} characters", hint="give 1 to 1024")
    return store


def _facts(record: object) -> Mapping[str, Any]:
    if not isinstance(record, ConfigRecord):
        raise Malformed(f"an address in a message: {KEY!r} is no ConfigRecord")
    facts: Mapping[str, Any] = record
    return facts


def _text(facts: Mapping[str, Any], name: str, default: str | None = None) -> str:
    value = facts.get(name, default)
    if not isinstance(value, str) or not 0 < len(value) <= _MOST_TEXT:
        raise Malformed(f"an address in a message: {name!r} is no text of 1 to {_MOST_TEXT}")
    return value


def _root(facts: Mapping[str, Any], name: str) -> str:
    value = _text(facts, name)
    if _ROOT.fullmatch(value) is None:
        raise Malformed(f"an address in a message: {name!r} is no content root")
    return value


def _round(facts: Mapping[str, Any]) -> int:
    value = facts.get("round")
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= _MOST_ROUND:
        raise Malformed("an address in a message: 'round' is no number of a round")
    return value
