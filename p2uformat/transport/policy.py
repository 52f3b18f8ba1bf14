"""How patient and how greedy a transfer is."""

from __future__ import annotations

from dataclasses import dataclass

from p2uformat.errors import InvalidArgument

__all__ = ["Policy"]


@dataclass(frozen=True, slots=True)
class Policy:
    """How patient and how greedy a transfer is.

    Parameters
    ----------
    connections : int
        Requests at once, to begin with and to come back to; it adapts to what the line gives,
        within `fewest` and `most`.
    fewest, most : int
        Its limits.
    stall : float
        Seconds without a byte after which a connection is given up and opened anew.
    patience : float
        Seconds without any verified byte, on all connections, after which the transfer fails.
    opening_tries : int
        How often an object that was never reached is asked for.
    strict_tries : int
        How often a range is asked for while its answers break rules.
    pause : float
        Seconds before the second try of a request; each further one waits twice as long.
    longest_pause : float
        At most so many, unless the server names more.
    """

    connections: int = 8
    fewest: int = 4
    most: int = 64
    stall: float = 30.0
    patience: float = 120.0
    opening_tries: int = 4
    strict_tries: int = 4
    pause: float = 0.1
    longest_pause: float = 15.0

    @classmethod
    def chosen(cls, connections: int | None = None, stall: float | None = None) -> Policy:
        """Return the policy with the caller's number of connections, then fixed, and patience.

        Raises
        ------
        InvalidArgument
            If one is out of range.

        Examples
        --------
        >>> Policy.chosen(connections=2).most
        2
        """
        found = cls()
        if connections is not None:
            if type(connections) is not int or not 1 <= connections <= 256:
                raise InvalidArgument(f"connections: expected 1 to 256, got {connections!r}")
            found = cls(connections=connections, fewest=connections, most=connections)
        if stall is None:
            return found
        if not 0 < stall <= 3600:
            raise InvalidArgument(f"timeout: expected 0 to 3600 seconds, got {stall!r}")
        return cls(
            found.connections, found.fewest, found.most, stall=stall, patience=max(4 * stall, 1.0)
        )
