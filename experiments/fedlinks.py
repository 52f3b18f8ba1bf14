"""A simulation: how long a round takes for a thousand clients on unequal links."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from benchmarks.report import Cell, Table
from benchmarks.sources import Array

__all__ = ["CLIENTS", "Sizes", "simulated"]

CLIENTS = 1000
MEDIAN, SIGMA, SLOWEST, FASTEST = 10.0, 1.2, 1.0, 100.0  # Mbit/s, of a log-normal distribution
COMPUTE, DEADLINE = 0.2, 0.4  # seconds
SEED = 0
_QUANTILES = (50, 90, 100)


@dataclass(frozen=True, slots=True)
class Sizes:
    """Bytes of one client and round, down (manifest included) and up, for each width; 32 is fp32.

    Parameters
    ----------
    name
        Of the model.
    fresh, following
        Down and up, in the first round and in later ones.
    """

    name: str
    fresh: Mapping[int, tuple[float, float]]
    following: Mapping[int, tuple[float, float]]


def simulated(sizes: Sizes) -> tuple[Table, Table]:
    """Return what rounds take, and the seconds of clients for a plot."""
    rng = np.random.default_rng(SEED)
    links = np.exp(rng.normal(np.log(MEDIAN), SIGMA, CLIENTS)).clip(SLOWEST, FASTEST)
    rows: list[list[Cell]] = []
    curves: list[list[Cell]] = []
    for when, held in (("first", sizes.fresh), ("later", sizes.following)):
        for way, chosen in _ways(held, links).items():
            seconds = _seconds(held, links, chosen)
            within = 100 * float((seconds <= DEADLINE).mean())
            quantiles = [float(np.percentile(seconds, q)) for q in _QUANTILES]
            known = chosen[chosen < 32]
            width = float(known.mean()) if len(known) else None
            rows.append([when, way, width, *quantiles, within])
            if when == "later":
                at = np.sort(seconds)[9::10]
                curves += [[way, (n + 1) / len(at) * 100, float(s)] for n, s in enumerate(at)]
    classes = [
        f"{width} bits {down / 1e3:,.0f} + {up / 1e3:,.0f}"
        for width, (down, up) in sizes.following.items()
    ]
    note = (
        f"{CLIENTS:,} clients, links of {SLOWEST:g} to {FASTEST:g} Mbit/s (log-normal, median "
        f"{MEDIAN:g}, sigma {SIGMA:g}, seed {SEED}), as fast up as down; {COMPUTE:g} s of training "
        f"each; no delay, no crowding at the server. {sizes.name}; kB down and up of a later "
        f"round, as measured: {', '.join(classes)}. Chosen per link: "
        f"the most of 2, 4, 6, 8 bits that meets {DEADLINE:g} s, or 2."
    )
    columns = (
        *("round", "way", "mean width", "half are done, s", "90 %, s", "all, s"),
        f"within {DEADLINE:g} s, %",
    )
    shown = Table("A round of 1,000 clients, simulated", columns, rows, note)
    return shown, Table("Seconds of clients", ("way", "done, %", "seconds"), curves, shown=False)


def _ways(held: Mapping[int, tuple[float, float]], links: Array) -> dict[str, Array]:
    all_of: Callable[[int], Array] = lambda width: np.full(len(links), width)  # noqa: E731
    chosen = all_of(2)
    for width in (4, 6, 8):
        fits = _seconds(held, links, all_of(width)) <= DEADLINE
        chosen = np.where(fits, width, chosen)
    ways = {"fp32": all_of(32), "8 bits for all": all_of(8), "4 bits for all": all_of(4)}
    return ways | {"chosen per link": chosen}


def _seconds(held: Mapping[int, tuple[float, float]], links: Array, widths: Array) -> Array:
    total = np.array([sum(held[int(width)]) for width in widths])
    seconds: Array = COMPUTE + 8 * total / (1e6 * links)
    return seconds
