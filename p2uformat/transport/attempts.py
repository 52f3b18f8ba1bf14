"""When to ask again, and when to give up."""

from __future__ import annotations

import asyncio
import random
import time

from p2uformat.transport.fault import Fault, give_up
from p2uformat.transport.policy import Policy

__all__ = ["Attempts"]


class Attempts:
    """The tries of one range, or of opening an object.

    What counts is the time since something was gained, not the number of tries: a line that breaks
    every minute gets through, one that gives nothing is given up.

    Parameters
    ----------
    name : str
        The object, for messages.
    policy : Policy
        How patient to be.
    opening : bool
        Whether nothing was ever read of it: then it is probably not there, and only a server that
        says it is busy is waited for.
    action : str
        What is tried, for messages.
    """

    def __init__(
        self, name: str, policy: Policy, *, opening: bool = False, action: str = "read"
    ) -> None:
        self._name = name
        self._policy = policy
        self._opening = opening
        self._action = action
        self._since = time.monotonic()
        self._tries = 0
        self._strict = 0

    def gained(self) -> None:
        """Note that something was read that can be kept."""
        self._since = time.monotonic()
        self._tries = 0
        self._strict = 0

    async def failed(self, fault: Fault) -> None:
        """Wait until it is time for another try.

        Raises
        ------
        P2UError
            If there should be none.
        """
        if fault.error is not None:
            raise fault.error from fault
        self._tries += 1
        self._strict += fault.strict
        policy = self._policy
        if self._strict >= policy.strict_tries:
            raise self._enough(fault, "the server does not keep to the protocol")
        if self._opening and not fault.busy and self._tries >= policy.opening_tries:
            raise self._enough(fault, "check the address, and that the server is up")
        pause = self._pause(fault)
        if time.monotonic() + pause - self._since > policy.patience:
            raise self._enough(fault, "run the command again later: what was verified is kept")
        await asyncio.sleep(pause)

    def _pause(self, fault: Fault) -> float:
        longest = self._policy.longest_pause
        pause = min(self._policy.pause * float(1 << min(self._tries - 1, 16)), longest)
        # Spread, or all connections that failed together would come back together.
        pause *= random.uniform(0.5, 1.0)  # noqa: S311 - no secret
        return max(pause, fault.wait or 0.0)

    def _enough(self, fault: Fault, hint: str) -> Exception:
        times = "once" if self._tries == 1 else f"{self._tries} times in a row"
        return give_up(self._name, f"{fault.reason} ({times})", hint, self._action)
