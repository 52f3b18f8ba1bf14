"""What an update must be before it counts: it comes from outside."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from p2uformat import Artifact, InvalidArgument, UpdateInfo
from p2uformat.federated.rounds import Round

__all__ = ["Rejected", "Rejection", "Rules", "Shapes", "checked", "shapes_of"]

Shapes = Mapping[str, tuple[str, tuple[int, ...]]]


@dataclass(frozen=True, slots=True)
class Rules:
    """What an update must keep to, beside being sound and of the round's model.

    Parameters
    ----------
    weights : mapping of int to float, optional
        The weight of each client; otherwise what an update says counts, up to `most_weight`.
    most_weight : float
        The largest weight that an update may claim.
    most_bytes : int, optional
        The most that an update may take as a file; by default twice the model's source.
    """

    weights: Mapping[int, float] | None = None
    most_weight: float = 1e6
    most_bytes: int | None = None

    def __post_init__(self) -> None:
        if not self.most_weight > 0:
            raise InvalidArgument(
                f"a weight of {self.most_weight} at most", hint="give more than 0"
            )


@dataclass(frozen=True, slots=True)
class Rejected:
    """Something that was sent and did not count.

    Parameters
    ----------
    client : int
        Whose it claims to be.
    address : str
        Where it lies.
    code : str
        Why, for programs: ``unknown-client``, ``no-update``, ``other-round``, ``other-model``,
        ``other-client``, ``weight``, ``tensors``, ``too-large``, ``damaged``, ``not-finite``, or
        the code of an error.
    reason : str
        Why, for people.
    """

    client: int
    address: str
    code: str
    reason: str


class Rejection(Exception):  # noqa: N818 - no error of the program
    """An update that does not count."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


def shapes_of(model: Artifact) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Return dtype and shape of each tensor of a model."""
    infos = {name: model.info(name) for name in model}
    return {name: (info.dtype, info.shape) for name, info in infos.items()}


def checked(
    artifact: Artifact, client: int, round_: Round, shapes: Shapes, rules: Rules
) -> UpdateInfo:
    """Check what an update's manifest says, before any of its chunks is read.

    Raises
    ------
    Rejection
        If it does not count.
    """
    info = artifact.update
    if info is None:
        raise Rejection("no-update", "it is no update, but a model")
    if info.round != round_.number:
        raise Rejection("other-round", f"it is of round {info.round}, this is {round_.number}")
    if info.base != round_.root:
        raise Rejection("other-model", f"it is a difference to {info.base}")
    if info.client != client:
        raise Rejection("other-client", f"it says that client {info.client} sent it")
    known = rules.weights
    if known is not None and info.weight != known.get(client):
        raise Rejection("weight", f"it claims a weight of {info.weight}, not {known.get(client)}")
    if not 0 < info.weight <= rules.most_weight:
        raise Rejection("weight", f"it claims a weight of {info.weight}")
    _check_tensors(artifact, shapes)
    most = rules.most_bytes
    if most is None:
        most = 2 * artifact.summary.source_bytes + (1 << 20)
    if artifact.summary.bytes > most:
        raise Rejection("too-large", f"it has {artifact.summary.bytes} bytes, at most {most} count")
    return info


def _check_tensors(artifact: Artifact, shapes: Shapes) -> None:
    theirs = set(artifact.keys())
    for name in sorted(shapes.keys() - theirs)[:1]:
        raise Rejection("tensors", f"tensor {name!r} is missing")
    for name in sorted(theirs - shapes.keys())[:1]:
        raise Rejection("tensors", f"the model has no tensor {name!r}")
    for name in sorted(theirs):
        info = artifact.info(name)
        if (info.dtype, info.shape) != shapes[name]:
            dtype, shape = shapes[name]
            raise Rejection(
                "tensors",
                f"tensor {name!r} is {info.dtype} {list(info.shape)}, the model's is"
                f" {dtype} {list(shape)}",
            )
