"""Quantizers without a ladder of the p2u format, version 1, written from SPEC.md alone: section 19.

The part of the independent reader that turns their codes into weights; ``p2u_ref.py`` is the rest.
"""
# ruff: noqa: ANN401 - SPEC.md says what a function does

import math
import struct
from fractions import Fraction
from itertools import pairwise
from typing import Any

from p2u_layers import FLOATS, MAX_BLOCK_ELEMENTS, TWO, Cursor, need, source_value

UINT, SIGNED = range(1 << 64), range(-1 << 63, 1 << 64)
FIGURES = ((range(1 << 32), range(-65536, 65537)),) * 3
# 19.1, 19.2, 19.5 Parameters, and 19.4 the policy, as `conform` reads them
FORMS: dict[str, tuple[Any, ...]] = {"affine": (range(2, 9), range(2), str, UINT, str, FIGURES)}
FORMS["minifloat"] = (range(2), range(1, 12), range(33), SIGNED, str, object, FIGURES)
FORMS["levels"] = (bytes, str, range(1, MAX_BLOCK_ELEMENTS + 1), str, str, object, FIGURES)
POLICY: dict[str, Any] = {"generator": str, "only": [str], "skip": [str]}
POLICY |= {"client": UINT, "round": UINT, "seed": UINT}
POLICY |= {"keep": range(1000001), "matrices": range(2)}
UPDATE: dict[str, Any] = {"base": 32, "bits": UINT, "bound": object, "client": UINT, "most": UINT}
UPDATE |= {"energy": FIGURES[0], "expected": object, "round": UINT, "variance": FIGURES[0]}
UPDATE |= {"weight": 8}
CUTS = {"tensor": range(1), "channel": range(64), "group": range(1, MAX_BLOCK_ELEMENTS + 1)}
SCALES = ("F64", "F32", "F16", "BF16")
Dtype = tuple[int, int, int, int]


def check(kind: str, dtype: str, rank: int, form: list[Any]) -> None:
    """Check what the forms of parameters do not say."""
    need(dtype in FLOATS, "dtype of a quantized tensor")
    if kind == "affine":
        _, _, cut, size, scales, figures = form
        need(cut in CUTS and size in CUTS[cut], "cut of scales")
        need(cut != "channel" or size < rank, "an axis that is not there")
        need(scales in SCALES, "dtype of scales")
    elif kind == "levels":
        table, _, _, norm, scales, rounding, figures = form
        levels = entries(table)
        need(norm in ("l2", "max") and scales in SCALES, "norm, or dtype of norms")
        if rounding is not None:
            need(isinstance(rounding, list) and len(rounding) == 4, "rounding")
            need(rounding[0] == "blake3", "generator")
            need(all(isinstance(n, int) and n in UINT for n in rounding[1:]), "what is drawn from")
            need((levels[0], levels[-1]) == (-1.0, 1.0), "a table that ends inside")
    else:
        sign, exponent, mantissa, bias, specials, transform, figures = form
        need(sign + exponent + mantissa <= 32, "a code of more than 32 bits")
        need(1 - bias - mantissa >= -1074 and 2**exponent - 1 - bias <= 1023, "bias")
        need(specials in ("ieee", "nan", "finite"), "specials")
        need(specials != "ieee" or mantissa, "no fraction for NaN")
        if transform is not None:
            need(isinstance(transform, bytes) and len(transform) == 16, "transform")
            need(all(map(math.isfinite, struct.unpack("<dd", transform))), "transform")
    need(all(m % 2 or m == e == 0 for m, e in figures), "a figure's form", "non-canonical")


def check_update(update: dict[str, Any]) -> None:
    """Check what the forms of the key `update` do not say (19.6)."""
    weight = struct.unpack("<d", update["weight"])[0]
    need(math.isfinite(weight) and weight > 0, "weight of an update")
    figures = [update[key] for key in ("energy", "variance")]
    figures += [update[key] for key in ("bound", "expected") if update[key] is not None]
    need(all(m % 2 or m == e == 0 for m, e in figures), "a figure's form", "non-canonical")


