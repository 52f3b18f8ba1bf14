"""Layers of `affine`, `minifloat` and `levels`, and what brings the source back (SPEC.md, 19)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from random import Random
from types import SimpleNamespace
from typing import Any

import numpy as np

from p2uformat.floats import FORMATS
from p2uformat.manifest.quantized import (
    Figures,
    MinifloatParameters,
    quantized_from_value,
    quantized_parameters,
)
from p2uformat.quant.fit import layer_sections, rebuild
from p2uformat.quant.packed import quantize
from p2uformat.quant.ulp import from_residual, residual
from tests.fuzz.parsers.harness import MUTATE, REFUSED, Form, Harness, expect
from tests.fuzz.parsers.mutate import changed
from tests.fuzz.parsers.sources import packed, reference, unpacked

_MOST = 256  # weights: the independent reader is slow
_TYPES = [str, list, str, list, bytes, bytes]
_NAMES = (
    "minifloat:S1E3M7",
    "minifloat:S1E2M3:finite:fit",
    "minifloat:S0E4M4:nan",
    "minifloat:S1E8M23",
    "affine:4:group=5",
    "affine:3:axis=1:asymmetric:F16",
    "affine:8:F64",
    "levels:uniform:1:bucket=4:seed=1",
    "levels:exponential:5:max:nearest:bucket=7:bf16",
    "levels:fitted:2:f16:round=3",
    "levels:nf4:nearest:f64",
    "levels:table=-0.5,0.25,1:nearest",
)


def _opened(data: bytes) -> Any:
    """Return kind, parameters, dtype, shape, layer and residual; None for anything else."""
    try:
        value = unpacked(data)
    except (ValueError, LookupError, TypeError):
        return None
    if type(value) is not list or [type(item) for item in value] != [
        str,
        list,
        str,
        list,
        bytes,
        bytes,
    ]:
        return None
    _, _, dtype, shape, _, _ = value
    if dtype not in FORMATS or not shape or any(type(n) is not int or n < 1 for n in shape):
        return None
    return value if len(shape) < 5 and math.prod(shape) <= _MOST else None


def _run(data: bytes) -> bool:
    value = _opened(data)
    if value is None:
        return False
    kind, given, dtype, shape, layer, rest = value
    fmt, count = FORMATS[dtype], math.prod(shape)
    try:
        parameters = quantized_from_value(kind, given, residual=1)
        if parameters is None:
            return False
        parameters.check(tuple(shape))
        transform = parameters.transform if isinstance(parameters, MinifloatParameters) else None
        form = parameters.quantizer
        place = tuple(shape), 0, count
        near = rebuild(form, transform, *place, layer, fmt, fmt)
        words = from_residual(fmt, rest, near)
    except REFUSED:
        expect(not _of_reference(value), "what is refused, the independent reader refuses too")
        return False
    expect(parameters.to_value() == given, "parameters encode to the same value")
    expect(b"".join(layer_sections(form, *place, layer)) == layer, "sections make up the layer")
    expect(residual(fmt, words, near) == rest, "a residual encodes to the same bytes")
    known = _of_reference(value)
    expect(known == [near.tobytes(), words.tobytes()], "the independent reader rebuilds the same")
    return True


def _of_reference(value: Any) -> list[bytes] | None:
    """Return what the independent reader makes of codes, and of the residual; None if nothing."""
    reader = reference
    kind, given, dtype, shape, layer, rest = value
    record = SimpleNamespace(form=given, dtype=dtype, shape=shape, quantizer=kind)
    record.unit = FORMATS[dtype].itemsize
    try:
        reader.need(kind in reader.FORMS, "a kind")
        reader.conform(given, reader.FORMS[kind], "parameters")
        reader.check(kind, dtype, len(shape), given)
        count = math.prod(shape)
        return [
            reader.rebuild_codes(record, 0, count, layers) for layers in ([layer], [layer, rest])
        ]
    except reader.RefError:
        return None


def _seeds() -> Iterator[bytes]:
    rng = np.random.default_rng(5)
    for name in _NAMES:
        for dtype in ("F32", "BF16", "F8_E4M3", "F64"):
            fmt = FORMATS[dtype]
            array = np.abs(rng.standard_normal((3, 7))).astype(fmt.numpy)
            made = quantize(array, name)
            yield _seed(made, array.reshape(-1).view(fmt.word), fmt)


def _seed(made: Any, words: Any, fmt: Any) -> bytes:
    figures = Figures((0, 0), (0, 0), (0, 0))
    parameters = quantized_parameters(made.quantizer, made.transform, figures, 1)
    place = made.shape, 0, made.size
    near = rebuild(made.quantizer, made.transform, *place, made.data, fmt, fmt)
    rest = residual(fmt, words, near)
    return packed(
        [parameters.name, parameters.to_value(), fmt.name, list(made.shape), made.data, rest]
    )


def _change(value: Any, rng: Random, mutate: MUTATE) -> Any:
    """Change bytes of a layer most often, of the same length, else a parameter."""
    at = rng.choice((1, 1, 4, 4, 4, 5))
    made = list(value)
    made[at] = changed(value[at], rng, mutate)
    if at > 3 and type(made[at]) is bytes and rng.random() < 0.8:
        made[at] = made[at][: len(value[at])].ljust(len(value[at]), b"\0")
    return made


def _room(data: bytes) -> int:
    return (1 << 21) + 256 * len(data)


HARNESSES = (Harness("codes", _run, _seeds, 12, Form(unpacked, packed, _change), 4096, _room),)
