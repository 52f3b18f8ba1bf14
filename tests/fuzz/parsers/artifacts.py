"""Whole files: opened, read, verified, rebuilt; and what the independent reader says of them."""

from __future__ import annotations

import contextlib
import shutil
import struct
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

import p2uformat
from p2uformat.container import Container
from p2uformat.errors import CorruptData, InvalidArgument, P2UError, StoreUnavailable
from p2uformat.tensor import numpy_dtype
from tests.fuzz.parsers import files
from tests.fuzz.parsers.harness import Harness, expect, room_of_manifest
from tests.fuzz.parsers.sources import is_sound, parents_of, reference, vectors

_MOST_ELEMENTS = 1 << 14  # of a tensor that is loaded here: time, not memory, is what is short
_MOST_SLOW = 1 << 11  # of all tensors together, where the slow reader reads
_MOST_RAW = 1 << 15
_MOST = 8192
# Files are written in memory, if that can be: all of them are synced.
_SHARED = "/dev/shm" if Path("/dev/shm").is_dir() else None


@cache
def parents() -> tuple[p2uformat.Artifact, ...]:
    """Return all that some vector needs, open, the shallowest first."""
    names = {parent for name in vectors() for parent in parents_of(name)}
    found: dict[str, p2uformat.Artifact] = {}
    while len(found) < len(names):
        ready = [n for n in sorted(names - found.keys()) if set(parents_of(n)) <= found.keys()]
        for name in ready:
            own = [found[parent] for parent in parents_of(name)]
            found[name] = p2uformat.open(vectors()[name], parents=own, threads=1)
    return tuple(found.values())


def _needed(data: bytes) -> tuple[p2uformat.Artifact, ...]:
    """Return the parents, if the file could have any use for them: others are opened alone."""
    return parents() if b"\xaadifference" in data else ()


def _artifact(data: bytes) -> bool:
    known = _needed(data)
    report = _verified(data, known)
    complete = _loaded(data, known)
    sound = report is not None and report.ok
    error = _unpacked(data, known)
    if sound:
        expect(complete is not None, "what verifies opens")
        expect(complete == report.complete_tiers, "what verifies is complete at every tier")
        expect(error is None or _may_fail(error), f"what verifies is rebuilt: {error}")
    return sound


def _verified(data: bytes, known: Any) -> Any:
    try:
        shallow = p2uformat.verify(data, parents=known, threads=1)
        report = p2uformat.verify(data, deep=True, parents=known, threads=1)
    except P2UError:
        return None
    expect(report.ok <= shallow.ok, "what is sound deep down is sound")
    expect(report.ok or report.damage or report.missing_chunks, "what is not sound has a reason")
    report.to_dict()
    for damage in report.damage:
        str(damage)
    return report


def _loaded(data: bytes, known: Any) -> tuple[str, ...] | None:
    """Load everything, one by one and together; returns the tiers of which all came."""
    try:
        artifact = p2uformat.open(data, parents=known, threads=1)
    except P2UError:
        return None
    with artifact:
        artifact.summary.to_dict()
        small = [n for n in artifact if artifact.info(n).parameters <= _MOST_ELEMENTS]
        with contextlib.suppress(P2UError):
            dict(artifact.metadata)
        for name in small:
            with contextlib.suppress(P2UError):
                artifact.info(name, steps=True).to_dict()
        return tuple(tier for tier in artifact.tiers if _came(artifact, tier, small))


def _came(artifact: p2uformat.Artifact, tier: str, names: list[str]) -> bool:
    """Read each tensor, and all at once, to equal values; whether nothing was refused."""
    found: dict[str, np.ndarray[Any, Any]] = {}
    refused = 0
    for name in names:
        try:
            found[name] = artifact.get(name, tier)
        except p2uformat.TierNotFound:
            continue
        except P2UError:
            refused += 1
    try:
        together = artifact.load(tier, names=found)
    except P2UError:
        expect(refused, "what is read one by one is read together")
        return False
    for name, values in found.items():
        expect(values.tobytes() == together[name].tobytes(), "both ways to read give one answer")
        _check_rows(artifact, tier, name, values)
    return not refused


