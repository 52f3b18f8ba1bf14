"""An optimizer that takes one parameter at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn

from p2uformat.torch.omc.packed import CompressedParameter

__all__ = ["EachParameter"]

# Elements of a matrix whose gradient is worth an optimizer of its own, to be gone early.
_LEAST = 1 << 12

Factory = Callable[..., torch.optim.Optimizer]


class EachParameter(torch.optim.Optimizer):
    """Any optimizer of PyTorch, applied to one compressed parameter after the other.

    A compressed parameter is expanded, updated, and compressed again before the next one is. What
    the optimizer keeps beside, such as momentum, it keeps as it always does. Ordinary parameters
    are updated together.

    Parameters
    ----------
    params : iterable
        Parameters or groups, as of any optimizer.
    factory : callable
        Its class, for example `torch.optim.SGD`.
    in_backward : bool
        Whether to update each matrix but small ones during the backward pass, as soon as its
        gradient is there, so that gradients do not live all at once either; `step` does the rest.
        Not for gradients that are accumulated, clipped or scaled.
    **options
        As of the class: ``lr``, ``momentum`` and others.

    Examples
    --------
    >>> from p2uformat.torch import compressed
    >>> model = nn.Linear(256, 64)
    >>> done = compressed(model)
    >>> optimizer = EachParameter(model.parameters(), torch.optim.SGD, lr=0.1)
    >>> model(torch.ones(256)).sum().backward()
    >>> optimizer.step()
    """

    def __init__(
        self,
        params: Iterable[Any],
        factory: Factory,
        *,
        in_backward: bool = False,
        **options: Any,  # noqa: ANN401 - those of the class
    ) -> None:
        self._factory = factory
        self._single: dict[nn.Parameter, torch.optim.Optimizer] = {}
        self._together: dict[int, torch.optim.Optimizer] = {}
        self._options = options
        self._in_backward = in_backward
        # Its defaults are those of the class, so that groups and schedulers find them.
        super().__init__(params, factory([nn.Parameter(torch.empty(0))], **options).defaults)
        for group in self.param_groups if in_backward else ():
            for parameter in filter(self._is_single, group["params"]):
                self._watch(parameter, group)

    def _is_single(self, parameter: nn.Parameter) -> bool:
        """Whether a parameter has an optimizer of its own: each costs time, however small it is."""
        if isinstance(parameter, CompressedParameter):
            return True
        return self._in_backward and parameter.dim() > 1 and parameter.numel() >= _LEAST

    def _watch(self, parameter: nn.Parameter, group: dict[str, Any]) -> None:
        def arrived(_: torch.Tensor) -> None:
            self._update(parameter, group)
            parameter.grad = None

        parameter.register_post_accumulate_grad_hook(arrived)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # noqa: ANN401 - the closure's
        """Update every parameter that has a gradient."""
        with torch.enable_grad():
            loss = None if closure is None else closure()
        for number, group in enumerate(self.param_groups):
            for parameter in filter(self._is_single, group["params"]):
                if parameter.grad is not None:
                    self._update(parameter, group)
            self._update_others(number, group)
        return loss

    def _update_others(self, number: int, group: dict[str, Any]) -> None:
        others = [item for item in group["params"] if not self._is_single(item)]
        if not others:
            return
        if number not in self._together:
            self._together[number] = self._made(others, others)
        _follow(self._together[number], group)
        self._together[number].step()

    @torch.no_grad()
    def _update(self, parameter: nn.Parameter, group: dict[str, Any]) -> None:
        single = self._single.get(parameter)
        if single is None:
            target = parameter
            if isinstance(parameter, CompressedParameter):
                target = nn.Parameter(parameter.new_empty(0))
            single = self._single[parameter] = self._made([target], [parameter])
        _follow(single, group)
        if not isinstance(parameter, CompressedParameter):
            single.step()
            return
        (dense,) = single.param_groups[0]["params"]
        dense.data = parameter.packed.expand()
        dense.grad = parameter.grad
        single.step()
        parameter.packed.store(dense.data)
        dense.grad = None
        dense.data = dense.data.new_empty(0)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on where another one ended, as of any optimizer."""
        super().load_state_dict(state_dict)
        self._single.clear()
        self._together.clear()

    def _made(
        self, targets: list[nn.Parameter], parameters: list[nn.Parameter]
    ) -> torch.optim.Optimizer:
        """Return an optimizer of tensors that are, or stand for, parameters of this one."""
        made = self._factory(targets, **self._options)
        for target, parameter in zip(targets, parameters, strict=True):
            # One dictionary in both places, so that it is saved with this optimizer's state.
            made.state[target] = self.state[parameter]
        return made


def _follow(made: torch.optim.Optimizer, group: dict[str, Any]) -> None:
    """Give an optimizer the numbers of a group, which a scheduler may have changed."""
    made.param_groups[0].update({k: v for k, v in group.items() if k != "params"})
