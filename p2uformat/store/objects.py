"""What a store needs of the place where its objects lie (SPEC.md, 20)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from p2uformat.reading import Reader

__all__ = ["Objects", "Probe", "Stat"]


@dataclass(frozen=True, slots=True)
class Stat:
    """An object as a listing shows it.

    Parameters
    ----------
    key : str
        Its key, below the store's place.
    size : int
        Bytes.
    modified : float
        When it was last written, in seconds since 1970 by the clock of the place.
    """

    key: str
    size: int
    modified: float


@dataclass(frozen=True, slots=True)
class Probe:
    """What a place was found to do.

    Parameters
    ----------
    conditions : bool
        Whether it refuses to create what is there: without that only one writer can be let in.
    ranges : bool
        Whether it gives parts of objects.
    """

    conditions: bool
    ranges: bool


class Objects(Protocol):
    """Objects by key, below one place.

    Keys are relative and `/`-separated. Every method may be called from any thread, waits for the
    answer, tries again where that may help, and raises errors of `P2UError`'s tree only:
    `NotFound`, `AccessDenied`, `TransferFailed`, `StoreUnavailable`.
    """

    @property
    def name(self) -> str:
        """The place in messages, without secrets."""

    def get(self, key: str, *, most: int) -> bytes:
        """Return an object.

        Raises
        ------
        NotFound
            If there is none.
        LimitExceeded
            If it has more than `most` bytes; so many are not read.
        """

    def create(self, key: str, data: bytes) -> bool:
        """Write an object if its key is free, at once or not at all, and so that it lasts.

        Returns
        -------
        bool
            Whether the object has these bytes now: also if an earlier try wrote it and only its
            answer was lost. False if the key was taken, by other bytes.
        """

    def put(self, key: str, data: bytes) -> None:
        """Write an object, whether or not its key is free."""

    def delete(self, keys: Sequence[str]) -> None:
        """Delete objects; those that are not there do not matter."""

    def scan(self, prefix: str) -> list[Stat]:
        """Return all objects below a prefix that ends in ``/``, by key; never a stale list."""

    def now(self) -> float:
        """Return the time by the clock of the place, of about this moment."""

    def reader(self, key: str) -> Reader:
        """Return an object to be read by ranges; it is reached when something is read."""

    def probe(self, key: str, data: bytes) -> Probe:
        """Find out what the place does, by an object that is there.

        Parameters
        ----------
        key : str
            The object.
        data : bytes
            What it holds; a place that keeps no conditions replaces it by the same.
        """
