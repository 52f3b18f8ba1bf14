"""Models with the items they are tested on: trained here from a seed, or real where present."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from benchmarks import sources
from benchmarks.sources import Array
from experiments import networks

__all__ = ["Model", "digits", "digits_data", "find", "real", "relatives", "state_of"]

_ROWS = 50  # of one pass
_TEXT = 120  # pieces of the text, of so many characters; the first ones warm the state up
_CHARACTERS = 288
_WARMING = 32
_TRAINED = 1200  # digits; the other 597 are the test


@dataclass(frozen=True, slots=True)
class Model:
    """A checkpoint, its module, and the items that it is tested on.

    Parameters
    ----------
    key, name
        For programs and for people.
    path
        The float32 safetensors file.
    make
        Makes the module, with any values.
    inputs, labels
        The test: rows are items.
    text
        Whether items are pieces of a text, of which each character is to be foreseen.
    """

    key: str
    name: str
    path: Path
    make: Callable[[], nn.Module]
    inputs: torch.Tensor
    labels: torch.Tensor
    text: bool = False

    @property
    def unit(self) -> str:
        """What a score is in."""
        return "bits per character" if self.text else "% right"

    def score(self, values: Array) -> float:
        """Return what to print of the scores of all items."""
        mean = float(values.mean())
        return -mean if self.text else mean

    def module(self, tensors: Mapping[str, Array]) -> nn.Module:
        """Return the module with values, ready to answer."""
        made = self.make().eval()
        held = {name: torch.from_numpy(np.array(value)) for name, value in tensors.items()}
        made.load_state_dict(held, strict=False)
        return made

    def scores(self, tensors: Mapping[str, Array]) -> Array:
        """Return a score for each item, more is better: 100 or 0, or minus bits per character."""
        return self.scores_of(self.module(tensors))

    def scores_of(self, module: nn.Module) -> Array:
        """Return the same for a module that has its values."""
        with torch.inference_mode():
            found = [self._scored(module(x), y) for x, y in self.batches()]
        return np.concatenate(found)

    def batches(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Go through the test."""
        yield from zip(self.inputs.split(_ROWS), self.labels.split(_ROWS), strict=True)

    def _scored(self, logits: torch.Tensor, labels: torch.Tensor) -> Array:
        if not self.text:
            right: Array = 100.0 * (logits.argmax(1) == labels).numpy()
            return right
        nats = functional.cross_entropy(logits, labels, reduction="none")[:, _WARMING:]
        bits: Array = -nats.mean(1).numpy().astype(np.float64) / np.log(2)
        return bits


def state_of(path: Path) -> dict[str, Array]:
    """Read a checkpoint."""
    return sources.read(path)


def digits(work: Path, seed: int = 0, steps: int = 400) -> Model | None:
    """Train the digits net of a seed into `work`, or find it there; None without scikit-learn.

    Parameters
    ----------
    work
        Folder for the checkpoint.
    seed
        Of the values it starts from, and of the order of what it sees.
    steps
        Of 60 images each.
    """
    data = digits_data()
    if data is None:
        return None
    images, labels = data
    path = work / f"digits-{seed}.safetensors"
    if not path.is_file():
        sources.write(path, _trained(images[:_TRAINED], labels[:_TRAINED], seed, steps))
    test = images[_TRAINED:], labels[_TRAINED:]
    return Model(f"digits-{seed}", "digits CNN", path, networks.digits_net, *test)


def digits_data() -> tuple[torch.Tensor, torch.Tensor] | None:
    """Return images of digits, with labels, always in one order; None without scikit-learn."""
    try:
        from sklearn.datasets import load_digits
    except ModuleNotFoundError:
        return None
    values, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(labels))
    images = torch.from_numpy(values[order].astype(np.float32) / 16).view(-1, 1, 8, 8)
    return images, torch.from_numpy(labels[order].astype(np.int64))


