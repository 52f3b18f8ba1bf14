"""A store as its users see it: names, versions, and what keeps them sound."""

from __future__ import annotations

from p2uformat.repository.store import Store

__all__ = ["Store"]
