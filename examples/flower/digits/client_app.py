"""A client: it trains what it is given, and knows nothing of stores but their mod.

Each node says in its configuration what it takes down, and where it keeps it.
"""

from __future__ import annotations

from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.clientapp.mod import message_size_mod

from digits import task
from p2uformat import Levels
from p2uformat.flower import store_mod

PARTS = 3  # the last of which nobody trains on

# Before `store_mod`, messages are as they travel; behind it, all mods see arrays.
app = ClientApp(mods=[message_size_mod, store_mod(folder="models", quantizer=Levels("uniform", 7))])


def _data(context: Context) -> task.Data:
    return task.data(int(context.node_config["partition-id"]), PARTS)


@app.train()
def train(message: Message, context: Context) -> Message:
    """Train the model that came."""
    values, labels = _data(context)
    model = {name: array.numpy() for name, array in message.content["arrays"].items()}
    after = task.trained(model, values, labels, steps=30)
    content = RecordDict(
        {
            "arrays": ArrayRecord({name: Array(array) for name, array in after.items()}),
            "metrics": MetricRecord({"num-examples": len(labels)}),
        }
    )
    return Message(content, reply_to=message)


@app.evaluate()
def evaluate(message: Message, context: Context) -> Message:
    """Say how good the model is."""
    values, labels = _data(context)
    model = {name: array.numpy() for name, array in message.content["arrays"].items()}
    right = task.right(model, values, labels)
    metrics = MetricRecord({"num-examples": len(labels), "right": right})
    return Message(RecordDict({"metrics": metrics}), reply_to=message)
