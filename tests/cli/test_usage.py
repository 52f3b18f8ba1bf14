"""Help, versions, wrong arguments, and errors that nobody foresaw."""

import json
import re

import pytest

import p2uformat

COMMANDS = (
    "pack",
    "inspect",
    "verify",
    "fetch",
    "get",
    "diff",
    "unpack",
    "squash",
    "update",
    "apply",
    "push",
    "refs",
    "copy",
    "rm",
    "gc",
    "repair",
)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_is_complete_and_has_an_example(p2u, command):
    result = p2u(command, "--help")
    assert (result.code, result.err) == (0, "")
    assert f"Usage: p2u {command}" in result.out
    assert re.search(rf"^  Examples:\n    p2u {command} ", result.out, re.MULTILINE)
    options = re.findall(r"^  (--\S+|-h, --help) *\S*(.*)", result.out, re.MULTILINE)
    assert "--json" in [name for name, _ in options]
    assert all(text.strip() or name for name, text in options)


def test_the_help_of_all_lists_commands_and_exit_codes(p2u):
    result = p2u("--help")
    assert result.code == 0
    listed = re.findall(r"^  (\w+)  +[A-Z].*\.$", result.out, re.MULTILINE)
    assert listed == list(COMMANDS)
    assert "6 incomplete" in re.sub(r"\s+", " ", result.out)


def test_without_arguments_the_help_is_shown_as_a_usage_error(p2u):
    result = p2u()
    assert result.code == 2
    assert "Usage: p2u" in result.out


def test_version(p2u):
    text = p2u("--version")
    form = ".".join(map(str, p2uformat.FORMAT_VERSION))
    kernels = p2uformat.kernels_in_use()
    expected = f"p2u {p2uformat.__version__} (format {form}, {kernels} kernels)\n"
    assert (text.code, text.out, text.err) == (0, expected, "")
    document = p2u("--version", "--json").document
    assert document == {"version": p2uformat.__version__, "format": form, "kernels": kernels}


def test_help_needs_neither_numpy_nor_rich_nor_the_library(p2u):
    result = p2u("--help", PYTHONPROFILEIMPORTTIME="1")
    loaded = {line.rpartition("|")[2].strip().partition(".")[0] for line in result.err.splitlines()}
    assert "typer" in loaded
    assert not loaded & {"numpy", "rich", "p2uformat", "matplotlib"}


WRONG = {
    "no command": ("frobnicate",),
    "no option": ("pack", "a", "b", "--frobnicate"),
    "missing argument": ("pack", "a"),
    "one argument too many": ("inspect", "a", "b"),
    "set without value": ("pack", "a", "b", "--set", "*.bias"),
    "set with empty value": ("pack", "a", "b", "--set", "*.bias="),
    "set with empty glob": ("pack", "a", "b", "--set", "=exact"),
    "set twice": ("pack", "a", "b", "--set", "x=exact", "--set", "x=bits:6"),
    "empty tier": ("pack", "a", "b", "--tiers", "q4,,exact"),
    "bits that are no number": ("pack", "a", "b", "--base-bits", "four"),
    "no threads": ("verify", "a", "--threads", "0"),
    "threads that are no number": ("unpack", "a", "b", "--threads", "many"),
}


@pytest.mark.parametrize("arguments", WRONG.values(), ids=WRONG)
def test_wrong_arguments_are_usage_errors(p2u, tmp_path, arguments):
    text = p2u(*arguments, cwd=tmp_path)
    assert (text.code, text.out) == (2, "")
    error, hint = text.err.splitlines()
    assert error.startswith("error: ")
    assert re.fullmatch(r"hint: see p2u( \w+)? --help", hint)
    result = p2u(*arguments, "--json", cwd=tmp_path)
    assert (result.code, result.err, result.error["code"]) == (2, "", "usage")
    assert error == f"error: {result.error['message']}"


