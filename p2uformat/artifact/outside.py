"""Sources and results that lie behind URLs: brought here before, sent there after."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from p2uformat.artifact.types import Progress
from p2uformat.errors import InvalidArgument
from p2uformat.transport import Address, StorageOptions

__all__ = ["brought", "written"]

Callback = Callable[[Progress], None]


@contextmanager
def written(
    destination: str | os.PathLike[str], options: StorageOptions | None, *, overwrite: bool
) -> Iterator[str | os.PathLike[str]]:
    """Yield where to write something: the destination, or a place whose content goes there after.

    What goes to a URL is made in the folder for temporary files first, whole; an object appears in
    a store at once or not at all.

    Raises
    ------
    DestinationExists
        If the destination is a URL where something is, and that may not be replaced.
    AccessDenied, StoreUnavailable
        If it cannot be written.
    """
    _refuse_store(destination)
    place = Address.of(destination, options)
    if not isinstance(place, Address):
        yield place
        return
    from p2uformat.transport.files import refuse_taken, send  # noqa: PLC0415 - has an event loop

    if not overwrite:
        refuse_taken(place)
    with tempfile.TemporaryDirectory(prefix="p2u-") as folder:
        made = Path(folder, "result")
        slash = os.sep if place.url.endswith("/") else ""
        yield f"{os.fspath(made)}{slash}"
        send(made, place)


def _refuse_store(destination: str | os.PathLike[str]) -> None:
    """Refuse an address in a store, which is no place for a file."""
    if "#" not in os.fsdecode(destination):
        return
    from p2uformat.stored.address import StoreAddress  # noqa: PLC0415 - not for files

    address = StoreAddress.of(destination)
    if address is not None:
        raise InvalidArgument(
            f"{address.text!r} is a name in a store, which takes artifacts only",
            hint="write to a file, and use p2u push",
        )


@contextmanager
def brought(
    source: str | os.PathLike[str], options: StorageOptions | None, progress: Callback | None
) -> Iterator[str | os.PathLike[str]]:
    """Yield a checkpoint on this machine: the one given, or a copy of what is behind a URL.

    Raises
    ------
    NotFound, AccessDenied, TransferFailed
        If it cannot be read.
    """
    place = Address.of(source, options)
    if not isinstance(place, Address):
        yield place
        return
    from p2uformat.transport.files import bring  # noqa: PLC0415 - has an event loop

    def tell(done: int, total: int) -> None:
        if progress is not None:
            progress(Progress("bring", done, total))

    # It is read twice, and in small pieces: what is far away is copied once.
    with tempfile.TemporaryDirectory(prefix="p2u-") as folder:
        yield bring(place, Path(folder), tell)
