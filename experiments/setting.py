"""What an experiment is given, and what it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.report import Section, Table

__all__ = ["Experiment", "Plot", "Setting"]

Plot = Callable[[Path, Sequence[Table]], bool]
"""Draws a file from the tables of a section; False if these have nothing to draw."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What is there, and how much of it is wanted.

    Parameters
    ----------
    data
        Folder of real weights, if there is one.
    work
        Folder for temporary files.
    quick
        Whether small models and few steps will do.
    workers
        Processes that compute at once.
    """

    data: Path | None
    work: Path
    quick: bool = False
    workers: int = 1

    @property
    def seeds(self) -> int:
        """How many seeds everything that is drawn is tried with."""
        return 2 if self.quick else 3


@dataclass(frozen=True, slots=True)
class Experiment:
    """One section of the report.

    Parameters
    ----------
    key
        Its name for ``--only``.
    run
        Measures, and returns tables, checks and notes.
    plots
        File name -> how it is drawn from the section's tables.
    """

    key: str
    run: Callable[[Setting], Section]
    plots: Mapping[str, Plot] = field(default_factory=dict)
