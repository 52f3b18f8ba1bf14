"""Small modules and artifacts of them."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import p2uformat.torch

TIERS = ("q4", "q8", "exact")


class Net(nn.Module):
    """Parameters, tied ones, persistent buffers of several kinds, and one that is not."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(64, 128)
        self.body = nn.Sequential(nn.Linear(128, 128), nn.BatchNorm1d(128), nn.Linear(128, 128))
        self.head = nn.Linear(128, 64, bias=False)
        self.head.weight = self.embed.weight
        self.register_buffer("ids", torch.arange(2**40, 2**40 + 5))
        self.register_buffer("mask", torch.tensor([True, False, True]))
        self.register_buffer("scratch", torch.zeros(4), persistent=False)

    def forward(self, words: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(self.embed(words)))


def made(seed: int = 0) -> Net:
    torch.manual_seed(seed)
    return Net().eval()


@pytest.fixture
def net() -> Net:
    """A module that differs from what is packed."""
    other = made(1)
    other.ids.zero_()
    return other


@pytest.fixture(scope="session")
def original() -> Net:
    net = made(0)
    net.body[1].running_mean.normal_()
    net.body[1].num_batches_tracked.fill_(2**53 + 1)
    return net


@pytest.fixture(scope="session")
def packed(original, tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("torch") / "net.p2u"
    p2uformat.torch.save_file(original.state_dict(), path)
    return str(path)


@pytest.fixture(scope="session")
def words() -> torch.Tensor:
    return torch.arange(64)


@pytest.fixture(scope="session")
def answers(packed, words) -> dict[str, torch.Tensor]:
    """What the module says at each tier."""
    found = {}
    for tier in TIERS:
        net = made(2)
        p2uformat.torch.load_into(net, packed, tier)
        with torch.no_grad():
            found[tier] = net(words)
    return found
