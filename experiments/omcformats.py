"""What small floats take, and what two of them are: IEEE half and bfloat16."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from statistics import mean

import ml_dtypes
import numpy as np
import torch

import p2uformat
from benchmarks import sources
from benchmarks.live import FORM, KEPT
from benchmarks.report import Cell, Check, Table
from benchmarks.sources import Array
from experiments import models, networks
from experiments.setting import Setting
from p2uformat.torch import compressed

__all__ = ["artifact_share", "equal_formats", "shares"]

ROUNDS = 8
CLAIMED = 40.9  # % of fp32: 0.9 * 11 / 32 + 0.1
_APART = 0.5
#: What each is to equal, bit for bit.
_EQUAL: Mapping[str, type] = {"S1E5M10": np.float16, "S1E8M7": ml_dtypes.bfloat16}


def artifact_share(
    arrays: Mapping[str, Array], form: str | None, *, fit: bool, seed: int, round_: int = 0
) -> float:
    """Return the bytes of an artifact of float32 tensors, in percent of theirs.

    Parameters
    ----------
    arrays
        The tensors.
    form
        Of the codes; None for the tensors as they are.
    fit
        Whether each variable has a scale and an offset.
    seed, round_
        Of what is kept exact.
    """
    plain = sum(value.nbytes for value in arrays.values())
    if form is None:
        return 100.0
    with tempfile.TemporaryDirectory() as held:
        summary = p2uformat.pack(
            arrays,
            Path(held) / "a.p2u",
            quantizer=p2uformat.Minifloat.parse(form, fit=fit),
            policy=p2uformat.Policy(keep=KEPT, seed=seed, round=round_),
            lossy=True,
        )
    return 100 * summary.bytes / plain


def shares(setting: Setting) -> tuple[Table, list[Check]]:
    """Measure what a tenth kept comes to, over several rounds, of models of real size."""
    rows: list[list[Cell]] = []
    checks: list[Check] = []
    for name, arrays in _models(setting).items():
        rounds = range(2 if setting.quick else ROUNDS)
        memory = [_memory_share(arrays, round_) for round_ in rounds]
        packed = [artifact_share(arrays, FORM, fit=True, seed=1, round_=n) for n in rounds]
        vectors = sum(v.size for v in arrays.values() if v.ndim < 2)
        weights = sum(v.size for v in arrays.values())
        rows.append([name, weights, 100 * vectors / weights, len(memory), mean(memory)])
        rows[-1] += [min(memory), max(memory), mean(packed)]
        apart = abs(mean(memory) - CLAIMED)
        what = f"{FORM}, a tenth kept, of fp32: away from {CLAIMED} %, {name}"
        checks.append(Check(what, apart, "<=", _APART, "points"))
    columns = (
        *("model", "weights", "not in matrices, %", "rounds", "% of fp32", "least", "most"),
        "artifact, % of fp32",
    )
    note = (
        "Packed codes with scales and offsets, the tensors that are kept, and the vectors, over "
        "rounds that draw anew. The artifact has its manifest besides, and zstd behind the codes."
    )
    return Table(f"Bytes of {FORM} with a tenth kept", columns, rows, note), checks


def _models(setting: Setting) -> dict[str, dict[str, Array]]:
    torch.manual_seed(0)
    net = networks.CifarResNet(9)
    real = [] if setting.quick else models.real(setting.data)
    found = [model for model in real if model.key.startswith("resnet56")]
    for model in found:
        held = {k: torch.from_numpy(v.copy()) for k, v in models.state_of(model.path).items()}
        net.load_state_dict(held, strict=False)
    name = "ResNet56" if found else "ResNet56, first values"
    made = {name: {k: v.detach().numpy() for k, v in net.named_parameters()}}
    minilm = None if setting.quick else sources.minilm()
    if minilm is not None:
        tensors = sources.read(minilm)
        made["MiniLM"] = {k: v for k, v in tensors.items() if sources.is_float(v)}
    return made


class _Holder(torch.nn.Module):
    """A module of linear layers that have matrices of any number of dimensions, to be counted."""

    def __init__(self, arrays: Mapping[str, Array]) -> None:
        super().__init__()
        for number, value in enumerate(arrays.values()):
            part = torch.nn.Linear(1, 1, bias=False)
            part.weight = torch.nn.Parameter(torch.from_numpy(value.copy()))
            self.add_module(str(number), part)


def _memory_share(arrays: Mapping[str, Array], round_: int) -> float:
    policy = p2uformat.Policy(keep=KEPT, seed=1, round=round_)
    done = compressed(_Holder(arrays), policy, form=FORM)
    return 100 * done.bytes / done.dense_bytes


def equal_formats() -> tuple[Table, list[Check]]:
    """Hold two formats against IEEE half and bfloat16: every pattern, and roundings between."""
    rows: list[list[Cell]] = []
    for form, dtype in _EQUAL.items():
        patterns = np.arange(1 << 16, dtype=np.uint16).view(dtype).astype(np.float32)
        for what, values in (("every pattern", patterns), ("roundings", _between(patterns))):
            rows.append(
                [form, np.dtype(dtype).name, what, len(values), _unequal(form, dtype, values)]
            )
    columns = ("format", "is", "float32 values", "how many", "come out otherwise")
    note = (
        "Each value as a code of the format and back, against the cast of numpy or ml_dtypes, bit "
        "for bit; NaN has to be NaN. Roundings: between each two neighbours their middle, and a "
        "float32 step to both sides of it."
    )
    wrong = sum(int(row[4] or 0) for row in rows)
    check = Check("values of S1E5M10 and S1E8M7 that are not half's and bfloat16's", wrong, "<=", 0)
    return Table("Formats that have other names", columns, rows, note), [check]


def _between(patterns: Array) -> Array:
    """Return what lies in the middle of neighbours, and a step of float32 beside that."""
    finite = np.unique(patterns[np.isfinite(patterns)].astype(np.float64))
    middle = ((finite[1:] + finite[:-1]) / 2).astype(np.float32)
    ends = np.float32(np.inf), np.float32(-np.inf)
    return np.concatenate([middle, np.nextafter(middle, ends[0]), np.nextafter(middle, ends[1])])


def _unequal(form: str, dtype: type, values: Array) -> int:
    packed = p2uformat.quantize(values, p2uformat.Minifloat.parse(form))
    ours = np.asarray(p2uformat.dequantize(packed), np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        theirs = values.astype(dtype).astype(np.float32)
    same = (ours.view(np.uint32) == theirs.view(np.uint32)) | (np.isnan(ours) & np.isnan(theirs))
    return int(np.sum(~same))
