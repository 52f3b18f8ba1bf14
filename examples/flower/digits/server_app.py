"""The server: a strategy of Flower's, and a store."""

from __future__ import annotations

from flwr.app import Array, ArrayRecord, Context
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

from digits import task
from p2uformat.flower import StoreStrategy

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run the rounds."""
    strategy = StoreStrategy(FedAvg(), str(context.run_config["store"]), "digits")
    strategy.start(
        grid=grid,
        initial_arrays=ArrayRecord({name: Array(array) for name, array in task.fresh().items()}),
        num_rounds=int(context.run_config["num-server-rounds"]),
    )
