"""A module made to live compressed, and back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from torch import nn

import p2uformat
from p2uformat.quant.policy import Candidate
from p2uformat.torch.omc.floats import format_of
from p2uformat.torch.omc.modules import LIVE, Live
from p2uformat.torch.omc.packed import CompressedParameter, Packed

__all__ = ["Compressed", "compressed"]

_KEPT: Final = 0.1
_PLAIN: Final = {live: plain for plain, live in LIVE.items()}


@dataclass(frozen=True, slots=True)
class Compressed:
    """A module with compressed parameters.

    Parameters
    ----------
    module : torch.nn.Module
        The module itself, changed in place.
    names : tuple of str
        The compressed parameters.
    kept : tuple of str
        Those that the policy keeps exact of the ones that it covers.
    dense_bytes : int
        What all parameters took before.
    """

    module: nn.Module
    names: tuple[str, ...]
    kept: tuple[str, ...]
    dense_bytes: int

    @property
    def bytes(self) -> int:
        """What all parameters take now, between steps."""
        return sum(map(_stored_bytes, self.module.parameters()))

    def expand(self) -> nn.Module:
        """Give the module ordinary parameters again, of the values that it has, and return it."""
        made: dict[nn.Parameter, nn.Parameter] = {}
        for part in [part for part in self.module.modules() if isinstance(part, Live)]:
            for name, old in part.compressed_parameters().items():
                if old not in made:
                    made[old] = nn.Parameter(old.packed.expand(), old.requires_grad)
                part._parameters[name] = made[old]  # noqa: SLF001 - its setter looks at the old one
            part.__class__ = _PLAIN[type(part)]
            if isinstance(part, nn.LSTM):
                part._init_flat_weights()  # noqa: SLF001 - kept by the module itself
        return self.module


def compressed(
    module: nn.Module,
    policy: p2uformat.Policy | None = None,
    *,
    form: str | p2uformat.Minifloat = "S1E3M7",
    fit: bool = True,
) -> Compressed:
    """Let parameters of a module live compressed, in place.

    A parameter is expanded when an operation needs it and freed after that, in the forward and in
    the backward pass. `Module.state_dict` has expanded tensors under the names that it had before,
    and `Module.load_state_dict` compresses what it is given.

    Parameters
    ----------
    module : torch.nn.Module
        Linear, Conv1d, Conv2d, Embedding and LSTM within it can have compressed parameters.
    policy : Policy, optional
        Which parameters are compressed. By default matrices, but a tenth of them that is kept.
    form : str or Minifloat
        Of the codes.
    fit : bool
        Whether each parameter has a scale and an offset of its own, by least squares, so that
        biases do not matter and what is too large does not occur. Without, values are those of the
        format: what is too large becomes the largest, what is far below its smallest becomes zero.

    Returns
    -------
    Compressed
        What was done. For training, give ``module.parameters()`` to `EachParameter`.

    Raises
    ------
    InvalidArgument
        If a parameter that was chosen belongs to another module, is not a float, or not finite, or
        if the format cannot be that of parameters; nothing is changed then.

    Examples
    --------
    >>> model = nn.Linear(256, 64)
    >>> done = compressed(model, p2uformat.Policy(keep=0))
    >>> done.names, done.dense_bytes, done.bytes
    (('weight',), 65792, 22804)
    """
    before = sum(parameter.nbytes for parameter in module.parameters())
    policy = p2uformat.Policy(keep=_KEPT) if policy is None else policy
    all_of_them = [
        Candidate(name, item.dim(), item.numel()) for name, item in module.named_parameters()
    ]
    covered = [candidate.name for candidate in all_of_them if policy.covers(candidate)]
    kept = policy.kept(all_of_them)
    names = [name for name in covered if name not in kept]
    made = _made(module, names, format_of(form), fit=fit)
    for part, name, old in list(_places(module)):
        if old in made:
            part._parameters[name] = made[old]  # noqa: SLF001 - its setter looks at the old one
            if not isinstance(part, Live):
                part.__dict__.pop("_flat_weights", None)
                part.__class__ = LIVE[type(part)]
    return Compressed(module, tuple(names), tuple(n for n in covered if n in kept), before)


def _made(
    module: nn.Module, names: list[str], form: p2uformat.Minifloat, *, fit: bool
) -> dict[nn.Parameter, CompressedParameter]:
    """Return what stands for each parameter that is chosen; nothing is changed yet."""
    parameters = dict(module.named_parameters())
    chosen = {parameters[name]: name for name in names}
    for part, _, item in _places(module):
        if item in chosen:
            _check(part, item, chosen[item])
    return {
        item: CompressedParameter(Packed(form, item, fit=fit), item.requires_grad)
        for item in chosen
    }


def _places(module: nn.Module) -> Iterator[tuple[nn.Module, str, nn.Parameter]]:
    for part in module.modules():
        for name, item in part._parameters.items():  # noqa: SLF001 - tied ones in every place
            if item is not None:
                yield part, name, item


def _check(part: nn.Module, item: nn.Parameter, name: str) -> None:
    kind = type(part)
    if isinstance(item, CompressedParameter):
        reason = "it is compressed already"
    elif kind not in LIVE and not isinstance(part, Live):
        reason = f"it belongs to a {kind.__name__}"
    elif isinstance(part, nn.Embedding) and (part.sparse or part.max_norm is not None):
        reason = "sparse gradients and max_norm change a table row by row"
    elif not item.is_floating_point() or item.is_meta:
        reason = f"it has {'no values' if item.is_meta else f'dtype {item.dtype}'}"
    else:
        return
    known = ", ".join(sorted(cls.__name__ for cls in LIVE))
    raise p2uformat.InvalidArgument(
        f"cannot compress parameter {name!r}: {reason}",
        hint=f"leave it out by the policy; parameters of {known} can be",
    )


def _stored_bytes(parameter: nn.Parameter) -> int:
    if isinstance(parameter, CompressedParameter):
        return int(parameter.packed.nbytes + parameter.element_size())
    return int(parameter.nbytes)
