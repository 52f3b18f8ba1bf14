"""An optimizer that takes one parameter at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn

from p2uformat.torch.omc.packed import CompressedParameter

__all__ = ["EachParameter"]

Factory = Callable[..., torch.optim.Optimizer]


class EachParameter(torch.optim.Optimizer):
    """Any optimizer of PyTorch, applied to one parameter after the other.

    A compressed parameter is expanded, updated, and compressed again before the next one is. What
    the optimizer keeps beside, such as momentum, it keeps as it always does.

    Parameters
    ----------
    params : iterable
        Parameters or groups, as of any optimizer.
    factory : callable
        Its class, for example `torch.optim.SGD`.
    in_backward : bool
        Whether to update each parameter during the backward pass, as soon as its gradient is
        there, so that gradients do not live all at once either. `step` and `zero_grad` have nothing
        left to do then. Not for gradients that are accumulated, clipped or scaled.
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
        self._hooks: list[Any] = []
        self._options = options
        # Its defaults are those of the class, so that groups and schedulers find them.
        super().__init__(params, factory([nn.Parameter(torch.empty(0))], **options).defaults)
        self._in_backward = in_backward
        for group in self.param_groups if in_backward else ():
            for parameter in group["params"]:
                self._hooks.append(self._watch(parameter, group))

    def _watch(self, parameter: nn.Parameter, group: dict[str, Any]) -> object:
        def arrived(_: torch.Tensor) -> None:
            self._update(parameter, group)
            parameter.grad = None

        return parameter.register_post_accumulate_grad_hook(arrived)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # noqa: ANN401 - the closure's
        """Update every parameter that has a gradient, one after the other."""
        with torch.enable_grad():
            loss = None if closure is None else closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, group)
        return loss

    @torch.no_grad()
    def _update(self, parameter: nn.Parameter, group: dict[str, Any]) -> None:
        single = self._single.get(parameter)
        if single is None:
            single = self._single[parameter] = self._made(parameter)
        # A scheduler changes the group's numbers.
        single.param_groups[0].update({k: v for k, v in group.items() if k != "params"})
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

    def _made(self, parameter: nn.Parameter) -> torch.optim.Optimizer:
        """Return an optimizer of one parameter; of one that stands in, if it is compressed."""
        target = parameter
        if isinstance(parameter, CompressedParameter):
            target = nn.Parameter(torch.empty(0, dtype=parameter.dtype, device=parameter.device))
        single = self._factory([target], **self._options)
        # One dictionary in both places, so that it is saved with this optimizer's state.
        single.state[target] = self.state[parameter]
        return single