def _check_rows(
    artifact: p2uformat.Artifact, tier: str, name: str, values: np.ndarray[Any, Any]
) -> None:
    """Read some rows, and in another dtype: they are those of the whole."""
    info = artifact.info(name)
    if not info.shape or numpy_dtype(info.dtype) is None:
        return  # it has no rows
    some = artifact.get(name, tier, rows=(0, 1))
    expect(some.tobytes() == values[:1].tobytes(), "rows are those of the whole")
    if info.quantizer == "bitplane":
        other = artifact.get(name, tier, dtype="BF16")
        part = artifact.get(name, tier, rows=(-1, None), dtype="BF16")
        expect(part.tobytes() == other[-1:].tobytes(), "and so are rows in another dtype")


def _unpacked(data: bytes, known: Any) -> P2UError | None:
    """Rebuild the source, and files of another tier; nothing lies elsewhere or is half-written."""
    with tempfile.TemporaryDirectory(prefix="p2u-fuzz-", dir=_SHARED) as folder:
        with contextlib.suppress(P2UError):
            rough = f"{folder}/rough/"
            p2uformat.unpack(data, rough, tier="q4", dtype="F16", parents=known, threads=1)
        shutil.rmtree(f"{folder}/rough", ignore_errors=True)
        place = Path(folder, "out")
        try:
            p2uformat.unpack(data, f"{place}/", parents=known, threads=1)
        except P2UError as error:
            expect(not place.exists(), "nothing half-written has a name")
            return error
        finally:
            shutil.rmtree(place, ignore_errors=True)
            left = [path.name for path in Path(folder).iterdir()]
            expect(not left, "nothing is left or written elsewhere")
    return None


def _may_fail(error: P2UError) -> bool:
    """Tell whether even a sound file may not be rebuilt here: its paths may have no place."""
    of_path = isinstance(error, CorruptData) and error.file is not None
    return of_path or isinstance(error, StoreUnavailable | InvalidArgument)


def _code(data: bytes) -> str:
    """Return what deep verification finds first, as the specification's codes."""
    try:
        report = p2uformat.verify(data, deep=True, parents=_needed(data), threads=1)
    except P2UError as error:
        return error.code
    if report.ok:
        return "ok"
    return report.damage[0].code if report.damage else "incomplete"


def _reference_code(data: bytes) -> str:
    known = sorted({vectors()[parent] for name in vectors() for parent in parents_of(name)})
    known = known if _needed(data) else []
    try:
        reference.read(data, reference.Artifact(data, known).tiers[-1], known)
    except reference.RefError as error:
        return str(error.code)
    return "ok"


def _differential(data: bytes) -> bool:
    """Both readers accept a file, or both refuse it."""
    if _is_slow(data):
        return False
    ours, theirs = _code(data), _reference_code(data)
    expect((ours == "ok") == (theirs == "ok"), f"the library says {ours}, the reference {theirs}")
    return ours == "ok"


def _is_slow(data: bytes) -> bool:
    """Tell whether the independent reader, which is to be read, would take long."""
    try:
        with Container.open(data) as container:
            totals = container.content.totals
            records = [r for page in container.pages if page.content for r in page.content.records]
        parts = files.take_apart(data)
    except P2UError:
        return False
    except (LookupError, ValueError, TypeError, struct.error):
        return True
    sizes = [r.geometry.elements for r in records]
    whole = all(
        isinstance(chunk, list) or entry[1] == 0
        for (_, page), chunks in zip(parts["pages"], parts["chunks"], strict=True)
        for entry, (_, chunk) in zip(page[0], chunks, strict=True)
    )
    return sum(sizes) > _MOST_RAW or totals.quantized > _MOST_SLOW or not whole


def _seeds() -> Iterator[bytes]:
    return (data for data in vectors().values() if len(data) <= _MOST)


def _sound_seeds() -> Iterator[bytes]:
    yield from _seeds()
    expect(any(is_sound(name) for name in vectors()), "some vectors are sound")


def _room(data: bytes) -> int:
    # A few bytes may unfold to whole blocks, of which decoding keeps several copies.
    return room_of_manifest(data) + (1 << 26)


HARNESSES = (
    Harness("artifact", _artifact, _seeds, 8, files.FORM, _MOST, _room),
    Harness("artifact-reference", _differential, _sound_seeds, 8, files.FORM, _MOST, _room),
)