VALUES = ["exactly", "bits:", "bits:x", "weight:-1", "weight:nan", "bits:6:7"]


@pytest.mark.parametrize("value", VALUES)
def test_values_of_set_are_checked(p2u, packed, tmp_path, value):
    result = p2u("pack", packed.source, tmp_path / "m.p2u", "--set", f"layer.*={value}", "--json")
    assert (result.code, result.error["code"]) == (2, "invalid-argument")
    assert list(tmp_path.iterdir()) == []


TIERS = ["q4", "exact,q4", "q8,q4,exact", "q4,q4,exact", "zz,exact", "q4 exact"]


@pytest.mark.parametrize("tiers", TIERS)
def test_tiers_are_checked(p2u, packed, tmp_path, tiers):
    result = p2u("pack", packed.source, tmp_path / "m.p2u", "--tiers", tiers, "--json")
    assert (result.code, result.error["code"]) == (2, "invalid-argument")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("bits", ["0", "-1", "nan", "1000"])
def test_base_bits_are_checked(p2u, packed, tmp_path, bits):
    result = p2u("pack", packed.source, tmp_path / "m.p2u", "--base-bits", bits, "--json")
    assert (result.code, result.error["code"]) == (2, "invalid-argument")
    assert list(tmp_path.iterdir()) == []


def test_json_in_front_of_a_command_says_where_it_belongs(p2u):
    result = p2u("--json", "inspect", "a")
    assert (result.code, result.error["code"]) == (2, "usage")
    assert "after the command" in result.error["message"]


def test_what_follows_two_dashes_is_no_option(p2u, tmp_path):
    result = p2u("inspect", "--", "--json", cwd=tmp_path)
    assert (result.code, result.out) == (4, "")
    assert "--json" in result.err


@pytest.mark.parametrize("value", ["0", "-2", "two", "1.5", "\x1b[31m"])
def test_a_bad_number_in_the_environment_is_a_usage_error(p2u, packed, value):
    result = p2u("verify", packed.artifact, "--json", P2U_THREADS=value)
    assert (result.code, result.error["code"]) == (2, "usage")
    assert "P2U_THREADS" in result.error["message"]


def test_the_option_outweighs_the_environment(p2u, packed):
    result = p2u("verify", packed.artifact, "--threads", "1", "--json", P2U_THREADS="rubbish")
    assert result.code == 0


def test_an_empty_variable_is_none(p2u, packed):
    assert p2u("verify", packed.artifact, P2U_THREADS="").code == 0


@pytest.fixture
def spied(tmp_path):
    """A PYTHONPATH under which the library only tells what it was called with."""
    code = """
import json, p2uformat
def spy(name):
    def tell(*arguments, progress, **named):
        told = json.dumps([name, arguments, named], default=lambda value: value.to_dict())
        raise RuntimeError(told)
    setattr(p2uformat, name, tell)
for name in ("pack", "pack_update", "verify", "unpack", "squash", "fetch", "diff"):
    spy(name)
"""
    (tmp_path / "sitecustomize.py").write_text(code)
    return str(tmp_path)


