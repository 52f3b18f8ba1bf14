"""What `diff` hands out: plain values, each with the dict that becomes JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass

__all__ = ["DiffReport", "Distance", "FileDiff", "TensorDiff", "TierDiff"]


@dataclass(frozen=True, slots=True)
class Distance:
    """How far two versions of a tensor are apart.

    Parameters
    ----------
    elements : int
        Elements of the tensor; bytes, where the dtype has no element size.
    changed : int
        Elements that differ in any bit.
    not_finite : int
        Positions where either side is NaN or infinite: they count in `changed` alone.
    relative_rms : float or None
        ``||a - b|| / ||a||`` over the other positions, infinite where only `a` is zero; None for a
        dtype without distances, such as an integer one. Sums of floats: a rounded figure, the same
        for any number of threads.
    largest : float or None
        Largest ``|a - b|`` over the same positions.
    """

    elements: int
    changed: int
    not_finite: int
    relative_rms: float | None
    largest: float | None

    @property
    def changed_share(self) -> float:
        """Share of the elements that differ, from 0.0 to 1.0."""
        return self.changed / self.elements if self.elements else 0.0

    def to_dict(self) -> dict[str, object]:
        """Return what becomes JSON."""
        return asdict(self) | {"changed_share": self.changed_share}


@dataclass(frozen=True, slots=True)
class TierDiff:
    """One tier of the newer artifact, beside what a holder of the older one has.

    Parameters
    ----------
    name : str
        The tier of `b`.
    shared : int
        Layers whose payload some layer of `a` has, under whatever name.
    changed : int
        Others, where `a` has a layer of the same tensor or file, block and tier.
    added : int
        The rest.
    bytes : int
        Stored bytes of the tier's chunks.
    held_bytes : int
        Of these, in chunks that are stored in `a` too, and are there.
    new_bytes : int
        In the others: what is to be fetched.
    """

    name: str
    shared: int
    changed: int
    added: int
    bytes: int
    held_bytes: int
    new_bytes: int

    def to_dict(self) -> dict[str, object]:
        """Return what becomes JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class TensorDiff:
    """One tensor of either artifact.

    Parameters
    ----------
    name : str
        Its name.
    status : str
        ``identical``, ``changed``, ``reshaped``, ``retyped`` (also where the shape changed too),
        ``added`` or ``removed``: by the digests of the original bytes, whatever the tiers are.
    dtype, shape : pair
        In `a` and in `b`; None where it is not.
    bytes : pair
        Source bytes in `a` and in `b`; 0 where it is not.
    blocks, blocks_changed : int
        Its blocks in `b`, and those whose original bytes are not those of the same block of `a`.
    new_bytes : tuple of int
        For each tier of `b`, stored bytes of it that are new; a chunk shared with other tensors is
        apportioned.
    distance : Distance or None
        None unless the status is ``changed`` and the values were compared.
    """

    name: str
    status: str
    dtype: tuple[str | None, str | None]
    shape: tuple[tuple[int, ...] | None, tuple[int, ...] | None]
    bytes: tuple[int, int]
    blocks: int
    blocks_changed: int
    new_bytes: tuple[int, ...]
    distance: Distance | None

    def to_dict(self) -> dict[str, object]:
        """Return what becomes JSON."""
        return {
            "name": self.name,
            "status": self.status,
            "dtype": list(self.dtype),
            "shape": [None if shape is None else list(shape) for shape in self.shape],
            "bytes": list(self.bytes),
            "blocks": self.blocks,
            "blocks_changed": self.blocks_changed,
            "new_bytes": list(self.new_bytes),
            "distance": None if self.distance is None else self.distance.to_dict(),
        }


@dataclass(frozen=True, slots=True)
class FileDiff:
    """One source file of either artifact.

    Parameters
    ----------
    path : str
        Its path.
    status : str
        ``identical``, ``changed``, ``added`` or ``removed``, by the digest of the whole file.
    bytes : pair of int
        Its size in `a` and in `b`; 0 where it is not.
    """

    path: str
    status: str
    bytes: tuple[int, int]

    def to_dict(self) -> dict[str, object]:
        """Return what becomes JSON."""
        return {"path": self.path, "status": self.status, "bytes": list(self.bytes)}


@dataclass(frozen=True, slots=True)
class DiffReport:
    """What `diff` found.

    Parameters
    ----------
    roots, encoding_roots : pair of str
        The content roots of `a` and `b`, and their encoding roots.
    ladders : pair of tuple of str
        The names of their tiers, base first.
    same_ladder : bool
        The tiers have the same names and the same digits. Where they are others, the lossy layers
        of unchanged tensors differ too, and only equal bytes are shared.
    source_bytes : pair of int
        Sizes of what they were packed from.
    manifest_bytes : int
        Bytes of the manifest of `b`.
    tiers : tuple of TierDiff
        Of `b`, base first.
    tensors : tuple of TensorDiff
        Of both: in the order of `b`, then those that only `a` has.
    files : tuple of FileDiff
        Of both; none where only some tensors were asked for.
    tier : str or None
        The tier at which values were compared, the best that both hold whole; None if there is
        none, or they were not compared.
    """

    roots: tuple[str, str]
    encoding_roots: tuple[str, str]
    ladders: tuple[tuple[str, ...], tuple[str, ...]]
    same_ladder: bool
    source_bytes: tuple[int, int]
    manifest_bytes: int
    tiers: tuple[TierDiff, ...]
    tensors: tuple[TensorDiff, ...]
    files: tuple[FileDiff, ...]
    tier: str | None

    @property
    def identical(self) -> bool:
        """Whether the content roots are equal, and so everything at every tier."""
        return self.roots[0] == self.roots[1]

    @property
    def new_manifest_bytes(self) -> int:
        """What of the manifest is to be fetched: all, unless the files are the same file."""
        return 0 if self.encoding_roots[0] == self.encoding_roots[1] else self.manifest_bytes

    def count(self, status: str) -> int:
        """Return how many tensors have a status."""
        return sum(tensor.status == status for tensor in self.tensors)

    def to_dict(self) -> dict[str, object]:
        """Return what becomes JSON."""
        return {
            "identical": self.identical,
            "roots": list(self.roots),
            "encoding_roots": list(self.encoding_roots),
            "ladders": [list(tiers) for tiers in self.ladders],
            "same_ladder": self.same_ladder,
            "source_bytes": list(self.source_bytes),
            "manifest_bytes": self.manifest_bytes,
            "new_manifest_bytes": self.new_manifest_bytes,
            "tier": self.tier,
            "tiers": [tier.to_dict() for tier in self.tiers],
            "tensors": [tensor.to_dict() for tensor in self.tensors],
            "files": [file.to_dict() for file in self.files],
        }
