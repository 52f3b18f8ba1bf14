"""A module filled from an artifact."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from p2uformat.torch.files import Parents, Source, opened
from p2uformat.torch.staged import IncompatibleKeys, stage

__all__ = ["load_into"]


def load_into(
    module: nn.Module,
    source: Source,
    tier: str | None = "q4",
    *,
    strict: bool = True,
    assign: bool | None = None,
    device: str | torch.device | None = None,
    parents: Parents = (),
    threads: int | None = None,
    storage_options: Mapping[str, Any] | None = None,
) -> IncompatibleKeys:
    """Fill a module's parameters and buffers from an artifact, at a tier.

    All is read, checked and converted first, which takes as much memory as the module's tensors
    do; only then is the module changed. After an error it is as it was.

    Parameters
    ----------
    module : torch.nn.Module
        Keeps its dtypes and devices: floats are rounded to them, once. Names are those of its
        `state_dict`. Tensors that are tied need to be in the artifact under one name only.
        Buffers that are not persistent are left alone.
    source : str, os.PathLike, bytes or Artifact
        The artifact: a path, a URL, its bytes, or open.
    tier : str or None
        None for the best that is whole.
    strict : bool
        Whether the names must be the same on both sides, as of `Module.load_state_dict`.
    assign : bool, optional
        Whether to put new tensors into the module instead of copying into its own. By default only
        if some of these are on the meta device. Optimizers and views know nothing of new ones.
    device : str or torch.device, optional
        Where to put what was on the meta device; the processor by default.
    parents, threads, storage_options
        As of `p2uformat.open`.

    Returns
    -------
    named tuple
        ``missing_keys`` and ``unexpected_keys``, as of `Module.load_state_dict`.

    Raises
    ------
    ModuleMismatch
        If names or shapes do not fit; the message is PyTorch's, and names them.
    InvalidArgument
        If this PyTorch has no such dtype, or `assign` is False for a module without memory.
    P2UError
        As `p2uformat.open` and `Artifact.load`.

    Examples
    --------
    >>> import tempfile
    >>> from p2uformat.torch import save_file
    >>> path = tempfile.mkdtemp() + "/m.p2u"
    >>> model = nn.Linear(256, 64)
    >>> summary = save_file(model.state_dict(), path)
    >>> other = nn.Linear(256, 64)
    >>> load_into(other, path, tier="exact")
    <All keys matched successfully>
    >>> torch.equal(other.weight, model.weight)
    True
    """
    with opened(
        source, parents=parents, threads=threads, storage_options=storage_options
    ) as artifact:
        staged = stage(module, artifact, tier, strict=strict, assign=assign, device=device)
    staged.commit()
    return staged.keys
