"""Modules that expand their parameters when they use them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import torch
from torch import nn

from p2uformat.torch.omc.live import forgetting
from p2uformat.torch.omc.packed import CompressedParameter

__all__ = ["LIVE", "Live"]


class Live(nn.Module):
    """What is in front of a module's own class while it has compressed parameters."""

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - as of nn.Module
        found = super().__getattr__(name)
        return found.expanded() if type(found) is CompressedParameter else found

    def forward(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - as of nn.Module
        """Run as the module's own class does."""
        if not torch.is_grad_enabled():
            return super().forward(*args, **kwargs)
        with forgetting():
            return super().forward(*args, **kwargs)

    def compressed_parameters(self) -> dict[str, CompressedParameter]:
        """Return its own compressed parameters by name."""
        own = self._parameters.items()
        return {name: item for name, item in own if isinstance(item, CompressedParameter)}

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> Live:  # noqa: FBT001, FBT002
        mine = self.compressed_parameters()
        order = list(self._parameters)
        for name in mine:
            del self._parameters[name]
        super()._apply(fn, recurse)
        for parameter in mine.values():
            parameter.moved(fn)
        both = {**self._parameters, **mine}
        self._parameters.clear()
        self._parameters.update({name: both[name] for name in order})
        return self

    def _save_to_state_dict(
        self,
        destination: dict[str, Any],
        prefix: str,
        keep_vars: bool,  # noqa: FBT001
    ) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        for name, parameter in self.compressed_parameters().items():
            destination[prefix + name] = parameter.packed.expand()

    def _load_from_state_dict(
        self,
        state_dict: dict[str, Any],
        prefix: str,
        local_metadata: dict[str, Any],
        strict: bool,  # noqa: FBT001
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        mine, order = self.compressed_parameters(), dict(self._parameters)
        rest = {k: v for k, v in state_dict.items() if k not in {prefix + name for name in mine}}
        for name in mine:
            del self._parameters[name]
        try:
            super()._load_from_state_dict(
                rest, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs
            )
        finally:
            self._parameters.clear()
            self._parameters.update(order)
        for name, parameter in mine.items():
            key = prefix + name
            if key not in state_dict:
                missing_keys.extend([key] if strict else [])
            elif state_dict[key].shape != parameter.shape:
                error_msgs.append(
                    f"size mismatch for {key}: copying a param with shape {state_dict[key].shape}"
                    f" from checkpoint, the shape in current model is {parameter.shape}."
                )
            else:
                parameter.packed.store(state_dict[key])


class LiveLinear(Live, nn.Linear):
    """A linear layer whose parameters are compressed."""


class LiveConv1d(Live, nn.Conv1d):
    """A convolution whose parameters are compressed."""


class LiveConv2d(Live, nn.Conv2d):
    """A convolution whose parameters are compressed."""


class LiveEmbedding(Live, nn.Embedding):
    """An embedding whose table is compressed."""


class LiveLSTM(Live, nn.LSTM):
    """An LSTM whose matrices are compressed; all are expanded for as long as it runs."""

    @property
    def _flat_weights(self) -> list[torch.Tensor | None]:
        # While PyTorch moves a module, compressed ones are not there.
        return [getattr(self, name, None) for name in self._flat_weights_names]

    @_flat_weights.setter
    def _flat_weights(self, value: object) -> None:
        """Leave it: PyTorch sets it after moves, to what is not kept here."""

    def flatten_parameters(self) -> None:
        """Do nothing: there is no memory to put side by side."""


LIVE: Final[dict[type[nn.Module], type[Live]]] = {
    nn.Linear: LiveLinear,
    nn.Conv1d: LiveConv1d,
    nn.Conv2d: LiveConv2d,
    nn.Embedding: LiveEmbedding,
    nn.LSTM: LiveLSTM,
}
"""For each class that can have compressed parameters, what it becomes."""
