"""All experiments, in the order of the report. A new one is a module and a line here."""

from __future__ import annotations

from experiments import elastiquant, fedmpq, live, omc, p2u
from experiments.setting import Experiment

__all__ = ["EXPERIMENTS"]

EXPERIMENTS: tuple[Experiment, ...] = (
    p2u.EXPERIMENT,
    live.EXPERIMENT,
    omc.EXPERIMENT,
    fedmpq.EXPERIMENT,
    elastiquant.EXPERIMENT,
)
