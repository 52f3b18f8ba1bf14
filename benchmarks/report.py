"""What a measurement hands back, and how it becomes Markdown and JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Cell = str | int | float | None

CHECK_COLUMNS = ("figure", "target", "aim", "measured", "")


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
        Unit of all three, empty for a plain ratio.
    aim
        What the figure should become, in `unit`; further than the target, and not held against it.
    """

    what: str
    measured: float
    relation: Literal["<=", ">="]
    target: float
    unit: str = ""
    aim: float | None = None

    @property
    def passed(self) -> bool:
        """Whether the target is met."""
        return self._meets(self.target)

    @property
    def verdict(self) -> str:
        """What to say about it."""
        if not self.passed:
            return "**miss**"
        return "aim reached" if self.aim is not None and self._meets(self.aim) else "pass"

    def limit(self, value: float) -> str:
        """Write a target or an aim."""
        return f"{self.relation} {number(value)} {self.unit}".strip()

    def _meets(self, limit: float) -> bool:
        return self.measured <= limit if self.relation == "<=" else self.measured >= limit


@dataclass(frozen=True, slots=True)
class Table:
    """A table of cells; floats are shown with four significant digits.

    Parameters
    ----------
    title, columns, rows, note
        What it says.
    shown
        Whether people read it; if not, ``results.json`` has it alone, for plots.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    note: str = ""
    shown: bool = True


@dataclass(frozen=True, slots=True)
class Section:
    """All that one measurement has to say.

    Parameters
    ----------
    key, title
        Its name, for programs and for people.
    tables, checks
        What was measured.
    environment
        Where, if not where most of the report was.
    notes
        What has to be known about all of it.
    """

    key: str
    title: str
    tables: Sequence[Table] = field(default_factory=tuple)
    checks: Sequence[Check] = field(default_factory=tuple)
    environment: dict[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()


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
            check.limit(check.target),
            "" if check.aim is None else check.limit(check.aim),
            f"{number(check.measured)} {check.unit}".strip(),
            check.verdict,
        ]
        for check in checks
    ]


def tally(checks: Sequence[Check]) -> str:
    """Say how many targets are met, and how many aims reached."""
    aims = [check for check in checks if check.aim is not None]
    reached = sum(check.verdict == "aim reached" for check in aims)
    met = f"{sum(check.passed for check in checks)} of {len(checks)} met"
    return (
        f"{met}; of the {len(aims)} that aim further, {reached} are there." if aims else f"{met}."
    )


def facts(environment: dict[str, str]) -> str:
    """Render an environment."""
    return ", ".join(f"{name} {value}" for name, value in environment.items())


def section_markdown(section: Section) -> str:
    """Render one section."""
    parts = [f"## {section.title}"]
    if section.environment:
        parts.append(f"Measured apart from the rest: {facts(section.environment)}.")
    parts += section.notes
    for table in (each for each in section.tables if each.shown):
        if table.title:
            parts.append(f"### {table.title}")
        parts.append(markdown_table(table.columns, table.rows))
        if table.note:
            parts.append(table.note)
    return "\n\n".join(parts)


def markdown(sections: Sequence[Section], preface: str) -> str:
    """Render the whole report: all targets first, then what stands behind them."""
    checks = [check for section in sections for check in section.checks]
    parts = [
        "# Results",
        preface,
        "## Targets",
        tally(checks),
        markdown_table(CHECK_COLUMNS, check_rows(checks)),
    ]
    parts += [section_markdown(each) for each in sections if each.tables or each.notes]
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


def known_environment(folder: Path) -> dict[str, str]:
    """Return where most of what ``results.json`` in `folder` has was measured, if that is known."""
    path = folder / "results.json"
    if not path.is_file():
        return {}
    found: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))["environment"]
    return found


def known(folder: Path) -> list[Section]:
    """Return the sections that ``results.json`` in `folder` has; none if there is no such file."""
    path = folder / "results.json"
    if not path.is_file():
        return []
    document = json.loads(path.read_text(encoding="utf-8"))
    return [
        Section(
            item["key"],
            item["title"],
            [Table(**table) for table in item["tables"]],
            [Check(**{k: v for k, v in c.items() if k != "passed"}) for c in item["checks"]],
            item.get("environment", {}),
            item.get("notes", ()),
        )
        for item in document["sections"]
    ]


def section_json(section: Section) -> dict[str, object]:
    """Lay a section out for ``results.json``."""
    return {
        "key": section.key,
        "title": section.title,
        "environment": section.environment,
        "notes": list(section.notes),
        "checks": [
            {
                "what": check.what,
                "measured": check.measured,
                "relation": check.relation,
                "target": check.target,
                "aim": check.aim,
                "unit": check.unit,
                "passed": check.passed,
            }
            for check in section.checks
        ],
        "tables": [
            {
                "title": t.title,
                "columns": list(t.columns),
                "rows": [list(r) for r in t.rows],
                "note": t.note,
                "shown": t.shown,
            }
            for t in section.tables
        ],
    }
