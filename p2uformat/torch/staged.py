"""What a tier would put into a module: checked whole first, then put there at once."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

import p2uformat
from p2uformat.torch.errors import ModuleMismatch
from p2uformat.torch.files import decoded

__all__ = ["IncompatibleKeys", "Staged", "plain", "stage"]

IncompatibleKeys = Any
"""The named tuple that `Module.load_state_dict` returns."""

State = dict[str, torch.Tensor]


@dataclass(frozen=True, slots=True)
class Staged:
    """A tier that is ready for a module.

    Parameters
    ----------
    keys : tuple
        Missing and unexpected keys, as `load_state_dict` returns them.
    pairs : list of (torch.Tensor, torch.Tensor)
        A tensor of the module, and what goes into it, of its dtype and on its device.
    assign : callable or None
        Puts new tensors into the module instead.
    """

    keys: IncompatibleKeys
    pairs: list[tuple[torch.Tensor, torch.Tensor]]
    assign: Callable[[], object] | None

    def commit(self) -> None:
        """Change the module. Nothing here can fail for a reason that could be known before."""
        if self.assign is not None:
            self.assign()
            return
        synchronize(target for target, _ in self.pairs)
        for target, value in self.pairs:
            with torch.inference_mode(target.is_inference()), torch.no_grad():
                target.copy_(value)
        synchronize(target for target, _ in self.pairs)


class _Copies(TorchFunctionMode):
    """Notes what would be copied where, and copies nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.pairs: list[tuple[torch.Tensor, torch.Tensor]] = []

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401 - whatever the function returns
        if func is torch.Tensor.copy_:
            self.pairs.append((args[0], args[1]))
            return args[0]
        return func(*args, **(kwargs or {}))


def stage(
    module: nn.Module,
    artifact: p2uformat.Artifact,
    tier: str | None,
    *,
    strict: bool,
    assign: bool | None,
    device: str | torch.device | None,
) -> Staged:
    """Decode a tier for a module and see that it fits, without a change to the module."""
    if artifact.update is not None:
        raise p2uformat.InvalidArgument(
            "an update is a difference of weights, and no model",
            hint="p2uformat.apply_update adds it to the weights that it is to",
        )
    module = plain(module)
    own = _own(module)
    assigned = _assigns(own, assign=assign)
    state = decoded(
        artifact, tier, artifact.keys(), {name: tensor.dtype for name, tensor in own.items()}
    )
    _tie(own, state)
    if assigned:
        _place(own, state, torch.device("cpu" if device is None else device))
    keys, pairs = _rehearse(module, state, strict=strict)
    if assigned:
        load = module.load_state_dict
        return Staged(keys, [], lambda: load(state, strict=strict, assign=True))
    return Staged(keys, [_ready(*pair) for pair in pairs], None)


def plain(module: nn.Module) -> nn.Module:
    """Return the module that a compiled one stands for: the names of tensors are its.

    Raises
    ------
    InvalidArgument
        If it is no module.
    """
    if not isinstance(module, nn.Module):
        raise p2uformat.InvalidArgument(f"expected a module, got {type(module).__name__}")
    return dict(module.named_children()).get("_orig_mod", module)


def synchronize(tensors: Iterable[torch.Tensor]) -> None:
    """Wait for what was started on other devices: a call that returned there may still run."""
    for device in {tensor.device for tensor in tensors} - {torch.device("cpu")}:
        wait = getattr(getattr(torch, device.type, None), "synchronize", None)
        if wait is not None:
            wait() if device.index is None else wait(device.index)


def _own(module: nn.Module) -> State:
    state = module.state_dict(keep_vars=True)
    return {name: item for name, item in state.items() if isinstance(item, torch.Tensor)}


def _assigns(own: State, *, assign: bool | None) -> bool:
    """Whether new tensors are put into the module: where it has none with memory, they must."""
    without = [name for name, tensor in own.items() if tensor.is_meta]
    if without and assign is False:
        raise p2uformat.InvalidArgument(
            f"{len(without)} tensors of the module are on the meta device, {without[0]!r} first:"
            " nothing can be copied there",
            hint="leave assign out, or give the module memory with to_empty",
        )
    return bool(without) if assign is None else assign


def _tie(own: State, state: State) -> None:
    """Give names that share a tensor in the module what the artifact has under one of them."""
    known = {_identity(own[name]): name for name in state if name in own}
    for name in own.keys() - state.keys():
        other = known.get(_identity(own[name]))
        if other is not None:
            state[name] = state[other]


def _identity(tensor: torch.Tensor) -> tuple[object, ...]:
    if tensor.is_meta or not tensor.numel() or tensor.layout is not torch.strided:
        return (id(tensor),)
    return (tensor.device, tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride())


def _place(own: State, state: State, device: torch.device) -> None:
    """Make what will be assigned: in the module's dtypes, tied where the module is."""
    made: dict[tuple[object, ...], torch.Tensor] = {}
    for name in [name for name in state if name in own]:
        old = own[name]
        where = device if old.is_meta else old.device
        key = _identity(old)
        if key not in made:
            new = state[name].to(where, old.dtype)
            parameter = isinstance(old, nn.Parameter)
            made[key] = nn.Parameter(new, old.requires_grad) if parameter else new
        # A name whose shape does not fit must not hide behind one whose shape does.
        if state[name].shape == made[key].shape:
            state[name] = made[key]


def _rehearse(
    module: nn.Module, state: State, *, strict: bool
) -> tuple[IncompatibleKeys, list[tuple[torch.Tensor, torch.Tensor]]]:
    """Let PyTorch itself say what goes where, and what does not fit."""
    try:
        # Of meta modules it says that copying does nothing, which is meant.
        with warnings.catch_warnings(), _Copies() as copies:
            warnings.filterwarnings("ignore", ".*copying from a non-meta parameter.*")
            return module.load_state_dict(state, strict=strict), copies.pairs
    except RuntimeError as error:
        own = _own(module).keys()
        raise ModuleMismatch(
            str(error),
            hint="nothing was changed; strict=False allows for names, not for shapes",
            missing=tuple(name for name in own if name not in state),
            unexpected=tuple(name for name in state if name not in own),
        ) from error


def _ready(target: torch.Tensor, value: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return target, value.detach().to(target.device, target.dtype)
