"""Addresses in stores: ``STORE#name``, ``STORE#name@3``, ``STORE#blake3:...``."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Self

from p2uformat.digest import from_text, to_text
from p2uformat.errors import InvalidArgument
from p2uformat.files import path_text
from p2uformat.store.keys import check_name
from p2uformat.transport.address import Address, protocol_of

__all__ = ["StoreAddress"]

_SEQ: Final = re.compile(r"(.*)@([0-9]{1,16})")
_ROOT: Final = re.compile(r"blake3:[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class StoreAddress:
    """An artifact in a store.

    Parameters
    ----------
    store : str
        The store: a path or URL.
    name : str or None
        The name; None if the artifact is given by its root.
    seq : int or None
        The number of the version; None for the current one.
    root : bytes or None
        The content root.
    options : mapping
        Storage options.

    Examples
    --------
    >>> StoreAddress.of("s3://models/llm#chat@3")
    StoreAddress(store='s3://models/llm', name='chat', seq=3, root=None, options={})
    >>> StoreAddress.of("model.p2u") is None
    True
    """

    store: str
    name: str | None = None
    seq: int | None = None
    root: bytes | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(
        cls, place: str | os.PathLike[str], options: Mapping[str, Any] | None = None
    ) -> Self | None:
        """Return the address that a text is; None if it names no artifact in a store.

        A ``#`` may stand in the name of a file too: a file that is there is meant as such.

        Raises
        ------
        InvalidArgument
            If it is one, but not well formed.
        """
        text = path_text(place)
        store, mark, which = text.rpartition("#")
        if not mark or not store:
            return None
        if protocol_of(text) is None and os.path.lexists(text):
            return None
        if _ROOT.fullmatch(which):
            return cls(store, root=from_text(which), options=dict(options or {}))
        name, seq = _parts(which)
        try:
            check_name(name)
        except InvalidArgument as error:
            raise InvalidArgument(
                f"{_shown(store)}#{which}: {error.message}", hint=error.hint
            ) from None
        if seq == 0:
            raise InvalidArgument(f"{which!r}: versions count from 1")
        return cls(store, name, seq, options=dict(options or {}))

    @property
    def text(self) -> str:
        """The address for messages, without secrets."""
        if self.root is not None:
            which = to_text(self.root)
        else:
            which = self.name or ""
            which += "" if self.seq is None else f"@{self.seq}"
        return f"{_shown(self.store)}#{which}"


def _parts(which: str) -> tuple[str, int | None]:
    found = _SEQ.fullmatch(which)
    return (which, None) if found is None else (found[1], int(found[2]))


def _shown(store: str) -> str:
    return store if protocol_of(store) is None else Address(store).name
