"""Tables and lines for a person. Every text from a file passes `escape` here, and only here."""

import sys
from collections.abc import Iterable, Sequence
from shutil import get_terminal_size
from typing import TYPE_CHECKING

from p2u_cli.escape import defuse, escape
from p2u_cli.table import aligned

if TYPE_CHECKING:
    from p2uformat import (
        Damage,
        FileInfo,
        StoreDamage,
        Summary,
        TensorInfo,
        TierSummary,
        UpdateInfo,
    )

TIER_HEADINGS = (
    "tier",
    "bytes",
    "bits/weight",
    "up to here",
    "of source",
    "max error",
    "RMS error",
)

# The longest metadata value that is shown; --json has all of it.
METADATA_SHOWN = 60


def facts(rows: Iterable[tuple[str, str]]) -> str:
    """Return aligned lines of a label and a text that is safe to show already."""
    return "".join(f"{label:<9}{text}\n" for label, text in rows)


def summary_facts(summary: "Summary") -> list[tuple[str, str]]:
    """Return what is said of an artifact as a whole."""
    return [
        ("root", escape(summary.root)),
        ("encoding", escape(summary.encoding_root)),
        ("weights", f"{summary.parameters:,}, of which {summary.quantized_parameters:,} quantized"),
        ("source", f"{summary.source_bytes:,} bytes"),
        *([("needs", escape(summary.parent))] if summary.parent else []),
        *([("exact", "no: lossy, the source is not to be had from it")] if summary.lossy else []),
        *_policy_facts(summary),
        *_update_facts(summary),
    ]


def _policy_facts(summary: "Summary") -> list[tuple[str, str]]:
    """Say which tensors were chosen for a quantizer, if one chose."""
    if summary.policy is None:
        return []
    policy = summary.policy
    what = "matrices" if policy["matrices"] else "tensors"
    globs = [f"only {glob}" for glob in _listed(policy["only"]) if glob != "*"]
    globs += [f"not {glob}" for glob in _listed(policy["skip"])]
    text = ", ".join([what, *map(escape, globs)])
    keep = policy["keep"]
    if isinstance(keep, int) and keep:
        numbers = ", ".join(f"{key} {policy[key]}" for key in ("seed", "client", "round"))
        text += f"; {keep / 10_000:g} % kept, by {escape(str(policy['generator']))} of {numbers}"
    return [("policy", text)]


def _update_facts(summary: "Summary") -> list[tuple[str, str]]:
    """Say to what an update is, whose it is, and its figures."""
    update = summary.update
    if update is None:
        return []
    return [
        ("base", escape(update.base)),
        ("of", f"client {update.client}, round {update.round}, weight {update.weight:g}"),
        ("energy", f"{update.energy:.4g}"),
        ("variance", _variance(update)),
        ("bits", f"{update.bits:,} at least in the first tier, at most {update.most:,}"),
    ]


def _variance(update: "UpdateInfo") -> str:
    share = f" ({100 * update.variance / update.energy:.3g} % of energy)" if update.energy else ""
    text = f"{update.variance:.4g}{share}"
    if update.bound is None:
        return text
    return f"{text}; expected {update.expected:.4g}, bound {update.bound:.4g}"


def _listed(value: object) -> list[str]:
    return [str(item) for item in value] if isinstance(value, list) else []


def metadata_facts(metadata: dict[str, str]) -> list[tuple[str, str]]:
    """Return a line per metadata entry, long values shortened."""
    return [("metadata", f"{escape(key)} = {_short(metadata[key])}") for key in metadata]


def completeness(tiers: Sequence[str], complete: Sequence[str], *, orphaned: bool = False) -> str:
    """Say which tiers the file holds whole."""
    missing = [tier for tier in tiers if tier not in complete]
    held = listed(complete)
    reason = "without its parent" if orphaned else "here"
    return f"{held} (not whole {reason}: {listed(missing)})" if missing else held


def listed(tiers: Sequence[str]) -> str:
    """Return tier names in one line, or "none"."""
    return ", ".join(escape(tier) for tier in tiers) or "none"


def tier_table(summary: "Summary") -> str:
    """Return the table of sizes and errors: a row per tier, then the manifest and the total.

    "up to here" counts the manifest and every tier from the base on, which is what a reader
    needs of the file for a model at that tier.
    """
    return aligned(TIER_HEADINGS, tier_rows(summary), width=width())


