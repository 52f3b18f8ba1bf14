"""What can go wrong with one request, and whether asking again may help."""

from __future__ import annotations

from typing import Final

from p2uformat.errors import (
    AccessDenied,
    InvalidArgument,
    NotFound,
    P2UError,
    RangesIgnored,
    SourceChanged,
    StoreUnavailable,
    TransferFailed,
)

__all__ = ["Fault", "denied", "lasting", "missing", "of_status"]

_BUSY: Final = frozenset({408, 425, 429, 500, 502, 503, 504, 509})


class Fault(Exception):  # noqa: N818 - it never leaves the package
    """One request that failed.

    Attributes
    ----------
    reason : str
        What happened, for a person.
    error : P2UError or None
        What is raised at once, if asking again cannot help.
    busy : bool
        The server asks for less.
    wait : float or None
        Seconds after which it wants to be asked again.
    strict : bool
        The answer broke a rule: a few tries, and not as many as for a line that breaks.
    """

    def __init__(
        self,
        reason: str,
        *,
        error: P2UError | None = None,
        busy: bool = False,
        wait: float | None = None,
        strict: bool = False,
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.error = error
        self.busy = busy
        self.wait = wait
        self.strict = strict


def lasting(error: P2UError) -> Fault:
    """Return the fault of an error that will not go away."""
    return Fault(error.message, error=error)


def missing(name: str) -> Fault:
    """Return the fault of an object that is not there."""
    return lasting(NotFound(f"cannot open {name!r}: no such object"))


def denied(name: str, reason: str, action: str = "open") -> Fault:
    """Return the fault of an object that may not be reached."""
    return lasting(
        AccessDenied(
            f"cannot {action} {name!r}: {reason}",
            hint="check the credentials: environment variables of the store's own tools, "
            "or storage options",
            path=name,
        )
    )


def changed(name: str, before: str, now: str) -> Fault:
    """Return the fault of an object that is another one than before."""
    return lasting(
        SourceChanged(
            f"{name!r} changed while it was read: {before} before, {now} now",
            hint="run the command again: what was verified is kept",
            path=name,
        )
    )


def ranges_ignored(name: str) -> Fault:
    """Return the fault of a server that sends more than was asked for."""
    return lasting(
        RangesIgnored(
            f"the server of {name!r} ignores ranges: it sends whole objects only",
            hint="fetch the whole file, or serve it in another way",
            path=name,
        )
    )


def cut(name: str, expected: int, got: int) -> Fault:
    """Return the fault of an object that ends before what was asked for."""
    return lasting(
        TransferFailed(
            f"{name!r} ends at byte {got}, expected at least {expected}",
            hint="the object is cut off, or another one by now",
            path=name,
        )
    )


def of_status(
    name: str, status: int, reason: str, wait: float | None, action: str = "read"
) -> Fault:
    """Return the fault that an HTTP status stands for."""
    text = f"status {status}" + (f" ({reason.lower()})" if reason else "")
    if status in (404, 410):
        return missing(name)
    if status in (401, 403, 407):
        return denied(name, text, "open" if action == "read" else action)
    if status == 412:
        return changed(name, "one object", "another one")
    if status in _BUSY:
        return Fault(f"the server answered with {text}", busy=True, wait=wait)
    if 400 <= status < 500:
        return lasting(TransferFailed(f"cannot {action} {name!r}: {text}", path=name))
    return Fault(f"the server answered with {text}", strict=True)


def give_up(name: str, reason: str, hint: str, action: str = "read") -> StoreUnavailable:
    """Return the error for a request that was tried often enough."""
    return TransferFailed(f"cannot {action} {name!r}: {reason}", hint=hint, path=name)


def needs_package(protocol: str, error: Exception) -> InvalidArgument:
    """Return the error for a URL whose file system is not installed."""
    extras = {
        "http": "http", "https": "http", "s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs",
        "az": "azure", "abfs": "azure", "abfss": "azure", "adl": "azure",
    }  # fmt: skip
    extra = extras.get(protocol)
    hint = f"pip install 'p2uformat[{extra}]'" if extra else "see fsspec's list of known protocols"
    return InvalidArgument(f"no support for {protocol}:// here: {str(error).lower()}", hint=hint)