def nearest(dtype: Dtype, number: float) -> int:
    """Return the word of a binary64 number, cut to what the dtype holds."""
    size, mantissa, floor, largest = dtype
    most = source_value(dtype, largest)
    value = most if math.isinf(number) else min(abs(Fraction(number)), most)
    log2 = value.numerator.bit_length() - value.denominator.bit_length()
    log2 -= value < TWO**log2
    unit = max(log2 - mantissa, floor) if value else floor
    word = ((unit - floor) << mantissa) + round(value / TWO**unit)
    return word | (math.copysign(1, number) < 0) << 8 * size - 1


def special(dtype: Dtype, name: str, sign: int, fraction: int | None, bits: int) -> int:
    """Return the word of infinity (no fraction) or of NaN with a fraction of ``bits`` bits."""
    size, mantissa, _, largest = dtype
    if fraction is None or name == "F8_E4M3":
        fraction = 0
    else:
        fraction = fraction << max(mantissa - bits, 0) >> max(bits - mantissa, 0)
        fraction = fraction or 1 << mantissa - 1
    return largest + 1 + fraction | sign << 8 * size - 1


def affine(record: Any, start: int, count: int, layer: bytes) -> list[int]:
    """19.1, of the block of ``count`` weights from element ``start`` on."""
    bits, symmetric, cut, size, scales, _ = record.form
    dtype, shape = FLOATS[record.dtype], record.shape
    row = min(shape[-1] if len(shape) > 1 else count, count)
    if cut == "tensor":
        slots = [0] * count
    elif cut == "group":
        per_row = -(-row // size)
        slots = [i // row * per_row + i % row // size for i in range(count)]
    else:
        inner = math.prod(shape[size + 1 :])
        slots = [((start + i) // inner - start // inner) % shape[size] for i in range(count)]
    have, cursor, kind = max(slots) + 1, Cursor(layer, "affine layer"), FLOATS[scales]
    words = [int.from_bytes(cursor.take(kind[0]), "little") for _ in range(have)]
    need(all(word <= kind[3] for word in words), "a scale that is negative or not finite")
    numbers = [float(source_value(kind, word)) for word in words]
    zeros = [1 << bits - 1] * have
    if not symmetric:
        part = Cursor(cursor.take((bits * have + 7) // 8), "zero points")
        zeros = [part.bits(bits) for _ in range(have)]
        part.done()
    numbered = ((slot, float(cursor.bits(bits) - zeros[slot])) for slot in slots)
    made = [nearest(dtype, numbers[slot] * step) for slot, step in numbered]
    cursor.done()
    return made


def minifloat(record: Any, count: int, layer: bytes) -> list[int]:
    """19.2."""
    sign_bits, bits, mantissa, bias, specials, transform, _ = record.form
    dtype, cursor = FLOATS[record.dtype], Cursor(layer, "minifloat layer")
    scale, offset = struct.unpack("<dd", transform) if transform else (1.0, 0.0)
    ones, known, made = (1 << bits) - 1, dict[int, int](), []
    for _ in range(count):
        code = cursor.bits(sign_bits + bits + mantissa)
        if code not in known:
            fraction, rest = code % (1 << mantissa), code >> mantissa
            field, sign = rest & ones, rest >> bits
            full = field == ones
            number = float(fraction + ((field > 0) << mantissa))
            number = math.ldexp(number, max(field, 1) - bias - mantissa)
            if full and specials == "ieee":
                number = math.nan if fraction else math.inf
            elif full and specials == "nan" and fraction + 1 == 1 << mantissa:
                number, fraction = math.nan, 0
            finite = math.isfinite(number)
            number = -number if sign else number
            if transform:
                number = number * scale + offset
            if finite:
                known[code] = nearest(dtype, number)
            elif math.isnan(number):
                known[code] = special(dtype, record.dtype, sign, fraction, mantissa)
            else:
                known[code] = special(dtype, record.dtype, number < 0, None, 0)
        made.append(known[code])
    cursor.done()
    return made


def entries(table: bytes) -> list[float]:
    """Return the levels of a table (19.5)."""
    need(len(table) % 4 == 0 and 2 <= len(table) // 4 <= 256, "length of a table")
    found = [level for (level,) in struct.iter_unpack("<f", table)]
    rising = all(a < b for a, b in pairwise(found))
    need(rising and all(-1 <= level <= 1 for level in found), "a table that does not ascend")
    need(all(level or math.copysign(1, level) > 0 for level in found), "a level of -0")
    return found


def levels(record: Any, count: int, layer: bytes) -> list[int]:
    """19.5."""
    table, bucket, scales = entries(record.form[0]), record.form[2], record.form[4]
    dtype, kind, cursor = FLOATS[record.dtype], FLOATS[scales], Cursor(layer, "levels layer")
    words = [int.from_bytes(cursor.take(kind[0]), "little") for _ in range(-(-count // bucket))]
    need(all(word <= kind[3] for word in words), "a norm that is negative or not finite")
    norms = [float(source_value(kind, word)) for word in words]
    rest = min(range(len(table)), key=lambda c: (abs(table[c]), c))
    others = [c for c in range(len(table)) if c != rest]
    short = max(1, 240 // len(others))
    symbols = short * len(others)
    longest = min(16, 256 - symbols) - 1
    codes, before = list[int](), 99
    for byte in cursor.take(len(layer) - cursor.at):
        power = byte - symbols
        if power < 0:
            codes += byte // len(others) * [rest] + [others[byte % len(others)]]
        else:
            need(power <= longest, "a byte that stands for nothing")
            need(power < before or power == before == longest, "a long run in another way")
            need(len(codes) + (short << power) <= count, "too many codes")
            codes += (short << power) * [rest]
        before = power if power >= 0 else 99
        need(len(codes) <= count + 1, "too many codes")
    need(len(codes) == count + 1 and codes[-1] == others[0] and before == 99, "end of codes")
    return [nearest(dtype, norms[i // bucket] * table[c]) for i, c in enumerate(codes[:-1])]


def rebuild_codes(record: Any, start: int, count: int, layers: list[bytes]) -> bytes:
    """Return the bytes of a block from its codes and, if it is there, its exact layer."""
    size = record.unit
    if record.quantizer == "affine":
        words = affine(record, start, count, layers[0])
    elif record.quantizer == "levels":
        words = levels(record, count, layers[0])
    else:
        words = minifloat(record, count, layers[0])
    if len(layers) > 1:  # 19.3
        half, cursor = 1 << 8 * size - 1, Cursor(layers[1], "residual")
        for i, word in enumerate(words):
            code = -1 - word % half if word >= half else word
            z = int.from_bytes(cursor.take(size), "little")
            code += -(z + 1) // 2 if z % 2 else z // 2
            code = (code + half) % (2 * half) - half
            words[i] = code if code >= 0 else half + ~code
        cursor.done()
    return b"".join(word.to_bytes(size, "little") for word in words)


def value(dtype: Dtype, word: int) -> float:
    """Return a word as a binary64 number."""
    sign, magnitude = divmod(word, 1 << 8 * dtype[0] - 1)
    number = math.nan
    if magnitude <= dtype[3]:
        number = float(source_value(dtype, magnitude))
    elif magnitude == dtype[3] + 1 and dtype is not FLOATS["F8_E4M3"]:
        number = math.inf
    return -number if sign else number


def distance(record: Any, near: bytes, block: bytes) -> bool:
    """Return whether no finite weight is further off than the bound."""
    dtype, size = FLOATS[record.dtype], record.unit
    mantissa, exponent = record.form[-1][0]
    # No binary64 number lies outside of these exponents.
    bound, half = mantissa * TWO ** max(-2000, min(exponent, 2000)), 1 << 8 * size - 1
    most = float(source_value(FLOATS["F64"], FLOATS["F64"][3]))
    for at in range(0, len(block), size):
        word, other = (int.from_bytes(d[at : at + size], "little") for d in (block, near))
        if word % half <= dtype[3]:
            w, v = value(dtype, word), value(dtype, other)
            if math.isnan(v) or min(abs(w - v), most) > bound:
                return False
    return True
