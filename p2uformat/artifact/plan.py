"""The first read of a source: statistics of every block, and the plan made from them.

Bounded memory: of a block only its histograms are kept, and of some blocks, evenly chosen, the
words themselves, so that the planner can be calibrated against the size that a choice really has.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from p2uformat.artifact.options import PackOptions
from p2uformat.chunk import choose_cut, class_chunk_bytes
from p2uformat.codec.rates import ONE_BIT, entropy
from p2uformat.floats import FORMATS, FloatFormat
from p2uformat.kernels import kernels
from p2uformat.manifest import TensorRecord
from p2uformat.parallel import ordered_map
from p2uformat.quant.bitplane import is_sparse
from p2uformat.quant.fit import BlockScan, TensorFit
from p2uformat.quant.planner import Plan, Segments, make_plan
from p2uformat.quant.split import OUTLIER
from p2uformat.tensor import Geometry

__all__ = [
    "ALONE",
    "GROUP",
    "BlockPlan",
    "Grid",
    "TensorPlan",
    "groups_of",
    "plan_budget",
    "scan_block",
]

Words = NDArray[np.unsignedinteger]
Steps = NDArray[np.int16]

SMALL = 4096  # float tensors below this travel exactly,
SMALL_MATRIX = 2048  # those of two or more dimensions below this
ALONE = 1 << 17  # a block of this many weights has chunks of its own
GROUP = 1 << 19  # smaller ones share chunks of up to this many
_SIZE_TILT = 1.25
_SAMPLE = 1 << 23  # weights kept for calibration


@dataclass(frozen=True, slots=True)
class Grid:
    """A parent's choice for one block, and what it cost there.

    Parameters
    ----------
    steps : ndarray of int16
        K of each segment.
    sparse : bool
        The block's flag.
    bits : float
        Bits per weight of the parent's symbols, by their entropy.
    """

    steps: Steps
    sparse: bool
    bits: float


@dataclass(slots=True)
class BlockPlan:
    """One block: what was seen of it, and K once planned."""

    start: int
    stop: int
    digest: bytes
    sparse: bool = False
    counts: NDArray[np.unsignedinteger] | None = None
    anchor: NDArray[np.int16] | None = None
    sample: Words | None = None
    steps: Steps | None = None
    unchanged: bool = False  # the parent's block of the same number
    scan: BlockScan | None = None  # of a tensor with a quantizer of its own

    @property
    def weights(self) -> int:
        """Number of weights."""
        return self.stop - self.start

    def forget(self) -> None:
        """Drop what only the planner needs."""
        self.counts = self.anchor = self.sample = None


@dataclass(slots=True)
class TensorPlan:
    """One tensor: how it is cut and how it travels."""

    name: str
    geometry: Geometry
    fmt: FloatFormat | None  # None: opaque
    segment: int
    planes: int
    bits: float
    weight: float
    exact: bool = False  # by the caller's wish
    separate: bool = False  # its chunks hold nothing else
    blocks: list[BlockPlan] = field(default_factory=list)
    inherited: tuple[TensorRecord, ...] = ()  # where the parent has the same tensor
    fit: TensorFit | None = None  # a quantizer other than the ladder of bit planes; without `fmt`

    @property
    def kind(self) -> tuple[object, ...]:
        """What tensors have in common whose equal layers may be stored once."""
        if self.fit is not None:
            return ("codes", self.geometry.element_size)
        if self.fmt is None:
            return ("whole", 0, self.geometry.element_size)
        return (self.fmt.name, self.planes)

    def alone(self, block: BlockPlan) -> bool:
        """Return whether the layers of a block have chunks of their own."""
        return self.separate or block.weights >= ALONE

    @property
    def row(self) -> int:
        """Weights that are expected to be alike in scale: what one output is computed from."""
        shape = self.geometry.shape
        return math.prod(shape[1:]) if len(shape) > 1 else 1


Pair = tuple[TensorPlan, BlockPlan]


def segment_length(row: int, weights: int, step: int) -> int:
    """Return the segment length of SPEC.md, section 11, for an artifact of so many weights.

    Examples
    --------
    >>> segment_length(384, 22_000_000, 393_216)
    3072
    """
    if weights < 1 << 22:
        size = 1024
    elif weights < 1 << 26:
        size = 4096
    else:
        size = 8192 << max(0, (weights - 1).bit_length() - 29)
    size = min(size, step)
    if row <= size:
        # The nearest power of two of rows, halves up, without leaving integers.
        rows = 1 << max(0, ((size * size * 2 // (row * row)).bit_length() - 1) // 2)
        rows = rows if rows * row <= step else rows // 2
        return min(rows * row, step)
    parts = max(1, (2 * row + size) // (2 * size))
    return row // parts if row % parts == 0 else size


def planes_of(fmt: FloatFormat, finest: int) -> int:
    """Return the number of byte planes of the exact layer (SPEC.md, section 11)."""
    whole = max(0, fmt.mantissa + 1 - finest) // 8
    needed = -(-max(0, fmt.mantissa - 15) // 8)
    return max(whole, needed)


def scan_block(
    tensor: TensorPlan, block: BlockPlan, data: bytes | bytearray, grid: Grid | None, *, keep: bool
) -> BlockPlan:
    """Look at one block of the source.

    Parameters
    ----------
    tensor : TensorPlan
        Its tensor.
    block : BlockPlan
        What is known of it, which is added to and returned.
    data : bytes
        Its bytes.
    grid : Grid, optional
        What the parent has for it; adopted if it costs here what it costs there.
    keep : bool
        Whether to keep the words for calibration.
    """
    fmt = tensor.fmt
    if tensor.fit is not None:
        block.scan = tensor.fit.scan(
            block.start, block.stop, np.frombuffer(data, tensor.fit.fmt.word)
        )
    if fmt is None:
        return block
    words = np.frombuffer(data, fmt.word)
    if grid is None:
        block.sparse = is_sparse(kernels().zeros(fmt, words), len(words))
    else:
        block.sparse = grid.sparse
    if grid is not None and _fits(tensor, words, grid):
        block.steps = grid.steps
        return block
    stats = kernels().segment_stats(fmt, words, tensor.segment)
    block.counts, block.anchor = stats.counts, stats.anchor
    if keep:
        block.sample = words.copy()
    return block


_DRIFT = 0.25  # bits per weight


def _fits(tensor: TensorPlan, words: Words, grid: Grid) -> bool:
    assert tensor.fmt is not None
    if len(grid.steps) != -(-len(words) // tensor.segment):
        return False
    symbols = kernels().base_symbols(
        tensor.fmt, words, grid.steps, tensor.segment, sparse=grid.sparse
    )
    return abs(symbol_bits(symbols) - grid.bits) <= _DRIFT


def symbol_bits(symbols: NDArray[np.uint8]) -> float:
    """Return the entropy of a block's symbols, bits per weight."""
    if not len(symbols):
        return 0.0
    return int(entropy(np.bincount(symbols, minlength=256))) / (ONE_BIT * len(symbols))


