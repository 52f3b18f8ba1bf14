"""Updates: the difference of two checkpoints as an artifact, and what it makes of the first."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from p2uformat.artifact.contents import Path
from p2uformat.artifact.open import Artifact, Parents, open  # noqa: A004
from p2uformat.artifact.outside import brought
from p2uformat.artifact.pack import Asked, Near, ProgressCall, Run, Source, pack_as
from p2uformat.artifact.types import Summary
from p2uformat.artifact.updatebase import Arrays, Base, base_of
from p2uformat.artifact.updatetally import UpdateTally
from p2uformat.errors import InvalidArgument, RootMismatch
from p2uformat.floats import FORMATS, FloatFormat
from p2uformat.ingest import Checkpoint, HeadTensor, Member
from p2uformat.quant.binary64 import add_up, rounded, source_values
from p2uformat.quant.levels import Levels
from p2uformat.quant.policy import Policy
from p2uformat.quant.quantizer import Quantizers, parse_quantizers
from p2uformat.tensor import dtype_name, geometry, numpy_dtype
from p2uformat.transport import StorageOptions

__all__ = ["apply_update", "pack_update"]

Made = dict[str, NDArray[np.generic]]
_MOST: Final = (1 << 64) - 1
_NATIVE: Final = ("F32", "F64")  # dtypes whose own subtraction rounds once


def pack_update(
    after: Source,
    before: Path | Artifact | Arrays,
    destination: str | os.PathLike[str],
    *,
    base: str | None = None,
    quantizer: Quantizers | None = None,
    policy: Policy | None = None,
    client: int = 0,
    round: int = 0,  # noqa: A002 - of training, as in `Policy`
    weight: float = 1.0,
    lossy: bool = False,
    tier: str | None = None,
    tiers: str | None = None,
    allow_nonfinite: bool = False,
    metadata: Mapping[str, str] | None = None,
    parents: Parents = (),
    overwrite: bool = False,
    threads: int | None = None,
    progress: ProgressCall = None,
    storage_options: StorageOptions | None = None,
) -> Summary:
    """Pack the difference of a model's weights to those of an artifact, as an artifact.

    Of tensors of floats the difference is stored, rounded once to their dtype; of others the new
    values. The differences are held in memory.

    Parameters
    ----------
    after : str, os.PathLike or mapping of str to ndarray
        The new weights: a `.safetensors` file, or arrays by name.
    before : mapping of str to ndarray, Artifact, path, URL or address in a store
        The old ones, with tensors of the same names, dtypes and shapes; what is open stays open.
    destination : str or os.PathLike
        The file to make, a URL, or ``STORE#name``, as in `pack`.
    base : str, optional
        With arrays `before`, and only then: the content root of the artifact that they are of, at
        whatever tiers.
    quantizer : Levels, Affine, Minifloat, str, or mapping of str to one of them, optional
        What quantizes the difference, as in `pack`; `Levels` draws from `client` and `round` in
        place of its own. None for the ladder.
    policy : Policy, optional
        Which tensors the quantizer is for; by default all matrices.
    client, round : int
        Whose update it is, and when; recorded, each below ``2**64``.
    weight : float
        How much it counts among others, finite and above 0, such as a number of examples.
    lossy : bool
        Whether to leave the exact difference out.
    tier : str, optional
        The tier that `before` is read at; by default the best complete one.
    tiers : str, optional
        The ladder, without a quantizer, as in `pack`.
    allow_nonfinite : bool
        Whether differences may have NaN or infinities; by default they are refused.
    metadata : mapping of str to str, optional
        What else is to be known of it: a loss, say.
    parents, overwrite, threads, progress, storage_options
        As in `pack`; `parents` are those of `before`.

    Returns
    -------
    Summary
        What was written; its `update` has the figures.

    Raises
    ------
    InvalidArgument
        If names, dtypes or shapes differ, a difference is not finite, or an option makes no sense.
        Nothing is written then.
    P2UError
        As `pack` and `open`.

    Examples
    --------
    >>> import numpy, tempfile, pathlib, p2uformat
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> old = {"w": numpy.zeros((64, 512), numpy.float32)}
    >>> base = p2uformat.pack(old, folder / "0.p2u")
    >>> new = {"w": numpy.random.default_rng(0).standard_normal((64, 512), numpy.float32)}
    >>> made = pack_update(
    ...     new, folder / "0.p2u", folder / "u.p2u", quantizer="levels:uniform:4", lossy=True
    ... )
    >>> made.update.base == base.root, made.update.variance <= made.update.bound
    (True, True)
    """
    _check_numbers(client=client, round=round)
    if not (math.isfinite(weight) and weight > 0):
        raise InvalidArgument(f"a weight of {weight}", hint="give a finite number above 0")
    forms = None
    if quantizer is not None:
        forms = {
            glob: replace(form, client=client, round=round) if isinstance(form, Levels) else form
            for glob, form in parse_quantizers(quantizer)
        }
        policy = policy or Policy(client=client, round=round)
    asked = Asked(tiers, quantizer=forms, policy=policy, lossy=lossy)
    asked.alone()  # what makes no sense is refused before anything is read
    with ExitStack() as stack:
        old = base_of(
            before,
            base,
            tier,
            stack,
            parents=parents,
            threads=threads,
            storage_options=storage_options,
        )
        if isinstance(after, str | os.PathLike):
            after = stack.enter_context(brought(after, storage_options, progress))
        checkpoint = stack.enter_context(Checkpoint(after))
        made, energy = _differences(checkpoint, old, allow_nonfinite=allow_nonfinite)
        tally = UpdateTally(old.root, client, round, float(weight), energy)
        run = Run(overwrite=overwrite, threads=threads, progress=progress)
        return pack_as(
            made, destination, asked, Near(), run, storage_options, tally, metadata=metadata
        )


def _check_numbers(**numbers: object) -> None:
    for name, number in numbers.items():
        if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number <= _MOST:
            raise InvalidArgument(f"{name} {number!r}", hint="give a whole number below 2^64")


def _differences(
    checkpoint: Checkpoint, before: Base, *, allow_nonfinite: bool
) -> tuple[Made, float]:
    """Return the differences by name, and the sum of their squares."""
    found = {t.name: (member, t) for member in checkpoint.members for t in member.tensors}
    if any(member.layout != "safetensors" for member in checkpoint.members):
        raise InvalidArgument(
            "an update from a folder with other files than safetensors",
            hint="give a .safetensors file, or arrays by name",
        )
    _same_names(set(found), set(before.names()))
    made: Made = {}
    energies: dict[str, float] = {}
    for name, (member, tensor) in found.items():
        new = _array(member, tensor)
        dtype, shape = before.kind(name)
        if (tensor.dtype, tensor.shape) != (dtype, shape):
            raise InvalidArgument(
                f"tensor {name!r}: {dtype} of {shape} before, {tensor.dtype} of"
                f" {tensor.shape} after"
            )
        fmt = FORMATS.get(tensor.dtype)
        if fmt is None:
            made[name] = new
            continue
        made[name] = _difference(fmt, new, before.values(name))
        energies[name] = _energy(name, fmt, made[name], allow_nonfinite=allow_nonfinite)
    ordered = sorted(energies, key=lambda name: name.encode())
    return made, add_up(np.array([energies[name] for name in ordered]))


def _same_names(after: set[str], before: set[str]) -> None:
    for names, where in ((after - before, "after only"), (before - after, "before only")):
        if names:
            raise InvalidArgument(
                f"tensor {min(names)!r}: there {where}",
                hint="an update has the tensors of what it is to",
            )


def _array(member: Member, tensor: HeadTensor) -> NDArray[np.generic]:
    dtype = numpy_dtype(tensor.dtype)
    if dtype is None:
        raise InvalidArgument(f"tensor {tensor.name!r}: no arrays of {tensor.dtype}")
    data = bytearray(member.read(tensor.offset, tensor.nbytes))
    return np.frombuffer(data, dtype).reshape(tensor.shape)


def _difference(
    fmt: FloatFormat, new: NDArray[np.generic], old: NDArray[np.generic]
) -> NDArray[np.generic]:
    """Return a difference, rounded once."""
    with np.errstate(all="ignore"):
        if fmt.name in _NATIVE:
            made: NDArray[np.generic] = np.asarray(np.subtract(new, old))  # of rank 0 too
            return made
        # Binary64 has the digits for two numbers of such dtypes, or more than matter.
        wide = _wide(fmt, new) - _wide(fmt, old)
        unknown = np.isnan(wide)
        words = rounded(np.where(unknown, 0.0, wide), fmt)
        words[unknown] = fmt.word.type((1 << fmt.sign_bit) - 1)
    return words.view(fmt.numpy).reshape(new.shape)


def _wide(fmt: FloatFormat, array: NDArray[np.generic]) -> NDArray[np.float64]:
    return source_values(fmt, np.ascontiguousarray(array).reshape(-1).view(fmt.word))


def _energy(
    name: str, fmt: FloatFormat, array: NDArray[np.generic], *, allow_nonfinite: bool
) -> float:
    """Return the sum of squares of finite numbers, block by block as figures are."""
    values = _wide(fmt, array)
    finite = np.isfinite(values)
    if not finite.all():
        if not allow_nonfinite:
            what = "NaN" if np.isnan(values).any() else "infinity"
            raise InvalidArgument(
                f"{what} in an update: tensor {name!r} after less before is not finite",
                hint="look at the weights; allow_nonfinite=True packs them all the same",
            )
        values = np.where(finite, values, 0.0)
    cut = geometry(fmt.name, array.shape, None)
    sums = []
    with np.errstate(over="ignore", under="ignore"):
        for block in range(cut.blocks()):
            start, stop = cut.block_range(block)
            part = values[start:stop][finite[start:stop]]
            sums.append(add_up(part * part))
    return add_up(np.array(sums))


def apply_update(
    update: Path | Artifact,
    before: Path | Artifact | Arrays,
    scale: float = 1.0,
    *,
    tier: str | None = None,
    threads: int | None = None,
    storage_options: StorageOptions | None = None,
) -> Made:
    """Return weights with an update added to them.

    Parameters
    ----------
    update : Artifact, path, URL or address in a store
        The update.
    before : mapping of str to ndarray, Artifact, path, URL or address in a store
        The weights that it is to. Arrays may be others than those it was made from, of the same
        names, dtypes and shapes; an artifact has to be the very one.
    scale : float
        What the difference is multiplied by first.
    tier : str, optional
        The tier that the update is read at; by default the best complete one.
    threads, storage_options
        As in `open`.

    Returns
    -------
    dict of ndarray
        By name ``before + scale * difference``, in binary64, then rounded once to its dtype; of
        tensors that are not of floats, the values of the update.

    Raises
    ------
    InvalidArgument
        If it is no update, names, dtypes or shapes differ, or the scale is not finite.
    RootMismatch
        If `before` is another artifact than the update is to.
    P2UError
        As `open` and `Artifact.get`.

    Examples
    --------
    >>> import numpy, tempfile, pathlib, p2uformat
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> old = {"w": numpy.zeros((64, 64), numpy.float32)}
    >>> new = {"w": numpy.ones((64, 64), numpy.float32)}
    >>> made = p2uformat.pack(old, folder / "0.p2u")
    >>> made = pack_update(new, folder / "0.p2u", folder / "u.p2u")
    >>> float(apply_update(folder / "u.p2u", old, 0.5)["w"].max())
    0.5
    """
    if not math.isfinite(scale):
        raise InvalidArgument(f"an update times {scale}", hint="give a finite number")
    with ExitStack() as stack:

        def opened(place: Path | Artifact) -> Artifact:
            if isinstance(place, Artifact):
                return place
            return stack.enter_context(
                open(place, threads=threads, storage_options=storage_options)  # type: ignore[arg-type]
            )

        source = opened(update)
        known = source.update
        if known is None:
            raise InvalidArgument(
                f"{source.path} is no update", hint="it is a checkpoint: read its tensors"
            )
        arrays: Artifact | Arrays
        if isinstance(before, Mapping):
            arrays = before
        else:
            arrays = opened(before)
            if arrays.root != known.base:
                raise RootMismatch(
                    f"the update is to {known.base}, {arrays.path} is {arrays.root}",
                    hint="name the artifact that it was made from, or give its arrays",
                )
        _same_names(set(source), set(arrays))
        return {
            name: _applied(source, name, arrays, scale, tier)
            for name in source.keys()  # noqa: SIM118
        }


def _applied(
    source: Artifact, name: str, before: Artifact | Arrays, scale: float, tier: str | None
) -> NDArray[np.generic]:
    old = before.get(name) if isinstance(before, Artifact) else before[name]
    info = source.info(name)
    fmt = FORMATS.get(info.dtype)
    if not isinstance(old, np.ndarray):
        raise InvalidArgument(f"tensor {name!r}: expected an array, got {type(old).__name__}")
    old = old.astype(old.dtype.newbyteorder("="), copy=False)
    if (dtype_name(old.dtype.name), old.shape) != (info.dtype, info.shape):
        raise InvalidArgument(
            f"tensor {name!r}: {old.dtype} of {old.shape} before, {info.dtype} of {info.shape} in"
            " the update"
        )
    if fmt is None:
        return source.get(name, tier)
    moved = source.get(name, tier, dtype="F64").reshape(-1).view(np.float64)
    with np.errstate(all="ignore"):
        wide = _wide(fmt, old) + scale * moved
        unknown = np.isnan(wide)
        words = rounded(np.where(unknown, 0.0, wide), fmt)
    words[unknown] = fmt.word.type((1 << fmt.sign_bit) - 1)
    return words.view(fmt.numpy).reshape(info.shape)
