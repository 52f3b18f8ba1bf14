"""Arrays of Flower's records, and tensors of artifacts."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

import numpy as np
from flwr.app import Array, ArrayRecord
from numpy.typing import NDArray

from p2uformat import InvalidArgument, Malformed

__all__ = ["arrays_of", "fitted", "in_order", "order_of", "record_of", "rounded_to", "same"]

_ORDER: Final = "p2u.order"
Arrays = Mapping[str, NDArray[Any]]


def arrays_of(record: ArrayRecord) -> dict[str, NDArray[Any]]:
    """Return a record's arrays by name.

    Raises
    ------
    InvalidArgument
        If one is serialized in another way than numpy's.
    """
    made = {}
    for name, array in record.items():
        try:
            made[name] = array.numpy()
        except (TypeError, ValueError, EOFError) as error:
            raise InvalidArgument(f"array {name!r} is no array of numpy: {error}") from None
    return made


def record_of(arrays: Arrays) -> ArrayRecord:
    """Return a record of arrays."""
    return ArrayRecord({name: Array(np.asarray(array)) for name, array in arrays.items()})


def same(one: ArrayRecord, other: ArrayRecord) -> bool:
    """Tell whether two records have the same arrays in the same order."""
    if one is other:
        return True
    if list(one) != list(other):
        return False
    pairs = ((array, other[name]) for name, array in one.items())
    return all(
        (a.dtype, tuple(a.shape), a.stype) == (b.dtype, tuple(b.shape), b.stype)
        and a.data == b.data
        for a, b in pairs
    )


def order_of(names: Iterable[str]) -> dict[str, str]:
    """Return metadata with the order of names, which artifacts do not keep.

    Apps that take arrays as a list rely on it.

    Examples
    --------
    >>> order_of(["b", "a", "c"])
    {'p2u.order': '[1,0,2]'}
    >>> order_of(["a", "b"])
    {}
    """
    given = list(names)
    places = {name: number for number, name in enumerate(sorted(given))}
    order = [places[name] for name in given]
    if order == sorted(order):
        return {}
    return {_ORDER: json.dumps(order, separators=(",", ":"))}


def in_order(arrays: Arrays, metadata: Mapping[str, str]) -> dict[str, NDArray[Any]]:
    """Return arrays in the order that metadata tell.

    Raises
    ------
    Malformed
        If that is no order of so many names.
    """
    names = sorted(arrays)
    text = metadata.get(_ORDER)
    if text is None:
        return {name: arrays[name] for name in names}
    try:
        order = json.loads(text)
    except (ValueError, RecursionError):
        order = None
    known = isinstance(order, list) and all(type(place) is int for place in order)
    if not known or sorted(order) != list(range(len(names))):
        raise Malformed(f"the order of {len(names)} names is none")
    return {names[place]: arrays[names[place]] for place in order}


def fitted(after: Arrays, before: Arrays) -> dict[str, NDArray[Any]]:
    """Return what an app made of arrays in the dtypes that these had, where that changes no number.

    Averages of integers are floats in Flower, FedAdam's of small floats are large ones, and an app
    may put both into a module that has its own dtypes.
    """
    made = dict(after)
    for name, array in after.items():
        old = before.get(name)
        if old is None or old.dtype == array.dtype or old.shape != array.shape:
            continue
        with np.errstate(all="ignore"):
            cast = array.astype(old.dtype)
            if np.array_equal(cast.astype(array.dtype), array, equal_nan=array.dtype.kind == "f"):
                made[name] = cast
    return made


def rounded_to(arrays: Arrays, dtypes: Mapping[str, np.dtype[Any]]) -> dict[str, NDArray[Any]]:
    """Return arrays in given dtypes, rounded to the nearest number where that is needed."""
    made = dict(arrays)
    for name, array in arrays.items():
        dtype = dtypes.get(name, array.dtype)
        if dtype != array.dtype:
            whole = dtype.kind in "iub" and array.dtype.kind == "f"
            made[name] = (np.rint(array) if whole else array).astype(dtype)
    return made