def groups_of(pairs: Sequence[Pair]) -> Iterator[list[int]]:
    """Group consecutive blocks that share a chunk; yields lists of positions."""
    group: list[int] = []
    total = 0
    for place, (tensor, block) in enumerate(pairs):
        size = block.weights
        if tensor.alone(block):
            yield [place]
            continue
        if group and total + size > GROUP:
            yield group
            group, total = [], 0
        group.append(place)
        total += size
    if group:
        yield group


def plan_budget(
    tensors: Sequence[TensorPlan],
    policy: PackOptions,
    threads: int,
    note: Callable[[], None] = lambda: None,
) -> None:
    """Choose K of every block that has none, and turn tensors opaque that a ladder makes larger.

    Tensors of equal budget are planned together. `note` is called between steps, so that a caller
    can show that something happens.
    """
    for bits in sorted({tensor.bits for tensor in tensors if tensor.fmt is not None}):
        members = [tensor for tensor in tensors if tensor.fmt is not None and tensor.bits == bits]
        _plan_together(members, bits, policy.digits[-1], threads, note)


def _plan_together(
    tensors: list[TensorPlan], bits: float, digits: int, threads: int, note: Callable[[], None]
) -> None:
    pairs = [(tensor, block) for tensor in tensors for block in tensor.blocks]
    fresh = [(tensor, block) for tensor, block in pairs if block.counts is not None]
    if not fresh:
        return
    first = _first_of_each(fresh)
    segments = _segments(first)
    ends = np.cumsum([len(_anchor(block)) for _, block in first])
    starts = ends - [len(_anchor(block)) for _, block in first]
    spans = list(zip(starts.tolist(), ends.tolist(), strict=True))

    sample = _Sample(first, spans, threads)

    def measure(steps: Steps) -> float:
        note()
        return sample.bits(steps)

    plan = make_plan(segments, bits, measure, kernels())
    for (_, block), (a, b) in zip(first, spans, strict=True):
        block.steps = plan.steps[a:b]
    known = {_sameness(*pair): pair[1].steps for pair in first}
    for tensor, block in fresh:
        block.steps = known[_sameness(tensor, block)]
        block.forget()
    _drop_large(first, spans, segments, plan, digits)


def _first_of_each(pairs: list[Pair]) -> list[Pair]:
    """Leave out blocks that came before: they take the same K, and so share their layers."""
    first: dict[tuple[object, ...], Pair] = {}
    for tensor, block in pairs:
        first.setdefault(_sameness(tensor, block), (tensor, block))
    return list(first.values())


def _sameness(tensor: TensorPlan, block: BlockPlan) -> tuple[object, ...]:
    # The same bytes as other numbers, or in rows of another length, have another grid.
    return block.digest, tensor.fmt, tensor.segment


def _anchor(block: BlockPlan) -> NDArray[np.int16]:
    assert block.anchor is not None
    return block.anchor