CALLS = {
    ("pack", "a", "b"): {
        "tiers": None,
        "base_bits": None,
        "overrides": None,
        "quantizer": None,
        "policy": None,
        "lossy": False,
        "chunk_per_tensor": False,
        "parent": None,
        "parents": [],
        "self_contained": False,
        "sha256": False,
        "overwrite": False,
        "threads": None,
        "storage_options": None,
    },
    (
        *("pack", "a", "b", "--tiers", "q3,exact", "--base-bits", "3.5", "--parent", "p"),
        *("--set", "x=y=bits:6", "--set", "*=exact", "--overwrite", "--threads", "3"),
        *("--with", "g", "--with", "h", "--self-contained", "--sha256"),
    ): {
        "tiers": ["q3", "exact"],
        "base_bits": 3.5,
        "overrides": {"x=y": "bits:6", "*": "exact"},
        "quantizer": None,
        "policy": None,
        "lossy": False,
        "chunk_per_tensor": False,
        "parent": "p",
        "parents": ["g", "h"],
        "self_contained": True,
        "sha256": True,
        "overwrite": True,
        "threads": 3,
        "storage_options": None,
    },
    (
        *(
            "pack",
            "a",
            "b",
            "--quantizer",
            "affine:4",
            "--keep",
            "0.1",
            "--seed",
            "1",
            "--client",
            "2",
        ),
        *("--round", "3", "--only", "x", "--only", "y", "--skip", "z", "--any-rank", "--lossy"),
        "--chunk-per-tensor",
    ): {
        "tiers": None,
        "base_bits": None,
        "overrides": None,
        "quantizer": "affine:4",
        "policy": {
            "matrices": False,
            "only": ["x", "y"],
            "skip": ["z"],
            "keep": 0.1,
            "generator": "blake3",
            "seed": 1,
            "client": 2,
            "round": 3,
        },
        "lossy": True,
        "chunk_per_tensor": True,
        "parent": None,
        "parents": [],
        "self_contained": False,
        "sha256": False,
        "overwrite": False,
        "threads": None,
        "storage_options": None,
    },
    ("verify", "a"): {
        "deep": False,
        "tier": None,
        "expect": None,
        "parents": [],
        "threads": None,
        "storage_options": None,
    },
    (
        *("verify", "a", "--deep", "--tier", "q4", "--expect", "blake3:00", "--threads", "1"),
        *("--with", "p"),
    ): {
        "deep": True,
        "tier": "q4",
        "expect": "blake3:00",
        "parents": ["p"],
        "threads": 1,
        "storage_options": None,
    },
    ("unpack", "a", "b"): {
        "tier": None,
        "tensors": None,
        "dtype": None,
        "parents": [],
        "overwrite": False,
        "threads": None,
        "storage_options": None,
    },
    (
        *("unpack", "a", "b", "--tier", "q4", "--tensors", "x,y", "--tensors", "z"),
        *("--dtype", "BF16", "--overwrite", "--threads", "2", "--with", "p"),
    ): {
        "tier": "q4",
        "tensors": ["x,y", "z"],
        "dtype": "BF16",
        "parents": ["p"],
        "overwrite": True,
        "threads": 2,
        "storage_options": None,
    },
    ("squash", "a", "b"): {
        "parents": [],
        "overwrite": False,
        "threads": None,
        "storage_options": None,
    },
    ("squash", "a", "b", "--with", "p", "--overwrite", "--threads", "2"): {
        "parents": ["p"],
        "overwrite": True,
        "threads": 2,
        "storage_options": None,
    },
    ("diff", "a", "b", "--option", "anon=true", "--option", "client_kwargs.x.y=text"): {
        "tensors": None,
        "errors": True,
        "parents": [],
        "threads": None,
        "storage_options": {"anon": True, "client_kwargs": {"x": {"y": "text"}}},
    },
    ("update", "a", "b", "c"): {
        "quantizer": None,
        "client": 0,
        "round": 0,
        "weight": 1.0,
        "lossy": False,
        "tier": None,
        "tiers": None,
        "allow_nonfinite": False,
        "parents": [],
        "overwrite": False,
        "threads": None,
        "storage_options": None,
    },
    (
        *("update", "a", "b", "c", "--quantizer", "levels:nf4", "--client", "1", "--round", "2"),
        *("--weight", "2.5", "--lossy", "--tier", "q8", "--tiers", "q4,exact"),
        *("--allow-nonfinite", "--with", "p", "--overwrite", "--threads", "2", "--option", "k=7"),
    ): {
        "quantizer": "levels:nf4",
        "client": 1,
        "round": 2,
        "weight": 2.5,
        "lossy": True,
        "tier": "q8",
        "tiers": "q4,exact",
        "allow_nonfinite": True,
        "parents": ["p"],
        "overwrite": True,
        "threads": 2,
        "storage_options": {"k": 7},
    },
    ("fetch", "a", "b"): {
        "tier": None,
        "tensors": None,
        "rows": None,
        "seeds": [],
        "parents": [],
        "expect": None,
        "connections": None,
        "timeout": None,
        "threads": None,
        "storage_options": None,
    },
    (
        *("fetch", "a", "b", "--tier", "q4", "--tensors", "x", "--rows", ":7", "--seed", "s"),
        *("--with", "p", "--expect", "blake3:00", "--connections", "3", "--timeout", "1.5"),
        *("--threads", "2", "--option", "k=7"),
    ): {
        "tier": "q4",
        "tensors": ["x"],
        "rows": [None, 7],
        "seeds": ["s"],
        "parents": ["p"],
        "expect": "blake3:00",
        "connections": 3,
        "timeout": 1.5,
        "threads": 2,
        "storage_options": {"k": 7},
    },
}


