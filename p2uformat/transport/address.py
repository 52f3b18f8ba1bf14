"""Where an artifact lies: a path of this machine, or a URL that fsspec knows."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Self
from urllib.parse import unquote, urlsplit

from p2uformat.errors import InvalidArgument
from p2uformat.files import path_text

__all__ = ["Address", "StorageOptions"]

StorageOptions = Mapping[str, Any]
"""What fsspec calls so: credentials, endpoints and the like, as its file systems take them."""

# A drive letter is no protocol; chained URLs of fsspec ("zip://a::s3://b") start with one.
_URL: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://|([A-Za-z][A-Za-z0-9+.-]+)::")
_LOCAL: Final = frozenset({"file", "local"})


@dataclass(frozen=True, slots=True)
class Address:
    """A URL, with what is needed to reach it.

    Parameters
    ----------
    url : str
        As given, credentials included.
    options : mapping
        Storage options.

    Examples
    --------
    >>> Address("https://me:secret@host/m.p2u?signature=abc").name
    'https://host/m.p2u?...'
    """

    url: str
    options: StorageOptions = field(default_factory=dict)

    @classmethod
    def of(cls, place: str | os.PathLike[str], options: StorageOptions | None = None) -> Self | str:
        """Return the address that a text is, or the path.

        Raises
        ------
        InvalidArgument
            If it is neither.

        Examples
        --------
        >>> Address.of("models/m.p2u"), Address.of("file:///m%20u.p2u")
        ('models/m.p2u', '/m u.p2u')
        >>> Address.of("s3://bucket/m.p2u").url
        's3://bucket/m.p2u'
        """
        text = path_text(place)
        protocol = protocol_of(text)
        if protocol is None:
            return text
        if protocol in _LOCAL:
            return _local_path(text)
        return cls(text, dict(options or {}))

    @property
    def name(self) -> str:
        """The URL for messages: without user, password, and signature."""
        parts = urlsplit(self.url)
        host = parts.netloc.rpartition("@")[2]
        name = f"{parts.scheme}://{host}{parts.path}"
        return f"{name}?..." if parts.query else name

    @property
    def protocol(self) -> str:
        """Its first protocol, in lower case."""
        found = protocol_of(self.url)
        assert found is not None
        return found


def protocol_of(text: str) -> str | None:
    """Return the protocol of a URL; None for a path.

    Examples
    --------
    >>> protocol_of("C:/models/m.p2u"), protocol_of("S3://b/m.p2u")
    (None, 's3')
    """
    found = _URL.match(text)
    return None if found is None else (found[1] or found[2]).lower()


def _local_path(text: str) -> str:
    parts = urlsplit(text)
    if parts.netloc not in ("", "localhost"):
        raise InvalidArgument(
            f"not a path of this machine: {text!r}", hint="write file:///folder/file"
        )
    path = unquote(parts.path)
    # file:///C:/m.p2u
    return path_text(path[1:] if re.match(r"/[A-Za-z]:", path) else path)