def _segments(pairs: list[Pair]) -> Segments:
    sizes, values, weights, sparse = [], [], [], []
    tensors = {tensor.name: tensor.geometry.elements for tensor, _ in pairs}
    mean = sum(tensors.values()) / len(tensors)
    for tensor, block in pairs:
        count = len(_anchor(block))
        size = np.full(count, tensor.segment, np.int64)
        size[-1] = block.weights - tensor.segment * (count - 1)
        sizes.append(size)
        values.append(np.full(count, 8 * tensor.geometry.element_size, np.int64))
        weights.append(np.full(count, tensor.weight * _size_weight(tensor, mean)))
        sparse.append(np.full(count, block.sparse))
    return Segments(
        np.concatenate([block.counts for _, block in pairs if block.counts is not None]),
        np.concatenate([_anchor(block) for _, block in pairs]),
        np.concatenate(sizes),
        np.concatenate(values),
        np.concatenate(weights),
        np.concatenate(sparse),
    )


def _size_weight(tensor: TensorPlan, mean: float) -> float:
    """Return how much more a weight of a small tensor matters than one of a large tensor.

    A layer's relative error counts once, however many weights it has, so the weights of a small one
    count for more. The square root, cut short, is what leaves the total error as it is and still
    helps the accuracy of small budgets (docs/decisions/0004).
    """
    ratio = math.sqrt(mean / tensor.geometry.elements)
    return min(max(ratio, 1 / _SIZE_TILT), _SIZE_TILT)


class _Sample:
    """The blocks that were kept, and what they take.

    Chunks are measured again only where a step exponent changed since they were measured last.
    """

    def __init__(self, pairs: list[Pair], spans: list[tuple[int, int]], threads: int) -> None:
        chosen = [i for i, (_, block) in enumerate(pairs) if block.sample is not None]
        groups = list(groups_of([pairs[i] for i in chosen]))
        self._groups = [[chosen[place] for place in group] for group in groups]
        self._pairs = pairs
        self._spans = spans
        self._threads = threads
        self._weights = sum(pairs[i][1].weights for i in chosen)
        self._known: dict[int, tuple[bytes, int]] = {}

    def bits(self, steps: Steps) -> float:
        """Return the bits per weight that they take with the steps of all segments."""

        def measure(number: int) -> int:
            parts = [steps[slice(*self._spans[i])] for i in self._groups[number]]
            key = b"".join(part.tobytes() for part in parts)
            last = self._known.get(number)
            if last is None or last[0] != key:
                members = [self._pairs[i] for i in self._groups[number]]
                last = self._known[number] = key, _group_bytes(members, parts)
            return last[1]

        total = sum(ordered_map(measure, range(len(self._groups)), self._threads))
        return 8 * total / max(self._weights, 1)


def _group_bytes(members: list[Pair], steps: list[Steps]) -> int:
    """Estimate the bytes of a chunk of sampled blocks."""
    total = 0
    pools = []
    for (tensor, block), exponents in zip(members, steps, strict=True):
        assert tensor.fmt is not None
        assert block.sample is not None
        symbols = kernels().base_symbols(
            tensor.fmt, block.sample, exponents, tensor.segment, sparse=block.sparse
        )
        pools.append(choose_cut(symbols, tensor.row, sparse=block.sparse).pool)
        outliers = int(pools[-1].tables[:, OUTLIER].sum())
        total += outliers * (tensor.geometry.element_size + 3)
    return total + class_chunk_bytes(pools, steps)


def _drop_large(
    pairs: list[Pair],
    spans: list[tuple[int, int]],
    segments: Segments,
    plan: Plan,
    digits: int,
) -> None:
    """Turn tensors opaque whose ladder would be larger than their bytes."""
    mantissas = [
        np.full(b - a, tensor.fmt.mantissa if tensor.fmt else 0, np.int64)
        for (tensor, _), (a, b) in zip(pairs, spans, strict=True)
    ]
    spent = plan.ladder_bits(segments, np.concatenate(mantissas), digits, kernels())
    bits: dict[str, int] = {}
    room: dict[str, int] = {}
    for (tensor, block), (a, b) in zip(pairs, spans, strict=True):
        bits[tensor.name] = bits.get(tensor.name, 0) + int(spent[a:b].sum())
        size = 8 * tensor.geometry.element_size * block.weights
        room[tensor.name] = room.get(tensor.name, 0) + size
    for tensor, _ in pairs:
        if tensor.fmt is not None and bits[tensor.name] > room[tensor.name]:
            tensor.fmt = None


def keep_every(weights: int) -> int:
    """Return k such that every k-th block is kept for calibration."""
    return max(1, -(-weights // _SAMPLE))


def formats_of(dtype: str, shape: tuple[int, ...], *, exact: bool) -> FloatFormat | None:
    """Return the ladder's format for a tensor, None if it travels exactly."""
    least = SMALL_MATRIX if len(shape) > 1 else SMALL
    if exact or math.prod(shape) < least:
        return None
    return FORMATS.get(dtype)
