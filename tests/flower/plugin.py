"""What needs Flower is left out where it is missing, unless ``P2U_REQUIRE_FLOWER`` is set."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import pytest

HERE = Path(__file__).resolve()
# Their doctests, and the tests.
FOLDERS = (HERE.parents[2] / "p2uformat" / "flower", HERE.parent)
MISSING = importlib.util.find_spec("flwr") is None


def pytest_configure(config):
    if MISSING and os.environ.get("P2U_REQUIRE_FLOWER"):
        message = "Flower is required but not installed: pip install 'p2uformat[flower]'"
        raise pytest.UsageError(message)


def pytest_ignore_collect(collection_path, config):
    return True if MISSING and collection_path in FOLDERS else None


def pytest_terminal_summary(terminalreporter, config):
    if MISSING:
        text = "Flower is not installed: tests/flower and p2uformat/flower were left out"
        terminalreporter.write_line(f"{text} (pip install 'p2uformat[flower]')")
