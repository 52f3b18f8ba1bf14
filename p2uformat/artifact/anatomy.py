"""Where the bytes of an artifact are, to the last one, and what of it does not fit its steps."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from p2uformat.artifact.anatomytypes import Anatomy, Part, TensorAnatomy
from p2uformat.artifact.catalog import SHARED, StoredFile, StoredTensor
from p2uformat.artifact.complete import is_complete
from p2uformat.artifact.contents import Contents
from p2uformat.artifact.diff import checked_contents
from p2uformat.artifact.open import Artifact
from p2uformat.artifact.open import open as open_artifact
from p2uformat.artifact.quantized import is_quantized, parameters_of
from p2uformat.artifact.types import Progress, TensorInfo
from p2uformat.chunk import Codec
from p2uformat.codec.frame import Frame, parse_frame
from p2uformat.container import StoredChunk, stored_chunks
from p2uformat.manifest import LEVELS
from p2uformat.parallel import ordered_map, worker_count
from p2uformat.quant.fit import layer_sections
from p2uformat.reading import Piece

__all__ = ["anatomy"]

Callback = Callable[[Progress], None]
_Kinds = Counter[str]

# Streams 1 to 4 of a chunk of base layers; behind them are those of the classes (SPEC.md, 7.3).
_CODE_STREAMS: Final = ("scales", "zero points", "codes")  # of quantizers without a ladder
_LEVEL_STREAMS: Final = ("norms", "codes")
_CLASS_STREAMS: Final = ("steps", "classes", "outlier indices", "outlier values")
# Codecs from here on need a parent's layer; their frame is that of sections (SPEC.md, 16).
_FIRST_DIFFERENCE: Final = 16
# In the order of a file and of its layers: how parts are listed.
_ORDER: Final = (
    "tables",
    "symbols",
    "steps",
    "classes",
    "outlier indices",
    "outlier values",
    "digits",
    "exponents",
    "planes",
    "bits",
    "scales",
    "norms",
    "zero points",
    "codes",
    "residuals",
    "differences",
    "exact tensors",
    "files",
    "missing",
)


def anatomy(
    artifact: Artifact | str | os.PathLike[str] | bytes,
    *,
    threads: int | None = None,
    progress: Callback | None = None,
) -> Anatomy:
    """Take an artifact apart: its bytes by kind and tier, its tensors' bits, errors and outliers.

    Every chunk is checked against its id before it is looked into. Base layers are decoded, the
    others are not.

    Parameters
    ----------
    artifact : Artifact, str, os.PathLike or bytes
        An open artifact, which stays open, or a file or its bytes.
    threads : int, optional
        How many threads to use; the processor's by default, at most 8.
    progress : callable, optional
        Called now and then.

    Returns
    -------
    Anatomy
        Its parts add up to the length of the complete file.

    Raises
    ------
    CorruptData
        If a page or a chunk is damaged; the error says where.
    NotFound, StoreUnavailable, NotAnArtifact, UnsupportedFormat, Incomplete
        If the file cannot be opened.

    Examples
    --------
    >>> import numpy, tempfile, p2uformat
    >>> path = tempfile.mkdtemp() + "/m.p2u"
    >>> weights = numpy.random.default_rng(0).standard_normal((256, 64), numpy.float32)
    >>> summary = p2uformat.pack({"w": weights, "step": numpy.array(7)}, path)
    >>> anatomy = p2uformat.anatomy(path)
    >>> sum(part.bytes for part in anatomy.parts) == summary.bytes
    True
    >>> [part.kind for part in anatomy.parts if part.tier == "exact"]
    ['tables', 'exponents', 'planes', 'bits']
    """
    workers = worker_count(threads)
    with ExitStack() as stack:
        opened = artifact
        if not isinstance(opened, Artifact):
            opened = stack.enter_context(open_artifact(opened))
        return _Dissection(opened, workers, progress).run()


@dataclass(frozen=True, slots=True)
class _User:
    """The first layer that a chunk is for."""

    stored: StoredTensor | StoredFile
    layer: int
    block: int


class _Dissection:
    """One run of `anatomy` over an open artifact."""

    def __init__(self, artifact: Artifact, threads: int, progress: Callback | None) -> None:
        self._artifact = artifact
        self._contents = checked_contents(artifact)
        self._container = self._contents.container
        self._threads = threads
        self._progress = progress
        self._users = _users(self._contents)

    def run(self) -> Anatomy:
        artifact = self._artifact
        parts = [Part(None, "manifest", self._container.header.manifest_length)]
        for tier, kinds in zip(artifact.tiers, self._kinds(), strict=True):
            parts += [Part(tier, kind, kinds[kind]) for kind in _ORDER if kinds[kind]]
        infos = [artifact.info(name) for name in artifact.keys()]  # noqa: SIM118 - the documented order
        tensors = tuple(ordered_map(self._tensor, infos, self._threads))
        return Anatomy(artifact.summary, tuple(parts), tensors)

    def _kinds(self) -> list[_Kinds]:
        """Return the bytes of each kind, for each tier."""
        container = self._container
        found: list[_Kinds] = [Counter() for _ in container.tiers]
        chunks = stored_chunks(container, self._contents.reader.exact)
        done, total = 0, sum(chunk.length for chunk in chunks)
        held = (chunk for chunk in chunks if container.held(*chunk.uses[0]))
        pieces = (Piece(chunk.offset, chunk.length, chunk.id) for chunk in held)
        with container.file.expecting(pieces):
            for chunk, kinds in ordered_map(self._dissect, chunks, self._threads):
                found[container.entry(*chunk.uses[0]).tier] += kinds
                done += chunk.length
                if self._progress is not None:
                    self._progress(Progress("dissect", done, total))
        return found

    def _dissect(self, chunk: StoredChunk) -> tuple[StoredChunk, _Kinds]:
        page, index = chunk.uses[0]
        if not self._container.held(page, index):
            return chunk, Counter(missing=chunk.length)
        user = self._users[page, index]
        codec = self._container.entry(page, index).codec
        with self._contents.reader.located(user.stored, user.layer, user.block):
            data = self._container.chunk(page, index)
            if codec == Codec.RAW:
                return chunk, self._raw(user, len(data))
            return chunk, self._streams(user, codec, parse_frame(codec, data))

    def _raw(self, user: _User, length: int) -> _Kinds:
        """Return the kinds of a chunk that is one payload."""
        stored = user.stored
        if isinstance(stored, StoredFile) or stored.record.quantizer == "opaque":
            return Counter({_whole(stored): length})
        if is_quantized(stored):
            return self._raw_codes(stored, user, length)
        if user.layer == 0:
            return self._raw_base(stored, user.block)
        return Counter({"bits" if user.layer == self._contents.reader.exact else "digits": length})

    def _raw_codes(self, stored: StoredTensor, user: _User, length: int) -> _Kinds:
        if user.layer:
            return Counter(residuals=length)
        payload = self._contents.reader.payload(stored, 0, user.block)
        place = stored.geometry.block_range(user.block)
        form = parameters_of(stored.record).quantizer
        parts = layer_sections(form, stored.record.shape, *place, payload)
        names = _code_streams(stored)[-len(parts) :]
        return Counter({name: len(part) for name, part in zip(names, parts, strict=True)})

    def _raw_base(self, stored: StoredTensor, block: int) -> _Kinds:
        """Return the kinds of a base layer as it stands in SPEC.md, 6.1."""
        base = self._contents.reader.base(stored, block)
        return Counter(
            {
                "tables": 5,  # flags and number of outliers
                "steps": base.steps.nbytes,
                "symbols": base.symbols.nbytes,
                "outlier indices": base.outlier_index.nbytes,
                "outlier values": base.outlier_words.nbytes,
            }
        )

    def _streams(self, user: _User, codec: int, frame: Frame) -> _Kinds:
        """Return the kinds of a chunk by its stream table."""
        sizes = [stored for _, stored, _, _ in frame.rows]
        kinds = Counter(tables=frame.rows[0][0] + sizes[0])
        for number, size in enumerate(sizes[1:], 1):
            kinds[self._kind(user, codec, number, len(sizes))] += size
        return kinds

    def _kind(self, user: _User, codec: int, number: int, streams: int) -> str:
        if codec >= _FIRST_DIFFERENCE:
            return "differences"
        if isinstance(user.stored, StoredFile) or user.stored.record.quantizer == "opaque":
            return _whole(user.stored)
        if is_quantized(user.stored):
            if user.layer or streams > len(_CODE_STREAMS) + 1:
                return "residuals" if user.layer else "codes"
            return _code_streams(user.stored)[number - streams]
        if user.layer == 0:
            named = codec == Codec.CLASSES and number <= len(_CLASS_STREAMS)
            return _CLASS_STREAMS[number - 1] if named else "symbols"
        if user.layer < self._contents.reader.exact:
            return "digits"
        if number == streams - 1:
            return "bits"
        return "exponents" if number == 1 else "planes"

    def _tensor(self, info: TensorInfo) -> TensorAnatomy:
        stored = self._contents.catalog.tensor(info.name)
        bits = tuple(8 * size / info.parameters if info.parameters else 0.0 for size in info.stored)
        if stored.record.quantizer != "bitplane" or not is_complete(
            self._contents.reader, stored, 0
        ):
            return TensorAnatomy(info, bits, 0, 0, None)
        blocks = [self._outliers(stored, block) for block in range(stored.blocks)]
        ranges = [steps for *_, steps in blocks if steps is not None]
        steps = (min(low for low, _ in ranges), max(high for _, high in ranges)) if ranges else None
        return TensorAnatomy(
            replace(info, steps=steps),
            bits,
            sum(count for count, *_ in blocks),
            sum(count for _, count, *_ in blocks),
            max((found for _, _, found, _ in blocks if found is not None), default=None),
        )

    def _outliers(
        self, stored: StoredTensor, block: int
    ) -> tuple[int, int, float | None, tuple[int, int] | None]:
        """Return the outliers of a block: all, not finite, the largest in steps; and its steps."""
        reader = self._contents.reader
        spec, base = reader.spec(stored, block), reader.base(stored, block)
        with reader.located(stored, 0, block):
            base.check()
        steps = (int(base.steps.min()), int(base.steps.max())) if len(base.steps) else None
        if not len(base.outlier_index):
            return 0, 0, None, steps
        with np.errstate(all="ignore"):
            values = np.abs(base.outlier_words.view(spec.format.numpy).astype(np.float64))
            own = base.steps[base.outlier_index // spec.segment].astype(np.int32)
            scaled = np.ldexp(values, -own)
        finite = np.isfinite(values)
        largest = float(scaled[finite].max()) if finite.any() else None
        return len(values), int((~finite).sum()), largest, steps


def _users(contents: Contents) -> dict[tuple[int, int], _User]:
    found: dict[tuple[int, int], _User] = {}
    for stored in contents.catalog.everything():
        for layer in range(stored.record.layers):
            for block, place in enumerate(stored.places(layer)):
                if place is not None and place is not SHARED:
                    found.setdefault((place.page, place.chunk), _User(stored, layer, block))
    return found


def _code_streams(stored: StoredTensor) -> tuple[str, ...]:
    return _LEVEL_STREAMS if stored.record.quantizer == LEVELS else _CODE_STREAMS


def _whole(stored: StoredTensor | StoredFile) -> str:
    return "files" if isinstance(stored, StoredFile) else "exact tensors"