@pytest.mark.parametrize(("arguments", "named"), CALLS.items(), ids=[" ".join(c) for c in CALLS])
def test_every_option_reaches_the_library(p2u, spied, arguments, named):
    message = p2u(*arguments, "--json", PYTHONPATH=spied).error["message"]
    called = json.loads(message.removeprefix("internal error: RuntimeError: "))
    command = "pack_update" if arguments[0] == "update" else arguments[0]
    most = 4 if arguments[0] == "update" else 3
    paths = [argument for argument in arguments[1:most] if not argument.startswith("-")]
    assert called == [command, paths, named]


@pytest.mark.parametrize("command", [("pack", "a", "b"), ("verify", "a"), ("unpack", "a", "b")])
def test_threads_come_from_the_environment_too(p2u, spied, command):
    result = p2u(*command, "--json", PYTHONPATH=spied, P2U_THREADS="7")
    assert '"threads": 7' in result.error["message"]


@pytest.fixture
def broken(tmp_path):
    """Return a function that makes the library's open() raise, for a run with that PYTHONPATH."""

    def make(raised):
        lines = ["import p2uformat", "def broken(*_, **__):", f"    raise {raised}"]
        code = "\n".join([*lines, "p2uformat.open = broken"])
        (tmp_path / "sitecustomize.py").write_text(code)
        return str(tmp_path)

    return make


def test_an_unforeseen_error_is_short_and_asks_for_a_report(p2u, broken):
    path = broken(r"ZeroDivisionError('facts\x1b[31m')")
    text = p2u("inspect", "a", PYTHONPATH=path)
    assert (text.code, text.out) == (1, "")
    error, hint = text.err.splitlines()
    assert error == r"error: internal error: ZeroDivisionError: facts\x1b[31m"
    assert "report" in hint
    result = p2u("inspect", "a", "--json", PYTHONPATH=path)
    assert (result.code, result.err) == (1, "")
    assert (result.error["code"], result.error["type"]) == ("internal-error", "ZeroDivisionError")


def test_a_traceback_comes_only_if_asked_for(p2u, broken):
    path = broken("ZeroDivisionError('facts')")
    result = p2u("inspect", "a", PYTHONPATH=path, P2U_TRACEBACK="1")
    assert result.code == 1
    assert "Traceback (most recent call last)" in result.err
    assert "internal error" in result.err


@pytest.mark.parametrize(
    ("raised", "code", "name"),
    [
        ("MemoryError", 1, "out-of-memory"),
        ("PermissionError(13, 'Permission denied', 'a')", 4, "store-unavailable"),
        ("KeyboardInterrupt", 130, "interrupted"),
    ],
)
def test_errors_of_the_machine_are_told_plainly(p2u, broken, raised, code, name):
    result = p2u("inspect", "a", "--json", PYTHONPATH=broken(raised))
    assert (result.code, result.error["code"]) == (code, name)