def _trained(images: torch.Tensor, labels: torch.Tensor, seed: int, steps: int) -> dict[str, Array]:
    """Train on one thread, so that sums are those of any other run."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        torch.manual_seed(seed)
        net = networks.digits_net()
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
        scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        for _ in range(steps):
            rows = torch.randint(len(images), (60,))
            optimizer.zero_grad()
            functional.cross_entropy(net(images[rows]), labels[rows]).backward()
            optimizer.step()
            scheduler.step()
    finally:
        torch.set_num_threads(before)
    return {name: value.numpy() for name, value in net.state_dict().items()}


def real(folder: Path | None) -> list[Model]:
    """List the real models whose weights and data are present."""
    if folder is None:
        return []
    nets, rays, text = folder / "cifar10-resnet", folder / "pneumonia", folder / "charrnn"
    found = [
        *_resnets(nets, "resnet20-????????.safetensors", 3, "ResNet20, CIFAR-10"),
        *_resnets(nets, "resnet56-????????.safetensors", 9, "ResNet56, CIFAR-10"),
        *_xrays(rays, "epoch6.safetensors"),
        *_text(text),
    ]
    return found


def find(key: str, data: Path | None, work: Path) -> Model:
    """Return the model of a key, as another process made it.

    Raises
    ------
    LookupError
        If there is none.
    """
    if key.startswith("digits-"):
        made = digits(work, int(key.partition("-")[2]))
        if made is not None:
            return made
    every = [real(data), *relatives(data).values()]
    for model in (model for group in every for model in group):
        if model.key == key:
            return model
    raise LookupError(key)


def relatives(folder: Path | None) -> dict[str, list[Model]]:
    """List models of one kind each, whose mean says more than one of them does."""
    if folder is None:
        return {}
    chain = folder / "cifar10-resnet" / "chain"
    images = chain.parent / "test2000.npz"
    kinds = {
        "ResNet20 and its three fine-tunings": _resnets(chain, "v*.safetensors", 3, "", images),
        "X-ray CNN, six epochs": _xrays(folder / "pneumonia", "epoch?.safetensors"),
    }
    return {kind: found for kind, found in kinds.items() if found}


def _resnets(
    folder: Path, pattern: str, blocks: int, name: str, test: Path | None = None
) -> list[Model]:
    test = folder / "test2000.npz" if test is None else test
    if not test.is_file():
        return []
    images, labels = _images(test)
    return [
        Model(
            path.stem,
            name or path.stem,
            path,
            lambda: networks.CifarResNet(blocks),
            images.permute(0, 3, 1, 2).contiguous(),
            labels,
        )
        for path in sorted(folder.glob(pattern))
    ]


def _xrays(folder: Path, pattern: str) -> list[Model]:
    test = folder / "test624.npz"
    if not test.is_file():
        return []
    images, labels = _images(test)
    return [
        Model(f"xray-{path.stem}", "X-ray CNN", path, networks.xray_net, images[:, None], labels)
        for path in sorted(folder.glob(pattern))
    ]


def _images(path: Path) -> tuple[torch.Tensor, torch.Tensor]:
    with np.load(path) as held:
        labels = torch.from_numpy(held["y"].ravel().astype(np.int64))
        return torch.from_numpy(held["x"]), labels


def _text(folder: Path) -> list[Model]:
    path, text = folder / "charlotte_bronte.safetensors", folder / "bronte.txt"
    if not (path.is_file() and text.is_file()):
        return []
    words = folder / "charlotte_bronte.vocab.json"
    numbers: dict[str, int] = json.loads(words.read_text(encoding="utf-8"))
    raw = text.read_text(encoding="utf-8", errors="replace").replace("\r\n", "\n")
    known = [numbers[letter] for letter in raw if letter in numbers]
    rows = _spread(torch.tensor(known), _TEXT, _CHARACTERS + 1)
    make: Any = lambda: networks.CharacterLSTM(len(numbers))  # noqa: E731 - one line says it
    inputs, labels = rows[:, :-1].contiguous(), rows[:, 1:].contiguous()
    return [Model("charrnn", "character LSTM", path, make, inputs, labels, text=True)]


def _spread(text: torch.Tensor, count: int, length: int) -> torch.Tensor:
    """Return pieces that lie evenly over a text."""
    starts = torch.linspace(0, len(text) - length, count).long()
    return torch.stack([text[start : start + length] for start in starts])
