"""An artifact behind the interface of `safetensors.safe_open`."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from contextlib import AbstractContextManager, ExitStack
from types import EllipsisType
from typing import Any, Final, SupportsIndex

import torch

import p2uformat
from p2uformat.torch.files import Parents, Source, decoded, opened
from p2uformat.torch.tensors import has_rows, tensor_of

__all__ = ["SafeSlice", "safe_open"]

_FRAMEWORKS: Final = ("pt", "torch", "pytorch")

Index = int | slice | EllipsisType | None
Indices = Index | tuple[Index, ...]


class safe_open(AbstractContextManager["safe_open"]):  # noqa: N801 - named as in safetensors
    """Read single tensors of an artifact, and parts of them.

    Parameters
    ----------
    filename : str, os.PathLike, bytes or Artifact
        The artifact: a path, a URL, its bytes, or open. Of a file behind a URL only what is asked
        for is read.
    framework : str
        ``pt``; arrays come from `p2uformat.open`.
    device : str, int or torch.device
        Where to put tensors.
    tier : str, optional
        Of all that is read; the best that is whole by default.
    parents, threads, storage_options
        As of `p2uformat.open`.

    Raises
    ------
    InvalidArgument
        If the framework is another.
    P2UError
        As `p2uformat.open`.

    Examples
    --------
    >>> import tempfile
    >>> from p2uformat.torch import save_file
    >>> path = tempfile.mkdtemp() + "/m.p2u"
    >>> summary = save_file({"w": torch.arange(6).reshape(3, 2), "b": torch.ones(1)}, path)
    >>> with safe_open(path, framework="pt") as artifact:
    ...     artifact.keys(), artifact.get_slice("w")[1:, 0]
    (['b', 'w'], tensor([2, 4]))
    """

    def __init__(
        self,
        filename: Source,
        framework: str = "pt",
        device: str | int | torch.device = "cpu",
        *,
        tier: str | None = None,
        parents: Parents = (),
        threads: int | None = None,
        storage_options: Mapping[str, Any] | None = None,
    ) -> None:
        if framework not in _FRAMEWORKS:
            raise p2uformat.InvalidArgument(
                f"framework: expected 'pt', got {framework!r}",
                hint="p2uformat.open gives numpy arrays",
            )
        self._device = device
        self._stack = ExitStack()
        self._artifact = self._stack.enter_context(
            opened(filename, parents=parents, threads=threads, storage_options=storage_options)
        )
        self._tier = tier
        if tier is not None and tier not in self._artifact.tiers:
            self._stack.close()
            raise p2uformat.TierNotFound(
                f"no tier {tier!r}", hint=f"there are {', '.join(self._artifact.tiers)}"
            )

    def __exit__(self, *_error: object) -> None:
        self._stack.close()

    def keys(self) -> list[str]:
        """Return the tensors' names, sorted."""
        return sorted(self._artifact.keys())

    def offset_keys(self) -> list[str]:
        """Return the tensors' names in the order of the source file."""
        return list(self._artifact.keys())

    def metadata(self) -> dict[str, str] | None:
        """Return the free texts of the source file; None if it has none."""
        return self._artifact.metadata or None

    def get_tensor(self, name: str) -> torch.Tensor:
        """Return a tensor.

        Raises
        ------
        P2UError
            As `Artifact.get`.
        """
        tier = self._artifact.tier_for(name) if self._tier is None else self._tier
        return decoded(self._artifact, tier, [name])[name].to(self._device)

    def get_slice(self, name: str) -> SafeSlice:
        """Return what reads parts of a tensor when it is indexed.

        Raises
        ------
        TensorNotFound
            If there is none of this name.
        """
        return SafeSlice(self._artifact, name, self._tier, self._device)


class SafeSlice:
    """A tensor that is read when it is indexed, and only the rows that are asked for.

    Parameters
    ----------
    artifact : Artifact
        Where it is.
    name : str
        The tensor.
    tier : str or None
        None for the best at which the rows are here.
    device : str, int or torch.device
        Where to put what is read.

    Raises
    ------
    TensorNotFound
        If there is none of this name.
    """

    def __init__(
        self,
        artifact: p2uformat.Artifact,
        name: str,
        tier: str | None,
        device: str | int | torch.device,
    ) -> None:
        self._artifact = artifact
        self._info = artifact.info(name)
        self._tier = tier
        self._device = device

    def get_shape(self) -> list[int]:
        """Return the whole tensor's shape."""
        return list(self._info.shape)

    def get_dtype(self) -> str:
        """Return its dtype, by the name that safetensors has for it."""
        return self._info.dtype

    def __getitem__(self, index: Indices) -> torch.Tensor:
        """Return a part of the tensor; the range of the first axis is all that is read.

        Raises
        ------
        InvalidArgument
            If the tensor has no such part, or PyTorch cannot index so.
        P2UError
            As `Artifact.get`.
        """
        parts = index if isinstance(index, tuple) else (index,)
        try:
            rows, left = self._rows(parts)
            return self._read(rows)[left].to(self._device)
        except (IndexError, TypeError, ValueError) as error:
            shape = tuple(self._info.shape)
            raise p2uformat.InvalidArgument(
                f"tensor {self._info.name!r} of shape {shape}: {str(error).lower()}"
            ) from error

    def _rows(self, parts: tuple[Any, ...]) -> tuple[tuple[int, int] | None, tuple[Any, ...]]:
        """Return the rows to read, and how to index them then."""
        shape = self._info.shape
        first: Any = parts[0] if parts else ...
        plain = shape and has_rows(self._info.dtype) and first is not ... and first is not None
        if not plain or isinstance(first, bool | torch.Tensor | list):
            return None, parts
        return self._leading(first, parts[1:])

    def _leading(
        self, first: slice | SupportsIndex, rest: tuple[Any, ...]
    ) -> tuple[tuple[int, int], tuple[Any, ...]]:
        count = self._info.shape[0]
        if isinstance(first, slice):
            start, stop, step = first.indices(count)
            if step < 1:
                raise IndexError(f"a step of {step} is not possible")
            return (start, max(start, stop)), (slice(None, None, step), *rest)
        number = operator.index(first)
        if not -count <= number < count:
            raise IndexError(f"row {number} is out of range")
        number %= count
        return (number, number + 1), (0, *rest)

    def _read(self, rows: tuple[int, int] | None) -> torch.Tensor:
        info = self._info
        array = self._artifact.get(info.name, self._tier, rows)
        shape = info.shape if rows is None else (rows[1] - rows[0], *info.shape[1:])
        return tensor_of(array, info.dtype, shape)
