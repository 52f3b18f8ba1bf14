"""The only writer to standard output: one JSON document, or text for a person."""

import json
import math
import os
import sys
from collections.abc import Mapping
from typing import Any


class Lost(Exception):  # noqa: N818 - what became of standard output
    """Standard output takes no more: its reader has gone, or the disk behind it is full.

    Attributes
    ----------
    reason : OSError
        What the system said.
    """

    def __init__(self, reason: OSError) -> None:
        super().__init__(str(reason))
        self.reason = reason


def prepare() -> None:
    """Let a name that the terminal's encoding cannot show be escaped instead of fail."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


_shape: dict[str, Any] = {"indent": 2}


def one_line() -> None:
    """Let every JSON document of this run be a line of its own: there will be several."""
    _shape["indent"] = None


def write_json(document: Mapping[str, Any]) -> None:
    """Print `document` as a JSON document, the only one of this run unless `one_line` was called.

    Printable ASCII alone, so that no name in it can act on a terminal; a number that is not
    finite, which JSON cannot write, becomes null.

    Parameters
    ----------
    document : Mapping
        Dicts, sequences, strings, numbers, booleans and None.

    Raises
    ------
    Lost
        Standard output takes no more.
    """
    text = json.dumps(_plain(document), ensure_ascii=True, allow_nan=False, **_shape)
    _write(text + "\n")


def write_text(text: str) -> None:
    """Print lines for a person; `text` is safe to show already."""
    _write(text if text.endswith("\n") else text + "\n")


def _write(text: str) -> None:
    # All of it at once, so that a failure shows here and not while the interpreter ends.
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except OSError as error:
        _give_up()
        raise Lost(error) from error


def _give_up() -> None:
    # Otherwise the interpreter would write what is still buffered again, and complain again.
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def _plain(value: Any) -> Any:  # noqa: ANN401 - anything that errors and reports carry
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, str | int):
        return value
    return value.hex() if isinstance(value, bytes) else str(value)
