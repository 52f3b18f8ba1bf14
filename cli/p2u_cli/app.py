"""The edge of the process: from arguments to an exit code, with every failure told once.

Nothing but the standard library is imported here before `main` runs, so that Ctrl-C during the
imports ends in one line as well.
"""

# ruff: noqa: PLC0415 - what is slow to import is imported where it is used: --help stays quick

import os
import signal
import sys
from typing import TYPE_CHECKING

from p2u_cli import output

if TYPE_CHECKING:
    from p2u_cli.exits import Failure

# What a shell reports for a program that writes to a reader that has gone (128 + SIGPIPE).
CLOSED_PIPE = 141


def main() -> int:
    """Run ``p2u`` with the arguments of the process.

    Returns
    -------
    int
        The exit code, see `p2u_cli.exits.ExitCode`.
    """
    arguments = sys.argv[1:]
    output.prepare()
    try:
        return _run(arguments)
    except output.Lost as lost:
        gone = isinstance(lost.reason, BrokenPipeError)
        return CLOSED_PIPE if gone else _tell(lost.reason, as_json=False)
    except BaseException as error:  # noqa: BLE001 - the edge: nothing may pass it untold
        return _tell(error, as_json=_wants_json(arguments))


def _run(arguments: list[str]) -> int:
    from p2u_cli import tree

    return tree.run(arguments)


def _wants_json(arguments: list[str]) -> bool:
    # Read here, not by the parser: its own errors are to be JSON too.
    options = arguments[: arguments.index("--")] if "--" in arguments else arguments
    return "--json" in options


def _tell(error: BaseException, *, as_json: bool) -> int:
    from p2u_cli.exits import describe

    if isinstance(error, KeyboardInterrupt):
        # The workers end at their next chunk; whoever cannot wait ends the process at once.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    failure = describe(error)
    _trace(error)
    if not (as_json and _written(failure)):
        sys.stderr.write("".join(f"{line}\n" for line in failure.lines()))
    return int(failure.exit)


def _written(failure: "Failure") -> bool:
    try:
        output.write_json(failure.to_dict())
    except output.Lost:
        # Standard output is what failed: then the error is told where it still can be.
        return False
    return True


def _trace(error: BaseException) -> None:
    if os.environ.get("P2U_TRACEBACK") == "1":
        import traceback

        from p2u_cli.escape import defuse

        sys.stderr.write(defuse("".join(traceback.format_exception(error)), keep="\n"))
