"""What a measurement hands back, and how it becomes Markdown and JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Cell = str | int | float | None


@dataclass(frozen=True, slots=True)
class Check:
    """One figure with the target it is held against.

    Parameters
    ----------
    what
        The figure in words.
    measured
        What came out, in `unit`.
    relation
        Whether the target is a ceiling or a floor.
    target
        The target, in `unit`.
    unit
        Unit of both, empty for a plain ratio.
    """

    what: str
    measured: float
    relation: Literal["<=", ">="]
    target: float
    unit: str = ""

    @property
    def passed(self) -> bool:
        """Whether the target is met."""
        if self.relation == "<=":
            return self.measured <= self.target
        return self.measured >= self.target


@dataclass(frozen=True, slots=True)
class Table:
    """A table of cells; floats are shown with four significant digits."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Section:
    """All that one measurement has to say."""

    key: str
    title: str
    tables: Sequence[Table] = field(default_factory=tuple)
    checks: Sequence[Check] = field(default_factory=tuple)


def number(value: float) -> str:
    """Write a number with four significant digits and no exponent where one is not needed.

    Examples
    --------
    >>> number(0.07398), number(66.2951), number(1234567.0)
    ('0.07398', '66.3', '1,234,567')
    """
    if value and abs(value) < 1e-4:
        return f"{value:.3g}"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4g}"


def cell(value: Cell) -> str:
    """Render one table cell."""
    if value is None:
        return "-"
    if isinstance(value, str):
        return value.replace("|", "\\|")
    return f"{value:,}" if isinstance(value, int) else number(value)


def markdown_table(columns: Sequence[str], rows: Iterable[Sequence[Cell]]) -> str:
    """Render a GitHub-style table."""
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    lines += ["| " + " | ".join(cell(value) for value in row) + " |" for row in rows]
    return "\n".join(lines)


def check_rows(checks: Iterable[Check]) -> list[list[Cell]]:
    """Lay checks out as table rows."""
    return [
        [
            check.what,
            f"{check.relation} {number(check.target)} {check.unit}".strip(),
            f"{number(check.measured)} {check.unit}".strip(),
            "pass" if check.passed else "**miss**",
        ]
        for check in checks
    ]


def section_markdown(section: Section) -> str:
    """Render one section."""
    parts = [f"## {section.title}"]
    for table in section.tables:
        if table.title:
            parts.append(f"### {table.title}")
        parts.append(markdown_table(table.columns, table.rows))
        if table.note:
            parts.append(table.note)
    return "\n\n".join(parts)


def markdown(sections: Sequence[Section], preface: str) -> str:
    """Render the whole report: all targets first, then what stands behind them."""
    checks = [check for section in sections for check in section.checks]
    met = sum(check.passed for check in checks)
    parts = [
        "# Results",
        preface,
        "## Targets",
        f"{met} of {len(checks)} met.",
        markdown_table(["figure", "target", "measured", ""], check_rows(checks)),
    ]
    parts += [section_markdown(section) for section in sections if section.tables]
    return "\n\n".join(parts) + "\n"


def write(
    folder: Path, sections: Sequence[Section], preface: str, environment: dict[str, str]
) -> None:
    """Write ``RESULTS.md`` and ``results.json`` into `folder`."""
    (folder / "RESULTS.md").write_text(markdown(sections, preface), encoding="utf-8")
    document = {
        "environment": environment,
        "sections": [section_json(section) for section in sections],
    }
    text = json.dumps(document, indent=1, ensure_ascii=False)
    (folder / "results.json").write_text(text + "\n", encoding="utf-8")


def section_json(section: Section) -> dict[str, object]:
    """Lay a section out for ``results.json``."""
    return {
        "key": section.key,
        "title": section.title,
        "checks": [
            {
                "what": check.what,
                "measured": check.measured,
                "relation": check.relation,
                "target": check.target,
                "unit": check.unit,
                "passed": check.passed,
            }
            for check in section.checks
        ],
        "tables": [
            {"title": t.title, "columns": list(t.columns), "rows": [list(r) for r in t.rows]}
            for t in section.tables
        ],
    }
