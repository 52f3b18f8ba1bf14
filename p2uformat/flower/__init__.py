"""Federated rounds under Flower: the models and updates of its messages travel through a store.

A server app wraps its strategy in `StoreStrategy`, a client app has `store_mod` as the first of its
mods, and neither changes otherwise. Nothing else of the library imports Flower;
``pip install 'p2uformat[flower]'`` brings it.

Examples
--------
>>> import tempfile
>>> from flwr.clientapp import ClientApp
>>> from flwr.serverapp.strategy import FedAvg
>>> from p2uformat.flower import StoreStrategy, store_mod
>>> folder = tempfile.mkdtemp()
>>> strategy = StoreStrategy(FedAvg(), folder + "/store", "demo")
>>> app = ClientApp(mods=[store_mod(folder + "/store", folder=folder + "/client", budget=4.0)])
"""

from __future__ import annotations

try:
    import flwr as _flwr  # noqa: F401 - to say what to install before anything else fails
except ModuleNotFoundError as error:
    if error.name != "flwr":
        raise
    raise ModuleNotFoundError(
        "p2uformat.flower needs Flower\npip install 'p2uformat[flower]'", name="flwr"
    ) from error

from p2uformat.flower.mod import store_mod
from p2uformat.flower.strategy import StoreStrategy

__all__ = ["StoreStrategy", "store_mod"]
