"""From the place of a store to its objects."""

from __future__ import annotations

import os

from p2uformat.store.local import LocalObjects
from p2uformat.store.objects import Objects
from p2uformat.store.remote import RemoteObjects
from p2uformat.transport import Address, StorageOptions

__all__ = ["open_objects"]


def open_objects(place: str | os.PathLike[str], options: StorageOptions | None = None) -> Objects:
    """Return the objects at a place; nothing is asked for yet.

    Parameters
    ----------
    place : str or os.PathLike
        A folder, or a URL.
    options : mapping, optional
        Storage options.

    Examples
    --------
    >>> open_objects("/srv/models").name
    '/srv/models'
    """
    address = Address.of(place, options)
    return RemoteObjects(address) if isinstance(address, Address) else LocalObjects(address)
