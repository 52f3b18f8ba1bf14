"""Keys of the objects of a store (SPEC.md, 20)."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from typing import Final, Self

from p2uformat.digest import DIGEST_BYTES
from p2uformat.errors import InvalidArgument, Malformed
from p2uformat.wire import as_array, as_bytes, as_int

__all__ = [
    "CLOCK",
    "COLLECTIONS",
    "ID_BYTES",
    "INDEX",
    "MARKER",
    "PACKS",
    "PINS",
    "REFS",
    "ROOTS",
    "PackId",
    "bundle_key",
    "bundle_writer",
    "check_key",
    "check_name",
    "end_key",
    "is_key",
    "new_id",
    "packs_of",
    "pin_key",
    "record_key",
    "record_of",
    "ref_key",
    "ref_of",
    "writer_in",
]

MARKER: Final = "p2u.json"
PACKS: Final = "packs/"
META: Final = "meta/"
ROOTS: Final = "roots/"
REFS: Final = "refs/"
PINS: Final = "pins/"
COLLECTIONS: Final = "gc/"
INDEX: Final = "index/"
CLOCK: Final = "clock/"

ID_BYTES: Final = 16
MOST_PACKS: Final = 999_999
MOST_GENERATIONS: Final = 99_999_999
MOST_VERSIONS: Final = 9_999_999_999_999_999

_PART: Final = re.compile(r"(?![0-9]{16}\Z)[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_PARTS: Final = 8
_KEY: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*")
_REF: Final = re.compile(r"refs/(.+)/([0-9]{16})")
_BUNDLE: Final = re.compile(r"meta/([0-9a-f]{2})/(\1[0-9a-f]{30})")
_RECORD: Final = re.compile(r"roots/([0-9a-f]{64})/([0-9]{8})")
_PIN: Final = re.compile(r"pins/([0-9a-f]{32})\.(?:[0-9]{4}|end)")
_PACK: Final = re.compile(r"packs/([0-9a-f]{2})/(\1[0-9a-f]{30})/([0-9]{6})")


def new_id() -> bytes:
    """Return an id that nobody has used.

    Examples
    --------
    >>> len(new_id())
    16
    """
    return secrets.token_bytes(ID_BYTES)


def is_key(text: str) -> bool:
    """Return whether a text may be a key: whatever it says, it leads nowhere else.

    Examples
    --------
    >>> is_key("packs/ab/000001"), is_key("../secret"), is_key(".p2u-0.tmp")
    (True, False, False)
    """
    return _KEY.fullmatch(text) is not None


def check_key(key: str) -> str:
    """Return a key that leads nowhere else.

    Raises
    ------
    InvalidArgument
        If it is none.
    """
    if not is_key(key):
        raise InvalidArgument(f"not a key of a store: {key!r}")
    return key


def check_name(name: str) -> str:
    """Return a name that an artifact may have in a store.

    Raises
    ------
    InvalidArgument
        If it is none.

    Examples
    --------
    >>> check_name("team/minilm-l6.v2")
    'team/minilm-l6.v2'
    >>> check_name("../x")
    Traceback (most recent call last):
    p2uformat.errors.InvalidArgument: not a name for a store: '../x'
    a name is up to eight parts with / between them, each of letters, digits, '.', '_' and '-'
    """
    parts = name.split("/")
    if len(parts) > _PARTS or not all(map(_PART.fullmatch, parts)):
        raise InvalidArgument(
            f"not a name for a store: {name!r}",
            hint="a name is up to eight parts with / between them, each of letters, digits,"
            " '.', '_' and '-'",
        )
    return name


@dataclass(frozen=True, slots=True, order=True)
class PackId:
    """The name of a pack.

    Parameters
    ----------
    writer : bytes
        Id of who wrote it.
    number : int
        Its number among those.
    """

    writer: bytes
    number: int

    @property
    def key(self) -> str:
        """Its key."""
        return f"{packs_of(self.writer)}{self.number:06d}"

    def to_value(self) -> list[object]:
        """Return what is encoded."""
        return [self.writer, self.number]

    @classmethod
    def from_value(cls, value: object) -> Self:
        """Return the name that `value` describes."""
        items = as_array(value, "pack", length=2)
        return cls(
            as_bytes(items[0], "pack", length=ID_BYTES),
            as_int(items[1], "pack number", high=MOST_PACKS),
        )

    @classmethod
    def from_key(cls, key: str) -> Self | None:
        """Return the name that a key stands for; None if it is no pack's."""
        found = _PACK.fullmatch(key)
        return None if found is None else cls(bytes.fromhex(found[2]), int(found[3]))


def packs_of(writer: bytes) -> str:
    """Return the prefix of the keys of the packs that somebody wrote."""
    text = writer.hex()
    return f"{PACKS}{text[:2]}/{text}/"


def bundle_key(writer: bytes) -> str:
    """Return the key of a bundle."""
    text = writer.hex()
    return f"{META}{text[:2]}/{text}"


def record_key(root: bytes, generation: int) -> str:
    """Return the key of a record."""
    if len(root) != DIGEST_BYTES or not 0 <= generation <= MOST_GENERATIONS:
        raise Malformed(f"no record can have the generation {generation}")
    return f"{ROOTS}{root.hex()}/{generation:08d}"


def ref_key(name: str, seq: int) -> str:
    """Return the key of a version of a name."""
    if not 1 <= seq <= MOST_VERSIONS:
        raise InvalidArgument(f"versions count from 1, got {seq}")
    return f"{REFS}{check_name(name)}/{seq:016d}"


def ref_of(key: str) -> tuple[str, int] | None:
    """Return the name and number that a key stands for; None if it is no ref's.

    Examples
    --------
    >>> ref_of(ref_key("team/m", 3))
    ('team/m', 3)
    """
    found = _REF.fullmatch(key)
    if found is None or not all(map(_PART.fullmatch, found[1].split("/"))):
        return None
    return found[1], int(found[2])


def pin_key(writer: bytes, number: int) -> str:
    """Return the key of a pin."""
    return f"{PINS}{writer.hex()}.{number:04d}"


def end_key(writer: bytes) -> str:
    """Return the key of the end of a writer's pins."""
    return f"{PINS}{writer.hex()}.end"


def writer_in(key: str) -> bytes | None:
    """Return the writer whose pin, or end, a key stands for; None if it is neither.

    Examples
    --------
    >>> writer_in(pin_key(b"w" * 16, 0)) == writer_in(end_key(b"w" * 16)) == b"w" * 16
    True
    """
    found = _PIN.fullmatch(key)
    return None if found is None else bytes.fromhex(found[1])


def bundle_writer(key: str) -> bytes | None:
    """Return the id of the bundle that a key stands for; None if it is no bundle's.

    Examples
    --------
    >>> bundle_writer(bundle_key(b"w" * 16)) == b"w" * 16
    True
    """
    found = _BUNDLE.fullmatch(key)
    return None if found is None else bytes.fromhex(found[2])


def record_of(key: str) -> tuple[bytes, int] | None:
    """Return the content root and generation that a key stands for; None if it is no record's.

    Examples
    --------
    >>> record_of(record_key(b"r" * 32, 7)) == (b"r" * 32, 7)
    True
    """
    found = _RECORD.fullmatch(key)
    return None if found is None else (bytes.fromhex(found[1]), int(found[2]))
