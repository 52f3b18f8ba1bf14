import errno
import inspect
import pickle

import pytest

from p2uformat import errors
from p2uformat.errors import (
    CorruptData,
    DigestMismatch,
    NotFound,
    P2UError,
    StoreUnavailable,
    from_os_error,
)

CLASSES = [c for _, c in inspect.getmembers(errors, inspect.isclass) if issubclass(c, P2UError)]


def test_every_error_has_a_code_of_its_own():
    codes = [cls.code for cls in CLASSES]
    assert len(set(codes)) == len(codes)


@pytest.mark.parametrize("cls", CLASSES)
def test_every_error_survives_pickling(cls):
    error = pickle.loads(pickle.dumps(cls("expected 1 byte, got 2", hint="look again")))
    assert str(error) == "expected 1 byte, got 2\nlook again"
    assert type(error) is cls


def test_damage_says_where_it_is():
    error = DigestMismatch(
        "expected a, got b",
        artifact="m.p2u",
        tensor="w",
        tier="q4",
        elements=(0, 8),
        region="chunk",
        offset=128,
    )
    where = "artifact 'm.p2u', tensor 'w', tier q4, elements 0:8, chunk at offset 128"
    assert str(error) == f"expected a, got b ({where})"


def test_locating_keeps_what_is_known():
    error = CorruptData("bad", tensor="first")
    assert error.locate(tensor="second", tier="q8") is error
    assert (error.tensor, error.tier) == ("first", "q8")


@pytest.mark.parametrize(
    ("number", "cls"),
    [
        (errno.ENOENT, NotFound),
        (errno.ENOTDIR, NotFound),
        (errno.EACCES, StoreUnavailable),
        (errno.ENOSPC, StoreUnavailable),
    ],
)
def test_system_errors_are_mapped(number, cls):
    error = from_os_error(OSError(number, "No Such Luck"), "open", "x")
    assert type(error) is cls
    assert str(error).startswith("cannot open 'x': no such luck")
    if cls is StoreUnavailable:
        assert (error.path, error.errno) == ("x", number)
