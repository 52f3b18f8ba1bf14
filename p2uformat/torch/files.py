"""Whole artifacts as dictionaries of tensors, as `safetensors.torch` has them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch

import p2uformat
from p2uformat.torch.tensors import FLOATS, array_of, dtype_name, tensor_of

__all__ = ["Parents", "Source", "decoded", "load_file", "opened", "save_file"]

Source = str | os.PathLike[str] | bytes | p2uformat.Artifact
Parents = Source | Sequence[Source]


@contextmanager
def opened(
    source: Source,
    *,
    parents: Parents = (),
    threads: int | None = None,
    storage_options: Mapping[str, Any] | None = None,
) -> Iterator[p2uformat.Artifact]:
    """Open what is not open yet, and close only that."""
    if isinstance(source, p2uformat.Artifact):
        yield source
        return
    options = None if storage_options is None else dict(storage_options)
    with p2uformat.open(
        source, parents=parents, threads=threads, storage_options=options
    ) as artifact:
        yield artifact


def decoded(
    artifact: p2uformat.Artifact,
    tier: str | None,
    names: Iterable[str],
    wanted: Mapping[str, torch.dtype] | None = None,
) -> dict[str, torch.Tensor]:
    """Return tensors at a tier, on the processor.

    Parameters
    ----------
    artifact : Artifact
        Where they are.
    tier : str or None
        None for the best that is whole.
    names : iterable of str
        Which.
    wanted : mapping of str to torch.dtype, optional
        The dtypes that they are for. Floats are rounded to these, once; others stay as they are.
    """
    groups: dict[str | None, list[str]] = {}
    infos = {name: artifact.info(name) for name in names}
    for name, info in infos.items():
        groups.setdefault(_target(info, (wanted or {}).get(name)), []).append(name)
    found = {}
    for target, group in groups.items():
        for name, array in artifact.load(tier, target, group).items():
            found[name] = tensor_of(array, target or infos[name].dtype, infos[name].shape)
    return {name: found[name] for name in infos}


def _target(info: p2uformat.TensorInfo, wanted: torch.dtype | None) -> str | None:
    name = None if wanted is None else dtype_name(wanted)
    return name if name in FLOATS and info.dtype in FLOATS and name != info.dtype else None


def load_file(
    filename: Source,
    device: str | int | torch.device = "cpu",
    *,
    tier: str | None = None,
    parents: Parents = (),
    threads: int | None = None,
    storage_options: Mapping[str, Any] | None = None,
) -> dict[str, torch.Tensor]:
    """Return all tensors of an artifact, as `safetensors.torch.load_file` does.

    Parameters
    ----------
    filename : str, os.PathLike, bytes or Artifact
        The artifact: a path, a URL, its bytes, or open.
    device : str, int or torch.device
        Where to put the tensors.
    tier : str, optional
        The best that is whole by default.
    parents, threads, storage_options
        As of `p2uformat.open`.

    Returns
    -------
    dict of torch.Tensor
        By name, in the dtypes of the source.

    Raises
    ------
    P2UError
        As `p2uformat.open` and `Artifact.load`.

    Examples
    --------
    >>> import tempfile
    >>> path = tempfile.mkdtemp() + "/m.p2u"
    >>> summary = save_file({"w": torch.ones(3, dtype=torch.bfloat16)}, path)
    >>> load_file(path)
    {'w': tensor([1., 1., 1.], dtype=torch.bfloat16)}
    """
    with opened(
        filename, parents=parents, threads=threads, storage_options=storage_options
    ) as artifact:
        found = decoded(artifact, tier, artifact.keys())
    return {name: tensor.to(device) for name, tensor in found.items()}


def save_file(
    tensors: Mapping[str, torch.Tensor],
    filename: str | os.PathLike[str],
    **options: Any,  # noqa: ANN401 - those of pack
) -> p2uformat.Summary:
    """Pack tensors, as `safetensors.torch.save_file` writes them.

    Other than there, tensors may share memory: equal ones are stored once, under each name.

    Parameters
    ----------
    tensors : mapping of str to torch.Tensor
        For example what `state_dict` returns.
    filename : str or os.PathLike
        The artifact to make.
    **options
        As of `p2uformat.pack`: ``tiers``, ``overwrite``, ``parent`` and others.

    Returns
    -------
    Summary
        What was written.

    Raises
    ------
    InvalidArgument
        If something is no tensor, or has a dtype that an artifact cannot have.
    P2UError
        As `p2uformat.pack`.
    """
    for name, tensor in tensors.items():
        if not isinstance(tensor, torch.Tensor):
            raise p2uformat.InvalidArgument(
                f"{name!r}: expected a tensor, got {type(tensor).__name__}"
            )
    arrays = {name: array_of(name, tensor) for name, tensor in tensors.items()}
    return p2uformat.pack(arrays, filename, **options)
