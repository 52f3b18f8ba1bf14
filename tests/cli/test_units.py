"""The parts that have no command of their own: exit codes, tables, JSON."""

import doctest
import json

import pytest

import p2u_cli.escape
import p2u_cli.table
import p2uformat
from p2u_cli import output, render
from p2u_cli.exits import ExitCode, describe
from p2u_cli.table import aligned

EXITS = {
    "InvalidArgument": 2,
    "DestinationExists": 2,
    "InvalidSource": 3,
    "NotFound": 4,
    "TensorNotFound": 4,
    "TierNotFound": 4,
    "StoreUnavailable": 4,
    "AccessDenied": 4,
    "TransferFailed": 4,
    "RangesIgnored": 4,
    "SourceChanged": 4,
    "CorruptData": 3,
    "DigestMismatch": 3,
    "LimitExceeded": 3,
    "NonCanonical": 3,
    "Malformed": 3,
    "ParentMismatch": 3,
    "RootMismatch": 3,
    "UnsupportedFormat": 5,
    "NotAnArtifact": 5,
    "Conflict": 7,
    "VersionConflict": 7,
    "LeaseLost": 7,
    "SeveralWriters": 7,
    "Incomplete": 6,
    "ParentRequired": 6,
}


def descendants(kind):
    for child in kind.__subclasses__():
        yield child
        yield from descendants(child)


def test_every_error_of_the_library_has_a_known_exit_code():
    # What an optional part adds, once it is imported, has the code of its parent.
    found = {
        kind.__name__: int(describe(kind("facts")).exit)
        for kind in descendants(p2uformat.P2UError)
        if kind.__module__ == p2uformat.P2UError.__module__
    }
    assert found == EXITS


@pytest.mark.parametrize("module", [p2u_cli.escape, p2u_cli.table])
def test_examples_in_docstrings_run(module):
    failed, attempted = doctest.testmod(module)
    assert attempted
    assert not failed


def test_an_error_of_the_system_is_the_outside_world():
    failure = describe(PermissionError(13, "Permission denied", "a\x1b.p2u"))
    assert failure.exit is ExitCode.NOT_FOUND
    assert list(failure.lines()) == [r"error: a\x1b.p2u: permission denied"]


def test_an_unknown_error_asks_for_a_report():
    failure = describe(ZeroDivisionError("x\x1b[0m"))
    assert failure.exit is ExitCode.INTERNAL
    assert next(failure.lines()) == r"error: internal error: ZeroDivisionError: x\x1b[0m"
    assert "report" in failure.hint


def test_damage_always_has_its_eight_facts():
    error = describe(p2uformat.CorruptData("x", tensor="w")).to_dict()["error"]
    assert list(error)[:3] == ["code", "message", "hint"]
    keys = {"file", "tensor", "tier", "elements", "region", "offset", "expected", "got"}
    assert keys <= set(error)
    assert error["tensor"] == "w"


def test_json_is_printable_ascii_even_for_hostile_names(capsys):
    document = {
        "n\x7f\u202e": "\x1b\x9b\x7f\udcff",
        "list": ("a", float("inf"), float("nan"), b"\x01"),
    }
    output.write_json(document)
    text = capsys.readouterr().out
    assert all(char == "\n" or " " <= char <= "~" for char in text)
    read = json.loads(text)
    assert read == {"n\x7f\u202e": "\x1b\x9b\x7f\udcff", "list": ["a", None, None, "01"]}


def test_a_table_folds_names_and_loses_nothing():
    name = "very.long." * 9
    text = aligned(["tensor", "bytes"], [[name, "1,234"], ["w", "5"]], width=40)
    lines = text.splitlines()
    assert max(map(len, lines)) <= 40
    assert "".join(line.split()[0] for line in lines[2:-1]) == name
    assert lines[2].endswith("1,234")
    assert lines[-1].split() == ["w", "5"]


def test_a_table_counts_wide_characters_as_two_cells():
    heading, _, wide, narrow = aligned(
        ["n", "b"], [["重み", "1"], ["w", "2"]], width=None
    ).splitlines()
    assert (heading, wide, narrow) == ("n     b", "重み  1", "w     2")


def test_a_damage_line_names_everything_and_escapes_it():
    damage = p2uformat.Damage(
        "w\n\x1b", "q8", (0, 4096), "chunk", 1234, "aa", "bb\x1b", "digest-mismatch"
    )
    line = render.damage_line(damage)
    assert line == (
        r"damage: tensor w\n\x1b, tier q8, elements 0 to 4096 (exclusive), "
        r"chunk at byte 1234: expected aa, got bb\x1b"
    )


def test_damage_outside_tensors_has_a_line_too():
    damage = p2uformat.Damage(None, None, None, "page", 99, "", "bb", "malformed")
    assert render.damage_line(damage) == "damage: page at byte 99: bb"
