"""A program that answers while its model arrives; prints what it did, a line of JSON each time.

Started by ``experiments.live``. It fetches a small model, answers with it, and waits for a line on
standard input before it asks for its own: starting Python and importing count for nobody.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import nn

import p2uformat.torch
from benchmarks import sources
from benchmarks.fetchpeers import get
from experiments import models
from experiments.models import Model

__all__ = ["main"]

_TOGETHER = 10  # images that are answered at once
_AFTERWARDS = 0.5  # seconds that it goes on, once all is there


class _Work:
    """Answers, over and over the same items in a drawn order."""

    def __init__(self, model: Model) -> None:
        order = torch.randperm(len(model.labels), generator=torch.Generator().manual_seed(0))
        items = order.split(_TOGETHER)
        self._items = itertools.cycle([(model.inputs[i], model.labels[i]) for i in items])
        self._printing = threading.Lock()
        self.began = 0.0

    def answer(self, net: nn.Module, tier: str) -> None:
        """Answer a few items and say how many were right."""
        inputs, labels = next(self._items)
        with torch.inference_mode():
            right = int((net(inputs).argmax(1) == labels).sum())
        self.say(tier=tier, count=len(labels), right=right)

    def say(self, **what: object) -> None:
        """Print what happened now."""
        line = json.dumps({"at": time.perf_counter() - self.began, **what})
        with self._printing:  # tiers come on a thread of the stream
            print(line, flush=True)


def main() -> None:
    """Answer until the model is whole, and a little longer."""
    options = _arguments()
    torch.set_num_threads(1)
    model = models.find(options.model, options.data, options.work)
    net, work = model.make().eval(), _Work(model)
    with tempfile.TemporaryDirectory(dir=options.work) as held:
        _warm(options.warm, Path(held), net, model)
        print(json.dumps({"ready": True}), flush=True)
        sys.stdin.readline()
        work.began = time.perf_counter()
        if options.plain:
            _plain(net, options.url, Path(held), work)
        else:
            _streamed(net, options.url, work)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m experiments.program", description=__doc__)
    parser.add_argument("model", help="key of a model")
    parser.add_argument("url", help="where it is")
    parser.add_argument("warm", help="where a small artifact is, to be fetched before")
    parser.add_argument("--plain", action="store_true", help="it is a safetensors file")
    parser.add_argument("--data", type=Path, help="folder of real weights")
    parser.add_argument("--work", type=Path, required=True, help="folder of models trained here")
    return parser.parse_args()


def _warm(url: str, folder: Path, net: nn.Module, model: Model) -> None:
    """Do everything once, on something else: what is imported late is there from then on."""
    get(url, folder / "warm")
    with p2uformat.torch.stream(nn.Linear(64, 64), url) as handle:
        handle.result()
    with torch.inference_mode():
        net(model.inputs[:_TOGETHER])


def _streamed(net: nn.Module, url: str, work: _Work) -> None:
    def came(tier: str, progress: p2uformat.torch.StreamProgress) -> None:
        work.say(came=tier, bytes=progress.done)

    with p2uformat.torch.stream(net, url, callback=came) as handle:
        for _ in _until(lambda: handle.done):
            with handle.hold():
                work.answer(net, handle.tier or "")
        handle.result()


def _plain(net: nn.Module, url: str, folder: Path, work: _Work) -> None:
    target = folder / "model.safetensors"
    get(url, target)
    tensors = {name: torch.from_numpy(value.copy()) for name, value in sources.read(target).items()}
    net.load_state_dict(tensors, strict=False)
    work.say(came="plain", bytes=target.stat().st_size)
    for _ in _until(lambda: True):
        work.answer(net, "plain")


def _until(done: Callable[[], bool]) -> Iterator[None]:
    """Yield until something is done, and for a while after that."""
    last = float("inf")
    while time.perf_counter() < last:
        if last == float("inf") and done():
            last = time.perf_counter() + _AFTERWARDS
        yield


if __name__ == "__main__":
    main()
