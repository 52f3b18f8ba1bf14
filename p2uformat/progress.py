"""How far a long operation is."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Progress"]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a phase is.

    Parameters
    ----------
    phase : str
        ``bring``, ``plan``, ``encode``, ``assemble``, ``verify``, ``unpack``, ``compare``,
        ``dissect``, ``fetch``, ``push``, ``mark``, ``repack`` or ``delete``.
    done, total : int
        Bytes, or objects; `total` does not change within a phase.
    """

    phase: str
    done: int
    total: int
