"""Quantizers by name, and what the ways to use them have in common."""

from __future__ import annotations

from typing import Final

from p2uformat.errors import InvalidArgument
from p2uformat.quant.affine import SCALES, Affine
from p2uformat.quant.levels import NORMS, ROUNDINGS, TABLES, Levels
from p2uformat.quant.minifloat import SPECIALS, Minifloat

__all__ = ["Quantizer", "describe", "parse_quantizer"]

Quantizer = Affine | Minifloat | Levels

_HINT: Final = (
    "use minifloat:S1E3M7 with :finite, :nan, :fit or :bias=N behind it, or affine:4 with"
    " :group=32, :axis=0, :asymmetric, or a dtype for the scales, or levels:uniform:4 with"
    " :bucket=512, :l2 or :max, :stochastic or :nearest, :seed=7, or a dtype for the norms"
)
_LEVEL_NUMBERS: Final = ("bucket", "seed", "client", "round")


def parse_quantizer(text: str) -> Quantizer:
    """Return the quantizer that a text such as ``affine:4:group=32`` names.

    Parameters
    ----------
    text : str
        ``minifloat:`` and a format, then any of ``:finite``, ``:nan``, ``:ieee``, ``:fit`` and
        ``:bias=N``; or ``affine:`` and bits, then any of ``:group=N``, ``:axis=N``,
        ``:asymmetric`` and a dtype of scales; or ``levels:`` and a table (``uniform:N``,
        ``exponential:N``, ``fitted:N`` with N levels above 0, ``nf4``, ``table=-1,0,1``), then any
        of ``:bucket=N``, ``:l2``, ``:max``, ``:stochastic``, ``:nearest``, ``:seed=N``,
        ``:client=N``, ``:round=N``, ``:base=X`` and a dtype of norms.

    Raises
    ------
    InvalidArgument
        If it names none.

    Examples
    --------
    >>> parse_quantizer("affine:4:group=32").group
    32
    >>> describe(parse_quantizer("minifloat:S1E3M7:fit:finite"))
    'minifloat:S1E3M7:finite:fit'
    """
    kind, *parts = text.split(":")
    if kind == "affine" and parts:
        return _affine(text, *parts)
    if kind == "minifloat" and parts:
        return _minifloat(*parts, text=text)
    if kind == "levels" and parts:
        return _levels(*parts, text=text)
    raise InvalidArgument(f"unknown quantizer {text[:80]!r}", hint=_HINT)


def _affine(text: str, bits: str, *options: str) -> Affine:
    made: dict[str, int | str | bool] = {}
    for option in options:
        key, equals, value = option.partition("=")
        if key in ("group", "axis") and equals:
            made[key] = _number(text, value)
        elif option == "asymmetric":
            made["symmetric"] = False
        elif option.upper() in SCALES:
            made["scale"] = option.upper()
        else:
            raise InvalidArgument(f"unknown quantizer {text[:80]!r}", hint=_HINT)
    return Affine(_number(text, bits), **made)  # type: ignore[arg-type]


def _minifloat(name: str, *options: str, text: str) -> Minifloat:
    made: dict[str, int | str | bool] = {}
    for option in options:
        key, equals, value = option.partition("=")
        if key == "bias" and equals:
            made[key] = _number(text, value)
        elif option in SPECIALS:
            made["specials"] = option
        elif option == "fit":
            made[option] = True
        else:
            raise InvalidArgument(f"unknown quantizer {text[:80]!r}", hint=_HINT)
    return Minifloat.parse(name, **made)  # type: ignore[arg-type]


def _levels(table: str, *options: str, text: str) -> Levels:
    made: dict[str, object] = {"table": table}
    if table.startswith("table="):
        made["table"] = [_real(text, level) for level in table[6:].split(",")]
    elif table not in TABLES:
        raise InvalidArgument(f"unknown quantizer {text[:80]!r}", hint=_HINT)
    for place, option in enumerate(options):
        key, equals, value = option.partition("=")
        if place == 0 and option.isdecimal():
            made["s"] = _number(text, option)
        elif key in _LEVEL_NUMBERS and equals:
            made[key] = _number(text, value)
        elif key == "base" and equals:
            made[key] = _real(text, value)
        elif option in NORMS:
            made["norm"] = option
        elif option in ROUNDINGS:
            made["rounding"] = option
        elif option.upper() in SCALES:
            made["scale"] = option.upper()
        else:
            raise InvalidArgument(f"unknown quantizer {text[:80]!r}", hint=_HINT)
    return Levels(**made)  # type: ignore[arg-type]


def _real(text: str, value: str) -> float:
    try:
        return float(value)
    except ValueError:
        raise InvalidArgument(f"unknown quantizer {text[:80]!r}", hint=_HINT) from None


def _number(text: str, value: str) -> int:
    try:
        return int(value)
    except ValueError:
        raise InvalidArgument(f"unknown quantizer {text[:80]!r}", hint=_HINT) from None


def describe(quantizer: Quantizer) -> str:
    """Return the text that names a quantizer, with what is not usual."""
    if isinstance(quantizer, Affine):
        return ":".join(_affine_parts(quantizer))
    if isinstance(quantizer, Levels):
        return ":".join(_levels_parts(quantizer))
    usual = (1 << (quantizer.exponent - 1)) - 1
    parts = ["minifloat", quantizer.name]
    parts += [quantizer.specials] if quantizer.specials != "ieee" else []
    parts += [f"bias={quantizer.bias}"] if quantizer.bias != usual else []
    parts += ["fit"] if quantizer.fit else []
    return ":".join(parts)


def _affine_parts(quantizer: Affine) -> list[str]:
    parts = ["affine", str(quantizer.bits)]
    parts += [f"group={quantizer.group}"] if quantizer.group is not None else []
    parts += [f"axis={quantizer.axis}"] if quantizer.axis is not None else []
    parts += [] if quantizer.symmetric else ["asymmetric"]
    assert quantizer.scale is not None
    usual = Affine(quantizer.bits, quantizer.group).scale
    return [*parts, *([quantizer.scale] if quantizer.scale != usual else [])]


def _levels_parts(quantizer: Levels) -> list[str]:
    if isinstance(quantizer.table, str):
        parts = ["levels", quantizer.table]
    else:
        parts = ["levels", "table=" + ",".join(f"{level:.9g}" for level in quantizer.table)]
    parts += [] if quantizer.s is None else [str(quantizer.s)]
    usual = Levels()
    if quantizer.table == "exponential" and quantizer.base != usual.base:
        parts.append(f"base={quantizer.base:.9g}")
    parts += [f"bucket={quantizer.bucket}", quantizer.norm, quantizer.rounding]
    parts += [] if quantizer.scale == usual.scale else [quantizer.scale]
    if quantizer.rounding == "stochastic":
        numbers = ((name, getattr(quantizer, name)) for name in _LEVEL_NUMBERS[1:])
        parts += [f"{name}={number}" for name, number in numbers if number]
    return parts
