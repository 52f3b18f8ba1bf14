"""Programs that serve on a loopback port: started, waited for, ended with all their children."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time

# A machine that does other work too starts Node or Python in seconds, not at once.
READY = 60.0
ENDED = 5.0
TRIES = 3
TAIL = 4000
# With util-linux, servers also end when the test run is killed and can end nothing itself.
TIED = ["setpriv", "--pdeathsig", "TERM"] if shutil.which("setpriv") else []


class NotReadyError(Exception):
    """A server that did not answer, with the end of what it wrote."""


def free_port():
    """Return a loopback port that nobody listens on now; somebody may a moment later."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def listens(port):
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


class Program:
    """One running server in a process group of its own."""

    def __init__(self, command, output, **environment):
        self.output = output
        with output.open("ab") as stream:
            self.process = subprocess.Popen(
                [*TIED, *command],
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                env=os.environ | environment,
                start_new_session=True,
            )

    def wait(self, port, ask):
        """Wait until `port` is open and `ask()` raises nothing."""
        end, last = time.monotonic() + READY, None
        while time.monotonic() < end:
            if self.ended():
                raise NotReadyError(f"it ended by itself:\n{self.tail()}")
            if listens(port):
                try:
                    return ask()
                except Exception as error:  # noqa: BLE001 - each client has its own errors for "not yet"
                    last = error
            time.sleep(0.05)
        message = f"no answer on port {port} within {READY:g} s, last {last!r}:\n{self.tail()}"
        raise NotReadyError(message)

    def tail(self):
        return self.output.read_bytes()[-TAIL:].decode(errors="replace")

    def ended(self):
        """Whether the leader ended; it stays unreaped, so that nobody else gets its number."""
        if not hasattr(os, "waitid"):
            return self.process.poll() is not None
        how = os.WEXITED | os.WNOHANG | os.WNOWAIT
        return os.waitid(os.P_PID, self.process.pid, how) is not None

    def end(self):
        """End the whole group: ask, wait a little, kill."""
        if self.process.returncode is not None:
            return
        self._signal(signal.SIGTERM)
        end = time.monotonic() + ENDED
        while not self.ended() and time.monotonic() < end:
            time.sleep(0.02)
        self._signal(signal.SIGKILL)
        self.process.wait()

    def _signal(self, number):
        # A system may count a group of nothing but zombies as gone, or as out of reach.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, number)


def start(command, ask, output, **environment):
    """Start `command(port)`, again if the port was taken meanwhile; return program and port."""
    for left in reversed(range(TRIES)):
        port = free_port()
        program = Program(command(port), output, **environment)
        try:
            program.wait(port, lambda port=port: ask(port))
        except BaseException as error:
            died = isinstance(error, NotReadyError) and program.ended()
            program.end()
            if not died or not left:
                raise
        else:
            return program, port
    raise AssertionError("not reached")
