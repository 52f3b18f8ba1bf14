"""Where the format and the store meet: artifacts in stores, read as the files that they are."""

from __future__ import annotations

from p2uformat.stored.address import StoreAddress
from p2uformat.stored.place import StoredPlace

__all__ = ["StoreAddress", "StoredPlace"]
