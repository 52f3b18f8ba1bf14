"""A place for a store, and a process that Flower takes for a server app's."""

import contextlib

import pytest
from threadpoolctl import threadpool_limits


@pytest.fixture
def place(tmp_path):
    return str(tmp_path / "store")


@pytest.fixture(autouse=True, scope="session")
def identity():
    """Say who writes messages, as Flower does before it starts an app. Older releases ask later."""
    with contextlib.suppress(ImportError):
        from flwr.supercore.task_identity import TaskIdentity

        TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = 1, 1, 1


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    """Let small products run on one thread: others would wait for each other longer than that."""
    with threadpool_limits(1):
        yield
