"""What a harness is: one parser, the rules that hold for any bytes, and how to mutate them well."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from random import Random
from typing import Any

from p2uformat.errors import CorruptData, Incomplete, UnsupportedFormat

MUTATE = Callable[[bytes, int], bytes]  # atheris.Mutate, or what stands in for it
REFUSED = (CorruptData, UnsupportedFormat, Incomplete)  # all that a parser of the format may raise
_LEAST_ROOM = 1 << 21
_ROOM_PER_BYTE = 256


@dataclass(frozen=True, slots=True)
class Form:
    """How an input is taken apart and put together again, every length and digest right.

    Parameters
    ----------
    open, close : callable
        From bytes to nested lists and maps, and back. What cannot be opened is mutated as bytes.
    change : callable, optional
        Changes an opened value; by default any item anywhere in it.
    mend : callable, optional
        Makes the parts of a changed value agree again, so that what lies behind the check of one
        with the other is reached.
    """

    open: Callable[[bytes], Any]
    close: Callable[[Any], bytes]
    change: Callable[[Any, Random, MUTATE], Any] | None = None
    mend: Callable[[Any], Any] | None = None


def room_of_manifest(data: bytes) -> int:
    """Return what a parser may allocate that builds no more than it was given."""
    return _LEAST_ROOM + _ROOM_PER_BYTE * len(data)


@dataclass(frozen=True, slots=True)
class Harness:
    """One parser under test.

    Parameters
    ----------
    name : str
        Of its corpus, its findings, and on the command line.
    run : callable
        Parses any bytes; returns whether they were accepted, and raises for a finding.
    seeds : callable
        Returns inputs to begin with.
    weight : int
        Its share of all executions: cheap parsers get many.
    form : Form, optional
        Its structure; None for bytes without one.
    most : int
        Length of an input.
    room : callable
        Returns how many bytes an input may make the parser allocate.
    blind : bool
        Whether compiled code does the work, of which coverage says nothing: all seeds stay then.
    """

    name: str
    run: Callable[[bytes], bool]
    seeds: Callable[[], Iterable[bytes]]
    weight: int
    form: Form | None = None
    most: int = 4096
    room: Callable[[bytes], int] = room_of_manifest
    blind: bool = False


class FindingError(AssertionError):
    """A rule that did not hold."""


def expect(holds: object, rule: str) -> None:
    """Raise a `FindingError` unless a rule holds; unlike `assert` it is not optimised away."""
    if not holds:
        raise FindingError(rule)
