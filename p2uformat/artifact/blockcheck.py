"""Deep verification of one block."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from itertools import takewhile

import numpy as np
from numpy.typing import NDArray

from p2uformat.artifact.catalog import StoredFile, StoredTensor
from p2uformat.artifact.contents import Contents
from p2uformat.artifact.quantized import is_lossy, is_quantized, near_words, parameters_of
from p2uformat.artifact.read import stored_tiers
from p2uformat.artifact.summary import bound
from p2uformat.artifact.types import Damage
from p2uformat.digest import digest_of
from p2uformat.errors import CorruptData, DigestMismatch, Incomplete, Malformed, P2UError
from p2uformat.floats import FORMATS
from p2uformat.kernels import Buffer, kernels
from p2uformat.manifest import BitplaneParameters
from p2uformat.quant.binary64 import SourceValues, scaled_value, source_values
from p2uformat.quant.fit import Distances
from p2uformat.quant.layers import BaseLayer
from p2uformat.quant.ulp import from_residual

__all__ = ["BlockCheck", "BlockResult", "Finding", "Stage"]

Stored = StoredTensor | StoredFile
Words = NDArray[np.unsignedinteger]
Parts = Sequence[Buffer] | None


class Stage(IntEnum):
    """The order of checks of SPEC.md, section 10, behind the chunk ids."""

    DECODE = 0
    LAYER = 1
    BLOCK = 2
    BOUND = 3
    FILE = 4


@dataclass(frozen=True, slots=True)
class Finding:
    """Damage, and the stage that found it."""

    stage: Stage
    damage: Damage


@dataclass(slots=True)
class BlockResult:
    """What came of one block.

    Parameters
    ----------
    findings : list of Finding
        What is wrong with it.
    data : memoryview or bytes or None
        Its original bytes, where they were rebuilt.
    step : int or None
        Its largest step exponent.
    """

    findings: list[Finding] = field(default_factory=list)
    data: memoryview | bytes | None = None
    step: int | None = None


class BlockCheck:
    """Checks blocks up to a tier.

    Parameters
    ----------
    contents : Contents
        The open file.
    last : int
        Number of the last tier to check.
    """

    def __init__(self, contents: Contents, last: int) -> None:
        self._contents = contents
        self._reader = contents.reader
        self._last = last

    def run(self, stored: Stored, block: int) -> BlockResult:
        """Check one block."""
        result = BlockResult()
        if isinstance(stored, StoredTensor) and stored.record.quantizer == "bitplane":
            payloads = self._payloads(result, stored, block)
            self._check_ladder(result, stored, block, payloads)
        elif is_quantized(stored):
            self._check_quantized(result, stored, block)
        else:
            self._check_whole(result, stored, block)
        return result

    def _check_whole(self, result: BlockResult, stored: Stored, block: int) -> None:
        """Check a block that travels as it is: its layer digest is its block digest."""
        try:
            data = self._reader.raw(stored, block)
        except P2UError as error:
            self._note(result, Stage.DECODE, error)
            return
        result.data = data
        self._compare(result, Stage.LAYER, stored, 0, block, data)

    def _payloads(self, result: BlockResult, stored: StoredTensor, block: int) -> list[Parts]:
        """Return the payloads of all layers in scope, in parts; None for those not here."""
        payloads: list[Parts] = []
        for layer in stored_tiers(stored, self._last):
            try:
                parts = self._reader.parts(stored, layer, block)
            except P2UError as error:
                self._note(result, Stage.DECODE, error)
                payloads.append(None)
            else:
                self._compare(result, Stage.LAYER, stored, layer, block, *parts)
                payloads.append(parts)
        return payloads

    def _check_quantized(self, result: BlockResult, stored: StoredTensor, block: int) -> None:
        """Check a block of codes, and with the residual the weights themselves."""
        layers = self._payloads(result, stored, block)
        codes, rest = layers[0], layers[1] if len(layers) > 1 else None
        lossy = is_lossy(stored)
        if codes is None:
            return
        try:
            with self._reader.located(stored, 0, block):
                near = words = near_words(stored, block, _joined(codes))
            if rest is None and not lossy:
                return
            if rest is not None:
                with self._reader.located(stored, 1, block):
                    words = from_residual(FORMATS[stored.record.dtype], _joined(rest), near)
        except P2UError as error:
            self._note(result, Stage.DECODE, error)
            return
        result.data = words.view(np.uint8).data
        self._compare(result, Stage.BLOCK, stored, None, block, result.data)
        # Of a lossy artifact the bound is what its maker says.
        if not lossy:
            self._check_distance(result, stored, block, near, words)

    def _check_distance(
        self, result: BlockResult, stored: StoredTensor, block: int, near: Words, words: Words
    ) -> None:
        source = SourceValues(FORMATS[stored.record.dtype], words)
        largest = Distances.of(source, source_values(source.fmt, near)).largest
        most = scaled_value(parameters_of(stored.record).figures.bound)
        if not largest <= most:
            got = f"an error of {largest}"
            error = Malformed(got, expected=f"an error of at most {most}", got=got)
            self._locate(error, stored, 0, block)
            result.findings.append(Finding(Stage.BOUND, Damage.of(error, "chunk")))

    def _check_ladder(
        self, result: BlockResult, stored: StoredTensor, block: int, payloads: list[Parts]
    ) -> None:
        whole = list(takewhile(lambda parts: parts is not None, payloads))
        layers = [parts for parts in whole if parts is not None]
        if not layers:
            return
        try:
            base = self._base(stored, block, layers[0])
            result.step = int(base.steps.max())
            tiers, words = self._decode(stored, block, base, layers)
            if words is None:
                return
            self._check_canonical(stored, block, base, layers, words)
        except P2UError as error:
            self._note(result, Stage.DECODE, error)
            return
        result.data = words.view(np.uint8).data
        self._compare(result, Stage.BLOCK, stored, None, block, result.data)
        self._check_bounds(result, stored, block, tiers, words)

    def _base(self, stored: StoredTensor, block: int, parts: Sequence[Buffer]) -> BaseLayer:
        spec = self._reader.spec(stored, block)
        with self._reader.located(stored, 0, block):
            return BaseLayer.parse(spec.format, spec.weights, spec.segments, _joined(parts))

    def _decode(
        self, stored: StoredTensor, block: int, base: BaseLayer, layers: list[Sequence[Buffer]]
    ) -> tuple[list[NDArray[np.generic]], Words | None]:
        """Return the block at each lossy tier, and its original words if all layers are there."""
        spec = self._reader.spec(stored, block)
        lossy = min(len(layers), self._reader.exact)
        digits = [_joined(parts) for parts in layers[1:lossy]]
        tiers: list[NDArray[np.generic]] = []
        try:
            for tier in range(lossy):
                made = np.empty(spec.weights, spec.format.word)
                kernels().values(spec, base, digits[:tier], spec.format, made)
                tiers.append(made.view(spec.format.numpy))
            if len(layers) <= self._reader.exact:
                return tiers, None
            words = np.empty(spec.weights, spec.format.word)
            kernels().exact(spec, base, digits, layers[-1], words)
        except Malformed as error:
            self._reader.blame(stored, block, base, digits, layers[self._reader.exact :], error)
        return tiers, words

    def _check_canonical(
        self,
        stored: StoredTensor,
        block: int,
        base: BaseLayer,
        layers: list[Sequence[Buffer]],
        words: Words,
    ) -> None:
        """Encode what was decoded: any difference means that a value was not in its one form."""
        spec = self._reader.spec(stored, block)
        with self._reader.located(stored, 0, block):
            made = kernels().encode_block(spec, words, base.steps, sparse=base.sparse, sums=False)
        again = (made.base.payload(), *made.refinements, made.exact.payload())
        for layer, (parts, expected) in enumerate(zip(layers, again, strict=True)):
            if _joined(parts) != expected:
                with self._reader.located(stored, layer, block):
                    raise Malformed("a layer is not the one encoding of its weights")

    def _check_bounds(
        self,
        result: BlockResult,
        stored: StoredTensor,
        block: int,
        tiers: list[NDArray[np.generic]],
        words: Words,
    ) -> None:
        parameters = stored.record.parameters
        assert isinstance(parameters, BitplaneParameters)
        fmt = FORMATS[stored.record.dtype]
        magnitude = words & fmt.word.type((1 << fmt.sign_bit) - 1)
        finite = magnitude <= fmt.max_word
        original = words.view(fmt.numpy)[finite].astype(np.float64)
        for number, (tier, values) in enumerate(zip(parameters.tiers, tiers, strict=True)):
            error = np.abs(original - values[finite].astype(np.float64))
            largest = float(error.max(initial=0.0))
            if not largest <= bound(tier.bound):
                wrong = f"an error of {largest}"
                self._add_bound(result, stored, block, number, tier.bound, wrong)
            elif not np.array_equal(values.view(fmt.word)[~finite], words[~finite]):
                wrong = "an infinity or NaN that is not the original"
                self._add_bound(result, stored, block, number, tier.bound, wrong)

    def _add_bound(
        self,
        result: BlockResult,
        stored: StoredTensor,
        block: int,
        number: int,
        exponent: int,
        got: str,
    ) -> None:
        error = Malformed(got, expected=f"an error of at most 2^{exponent}", got=got)
        self._locate(error, stored, number, block)
        result.findings.append(Finding(Stage.BOUND, Damage.of(error, "chunk")))

    def _compare(
        self,
        result: BlockResult,
        stage: Stage,
        stored: Stored,
        layer: int | None,
        block: int,
        *parts: Buffer,
    ) -> None:
        """Compare bytes with a layer digest, or with the block digest if `layer` is None."""
        page, index, inner = stored.part(block)
        assert page.content is not None
        record = page.content.records[index]
        expected = record.block_digest(inner)
        if layer is not None:
            expected = record.layer_digest(layer, inner)
        got = digest_of(parts)
        if got == expected:
            return
        what = "block" if layer is None else "layer"
        error = DigestMismatch(f"{what} digest", expected=expected.hex(), got=got.hex())
        self._locate(error, stored, record.layers - 1 if layer is None else layer, block)
        result.findings.append(Finding(stage, Damage.of(error, "chunk")))

    def _locate(self, error: CorruptData, stored: Stored, layer: int, block: int) -> None:
        try:
            with self._reader.located(stored, layer, block):
                raise error
        except CorruptData:
            return

    def _note(self, result: BlockResult, stage: Stage, error: P2UError) -> None:
        """Keep damage that is not reported yet: chunk ids, pages and the table were."""
        if isinstance(error, Incomplete):
            return
        scanned = error.artifact == self._contents.path if isinstance(error, CorruptData) else False
        if isinstance(error, DigestMismatch) and scanned and error.region != "layer":
            return
        if not isinstance(error, CorruptData):
            raise error
        if error.region != "table":
            result.findings.append(Finding(stage, Damage.of(error, "chunk")))


def _joined(parts: Sequence[Buffer]) -> Buffer:
    return parts[0] if len(parts) == 1 else b"".join(parts)
