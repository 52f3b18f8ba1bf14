"""A parent artifact's grid: what a child keeps, so that unchanged layers stay the same layers."""

from __future__ import annotations

import os

from p2uformat.artifact.catalog import StoredTensor
from p2uformat.artifact.contents import Contents
from p2uformat.artifact.open import Artifact
from p2uformat.artifact.plan import Grid, symbol_bits
from p2uformat.closing import Closing
from p2uformat.floats import FORMATS
from p2uformat.ingest.safetensors import SourceTensor
from p2uformat.manifest import BitplaneParameters
from p2uformat.quant.layers import BaseLayer

__all__ = ["Parent"]


class Parent(Closing):
    """Reads step exponents from an artifact.

    Parameters
    ----------
    source : Artifact, str or os.PathLike
        The parent. An open artifact is read through a handle of its own.
    """

    def __init__(self, source: Artifact | str | os.PathLike[str]) -> None:
        path = source.path if isinstance(source, Artifact) else source
        self._contents = Contents.open(path)

    def close(self) -> None:
        """Close the file."""
        self._contents.close()

    def _stored(self, name: str) -> StoredTensor | None:
        return self._contents.catalog.tensors.get(name)

    def segment(self, tensor: SourceTensor) -> int | None:
        """Return the segment length of the same tensor, None if there is no such."""
        stored = self._stored(tensor.name)
        if stored is None:
            return None
        record = stored.record
        same = (record.dtype, record.shape) == (tensor.dtype, tensor.shape)
        if not same or not isinstance(record.parameters, BitplaneParameters):
            return None
        return record.parameters.segment

    def grid(self, tensor: SourceTensor, block: int) -> Grid | None:
        """Return K of a block of the same tensor, with what its symbols cost there."""
        if self.segment(tensor) is None:
            return None
        stored = self._contents.catalog.tensor(tensor.name)
        spec = self._contents.reader.spec(stored, block)
        payload = self._contents.reader.payload(stored, 0, block)
        with self._contents.reader.located(stored, 0, block):
            base = BaseLayer.parse(FORMATS[tensor.dtype], spec.weights, spec.segments, payload)
        return Grid(base.steps.copy(), base.sparse, symbol_bits(base.symbols))
