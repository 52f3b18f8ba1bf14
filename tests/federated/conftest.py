"""Places for stores: a folder, and a server."""

import itertools

import pytest

COUNTER = itertools.count()


@pytest.fixture
def place(tmp_path):
    return str(tmp_path / "store")


@pytest.fixture(params=["local", "moto"])
def anywhere(request, place):
    """Return a place for a store, and storage options."""
    if request.param == "local":
        return place, {}
    served = request.getfixturevalue("moto")
    return f"{served.url}rounds-{next(COUNTER)}", served.options
