"""What errors of other people's file systems mean: each has a tree of its own."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Iterator, Mapping
from typing import Any, Final

from p2uformat.transport.fault import Fault, denied, missing, of_status
from p2uformat.transport.http import retry_after

__all__ = ["fault_from", "status_of", "text_of"]

_STATUS: Final = ("status_code", "status", "code")
# S3's names for what is worth another try although its status says otherwise: somebody else was
# at the same object, or bytes were lost on their way there.
_CONFLICTS: Final = frozenset({"ConditionalRequestConflict", "OperationAborted"})
_SPOILED: Final = frozenset({"BadDigest", "IncompleteBody", "XAmzContentSHA256Mismatch"})
_NO_KEYS: Final = frozenset({"NoCredentialsError", "PartialCredentialsError"})


def fault_from(name: str, error: BaseException, action: str = "read") -> Fault:
    """Return the fault that an error of a file system stands for.

    Parameters
    ----------
    name : str
        The object, or the place, for messages.
    error : BaseException
        What was raised.
    action : str
        What was being done to it.

    Examples
    --------
    >>> fault_from("s3://b/k", FileNotFoundError("b/k")).error.code
    'not-found'
    >>> fault_from("s3://b/k", ConnectionResetError("gone")).reason
    'the request failed: gone'
    """
    text = text_of(error)
    if isinstance(error, FileNotFoundError | IsADirectoryError):
        return missing(name)
    if isinstance(error, PermissionError) or type(error).__name__ in _NO_KEYS:
        return denied(name, text, action)
    if isinstance(error, asyncio.TimeoutError):
        return Fault("no answer came for too long")
    code = _code(error)
    if code in _CONFLICTS or code in _SPOILED:
        return Fault(
            f"the server answered: {text}", busy=code in _CONFLICTS, strict=code in _SPOILED
        )
    status = status_of(error)
    if status is not None:
        return of_status(name, status, text, retry_after(_retry_header(error)), action)
    return Fault(
        f"the request failed: {text}",
        busy=isinstance(error, OSError) and error.errno == errno.EBUSY,
    )


def status_of(error: BaseException) -> int | None:
    """Return the HTTP status behind an error; None if it carries none.

    Examples
    --------
    >>> status_of(OSError(22, "no")) is None
    True
    """
    for found in _chain(error):
        values = [getattr(found, name, None) for name in _STATUS]
        values.append(_head(found).get("HTTPStatusCode"))
        for value in values:
            if isinstance(value, int | str) and str(value).isdigit() and 400 <= int(value) < 600:
                return int(value)
    return None


def text_of(error: BaseException) -> str:
    """Return what an error says, on one line of bounded length."""
    return (str(error) or type(error).__name__).partition("\n")[0][:200].lower()


def _chain(error: BaseException) -> Iterator[BaseException]:
    yield error
    if error.__cause__ is not None:  # s3fs puts an OSError in front of botocore's
        yield error.__cause__


def _head(error: BaseException) -> dict[str, Any]:
    """Return what botocore keeps of an answer."""
    response = getattr(error, "response", None)
    head = response.get("ResponseMetadata") if isinstance(response, dict) else None
    return head if isinstance(head, dict) else {}


def _code(error: BaseException) -> str:
    """Return the name that S3 has for an error."""
    for found in _chain(error):
        response = getattr(found, "response", None)
        if isinstance(response, dict) and isinstance(response.get("Error"), dict):
            return str(response["Error"].get("Code", ""))
    return ""


def _retry_header(error: BaseException) -> str | None:
    for found in _chain(error):
        headers = _head(found).get("HTTPHeaders")
        if headers is None:
            headers = getattr(getattr(found, "response", None), "headers", None)
        if isinstance(headers, Mapping):
            value = headers.get("retry-after") or headers.get("Retry-After")
            return None if value is None else str(value)
    return None
