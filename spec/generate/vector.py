"""What a vector is."""

from collections.abc import Callable
from dataclasses import dataclass

from builder import Build, Recipe


@dataclass(frozen=True)
class Vector:
    """One scenario: ``complete`` says how many tiers a truncated file still holds."""

    name: str
    spec: str
    description: str
    make: Callable[[], Recipe]
    error: str | None = None
    complete: int | None = None
    parents: tuple[str, ...] = ()

    def data(self) -> bytes:
        """Return the file."""
        return Build(self.make()).bytes()
