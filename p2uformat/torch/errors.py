"""What only goes wrong where there are modules."""

from __future__ import annotations

from typing import ClassVar

import p2uformat

__all__ = ["ModuleMismatch", "StreamCancelled"]


class ModuleMismatch(p2uformat.InvalidArgument):
    """A module and an artifact whose tensors do not fit. The module is as it was.

    Attributes
    ----------
    missing, unexpected : tuple of str
        Names that only the module has, and that only the artifact has.

    Examples
    --------
    >>> ModuleMismatch("no 'head.bias'", missing=("head.bias",)).missing
    ('head.bias',)
    """

    code: ClassVar[str] = "module-mismatch"

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        missing: tuple[str, ...] = (),
        unexpected: tuple[str, ...] = (),
    ) -> None:
        super().__init__(message, hint=hint)
        self.missing = missing
        self.unexpected = unexpected


class StreamCancelled(p2uformat.P2UError):
    """A stream that was cancelled before what is asked of it. The module is at its last tier."""

    code: ClassVar[str] = "stream-cancelled"
