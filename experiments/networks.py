"""The networks of the checkpoints as modules of PyTorch, with the names that the files have."""

from __future__ import annotations

from typing import cast

import torch
from torch import nn
from torch.nn import functional

__all__ = ["CharacterLSTM", "CifarResNet", "digits_net", "xray_net"]

_CIFAR_MEAN = (0.485, 0.456, 0.406)
_CIFAR_STD = (0.229, 0.224, 0.225)
_LSTM_LAYERS = 2
_FORGET = 1.0  # TensorFlow's BasicLSTMCell adds it to the forget gate


class _Block(nn.Module):
    def __init__(self, before: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(x)))))
        if y.shape != x.shape:  # option A: subsample, and zeros for the channels that are new
            more = (y.shape[1] - x.shape[1]) // 2
            x = functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, more, more))
        return functional.relu(x + y)


class CifarResNet(nn.Module):
    """A ResNet for CIFAR-10 of ``6 n + 2`` layers (He et al. 2015, arXiv 1512.03385).

    Parameters
    ----------
    blocks
        n: 3 for ResNet20, 9 for ResNet56.
    """

    def __init__(self, blocks: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = self._stage(16, 16, blocks)
        self.layer2 = self._stage(16, 32, blocks)
        self.layer3 = self._stage(32, 64, blocks)
        self.linear = nn.Linear(64, 10)
        self.register_buffer("mean", torch.tensor(_CIFAR_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(_CIFAR_STD).view(3, 1, 1), persistent=False)

    @staticmethod
    def _stage(before: int, width: int, blocks: int) -> nn.Sequential:
        first = _Block(before, width, 1 if before == width else 2)
        return nn.Sequential(first, *(_Block(width, width, 1) for _ in range(blocks - 1)))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return logits of uint8 images, (N, 3, 32, 32) -> (N, 10)."""
        x = (images.to(torch.float32) / 255 - self.mean) / self.std
        x = functional.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return cast("torch.Tensor", self.linear(x.mean((2, 3))))


class XrayNet(nn.Sequential):
    """Three strided convolutions and two dense layers; uint8 images, (N, 1, 28, 28) -> (N, 2)."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return logits."""
        return cast("torch.Tensor", super().forward(images.to(torch.float32) / 255 - 0.5))


def xray_net() -> nn.Module:
    """Make the chest X-ray CNN of 617,730 parameters."""
    parts: list[nn.Module] = []
    for before, width in ((1, 32), (32, 64), (64, 128)):
        parts += [nn.Conv2d(before, width, 3, 2, 1), nn.ReLU()]
    return XrayNet(*parts, nn.Flatten(), nn.Linear(2048, 256), nn.ReLU(), nn.Linear(256, 2))


def digits_net() -> nn.Module:
    """Make a CNN for digits of 8 x 8 grey values in 0 to 1; 151,306 parameters."""
    return nn.Sequential(
        *(nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 64, 3, padding=1), nn.ReLU()),
        *(nn.MaxPool2d(2), nn.Flatten(), nn.Linear(1024, 128), nn.ReLU(), nn.Linear(128, 10)),
    )


class CharacterLSTM(nn.Module):
    """Next characters by two layers of TensorFlow's BasicLSTM, under TensorFlow's names.

    Parameters
    ----------
    kinds
        Number of characters.
    width
        Of the embedding and of each layer.
    """

    def __init__(self, kinds: int, width: int = 128) -> None:
        super().__init__()
        self._own("embedding", kinds, width)
        for layer in range(_LSTM_LAYERS):
            self._own(f"{self._cell(layer)}/kernel", 2 * width, 4 * width)
            self._own(f"{self._cell(layer)}/bias", 4 * width)
        self._own("rnnlm/softmax_w", width, kinds)
        self._own("rnnlm/softmax_b", kinds)

    def _own(self, name: str, *shape: int) -> None:
        self.register_parameter(name, nn.Parameter(torch.zeros(*shape)))

    @staticmethod
    def _cell(layer: int) -> str:
        return f"rnnlm/multi_rnn_cell/cell_{layer}/basic_lstm_cell"

    def forward(self, text: torch.Tensor) -> torch.Tensor:
        """Return logits: (N, length) numbers of characters -> (N, kinds, length)."""
        held = dict(self.named_parameters())
        x = functional.embedding(text, held["embedding"])
        for layer in range(_LSTM_LAYERS):
            kernel, bias = (held[f"{self._cell(layer)}/{part}"] for part in ("kernel", "bias"))
            x = _lstm(x, kernel, bias)
        logits = x @ held["rnnlm/softmax_w"] + held["rnnlm/softmax_b"]
        return logits.transpose(1, 2)


def _lstm(x: torch.Tensor, kernel: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """Run a layer over (N, length, width): gates i, j, f, o side by side in the kernel."""
    width = x.shape[2]
    ahead = x @ kernel[:width] + bias
    state = hidden = x.new_zeros(len(x), width)
    outputs = []
    for step in range(x.shape[1]):
        i, j, f, o = (ahead[:, step] + hidden @ kernel[width:]).chunk(4, 1)
        state = state * torch.sigmoid(f + _FORGET) + torch.sigmoid(i) * torch.tanh(j)
        hidden = torch.tanh(state) * torch.sigmoid(o)
        outputs.append(hidden)
    return torch.stack(outputs, 1)
