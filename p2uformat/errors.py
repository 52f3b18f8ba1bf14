"""One tree of errors: damage apart from misuse, misuse apart from the outside world.

::

    P2UError
    ├── InvalidArgument             the caller asked for something that makes no sense
    │   ├── DestinationExists       would overwrite
    │   └── InvalidSource           the input is not a sound safetensors file
    ├── NotFound                    no such file
    │   ├── TensorNotFound
    │   └── TierNotFound
    ├── StoreUnavailable            the outside world failed: permissions, disk full, I/O
    │   ├── AccessDenied            it is there, but not for us
    │   └── TransferFailed          a server does not send what was asked for
    │       ├── RangesIgnored       it sends the whole object instead of a part
    │       └── SourceChanged       the object was replaced while it was read
    ├── CorruptData                 bytes that are not what they claim to be
    │   ├── DigestMismatch
    │   ├── LimitExceeded
    │   ├── NonCanonical
    │   └── Malformed
    ├── RootMismatch                a sound artifact, but another one than expected
    │   └── ParentMismatch
    ├── UnsupportedFormat           a newer version, or a feature this reader does not know
    │   └── NotAnArtifact
    ├── Incomplete                  cut off: the whole, or the tier asked for, is not there
    │   └── ParentRequired
    └── Conflict                    somebody else writes to the same store
        ├── VersionConflict         and made another version first
        ├── LeaseLost               and took this writer for dead
        └── SeveralWriters          where only one at a time is safe

Nothing else leaves the library: foreign exceptions are mapped at the edge where they arise.
"""

# The names say what happened; "Error" would say nothing more.
# ruff: noqa: N818

from __future__ import annotations

import errno as _errno
import os
from typing import ClassVar, Self

__all__ = [
    "AccessDenied",
    "Conflict",
    "CorruptData",
    "DestinationExists",
    "DigestMismatch",
    "Incomplete",
    "InvalidArgument",
    "InvalidSource",
    "LeaseLost",
    "LimitExceeded",
    "Malformed",
    "NonCanonical",
    "NotAnArtifact",
    "NotFound",
    "P2UError",
    "ParentMismatch",
    "ParentRequired",
    "RangesIgnored",
    "RootMismatch",
    "SeveralWriters",
    "SourceChanged",
    "StoreUnavailable",
    "TensorNotFound",
    "TierNotFound",
    "TransferFailed",
    "UnsupportedFormat",
    "VersionConflict",
    "from_os_error",
]


class P2UError(Exception):
    """Root of every error this library raises.

    Parameters
    ----------
    message : str
        Lower case, with the facts.
    hint : str, optional
        What to do about it; printed on a line of its own.

    Attributes
    ----------
    code : str
        Stable name of the error class, for programs.
    message, hint : str
        As given.

    Examples
    --------
    >>> print(InvalidArgument("tier 'q5' comes twice", hint="name each tier once"))
    tier 'q5' comes twice
    name each tier once
    >>> InvalidArgument.code
    'invalid-argument'
    """

    code: ClassVar[str] = "error"

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def _line(self) -> str:
        return self.message

    def __str__(self) -> str:
        return f"{self._line()}\n{self.hint}" if self.hint else self._line()


class InvalidArgument(P2UError):
    """An argument that makes no sense."""

    code: ClassVar[str] = "invalid-argument"


class DestinationExists(InvalidArgument):
    """The destination exists and overwriting was not asked for."""

    code: ClassVar[str] = "destination-exists"


class InvalidSource(InvalidArgument):
    """The checkpoint to read is not a sound safetensors file."""

    code: ClassVar[str] = "invalid-source"


class NotFound(P2UError):
    """A file that is not there."""

    code: ClassVar[str] = "not-found"


class TensorNotFound(NotFound):
    """No tensor of this name, or none that matches the pattern."""

    code: ClassVar[str] = "tensor-not-found"


class TierNotFound(NotFound):
    """The artifact has no tier of this name."""

    code: ClassVar[str] = "tier-not-found"


