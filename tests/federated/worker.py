"""A server or a client as a process of its own: python -m tests.federated.worker WHAT ..."""

from __future__ import annotations

import json
import sys
import time

import numpy as np

from p2uformat import Levels, NotFound
from p2uformat.federated import Client, Server
from tests.federated import mlp

RUN = "run"
SECONDS = 60


def serve(place: str, options: dict, clients: int, rounds: int, patience: float) -> None:
    """Lead rounds until there were so many, from wherever the store is."""
    server = Server(place, RUN, storage_options=options)
    current = server.current() or server.publish(mlp.fresh())
    while current.number <= rounds:
        server.wait(current, range(clients), patience, poll=0.1)
        gathered = server.gather(current)
        if not gathered.accepted:
            continue
        print(
            json.dumps(
                {
                    "round": current.number,
                    "accepted": [one.client for one in gathered.accepted],
                    "rejected": [one.code for one in gathered.rejected],
                }
            ),
            flush=True,
        )
        current = server.publish(gathered.weights)


def work(place: str, options: dict, number: int, clients: int, rounds: int, folder: str) -> None:
    """Train in each round, on this client's part of the data."""
    (values, labels), _ = mlp.data()
    part = np.array_split(np.arange(len(values)), clients)[number]
    budget = (2.5, 4.0, 8.0)[number % 3]
    one = Client(place, RUN, number, folder, budget=budget, storage_options=options)
    done, end = 0, time.monotonic() + SECONDS
    while done < rounds and time.monotonic() < end:
        try:
            mine = one.receive()
        except NotFound:
            time.sleep(0.1)
            continue
        if mine.round.number <= done:
            time.sleep(0.1)
            continue
        made = mlp.trained(mine.weights, values[part], labels[part], 30, seed=mine.round.number)
        one.send(made, weight=len(part), quantizer=Levels("uniform", 4))
        done = mine.round.number
        print(json.dumps({"round": done, "moved": mine.moved}), flush=True)


if __name__ == "__main__":
    what, place, options, *rest = sys.argv[1:]
    if what == "serve":
        clients, rounds, patience = rest
        serve(place, json.loads(options), int(clients), int(rounds), float(patience))
    else:
        number, clients, rounds, folder = rest
        work(place, json.loads(options), int(number), int(clients), int(rounds), folder)
