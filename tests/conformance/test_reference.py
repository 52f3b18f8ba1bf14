"""The reference reader stays what it is: short, independent, and in step with SPEC.md."""

import ast
import importlib
import re
import struct
import sys

import pytest

MOST_LINES = 500


def parts(reference_path):
    found = sorted(reference_path.parent.glob("*.py"))
    assert [path.name for path in found] == [
        "p2u_layers.py",
        "p2u_quantizers.py",
        "p2u_ref.py",
        "p2u_store.py",
    ]
    return [path.read_text(encoding="utf-8") for path in found]


def test_is_short_enough_to_be_read_in_four_sittings(reference_path):
    assert all(len(text.splitlines()) <= MOST_LINES for text in parts(reference_path))


def test_imports_nothing_of_ours(reference_path):
    names = set()
    for node in (node for text in parts(reference_path) for node in ast.walk(ast.parse(text))):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            names.add(node.module.partition(".")[0])
    assert names - sys.stdlib_module_names == {
        "blake3",
        "zstandard",
        "p2u_layers",
        "p2u_quantizers",
        "p2u_ref",
    }


def rows(repository, section):
    text = (repository / "SPEC.md").read_text(encoding="utf-8")
    part = text.split(f"\n## {section}\n")[1].split("\n## ")[0]
    table = re.findall(r"^\| `?([A-Za-z_-]+)`? \| ([^|]+) \| ([^|]*) \|$", part, re.MULTILINE)
    return [[cell.strip() for cell in row] for row in table]


def test_has_the_limits_of_the_specification(reference, repository):
    limits = {
        name: int(value) for name, value, _ in rows(repository, "12 Limits") if value.isdigit()
    }
    assert len(limits) >= 18
    stores = importlib.import_module("p2u_store")  # `reference` makes it importable
    known = {**vars(stores), **vars(sys.modules[reference.Cursor.__module__])}
    assert limits == {name: known[name] for name in limits}


def test_has_the_errors_of_the_specification(reference, repository):
    table = [row for row in rows(repository, "13 Errors") if row[2].isdigit()]
    assert {code: int(exit_code) for code, _, exit_code in table} == reference.EXIT


@pytest.mark.parametrize(
    ("dtype", "pattern", "value"),
    [("BF16", 0x3F80, 1), ("F8_E4M3", 0x7E, 448), ("F16", 0x0001, 2**-24), ("F64", 1, 2**-1074)],
)
def test_knows_what_a_word_is_worth(reference, dtype, pattern, value):
    layers = sys.modules[reference.Cursor.__module__]
    assert layers.source_value(reference.FLOATS[dtype], pattern) == value


def test_is_not_kept_by_units_that_hold_nothing(reference):
    """A member without weights is divisible by units of any size: none of them is looked for."""
    layers = sys.modules[reference.Cursor.__module__]
    row = struct.pack("<IIIIBBH", 0, 0, 0, 0xFFFFFFFF, 0, 4, 1)
    head = struct.pack("<BBHHH", 3, 0, 1, 5, 0)
    table = struct.pack("<II", len(row), len(row)) + bytes(8 * 4)
    assert layers.read_chunk(head + table + row, 3) == [bytes(5)]