def tier_rows(summary: "Summary") -> list[list[str]]:
    """Return the rows of that table."""
    rows = []
    held = summary.manifest_bytes
    for tier in summary.tiers:
        held += tier.bytes
        rows.append(_tier_row(tier, held, summary.source_bytes))
    rows.append(["manifest", f"{summary.manifest_bytes:,}"])
    share = _share(summary.bytes, summary.source_bytes)
    rows.append(["total", f"{summary.bytes:,}", "", f"{summary.bytes:,}", share])
    return rows


def _tier_row(tier: "TierSummary", held: int, source: int) -> list[str]:
    return [
        escape(tier.name),
        f"{tier.bytes:,}",
        f"{tier.bits_per_weight:.3f}",
        f"{held:,}",
        _share(held, source),
        _error(tier.max_error),
        _error(tier.rms_error),
    ]


def tensor_table(tensors: Sequence["TensorInfo"], tiers: Sequence[str]) -> str:
    """Return a row per tensor: its form, its stored bytes in each tier, its error at the base."""
    headings = ["tensor", "dtype", "shape", "bytes", *map(escape, tiers), "RMS error"]
    rows = [tensor_row(tensor) for tensor in tensors]
    if not any(":" in tensor.quantizer for tensor in tensors):
        return aligned(headings, rows, left=3, width=width())
    # Beside the ladder there is only one way; of others it is worth saying which.
    rows = [[*row[:3], escape(t.quantizer), *row[3:]] for row, t in zip(rows, tensors, strict=True)]
    headings.insert(3, "quantizer")
    return aligned(headings, rows, left=4, width=width())


def tensor_row(tensor: "TensorInfo", *, raw: bool = False) -> list[str]:
    """Return the cells of one tensor; its name raw for who escapes it in another way."""
    return [
        tensor.name if raw else escape(tensor.name),
        escape(tensor.dtype),
        shape(tensor.shape),
        f"{tensor.bytes:,}",
        *(f"{stored:,}" for stored in tensor.stored),
        _error(tensor.rms_error[0]) if tensor.rms_error else "",
    ]


def file_table(files: Sequence["FileInfo"]) -> str:
    """Return a row per file: its size, from which tier on it is there, its digests."""
    both = any(file.sha256 for file in files)
    headings = ["file", "layout", "tier", "digest", *(["sha256"] if both else []), "bytes"]
    rows = [_file_row(file, both=both) for file in files]
    return aligned(headings, rows, left=len(headings) - 1, width=width())


def _file_row(file: "FileInfo", *, both: bool) -> list[str]:
    return [
        escape(file.path),
        escape(file.layout),
        escape(file.tier),
        escape(file.digest),
        *([file.sha256 or ""] if both else []),
        f"{file.bytes:,}",
    ]


def shape(extents: Sequence[int]) -> str:
    """Return a shape as one word."""
    return "x".join(str(extent) for extent in extents) or "scalar"


def damage_line(damage: "Damage") -> str:
    """Return one line that says what is damaged, where it lies, and how it was seen."""
    where = []
    if damage.file is not None:
        where.append(f"file {escape(damage.file)}")
    if damage.tensor is not None:
        where.append(f"tensor {escape(damage.tensor)}")
    if damage.tier is not None:
        where.append(f"tier {escape(damage.tier)}")
    if damage.elements is not None:
        where.append("elements {} to {} (exclusive)".format(*damage.elements))
    where.append(f"{escape(damage.region)} at byte {damage.offset}")
    # Where a rule is broken there is no value to expect, only a sentence about what there is.
    expected = f"expected {defuse(damage.expected)}, got " if damage.expected else ""
    return f"damage: {', '.join(where)}: {expected}{defuse(damage.got)}"


def any_damage_line(damage: "Damage | StoreDamage") -> str:
    """Return one line that says what is damaged, with the object if it is in a store."""
    from p2uformat import StoreDamage  # noqa: PLC0415 - what is slow to import

    if not isinstance(damage, StoreDamage):
        return damage_line(damage)
    where = f"{escape(damage.address)}, object {escape(damage.key)} at byte {damage.offset}"
    return f"{damage_line(damage.damage)} [{where}]"


def _short(value: str) -> str:
    if len(value) <= METADATA_SHOWN:
        return escape(value)
    return f"{escape(value[:METADATA_SHOWN])}... ({len(value):,} characters)"


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.2f} %" if whole else ""


def _error(value: float) -> str:
    return "0" if value == 0 else f"{value:.3g}"


def width() -> int | None:
    """Return the cells of the terminal that tables are folded to; None to fold nothing."""
    # Into a pipe or a file no line is folded: programs such as grep want whole lines.
    return get_terminal_size().columns if sys.stdout.isatty() else None
