"""What each failure means to the shell, and to a program that reads ``--json``.

This is the one place where errors become exit codes. It looks at classes of the public error
tree, never at messages, so that a new subclass keeps the code of its parent.
"""

# ruff: noqa: PLC0415 - what is slow to import is imported where it is used: --help stays quick

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Protocol, runtime_checkable

from p2u_cli.escape import defuse

# The facts that every report of damage has, present (as null) even where nothing is known.
DAMAGE_FACTS = ("file", "tensor", "tier", "elements", "region", "offset", "expected", "got")

REPORT_HINT = (
    "this is a mistake in p2u: please report it, with the output of the same command "
    "under P2U_TRACEBACK=1"
)


class ExitCode(IntEnum):
    """The exit codes of ``p2u``; docs/cli.md lists the same."""

    OK = 0
    INTERNAL = 1
    USAGE = 2
    DAMAGED = 3
    NOT_FOUND = 4
    UNSUPPORTED = 5
    INCOMPLETE = 6
    CONFLICT = 7
    INTERRUPTED = 130


@runtime_checkable
class ParserError(Protocol):
    """What the command-line parser raises; its class is private in newer releases of typer."""

    exit_code: int

    def format_message(self) -> str:
        """Say what was wrong with the arguments."""


@dataclass(frozen=True, slots=True)
class Failure:
    """One failed run: its exit code, and what the user and a program are told.

    Attributes
    ----------
    exit : ExitCode
        What the shell gets.
    code : str
        The stable name of the error.
    message : str
        The facts in one line, not yet escaped.
    hint : str or None
        What to do about it, in one line.
    facts : dict
        Further facts by name, for ``--json`` alone.
    """

    exit: ExitCode
    code: str
    message: str
    hint: str | None
    facts: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Return the document of ``--json``."""
        own = {"code": self.code, "message": self.message, "hint": self.hint}
        return {"error": {**own, **self.facts}}

    def lines(self) -> Iterator[str]:
        """Yield the lines for a person, safe to show."""
        yield f"error: {defuse(self.message)}"
        if self.hint:
            yield f"hint: {defuse(self.hint)}"


def describe(error: BaseException) -> Failure:
    """Return what `error` means, whatever it is.

    Parameters
    ----------
    error : BaseException
        Anything that ended a command.

    Returns
    -------
    Failure
        Never an exception of its own: an unknown error is an internal one.
    """
    if isinstance(error, KeyboardInterrupt):
        return Failure(ExitCode.INTERRUPTED, "interrupted", "interrupted", None, {})
    if isinstance(error, ParserError):
        return _usage(error)
    return _from_library(error) or _from_outside(error) or _internal(error)


def _usage(error: ParserError) -> Failure:
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "p2u"
    message = error.format_message().rstrip(".")
    message = message[:1].lower() + message[1:]
    return Failure(ExitCode.USAGE, "usage", message, f"see {command} --help", {})


def _from_library(error: BaseException) -> Failure | None:
    if "p2uformat" not in sys.modules:
        # The library was never imported whole, so the error is not one of its own.
        return None
    import p2uformat as library

    # From the special to the general: a source that is no safetensors file is damaged input,
    # although the library counts it among the wrong arguments.
    exits: tuple[tuple[type[BaseException], ExitCode], ...] = (
        (library.InvalidSource, ExitCode.DAMAGED),
        (library.InvalidArgument, ExitCode.USAGE),
        (library.NotFound, ExitCode.NOT_FOUND),
        (library.StoreUnavailable, ExitCode.NOT_FOUND),
        (library.CorruptData, ExitCode.DAMAGED),
        (library.RootMismatch, ExitCode.DAMAGED),
        (library.UnsupportedFormat, ExitCode.UNSUPPORTED),
        (library.Incomplete, ExitCode.INCOMPLETE),
        (library.Conflict, ExitCode.CONFLICT),
    )
    for kind, code in exits:
        if isinstance(error, kind):
            return _failure(error, code)
    return None


def _failure(error: BaseException, code: ExitCode) -> Failure:
    facts = {name: value for name, value in vars(error).items() if not name.startswith("_")}
    if code is ExitCode.DAMAGED:
        facts = dict.fromkeys(DAMAGE_FACTS) | facts
    hint = facts.pop("hint", None)
    facts.pop("message", None)
    name = str(facts.pop("code", None) or getattr(error, "code", "error"))
    message = str(error)
    if hint:
        message = message.removesuffix(hint).removesuffix("\n")
    return Failure(code, name, message, hint or None, facts)


def _from_outside(error: BaseException) -> Failure | None:
    if isinstance(error, MemoryError):
        hint = "fewer --threads need less memory"
        return Failure(ExitCode.INTERNAL, "out-of-memory", "not enough memory", hint, {})
    if not isinstance(error, OSError):
        return None
    reason = (error.strerror or str(error)).lower()
    path = None if error.filename is None else str(error.filename)
    message = reason if path is None else f"{path}: {reason}"
    return Failure(ExitCode.NOT_FOUND, "store-unavailable", message, None, {"path": path})


def _internal(error: BaseException) -> Failure:
    kind = type(error).__name__
    message = f"internal error: {kind}: {error}" if str(error) else f"internal error: {kind}"
    return Failure(ExitCode.INTERNAL, "internal-error", message, REPORT_HINT, {"type": kind})
