"""The object that makes a place a store (SPEC.md, 20)."""

from __future__ import annotations

import json
from typing import Final

from p2uformat.errors import Malformed, NotFound, UnsupportedFormat
from p2uformat.store.keys import MARKER
from p2uformat.store.objects import Objects, Probe

__all__ = ["check_marker", "prepare"]

VERSION: Final = 1
_FORMAT: Final = "p2u-store"
_MOST_BYTES: Final = 1 << 16
_NEW: Final = (json.dumps({"format": _FORMAT, "version": VERSION}) + "\n").encode()


def check_marker(objects: Objects) -> bytes:
    """Return the marker of a store that this reader knows.

    Raises
    ------
    NotFound
        If the place is no store.
    UnsupportedFormat
        If it is one of a newer format.
    Malformed
        If the marker is something else.
    """
    try:
        data = objects.get(MARKER, most=_MOST_BYTES)
    except NotFound as error:
        raise NotFound(
            f"{objects.name!r} is no store: it has no {MARKER}",
            hint="p2u push makes one where it writes for the first time; check the address",
        ) from error
    try:
        value = json.loads(data)
    except ValueError:
        value = None
    if not isinstance(value, dict) or value.get("format") != _FORMAT:
        raise Malformed(f"{MARKER} is not a store's", artifact=objects.name, region="store")
    version = value.get("version")
    if version != VERSION:
        raise UnsupportedFormat(
            f"{objects.name!r}: store format version {version}, this reader knows {VERSION}",
            hint="install a newer p2uformat",
        )
    return data


def prepare(objects: Objects) -> Probe:
    """Make a place a store if it is none, and find out what it does.

    Raises
    ------
    AccessDenied, StoreUnavailable
        If it cannot be written.
    UnsupportedFormat, Malformed
        If it is a store of a newer format, or something else.
    """
    try:
        data = check_marker(objects)
    except NotFound:
        objects.create(MARKER, _NEW)
        data = check_marker(objects)
    return objects.probe(MARKER, data)