class StoreUnavailable(P2UError):
    """The outside world failed: permissions, a full disk, a broken device.

    Attributes
    ----------
    path : str or None
        What was read or written.
    errno : int or None
        The system's error number.
    """

    code: ClassVar[str] = "store-unavailable"

    def __init__(
        self, message: str, *, hint: str = "", path: str | None = None, errno: int | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.path = path
        self.errno = errno


class AccessDenied(StoreUnavailable):
    """Something is there, but may not be read."""

    code: ClassVar[str] = "access-denied"


class TransferFailed(StoreUnavailable):
    """A server, or the way to it, does not give what was asked for, however often it was asked."""

    code: ClassVar[str] = "transfer-failed"


class RangesIgnored(TransferFailed):
    """A server sends whole objects only, and a part was needed."""

    code: ClassVar[str] = "ranges-ignored"


class SourceChanged(TransferFailed):
    """The object that is read is not the one that was opened."""

    code: ClassVar[str] = "source-changed"


class CorruptData(P2UError):
    """Bytes that are not what they claim to be.

    Attributes
    ----------
    artifact, file, tensor, tier : str or None
        What was being read; `file` is a path in the artifact.
    elements : tuple of int or None
        Half-open element range of the tensor.
    region : str or None
        ``header``, ``root``, ``page``, ``table``, ``chunk``, ``layer`` or ``trailing``.
    offset : int or None
        Where in the file the damaged piece starts.
    expected, got : str or None
        Usually digests.
    """

    code: ClassVar[str] = "corrupt-data"

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        artifact: str | None = None,
        tensor: str | None = None,
        tier: str | None = None,
        elements: tuple[int, int] | None = None,
        region: str | None = None,
        offset: int | None = None,
        expected: str | None = None,
        got: str | None = None,
        file: str | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.artifact = artifact
        self.file = file
        self.tensor = tensor
        self.tier = tier
        self.elements = elements
        self.region = region
        self.offset = offset
        self.expected = expected
        self.got = got

    def locate(
        self,
        *,
        artifact: str | None = None,
        tensor: str | None = None,
        tier: str | None = None,
        elements: tuple[int, int] | None = None,
        region: str | None = None,
        offset: int | None = None,
    ) -> Self:
        """Fill in where the damage is, as far as it is not known yet, and return the error itself.

        Who decodes a payload knows what is wrong with it; only who fetched it knows where it lay.

        Examples
        --------
        >>> print(Malformed("segment count is 3, expected 4").locate(tensor="w", tier="q4"))
        segment count is 3, expected 4 (tensor 'w', tier q4)
        """
        self.artifact = self.artifact if self.artifact is not None else artifact
        self.tensor = self.tensor if self.tensor is not None else tensor
        self.tier = self.tier if self.tier is not None else tier
        self.elements = self.elements if self.elements is not None else elements
        self.region = self.region if self.region is not None else region
        self.offset = self.offset if self.offset is not None else offset
        return self

    def _line(self) -> str:
        where = ", ".join(self._where())
        return f"{self.message} ({where})" if where else self.message

    def _where(self) -> list[str]:
        parts = []
        if self.artifact is not None:
            parts.append(f"artifact {self.artifact!r}")
        if self.tensor is not None:
            parts.append(f"tensor {self.tensor!r}")
        if self.tier is not None:
            parts.append(f"tier {self.tier}")
        if self.elements is not None:
            parts.append(f"elements {self.elements[0]}:{self.elements[1]}")
        if self.offset is not None:
            parts.append(f"{self.region or 'byte'} at offset {self.offset}")
        elif self.region is not None:
            parts.append(self.region)
        return parts


class DigestMismatch(CorruptData):
    """Bytes differ from the digest that names them."""

    code: ClassVar[str] = "digest-mismatch"


class LimitExceeded(CorruptData):
    """A value above a limit of SPEC.md, section 12."""

    code: ClassVar[str] = "limit-exceeded"


class NonCanonical(CorruptData):
    """A value in another than its one encoding."""

    code: ClassVar[str] = "non-canonical"


class Malformed(CorruptData):
    """A structure that breaks a rule of SPEC.md."""

    code: ClassVar[str] = "malformed"


class RootMismatch(P2UError):
    """A sound artifact, but not the expected one.

    Attributes
    ----------
    expected, got : str or None
        Content roots.
    """

    code: ClassVar[str] = "root-mismatch"

    def __init__(
        self, message: str, *, hint: str = "", expected: str | None = None, got: str | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.expected = expected
        self.got = got


class ParentMismatch(RootMismatch):
    """None of the parents at hand is the one that an artifact needs."""

    code: ClassVar[str] = "parent-mismatch"


class UnsupportedFormat(P2UError):
    """A newer major version, an unknown flag, feature, quantizer or codec."""

    code: ClassVar[str] = "unsupported-format"


class NotAnArtifact(UnsupportedFormat):
    """The file does not start with the magic of a p2u file."""

    code: ClassVar[str] = "not-an-artifact"


class Incomplete(P2UError):
    """The file is cut off before what was asked for.

    Attributes
    ----------
    complete : tuple of str
        Tiers that are whole, base first.
    tier : str or None
        The tier asked for.
    """

    code: ClassVar[str] = "incomplete"

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        complete: tuple[str, ...] = (),
        tier: str | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.complete = complete
        self.tier = tier


class ParentRequired(Incomplete):
    """An artifact that is stored as differences, without the one that it differs from.

    Attributes
    ----------
    parent : str or None
        Content root of the artifact that is needed.
    """

    code: ClassVar[str] = "parent-required"

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        complete: tuple[str, ...] = (),
        tier: str | None = None,
        parent: str | None = None,
    ) -> None:
        super().__init__(message, hint=hint, complete=complete, tier=tier)
        self.parent = parent


_ABSENT = frozenset({_errno.ENOENT, _errno.ENOTDIR})


class Conflict(P2UError):
    """Somebody else writes to the same store."""

    code: ClassVar[str] = "conflict"


class VersionConflict(Conflict):
    """Another version of the name was made first.

    Attributes
    ----------
    expected, got : int or None
        The last version as it should be, and as it is.
    """

    code: ClassVar[str] = "version-conflict"

    def __init__(
        self, message: str, *, hint: str = "", expected: int | None = None, got: int | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.expected = expected
        self.got = got


class LeaseLost(Conflict):
    """A collector took this writer for dead, so that what it relies on may be gone."""

    code: ClassVar[str] = "lease-lost"


class SeveralWriters(Conflict):
    """Another writer is at work, in a place where only one at a time is safe."""

    code: ClassVar[str] = "several-writers"


def from_os_error(error: OSError, action: str, path: str | os.PathLike[str]) -> P2UError:
    """Map an operating system error to `NotFound` or `StoreUnavailable`.

    Examples
    --------
    >>> print(from_os_error(FileNotFoundError(2, "No such file or directory"), "open", "a.p2u"))
    cannot open 'a.p2u': no such file or directory
    """
    name = os.fspath(path)
    reason = (error.strerror or str(error) or type(error).__name__).lower()
    message = f"cannot {action} {name!r}: {reason}"
    if error.errno in _ABSENT:
        return NotFound(message)
    full = error.errno in (_errno.ENOSPC, _errno.EDQUOT)
    hint = "free some space, or choose another place" if full else ""
    return StoreUnavailable(message, hint=hint, path=name, errno=error.errno)
